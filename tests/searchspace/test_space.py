"""The space: one fixed point per net, neighbours, exact size."""

import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from searchspace.anchors import anchor
from searchspace.architecture import FAMILIES, Architecture, ArchitectureError, Family, register_family
from searchspace.neighbourhood import edited
from searchspace.space import NotInSpace, SearchSpace, named_space

MOBILE = named_space("mobile", resolutions=(16, 24, 33), classes=10, in_channels=1)
SKIPNET = named_space("skipnet", resolutions=(32,), classes=10)
# alphas that round to the same widths, stages that share widths, few of everything: small enough to enumerate
TINY = SearchSpace(
    name="tiny", classes=2, in_channels=1, skeletons=("resnet", "mobilenet_v1"), alphas=(0.25, 0.26, 0.5), activations=("relu",),
    resolutions=(8,), families=("residual",), kernels=(3,), expansions=(1,), depths=(1, 2), squeeze_excite=(False,),
    gates=("none", "rnn"), skip_alphas=(0.1, 1.0),
)  # fmt: skip
PAIRS = SearchSpace(
    name="pairs",
    classes=2,
    in_channels=1,
    skeletons=("resnet",),
    alphas=(0.1, 0.2, 1.0),
    activations=("relu", "relu_h_swish"),
    resolutions=(8,),
    families=("separable", "inverted", "residual"),
    kernels=(3,),
    expansions=(1, 2),
    depths=(1, 2),
    squeeze_excite=(False,),
    gates=("none", "ff1", "rnn"),
    skip_alphas=(0.1,),
)


class Rng:
    """A trial that draws at random."""

    def __init__(self, rng):
        self.rng, self.params = rng, {}

    def suggest_categorical(self, name, choices):
        assert name not in self.params, "a choice was asked twice"
        self.params[name] = self.rng.choice(list(choices))
        return self.params[name]


def draw(space, rng):
    trial = Rng(rng)
    return space.suggest(trial), trial.params


@given(st.randoms(use_true_random=False), st.sampled_from([MOBILE, SKIPNET, TINY, PAIRS]))
@settings(max_examples=150, deadline=None)
def test_one_fixed_point_per_net(rng, space):
    net, params = draw(space, rng)
    code = space.encode(net)
    assert space.decode(code) == net == space.decode(params)
    assert space.encode(space.decode(code)) == code
    assert set(code) == set(params), "the same choices mean something"
    assert Architecture.from_json(net.to_json()) == net


@given(st.randoms(use_true_random=False), st.sampled_from([MOBILE, SKIPNET, TINY, PAIRS]))
@settings(max_examples=25, deadline=None)
def test_neighbours_are_valid_distinct_symmetric(rng, space):
    net, _ = draw(space, rng)
    near = space.neighbours(net)
    assert net not in near and len(set(near)) == len(near) > 0
    for other in rng.sample(near, min(8, len(near))):
        assert other in space
        assert net in space.neighbours(other)


def _everything(space):
    """All nets, by answering the walk in every way."""
    nets, todo = set(), [()]
    while todo:
        answers = todo.pop()
        given_ = iter(answers)
        open_ = None

        def ask(name, choices, given_=given_):
            nonlocal open_
            answer = next(given_, None)
            if answer is None:
                open_ = choices
                raise StopIteration
            return answer[0]

        try:
            nets.add(space.walk(ask))
        except StopIteration:
            todo += [(*answers, (c,)) for c in open_]
    return nets


@pytest.mark.parametrize("space", [TINY, PAIRS], ids=lambda s: s.name)
def test_size_is_the_number_of_distinct_nets(space):
    nets = _everything(space)
    assert space.size() == len(nets) == len({n.id for n in nets}) > 500


def test_every_net_of_a_small_space_is_reached_by_neighbours():
    space = SearchSpace(
        **{**{f: getattr(TINY, f) for f in TINY.__dataclass_fields__}, "skeletons": ("resnet",), "alphas": (0.5,)}
    )
    start = space.decode(space.encode(draw(space, random.Random(0))[0]))
    seen, todo = {start}, [start]
    while todo:
        for n in space.neighbours(todo.pop()):
            if n not in seen:
                seen.add(n)
                todo.append(n)
    assert len(seen) == space.size()


@pytest.mark.parametrize(
    "name",
    [
        "mobilenet_v1-0.25",
        "mobilenet_v1",
        "mobilenet_v2-0.5",
        "mobilenet_v2",
        "resnet_20",
        "resnet_38",
        "skipnet_20-rnn",
        "skipnet_38-ff1",
        "skipnet_38-ff2",
    ],
)
@pytest.mark.parametrize("resolution", [16, 24, 33])
def test_anchors_are_points_of_the_space(name, resolution):
    net = anchor(name, resolution=resolution, classes=10, in_channels=1)
    assert MOBILE.decode(MOBILE.encode(net)) == net


def test_anchors_of_imagenet_size_are_points_too():
    space = named_space("mobile", resolutions=(224, 160))
    for name in ("mobilenet_v1", "mobilenet_v2", "mobilenet_v1-0.5-160"):
        assert anchor(name) in space


def test_v3_is_not_in_the_space_and_its_nearest_point_is_told():
    net = anchor("mobilenet_v3_small", resolution=16, classes=10, in_channels=1)
    with pytest.raises(NotInSpace):
        MOBILE.encode(net)
    near, edits = MOBILE.nearest(net)
    assert near in MOBILE and any("head convolution" in e for e in edits) and any("squeeze" in e for e in edits)
    inside = anchor("mobilenet_v2", resolution=16, classes=10, in_channels=1)
    assert MOBILE.nearest(inside) == (inside, [])


def test_an_edit_is_a_neighbour_and_every_choice_is_edited():
    space = SearchSpace(classes=10, in_channels=1, resolutions=(16, 24))
    net = anchor("skipnet_20-rnn", resolution=16, classes=10, in_channels=1)
    near, found = {net, *space.neighbours(net)}, set()
    for seed in range(300):
        there = edited(space, net, random.Random(seed))
        assert there in near and there == edited(space, net, random.Random(seed))
        found |= {k for k, v in space.encode(there).items() if space.encode(net).get(k) != v}
    assert {"skeleton", "alpha", "activation", "resolution", "s0.family", "s1.depth", "s2.gate", "skip_alpha"} <= found


def test_strides_drop_from_the_front():
    net = anchor("mobilenet_v1", resolution=32, classes=10)
    assert [net.stem.stride, *(b.stride for b in net.blocks if b.stride > 1)] == [1, 2, 2, 2, 2]
    for resolution, min_map in itertools.product((8, 15, 16, 17, 31, 224), (1, 2, 4)):
        size = resolution
        for stride in (
            (n := anchor("mobilenet_v2", resolution=resolution, min_map=min_map)).stem.stride,
            *(b.stride for b in n.blocks),
        ):
            size = -(-size // stride)
        assert size >= min_map


def test_choices_are_asked_only_where_they_mean_something():
    _, params = draw(SearchSpace(resolutions=(32,), gates=("none",), skeletons=("resnet",)), random.Random(1))
    assert not any("gate" in p or p == "skip_alpha" or p in ("skeleton", "resolution") for p in params)
    rng = random.Random(0)
    for _ in range(200):
        net, params = draw(MOBILE, rng)
        assert ("skip_alpha" in params) == bool(net.gates)
        assert ("gate_sharing" in params) == net.sharable
        for i, stage in enumerate(net.stages):
            assert (f"s{i}.expansion" in params) == (stage.blocks[0].family == "inverted")
            if stage.blocks[0].family == "separable":
                assert f"s{i}.gate" not in params


def test_bad_ranges_name_the_field():
    for ranges, field in [
        ({"alphas": ()}, "alphas"),
        ({"kernels": (3, 3)}, "kernels"),
        ({"families": ("ghost",)}, "families"),
        ({"depths": (0,)}, "depths"),
    ]:
        with pytest.raises(ArchitectureError, match=f"searchspace.{field}"):
            SearchSpace(**ranges)


def test_a_family_that_is_registered_anew_is_laid_out_anew():
    asked: set[str] = set()

    def ask(name, choices):
        asked.add(name)
        return choices[-1]

    try:
        register_family(Family("again", "never"))
        space = named_space("mobile", families=("again",), resolutions=(32,), classes=10, gates=("none", "ff1"))
        assert not space.walk(ask).gates and not any(name.endswith(".gate") for name in asked)
        register_family(Family("again", "equal", expands=True))
        net = space.walk(ask)
        assert net.gates and all(block.hidden > 0 for block in net.blocks)
        register_family(Family("again", "never"))
        assert not space.walk(ask).gates
    finally:
        FAMILIES.pop("again", None)

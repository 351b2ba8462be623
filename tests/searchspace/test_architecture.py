"""Values: ids, JSON, validation."""

import json
import os
import pickle
import random
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from searchspace.anchors import NAMES, anchor
from searchspace.architecture import Architecture, ArchitectureError, Block, Head, Stage, Stem


def _shuffled(value, rng):
    if isinstance(value, dict):
        items = [(k, _shuffled(v, rng)) for k, v in value.items()]
        rng.shuffle(items)
        return dict(items)
    return [_shuffled(v, rng) for v in value] if isinstance(value, list) else value


@pytest.mark.parametrize("name", NAMES)
def test_json_round_trip(name):
    a = anchor(name)
    b = Architecture.from_json(a.to_json())
    assert b == a and b.id == a.id and hash(b) == hash(a)
    assert a.id[0].isalpha() and len(a.id) == 11


@given(st.randoms(use_true_random=False))
def test_id_does_not_depend_on_the_order_of_keys(rng):
    a = anchor("mobilenet_v3_large")
    assert Architecture.from_json(json.dumps(_shuffled(a.to_dict(), rng), indent=rng.choice([None, 2]))).id == a.id


def test_id_does_not_depend_on_the_process():
    code = "from searchspace.anchors import anchor; print(anchor('skipnet_20-rnn').id)"
    ids = {
        subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": str(i)}, capture_output=True, text=True, check=True
        ).stdout
        for i in (1, 2)
    }
    assert ids == {anchor("skipnet_20-rnn").id + "\n"}


@pytest.mark.parametrize(
    "changes",
    [{"out": 16.0}, {"kernel": 3.0}, {"stride": True}, {"kernel": [3]}, {"out": {}}, {"activation": ["relu"]}, {"gate": ["rnn"]}],
)
def test_a_value_that_equals_a_right_one_is_not_right(changes):
    """Such a block equals the one before it, or cannot be hashed."""
    blocks = [{"family": "residual", "out": 16}, {"family": "residual", "out": 16, **changes}]
    with pytest.raises(ArchitectureError) as error:
        Architecture.from_dict({**anchor("resnet_8").to_dict(), "stages": [{"blocks": blocks}]})
    assert error.value.field == f"stages[0].blocks[1].{next(iter(changes))}"


def test_a_pickled_net_is_found_by_another_process():
    """Its hash is kept with it, and that of a text differs from process to process."""
    net = anchor("mobilenet_v2-0.5-32")
    assert hash(net) and hash(net.stages[0])
    code = (
        "import pickle, sys; from searchspace.anchors import anchor; net = pickle.load(sys.stdin.buffer); "
        "here = anchor('mobilenet_v2-0.5-32'); "
        "print(net == here, {here: 1}.get(net), {here.stages[0]: 1}.get(net.stages[0]))"
    )
    done = subprocess.run([sys.executable, "-c", code], input=pickle.dumps(net), capture_output=True)
    assert done.stdout.split() == [b"True", b"1", b"1"], done.stderr


def test_ids_of_different_nets_differ():
    nets = {anchor(f"{n}-{alpha}-{r}") for n in NAMES[:4] for alpha in (0.25, 0.5, 0.75, 1.0) for r in (128, 160)}
    assert len({a.id for a in nets}) == len(nets) == 32


def test_whole_and_broken_numbers_are_one_net():
    assert anchor("skipnet_20", skip_alpha=1).id == anchor("skipnet_20", skip_alpha=1.0).id


STEM, HEAD = Stem(8), Head()


def _net(*blocks, **more):
    return Architecture(STEM, (Stage(blocks),), HEAD, **{"resolution": 8, "classes": 2, **more})


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: _net(Block("residul", 8)), "stages[0].blocks[0].family"),
        (lambda: _net(Block("residual", 8, kernel=4)), "stages[0].blocks[0].kernel"),
        (lambda: _net(Block("residual", 8, hidden=3)), "stages[0].blocks[0].hidden"),
        (lambda: _net(Block("inverted", 8)), "stages[0].blocks[0].hidden"),
        (lambda: _net(Block("residual", 0)), "stages[0].blocks[0].out"),
        (lambda: _net(Block("residual", 8, activation="gelu")), "stages[0].blocks[0].activation"),
        (lambda: _net(Block("residual", 8, gate="rnn")), "stages[0].blocks[0].gate"),
        (lambda: _net(Block("residual", 8), Block("separable", 8, gate="rnn")), "stages[0].blocks[1].gate"),
        (lambda: _net(Block("residual", 8), Block("residual", 8, gate="rnn"), skip_alpha=0.1), "gate_sharing"),
        (lambda: _net(Block("residual", 8), Block("residual", 8, gate="rnn"), gate_sharing="shared"), "skip_alpha"),
        (lambda: _net(Block("residual", 8), skip_alpha=0.1), "skip_alpha"),
        (lambda: _net(Block("residual", 8), resolution=0), "resolution"),
        (lambda: _net(Block("residual", 8), classes=True), "classes"),
        (lambda: _net(), "stages[0].blocks"),
        (lambda: Architecture.from_json("{"), "architecture"),
        (lambda: Architecture.from_dict({"stem": {"out": 8}}), "stages"),
        (lambda: Architecture.from_dict({**anchor("resnet_20").to_dict(), "depth": 3}), "depth"),
        (lambda: Architecture.from_dict({**anchor("resnet_20").to_dict(), "stem": {"out": 8, "color": 1}}), "stem.color"),
    ],
)
def test_errors_name_the_field(make, field):
    with pytest.raises(ArchitectureError) as error:
        make()
    assert error.value.field == field and str(error.value).startswith(field) and "\n" not in str(error.value)


def test_the_ungated_twin_is_the_resnet():
    assert anchor("skipnet_38-ff1").without_gates() == anchor("resnet_38")
    assert len(anchor("skipnet_38-rnn").gates) == 17  # N = 3n - 1


def test_importing_values_and_spaces_imports_no_torch():
    code = (
        "import searchspace.architecture, searchspace.space, searchspace.anchors, sys\n"
        "import searchspace as ss; ss.space('mobile'); print('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "False"


def test_random_names_never_crash_the_resolver():
    rng = random.Random(0)
    from searchspace.anchors import UnknownNet

    for _ in range(200):
        name = "".join(rng.choice("mobilenet_v123-.5rnnff") for _ in range(rng.randint(1, 20)))
        try:
            anchor(name)
        except (UnknownNet, ArchitectureError) as error:
            assert "\n" not in str(error)


@pytest.mark.parametrize("depth", [34, 50, 101])
def test_imagenet_resnets_layer_by_layer_as_torchvision_has_them(depth):
    import torch
    import torchvision

    from searchspace.layers import layers

    ours = [(layer.stride, layer.filter, layer.size_in, layer.macs) for layer in layers(anchor(f"resnet_{depth}"))]
    theirs = []

    def book(module, inputs, output):
        weight, x = module.weight, inputs[0]
        macs = output.numel() * weight[0].numel()
        if isinstance(module, torch.nn.Linear):
            theirs.append((1, (weight.shape[1], weight.shape[0]), (1, 1, x.shape[1]), macs))
        else:
            kernel = (*weight.shape[2:], weight.shape[1], weight.shape[0])
            theirs.append((module.stride[0], tuple(kernel), (x.shape[2], x.shape[3], x.shape[1]), macs))

    with torch.device("meta"), torch.no_grad():
        net = getattr(torchvision.models, f"resnet{depth}")().eval()
        for module in net.modules():
            if isinstance(module, (torch.nn.Conv2d, torch.nn.Linear)):
                module.register_forward_hook(book)
        net(torch.zeros(1, 3, 224, 224))
    assert sorted(ours) == sorted(theirs)  # the shortcut's convolution runs earlier or later


def test_imagenet_skipnets_gate_all_blocks_but_the_first_and_fit_small_images():
    net = anchor("skipnet_50-rnn")
    assert (len(net.blocks), net.gates, net.resolution, net.classes) == (16, tuple(range(1, 16)), 224, 1000)
    assert anchor("skipnet_101-ff2").gates == tuple(range(1, 33))
    small = anchor("skipnet_34-ff2", resolution=32, classes=10)
    assert (small.stem.stride, small.stem.pool) == (1, 3)  # strides are dropped from the front
    assert anchor("skipnet_34-ff2", resolution=16, classes=10).stem.pool == 0
    assert Architecture.from_json(net.to_json()) == net

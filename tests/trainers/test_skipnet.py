"""SkipNet's stages: the gradient estimator against exact enumeration over all gate patterns, and against its own mutations."""

import itertools
import types
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

import searchspace as ss
import trainers.skipnet as real
from searchspace.architecture import Architecture, Block, Head, Stage, Stem
from trainers.data import load
from trainers.judged import judge
from trainers.objectives import Objective
from trainers.supervised import Recipe, fit

IMAGES, COPIES, DRAWS = 2, 40, 300  # a batch holds each image COPIES times; DRAWS batches are drawn
ALPHA, WEIGHT = 4.0, 0.7


def gated(gates, design):
    blocks = (Block("residual", 4), *(Block("residual", 4, gate=design) for _ in range(gates)))
    sharing = "shared" if design == "rnn" else "per_block"
    return Architecture(Stem(4), (Stage(blocks),), Head(), 6, 3, 1, sharing, ALPHA)


def problem(gates, design):
    """A net in double precision whose gates depend on what came before, two images and their labels."""
    torch.manual_seed({"rnn": 20, "ff2": 10}[design])  # neither gate nearly sure, the second's answer moved by the first's
    net = ss.build(gated(gates, design)).double().eval()
    with torch.no_grad():
        for gate in net.gates.values():
            last = gate.core.decision if design == "rnn" else gate.decision
            last.weight.normal_(0, 12 if design == "ff2" else 6)
            last.bias.zero_()
        for name, weight in net.named_parameters():
            if "from_" in name or "embed" in name:
                weight.mul_(3)
            if "second.0" in name:
                weight.mul_(6)  # what a block adds is seen by the gates behind it
    return net, torch.randn(IMAGES, 1, 6, 6, dtype=torch.float64), torch.tensor([0, 2])


def exact(net, x, y, policy, copies):
    """The gradient of supervised + weight * policy part, by summing over every pattern with its probability."""
    total = torch.zeros((), dtype=torch.float64)
    for pattern in itertools.product((0.0, 1.0), repeat=len(net.gates)):
        given = torch.tensor(pattern, dtype=torch.float64).expand(len(x), -1)
        logits, kept, p = net.sampled(x, given)
        chance = torch.where(given > 0.5, p, 1 - p).prod(1)
        loss = F.cross_entropy(logits, y, reduction="none")
        cost = policy.beta * loss.detach() - policy.skip_alpha / kept.shape[1] * ((1 - kept) @ kept.new_tensor(policy.costs))
        scale = policy.weight * (len(x) * copies if policy.reduction == "sum" else 1)
        total = total + (chance.detach() * loss + scale * chance * cost).mean()
    return flat(net, total)


def flat(net, scalar):
    net.zero_grad()
    scalar.backward()
    return torch.cat([p.grad.flatten() for p in net.parameters() if p.grad is not None])


def sampled(module, net, x, y, **more):
    """(DRAWS, parameters) gradients of drawn batches."""
    objective = module.Hybrid(module.Policy(ALPHA, (0.5, 1.5, 1.0)[: len(net.gates)], weight=WEIGHT, **more))
    torch.manual_seed(5)
    x, y = x.repeat(COPIES, 1, 1, 1), y.repeat(COPIES)
    return torch.stack([flat(net, objective.loss(net, x, y, 0.0)) for _ in range(DRAWS)])


def within(module, gates, design, **more):
    """Whether the mean of the draws lies within its own 99 % interval around the exact gradient, along the exact gradient of
    the policy part and along the gates' and the net's own halves of it."""
    net, x, y = problem(gates, design)
    policy = real.Policy(ALPHA, (0.5, 1.5, 1.0)[:gates], weight=WEIGHT, **more)
    want = exact(net, x, y, policy, COPIES)
    without = exact(net, x, y, real.Policy(ALPHA, policy.costs, weight=0.0), COPIES)
    drawn = sampled(module, net, x, y, **more)
    along = want - without
    sizes = [p.numel() for p in net.parameters()]
    gate_size = sum(p.numel() for p in net.gates.parameters())
    assert sum(sizes) == len(along)
    of_gates = torch.zeros_like(along)
    of_gates[-gate_size:] = along[-gate_size:]
    ok = []
    for direction in (along, of_gates, along - of_gates):
        seen = drawn @ direction
        half = 2.576 * seen.std() / DRAWS**0.5
        ok.append(bool(abs(seen.mean() - want @ direction) <= half))
        assert module is not real or half < 0.2 * abs(along @ direction)  # narrow enough to tell
    return all(ok)


CASES = [(2, "rnn"), (3, "ff2")]
OPTIONS = [
    {"reduction": "mean"},
    {"reduction": "mean", "baseline": "batch"},
    {"reduction": "sum"},
    {"reduction": "mean", "beta": 3.0},
]


@pytest.mark.parametrize("gates, design", CASES)
@pytest.mark.parametrize("more", OPTIONS, ids=["none", "baseline", "sum", "beta"])
def test_the_estimator_is_unbiased(gates, design, more):
    assert within(real, gates, design, **more)


MUTATIONS = {
    "sign of the return": ("earned = -(policy.beta", "earned = (policy.beta"),
    "sign of the surrogate": ("each = -(earned", "each = (earned"),
    "sign of the reward": ("* loss[:, None] - policy.skip_alpha", "* loss[:, None] + policy.skip_alpha"),
    "own reward alone": ("rewards.flip(1).cumsum(1).flip(1)", "rewards"),
    "rewards before, not to go": ("rewards.flip(1).cumsum(1).flip(1)", "rewards.cumsum(1)"),
    "rewards a kept block": ("rewards = (1 - kept)", "rewards = kept"),
    "no division by the gates": ("policy.skip_alpha / kept.shape[1]", "policy.skip_alpha"),
    "costs left out": ("(1 - kept) * kept.new_tensor(policy.costs)", "(1 - kept)"),
    "beta left out": ("policy.beta * loss", "loss"),
    "weight left out": ("self.policy.weight * policy_loss", "policy_loss"),
    "sum where the mean is asked": ('if policy.reduction == "sum"', 'if policy.reduction == "mean"'),
    "return with a gradient": ("return earned.detach()", "return earned"),
    "baseline from its own other gates": ("(earned.sum(0) - earned) / (len(earned) - 1)", "earned.mean(1, keepdim=True)"),
    "probability of the other decision": ("torch.where(kept > 0.5, p, 1 - p)", "torch.where(kept > 0.5, 1 - p, p)"),
}
SEEN_WITH = {"beta left out": OPTIONS[3], "baseline from its own other gates": OPTIONS[1]}


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_mutated_estimator_is_found_out(name):
    before, after = MUTATIONS[name]
    source = Path(real.__file__).read_text()
    assert source.count(before) == 1
    mutant = types.ModuleType("mutant")
    mutant.__dict__["__name__"] = "trainers.skipnet"  # dataclasses look their module up
    exec(compile(source.replace(before, after), "mutant", "exec"), mutant.__dict__)
    more = SEEN_WITH.get(name, OPTIONS[0])
    assert not all(within(mutant, gates, design, **more) for gates, design in CASES)


BLOCKS = (Block("residual", 12, 2), Block("residual", 12, gate="rnn"), Block("residual", 12, gate="rnn"))
GATED = Architecture(Stem(12), (Stage(BLOCKS),), Head(), 8, 10, 1, "shared", 0.1)


@pytest.fixture(scope="module")
def digits():
    return load("digits", crop=1, with_test=True)


def test_the_first_stage_asks_no_gate_to_close(digits):
    torch.manual_seed(0)
    net = ss.build(GATED)
    found = fit(net, digits, Recipe(epochs=2), objective=real.StraightThrough())
    assert found.keep_rate > 0.5
    # the loss has no skip reward in it: the same loss whatever skip_alpha
    x, y = torch.randn(4, 1, 8, 8), torch.tensor([0, 1, 2, 3])
    one = real.StraightThrough().loss(net.eval(), x, y, 0.0)
    assert torch.allclose(one, F.cross_entropy(net(x), y))
    assert Objective().loss(net.train(), x, y, 0.0) != real.StraightThrough().loss(net, x, y, 0.0) or net.last_kept.all()


def test_the_second_stage_closes_gates_that_are_worth_closing(digits):
    torch.manual_seed(0)
    net = ss.build(GATED)
    first = fit(net, digits, Recipe(epochs=3), objective=real.StraightThrough())
    policy = real.Policy(3.0, (1.0, 1.0), weight=0.1, baseline="batch")
    second = fit(net, digits, Recipe(epochs=3, lr=0.02, warmup_epochs=0), objective=real.Hybrid(policy))
    assert second.keep_rate < first.keep_rate - 0.2 and second.top1_val > 65


def test_the_second_stage_goes_on_from_its_checkpoint_and_from_no_other(digits, tmp_path):
    from trainers.supervised import CheckpointError

    policy = real.Policy(0.1, (1.0, 1.0))
    recipe = Recipe(epochs=2)
    torch.manual_seed(0)
    whole = ss.build(GATED)
    want = fit(whole, digits, recipe, objective=real.Hybrid(policy))

    class Stop(Exception):
        pass

    def stop(epoch, top1):
        raise Stop

    torch.manual_seed(0)
    net = ss.build(GATED)
    with pytest.raises(Stop):
        fit(net, digits, recipe, stop, tmp_path / "c.ckpt", objective=real.Hybrid(policy))
    for other in (real.Hybrid(real.Policy(0.2, (1.0, 1.0))), real.StraightThrough(), None):
        with pytest.raises(CheckpointError, match="made by another net, data or recipe"):
            fit(ss.build(GATED), digits, recipe, None, tmp_path / "c.ckpt", objective=other)
    got = fit(ss.build(GATED), digits, recipe, None, tmp_path / "c.ckpt", objective=real.Hybrid(policy))
    assert got.top1_val == want.top1_val and got.keep_rate == want.keep_rate


def test_random_skips_keep_their_rates_in_training_and_when_judged(digits):
    torch.manual_seed(0)
    net = ss.build(GATED)
    objective = real.RandomSkips((0.9, 0.3))
    found = fit(net, digits, Recipe(epochs=2), objective=objective)
    assert found.keep_rate == pytest.approx(0.6, abs=0.05)
    x, y = digits.val
    one, two = (judge(net, x, y, digits, 8, objective=objective) for _ in range(2))
    assert (one.kept == two.kept).all() and one.keep_by_gate == pytest.approx([0.9, 0.3], abs=0.06)
    assert all(p.grad is None for p in net.gates.parameters())


def test_judged_by_the_decisions_of_others(digits):
    net = ss.build(GATED)
    x, y = digits.val
    own = judge(net, x, y, digits, 8)
    again = judge(net, x, y, digits, 8, force=own.kept)
    assert (again.predicted == own.predicted).all() and (again.kept == own.kept).all()
    none = judge(net, x, y, digits, 8, force=own.kept & False)
    assert none.keep_rate == 0


def test_sharpened_once_a_shared_core():
    from searchspace.network import sharpened

    for design, part in (("rnn", lambda g: g.core.decision), ("ff2", lambda g: g.decision)):
        net = ss.build(gated(2, design))
        before = [part(g).bias.clone() for g in net.gates.values()]
        sharpened(net, 20.0)
        assert all(torch.allclose(part(g).bias, 20 * b) for g, b in zip(net.gates.values(), before))

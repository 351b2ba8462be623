"""Building, gates, and real skipping."""

import pytest
import torch

import searchspace as ss
from searchspace.activations import ACTIVATION_MODULES
from searchspace.architecture import ACTIVATIONS, FAMILIES
from searchspace.blocks import BLOCKS
from searchspace.gates import HighwayTransform, decide
from searchspace.network import closed


def test_registries_agree():
    assert set(ACTIVATION_MODULES) == set(ACTIVATIONS) and set(BLOCKS) == set(FAMILIES)


@pytest.mark.parametrize("name", ["skipnet_20-ff1", "skipnet_20-ff2", "skipnet_20-rnn", "mobilenet_v2-0.5-32-rnn"])
def test_all_gates_open_is_the_ungated_twin_bit_for_bit(name):
    a = ss.anchor(name, classes=10)
    torch.manual_seed(3)
    gated = ss.build(a)
    torch.manual_seed(3)
    twin = ss.build(a.without_gates())
    own, all_of_it = twin.state_dict(), gated.state_dict()
    assert set(own) < set(all_of_it) and all(torch.equal(own[k], all_of_it[k]) for k in own)
    x = torch.randn(4, 3, 32, 32)
    for net in (gated, twin):
        net.train()
        net._plain(x)  # batch statistics that are not the initial ones
        net.eval()
    forced = torch.ones(len(a.gates), dtype=torch.bool)
    want = twin(x)
    assert torch.equal(gated.run(x, force=forced)[0], want)
    assert torch.equal(gated.masked(x, force=forced)[0], want)


@pytest.mark.parametrize("name", ["skipnet_20-ff2", "skipnet_20-rnn", "mobilenet_v2-0.5-32-ff1"])
def test_gathering_equals_masking(name):
    a = ss.anchor(name, classes=10)
    net = ss.build(a).eval()
    masked = ss.build(a, execution="masked").eval()
    masked.load_state_dict(net.state_dict())
    x = torch.randn(6, 3, 32, 32)
    for force in (None, torch.rand(6, len(a.gates)) > 0.5, torch.zeros(len(a.gates), dtype=torch.bool)):
        (y, kept), (z, kept_too) = net.run(x, force), masked.run(x, force)
        assert torch.equal(kept, kept_too)
        assert (y - z).abs().max() <= 1e-5 * z.abs().max()


def test_a_skipped_block_is_not_run():
    a = ss.anchor("skipnet_20-ff2")
    net = ss.build(a).eval()
    ran = []
    for i, block in enumerate(net.blocks):
        block.second.register_forward_hook(lambda m, x, y, i=i: ran.append((i, y.shape[0])))
    force = torch.zeros(3, 8, dtype=torch.bool)
    force[0, 0] = force[:, 3] = True
    _, kept = net.run(torch.randn(3, 3, 32, 32), force)
    assert torch.equal(kept, force)
    assert ran == [(0, 3), (1, 1), (4, 3)]


@pytest.mark.parametrize("name", ["skipnet_20-ff1", "skipnet_20-ff2", "skipnet_20-rnn", "mobilenet_v2-0.5-32-rnn"])
def test_closed_gates_stay_closed(name):
    net = closed(ss.build(ss.anchor(name, classes=10)))
    _, kept = net.run(10 * torch.randn(5, 3, 32, 32))
    assert not kept.any() and kept.shape[1] > 0


def test_an_image_alone_is_decided_as_in_a_batch():
    net = ss.build(ss.anchor("skipnet_20-rnn")).eval()
    x = torch.randn(4, 3, 32, 32)
    together, kept = net.run(x)
    for i in range(4):
        alone, k = net.run(x[i : i + 1])
        assert torch.equal(k[0], kept[i]) and torch.allclose(alone[0], together[i], atol=1e-5)


def test_straight_through_is_exact_forward_and_soft_backward():
    p = torch.tensor([0.2, 0.7, 0.5], requires_grad=True)
    g = decide(p, "straight_through")
    assert g.tolist() == [0.0, 1.0, 0.0]
    g.sum().backward()
    assert p.grad.tolist() == [1.0, 1.0, 1.0]
    assert not decide(p, "threshold").requires_grad and not decide(p, "sample").requires_grad


def test_highway_starts_by_carrying():
    t = HighwayTransform(6)
    x, y = torch.randn(2, 6, 5, 5), torch.randn(2, 6, 5, 5)
    out = t(x, y)
    assert (out - x).abs().mean() < (out - y).abs().mean()

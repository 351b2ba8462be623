"""A folded net is the net: same logits, same decisions, nothing left to normalise; the net that it came from is untouched."""

import copy

import pytest
import torch
from torch import nn

import searchspace as ss
from searchspace.blocks import BLOCKS, ConvBlock, conv_norm
from searchspace.inference import FoldedBlock, folded


def lively(name):
    """Statistics and scales that are not the initial ones: a wrong fold would show."""
    torch.manual_seed(0)
    net = ss.build(ss.anchor(name))
    for m in net.modules():
        if isinstance(m, nn.BatchNorm2d):
            nn.init.normal_(m.running_mean, std=0.1)
            nn.init.uniform_(m.running_var, 0.5, 2)
            nn.init.uniform_(m.weight, 0.5, 1.5)
            nn.init.normal_(m.bias, std=0.1)
    for gate in net.gates.values():  # thresholds at what it sees, so that it decides by the image
        gate.sharpen(3)
    return net


def close(a, b):
    return (a - b).abs().max() <= 1e-5 * b.abs().max()


NETS = ["skipnet_14-rnn", "skipnet_14-ff1", "skipnet_14-ff2", "skipnet_50-0.25-32-rnn", "mobilenet_v2-0.5-32-ff2",
        "mobilenet_v1-0.25-32", "mobilenet_v3_small-1.0-32"]  # fmt: skip


@pytest.mark.parametrize("name", NETS)
def test_a_folded_net_gives_the_same(name):
    net = lively(name)
    before = copy.deepcopy(net.state_dict())
    quick = folded(net)
    assert net.training and all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert not quick.training and not any(isinstance(m, nn.BatchNorm2d) for m in quick.modules())
    assert not any(p.requires_grad for p in quick.parameters())
    x = torch.randn(9, 3, 32, 32)
    untouched = x.clone()
    logits, kept = net.run(x)
    for layout in (torch.contiguous_format, torch.channels_last):
        quick = quick.to(memory_format=layout)
        y, same = quick.run(x.to(memory_format=layout))
        assert torch.equal(same, kept) and close(y, logits)
    for rate in (0.0, 0.3, 0.7, 1.0) if net.gates else ():
        force = torch.rand(9, len(net.gates)) < rate
        assert close(quick.run(x, force)[0], net.run(x, force)[0]) and close(
            quick.masked(x, force=force)[0], net.run(x, force)[0]
        )
        assert close(quick.run(x[:1], force[:1])[0], net.run(x[:1], force[:1])[0])
    assert torch.equal(x, untouched)


def test_every_family_is_made_of_steps():
    assert all(made.chain for made in BLOCKS.values() if isinstance(made, type) and made.__module__ == "searchspace.blocks")
    for name in NETS:
        assert all(isinstance(block, FoldedBlock) for block in folded(lively(name)).blocks)


def test_a_copy_of_a_folded_net_is_its_own():
    quick = folded(lively("skipnet_8-rnn"))
    x = torch.randn(2, 3, 32, 32)
    before = quick.run(x)[0]
    other = copy.deepcopy(quick)
    with torch.no_grad():
        for p in other.parameters():
            p.zero_()
    assert torch.equal(quick.run(x)[0], before) and other.run(x)[0].abs().max() == 0
    moved = copy.deepcopy(quick).to(torch.float64)  # the steps follow the weights
    y, _ = moved.run(x.double())
    assert y.dtype == torch.float64 and close(y.float(), before)


def test_a_block_that_writes_its_own_body_keeps_it():
    class Own(ConvBlock):
        def __init__(self, channels_in, spec):
            super().__init__(channels_in, spec)
            self.only = conv_norm(channels_in, spec.out, 3, spec.stride, act="h_swish")

        def body(self, x):
            return 2 * self.only(x)

    net = lively("mobilenet_v2-0.5-32").eval()
    spec = net.blocks[3].spec
    own = Own(net.architecture.widths_in[3], spec)
    nn.init.uniform_(own.only[1].running_var, 0.5, 2)
    net.blocks[3] = own.eval()
    quick = folded(net)
    assert type(quick.blocks[3]) is Own and not any(isinstance(m, nn.BatchNorm2d) for m in quick.modules())
    x = torch.randn(2, 3, 32, 32)
    assert close(quick.run(x)[0], net.run(x)[0])

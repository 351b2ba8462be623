"""A folded net is the net: same logits, same decisions, nothing left to normalise; the net that it came from is untouched."""

import copy

import pytest
import torch
from torch import nn

from searchspace.blocks import BLOCKS, ConvBlock, conv_norm
from searchspace.inference import FoldedBlock, folded
from tests.searchspace.mixed import net_of


def lively(name):
    """Decisions mixed; statistics and scales that are not the initial ones: a wrong fold would show."""
    net = net_of(name)
    for m in net.blocks.modules():
        if isinstance(m, nn.BatchNorm2d):
            nn.init.uniform_(m.weight, 0.8, 1.2)
            nn.init.normal_(m.bias, std=0.05)
    return net.train()


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
    x = torch.randn(32, 3, 32, 32)
    untouched = x.clone()
    logits, kept = net.run(x)
    assert not net.gates or 0.1 < kept.float().mean() < 0.9
    for layout in (torch.contiguous_format, torch.channels_last):
        quick = quick.to(memory_format=layout)
        y, same = quick.run(x.to(memory_format=layout))
        assert torch.equal(same, kept) and close(y, logits)
    for rate in (0.0, 0.3, 0.7, 1.0) if net.gates else ():
        force = torch.rand(32, len(net.gates)) < rate
        assert close(quick.run(x, force)[0], net.run(x, force)[0]) and close(
            quick.masked(x, force=force)[0], net.run(x, force)[0]
        )
        assert close(quick.run(x[:1], force[:1])[0], net.run(x[:1], force[:1])[0])
    assert torch.equal(x, untouched)
    with torch.no_grad():  # piece by piece: a net of few images can hide what one of its blocks does
        y = net.eval().stem(x)
        assert close(quick.stem(x), y)
        for own, folded_one in zip(net.blocks, quick.blocks, strict=True):
            assert close(folded_one(y), own(y)) and own(y).std() > 0
            y = own(y)
        assert close(quick.head(y), net.head(y))


def test_the_gates_say_the_same():
    for name in ("skipnet_14-ff1", "skipnet_14-ff2", "skipnet_14-rnn"):
        net = lively(name).eval()
        quick = folded(net)
        with torch.no_grad():
            x = net.stem(torch.randn(8, 3, 32, 32))
            (number, gate) = next(iter(net.gates.items()))
            p, *_ = gate(x, *gate.start(x))
            same, *_ = quick.gates[number](x, *gate.start(x))
        assert torch.allclose(p, same, atol=1e-5) and p.std() > 0.01


def test_a_net_that_has_just_trained():
    net = lively("skipnet_8-rnn")
    net(torch.randn(2, 3, 32, 32)).sum().backward()
    assert net.last_kept is not None and net.last_kept.requires_grad
    quick = folded(net)
    x = torch.randn(2, 3, 32, 32)
    assert close(quick.run(x)[0], net.eval().run(x)[0])


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


class Doubled(ConvBlock):
    def __init__(self, channels_in, spec):
        super().__init__(channels_in, spec)
        self.only = conv_norm(channels_in, spec.out, 3, spec.stride, act="h_swish")

    def body(self, x):
        return 2 * self.only(x)


class Whole(ConvBlock):
    """A forward of its own beside a chain; a convolution that does not pad with zeros; a sequence with a way of its own."""

    chain = ("only",)

    class Odd(nn.Sequential):
        def forward(self, x):
            return self[1](self[0](x)) + 1

    def __init__(self, channels_in, spec):
        super().__init__(channels_in, spec)
        reflecting = nn.Conv2d(channels_in, spec.out, 3, spec.stride, 1, padding_mode="reflect", bias=False)
        self.only = nn.Sequential(reflecting, nn.BatchNorm2d(spec.out))
        self.odd = self.Odd(*conv_norm(spec.out, spec.out, 3))

    def forward(self, x):
        return self.odd(self.only(x))


@pytest.mark.parametrize("own", [Doubled, Whole])
def test_a_block_that_is_written_out_keeps_its_way(own):
    net = lively("mobilenet_v2-0.5-32").eval()
    block = own(net.architecture.widths_in[3], net.blocks[3].spec)
    for m in block.modules():
        if isinstance(m, nn.BatchNorm2d):
            nn.init.uniform_(m.running_var, 0.5, 2)
    net.blocks[3] = block.eval()
    quick = folded(net)
    assert type(quick.blocks[3]) is own
    assert any(isinstance(m, nn.BatchNorm2d) for m in quick.modules()) == (own is Whole)
    x = torch.randn(2, net.architecture.widths_in[3], 8, 8)
    assert close(quick.blocks[3](x), block(x))
    x = torch.randn(2, 3, 32, 32)
    assert close(quick.run(x)[0], net.run(x)[0])

"""Everything registered, in one test: each block family, activation, squeeze-and-excitation, kernel and gate builds at odd and
even sizes, survives JSON, gets a gradient on every parameter, and exports to ONNX with parity."""

import itertools

import pytest
import torch

import searchspace as ss
from hardware.export import parity, to_onnx
from searchspace.architecture import ACTIVATIONS, FAMILIES, GATES, Architecture, Block, Head, Stage, Stem
from searchspace.blocks import BLOCKS


def nets():
    """Every registered family x activation x SE x kernel, and every gate where the family has a shortcut."""
    for family, act, se, kernel in itertools.product(BLOCKS, ACTIVATIONS, (0, 4), (3, 5)):
        hidden = 12 if FAMILIES[family].expands else 0
        yield (
            f"{family}-{act}-se{se}-k{kernel}",
            [Block(family, 8, 2, kernel, hidden, se, act), Block(family, 8, 1, kernel, hidden, se, act)],
            {},
        )
    for family, gate, sharing in itertools.product(
        [f for f in BLOCKS if FAMILIES[f].shortcut != "never"], GATES, ("per_block", "shared")
    ):
        hidden = 12 if FAMILIES[family].expands else 0
        first = Block(family, 8, 2, hidden=hidden)
        more = [Block(family, 8, 1, hidden=hidden, gate=gate)] * 2
        wider = [Block(family, 12, 2, hidden=hidden, gate=gate if FAMILIES[family].shortcut == "always" else "")]
        yield f"{family}-{gate}-{sharing}", [first, *more, *wider], {"gate_sharing": sharing, "skip_alpha": 0.1}


CASES = list(nets())


@pytest.mark.parametrize("size", [7, 12, 1])
@pytest.mark.parametrize(("blocks", "gating"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_everything_registered(blocks, gating, size):
    a = Architecture(
        Stem(8), (Stage(tuple(blocks)),), Head(16, 12, "h_swish"), resolution=size, classes=3, in_channels=2, **gating
    )
    assert Architecture.from_json(a.to_json()) == a
    torch.manual_seed(0)
    net = ss.build(a)
    x = torch.randn(5, 2, size, size)
    out = net(x)
    assert out.shape == (5, 3)
    # random weights of the sum: a plain sum of normalised activations has no gradient
    loss = (out * torch.randn_like(out)).sum()
    if net.last_kept is not None:
        assert net.last_kept.shape == (5, len(a.gates)) and set(net.last_kept.detach().unique().tolist()) <= {0.0, 1.0}
        loss = loss + net.last_kept.sum()
    loss.backward()
    without = [n for n, p in net.named_parameters() if p.grad is None or not torch.isfinite(p.grad).all()]
    assert without == []
    net.eval()
    logits, kept = net.run(x)
    assert logits.shape == (5, 3) and kept.shape == (5, len(a.gates)) and kept.dtype == torch.bool
    # deployed: normalisation inside, one ONNX file, gates as real branches
    _randomise_norms(net)
    images = torch.randint(0, 256, (4, 2, size, size), dtype=torch.uint8).numpy()
    onnx = to_onnx(net, (1, 2, size, size), (100.0, 120.0), (60.0, 70.0))
    assert parity(net, onnx, images, (100.0, 120.0), (60.0, 70.0)) < 1e-5


def _randomise_norms(net):
    """Fresh norms do nothing in eval mode; these do, so that an exporter that forgets one is found out."""
    for m in net.modules():
        if isinstance(m, torch.nn.BatchNorm2d):
            for t in (m.weight.data, m.running_var):
                t.uniform_(0.5, 1.5)
            for t in (m.bias.data, m.running_mean):
                t.normal_()

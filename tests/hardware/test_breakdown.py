"""Shares of a whole: on an invented clock whose answer is known, and on real nets whose heavy block is known."""

import pytest
import torch

from hardware import Meter
from hardware.breakdown import PLACE, beginnings, breakdown, names, parts_of
from hardware.meter import Latency
from searchspace import anchor
from searchspace.architecture import Architecture, Block, Head, Stage, Stem

HEAVY = Architecture(
    Stem(16), (Stage((Block("residual", 16),)), Stage((Block("residual", 128), Block("residual", 16)))), Head(), 32, 5
)


def row(ms, visits):
    return Latency(ms, ms, ms, len(visits), "law", "m", False, "", None, 1, 1, visits_ms=tuple(visits))


def test_differences_add_up_and_carry_their_errors():
    rows = [row(1.0, [1.0] * 9), row(3.0, [2.97, 3.0, 3.03] * 3), row(4.0, [4.0] * 9)]
    parts = parts_of(rows, ["stem", "block", "head"])
    assert [p.ms for p in parts] == [1.0, 2.0, 1.0] and sum(p.share for p in parts) == pytest.approx(1)
    assert parts[0].high - parts[0].share == pytest.approx(PLACE * 1.0 / 4.0)  # nothing moved but where it lies
    assert 0.003 < parts[1].high - parts[1].share < 0.02
    assert parts[2].high - parts[2].share > parts[1].high - parts[1].share  # the same doubt at its other end, and its own


@pytest.mark.parametrize("name", ["mobilenet_v2-0.5-32", "mobilenet_v3_small-0.5-64", "skipnet_20-ff1"])
def test_beginnings_end_with_the_whole_net(name):
    a = anchor(name).without_gates()
    nets, named = beginnings(a), names(a)
    assert len(nets) == len(named) == sum(len(s.blocks) for s in a.stages) + 2
    x = torch.randn(2, 3, a.resolution, a.resolution)
    with torch.no_grad():
        assert nets[-1](x).shape == (2, a.classes) and all(torch.isfinite(net(x)).all() for net in nets)
    assert named[0] == "stem" and named[-1] == "head" and len(set(named)) == len(named)


@pytest.mark.parametrize("runtime", [None, "eager"])
def test_the_heavy_blocks_have_the_time(runtime):
    with Meter("cpu", runtime, spread_s=0.2) as meter:
        parts = {p.name: p for p in breakdown(meter, HEAVY)}
    assert sum(p.share for p in parts.values()) == pytest.approx(1)
    heavy = parts["stage 2 block 1: residual 128"]  # intervals are as wide as the machine is busy: told on the invented clock
    assert heavy.share > 0.4 and heavy == max(parts.values(), key=lambda p: p.share) and heavy.low < heavy.share < heavy.high

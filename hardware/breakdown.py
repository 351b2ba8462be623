"""Where a net's time goes: the share of each block, with its interval, as this runtime runs it here.

    for part in breakdown(meter, architecture): print(part.name, part.share, part.low, part.high)

Measured, not added up from layers timed alone (an engine fuses across layers, and a layer alone finds its input in the cache):
the net is cut off after every block, all these beginnings are measured in one interleaved session, and a block costs what its
beginning takes more than the one before. A beginning ends in a global average pooling, so that no feature map is copied out.
The shares add up to the whole net, which is the last of the beginnings.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from hardware.estimate import level
from hardware.meter import Latency, Meter
from hardware.subject import settled
from searchspace.architecture import Architecture

PLACE = 0.005  # half of a 95 % interval of what one session of a net differs from the next in the same process: 0.25 % here


@dataclass(frozen=True)
class Part:
    """A stem, block or head: milliseconds, and its share of the whole with the 95 % interval of that share (which may reach
    below zero: a part that cannot be told from nothing)."""

    name: str
    ms: float
    share: float
    low: float
    high: float


def breakdown(meter: Meter, architecture: Architecture) -> list[Part]:
    """Stem, blocks in order, head. A gated net is broken down with all blocks kept, without its gates. Raises MeasureError."""
    plain = architecture.without_gates()
    nets = beginnings(plain)
    shape = (1, plain.in_channels, plain.resolution, plain.resolution)
    return parts_of(meter.measure(nets, input_shape=shape), names(plain))


def beginnings(architecture: Architecture) -> list[nn.Module]:
    """The net up to its stem, up to its first block, ..., and whole."""
    net = settled(architecture)
    blocks = list(net.blocks)  # type: ignore[arg-type]
    cut = [
        nn.Sequential(net.stem, *blocks[:k], nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()  # type: ignore[arg-type]
        for k in range(len(blocks) + 1)
    ]
    return [*cut, nn.Sequential(net)]  # as the others a plain module, so that all are run in one place


def names(architecture: Architecture) -> list[str]:
    """`stem`, `stage 1 block 1: inverted 24, stride 2`, ..., `head`."""
    found = ["stem"]
    for i, stage in enumerate(architecture.stages, 1):
        for k, block in enumerate(stage.blocks, 1):
            stride = f", stride {block.stride}" if block.stride > 1 else ""
            found.append(f"stage {i} block {k}: {block.family} {block.out}{stride}")
    return [*found, "head"]


def parts_of(rows: Sequence[Latency], named: Sequence[str]) -> list[Part]:
    """Differences of neighbours. The errors are those of the two levels, which are independent, and what lies in where the
    memory of either happens to be."""
    levels = [level(row.visits_ms) if len(row.visits_ms) > 1 else None for row in rows]
    whole, found = rows[-1].latency_ms, []
    before_ms, before_error = 0.0, 0.0
    for name, row, of_row in zip(named, rows, levels, strict=True):
        error_ms = row.latency_ms * math.hypot(of_row.error if of_row else 0.0, PLACE)
        ms = row.latency_ms - before_ms
        half = math.hypot(error_ms, before_error) / whole
        found.append(Part(name, ms, ms / whole, ms / whole - half, ms / whole + half))
        before_ms, before_error = row.latency_ms, error_ms
    return found

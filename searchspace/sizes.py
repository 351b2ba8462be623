"""Mult-adds and parameters in closed form, for choosing among thousands of nets that are never built.

    macs, params = sizes(architecture)      # of the net without its gates; what searchspace.complexity.count counts

A block of a family that has no formula here (a plug-in's) is counted on the meta device, once for each shape.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache

from searchspace.architecture import Architecture, Block, Stage

Sizes = tuple[int, int]  # mult-adds, parameters


def sizes(architecture: Architecture) -> Sizes:
    """All of an ungated net, or of a gated net's ungated twin. About 10 microseconds once its stages are known."""
    a = architecture
    size = -(-a.resolution // a.stem.stride)
    macs, params = conv(a.in_channels, a.stem.out, a.stem.kernel, size)
    channels, size = a.stem.out, -(-size // 2) if a.stem.pool else size
    for stage in a.stages:
        m, p, channels, size = of_stage(channels, size, stage)
        macs, params = macs + m, params + p
    if a.head.conv:
        m, p = conv(channels, a.head.conv, 1, size)
        macs, params, channels = macs + m, params + p, a.head.conv
    for out in (a.head.hidden, a.classes):
        if out:
            macs, params, channels = macs + channels * out, params + channels * out + out, out
    return macs, params


def conv(channels: int, out: int, kernel: int, size: int, groups: int = 1) -> Sizes:
    """A convolution without bias and its normalisation; `size`: pixels along a side of what comes out."""
    weights = kernel**2 * (channels // groups) * out
    return weights * size**2, weights + 2 * out


@lru_cache(maxsize=1 << 16)
def of_stage(channels: int, size: int, stage: Stage) -> tuple[int, int, int, int]:
    """Mult-adds, parameters, and the channels and pixels along a side of what comes out."""
    macs = params = 0
    for block in stage.blocks:
        m, p = of_block(channels, size, block)
        macs, params, channels, size = macs + m, params + p, block.out, -(-size // block.stride)
    return macs, params, channels, size


@lru_cache(maxsize=1 << 16)
def of_block(channels: int, size: int, block: Block) -> Sizes:
    """A block without its gate, on a map of so many channels and pixels along a side."""
    parts = PARTS.get(block.family)
    if parts is None:
        return _counted(channels, size, replace(block, gate=""))
    found = parts(channels, size, -(-size // block.stride), block)
    return sum(m for m, _ in found), sum(p for _, p in found)


def excite(channels: int, bottleneck: int) -> list[Sizes]:
    """Squeeze-and-excitation: two 1x1 convolutions with bias on a map of one pixel; nothing without a bottleneck."""
    weights = 2 * channels * bottleneck
    return [(weights, weights + bottleneck + channels)] if bottleneck else []


def _separable(channels: int, size: int, small: int, b: Block) -> list[Sizes]:
    return [conv(channels, channels, b.kernel, small, channels), *excite(channels, b.se), conv(channels, b.out, 1, small)]


def _inverted(channels: int, size: int, small: int, b: Block) -> list[Sizes]:
    expand = [conv(channels, b.hidden, 1, size)] if b.hidden != channels else []
    deep = conv(b.hidden, b.hidden, b.kernel, small, b.hidden)
    return [*expand, deep, *excite(b.hidden, b.se), conv(b.hidden, b.out, 1, small)]


def _residual(channels: int, size: int, small: int, b: Block) -> list[Sizes]:
    project = [] if b.stride == 1 and b.out == channels else [conv(channels, b.out, 1, small)]
    body = [conv(channels, b.out, b.kernel, small), conv(b.out, b.out, b.kernel, small)]
    return [*body, *excite(b.out, b.se), *project]


def _bottleneck(channels: int, size: int, small: int, b: Block) -> list[Sizes]:
    project = [] if b.stride == 1 and b.out == channels else [conv(channels, b.out, 1, small)]
    body = [conv(channels, b.hidden, 1, size), conv(b.hidden, b.hidden, b.kernel, small), conv(b.hidden, b.out, 1, small)]
    return [*body, *excite(b.out, b.se), *project]


def _projection(channels: int, size: int, small: int, b: Block) -> list[Sizes]:
    return [conv(channels, b.out, b.kernel, small)]


# (channels, size in, size out, block) -> its parts
PARTS: dict[str, Callable[[int, int, int, Block], list[Sizes]]] = {
    "separable": _separable,
    "inverted": _inverted,
    "residual": _residual,
    "bottleneck": _bottleneck,
    "projection": _projection,
}


def _counted(channels: int, size: int, block: Block) -> Sizes:
    import torch

    from searchspace.blocks import BLOCKS
    from searchspace.complexity import count

    with torch.device("meta"):
        module = BLOCKS[block.family](channels, block)
    found = count(module, (1, channels, size, size))
    return found.macs, found.params

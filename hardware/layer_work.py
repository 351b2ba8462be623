"""What an engine does to run a block, layer by layer: hardware/work.py adds it up.

It follows ONNX Runtime on one core (MLAS, snchwc.cpp): channels in vectors of 16, filters in sets of four vectors, six outputs
at a time, those at the border one by one, nothing for taps on the padding, changes of layout around squeeze-and-excitation. No
torch, but for families of plug-ins, whose module is passed once on the meta device.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from searchspace.architecture import Block, Head

LANES, SET, TILE = 16, 4, 6  # floats of a vector, vectors of filters in a set, outputs held in registers

# of a net, its layers, its squeeze-and-excitations; layers that read NCHW; vectors put in another layout, read or written apart;
# activations; convolutions: vectors of mult-adds, filter loads, border and inner rounds; weights; MB that the cache does not hold
NAMES = (
    "net", "layers", "excites", "plain", "turned", "moved", "relu6", "swish", "h_swish", "conv", "conv_filters", "conv_border",
    "conv_inner", "pointwise", "pointwise_plain", "depthwise", "depthwise_out", "conv_weights", "depthwise_weights",
    "excite_weights", "linear", "far",
)  # fmt: skip


@dataclass(frozen=True)
class Map:
    """A feature map, square. plain: NCHW; else in blocks of 16 channels, as the convolutions write it."""

    channels: int
    size: int
    plain: bool = False

    @property
    def elements(self) -> int:
        return self.channels * self.size**2


class Part:
    """Stem, block or head: `f` counts what its layers do, in vectors of 16 floats where nothing else is said."""

    def __init__(self) -> None:
        self.f: defaultdict[str, float] = defaultdict(float)

    def row(self) -> np.ndarray:
        """(len(NAMES),)"""
        return np.array([self.f[name] for name in NAMES], dtype=float)

    def turned(self, x: Map, plain: bool) -> Map:
        """x in the wanted order."""
        if x.plain != plain:
            self.f["turned"] += x.elements / LANES
        return x if x.plain == plain else Map(x.channels, x.size, plain)

    def ready(self, x: Map) -> Map:
        """x as a convolution reads it: fewer channels than a block are read plain."""
        return self.turned(x, plain=x.channels < LANES)

    def conv(self, x: Map, out: int, kernel: int = 1, stride: int = 1, act: str = "", groups: int = 1) -> Map:
        """A convolution over `channels / groups`, its activation in it (swish alone follows apart)."""
        each = x.channels // groups
        deep = each if each < LANES else LANES * _vectors(each)
        wide, size, f = _vectors(out), -(-x.size // stride), self.f
        f["layers"] += 1
        if kernel == 1:
            f["pointwise"] += -(-size * size // TILE) * deep * wide
            f["pointwise_plain"] += size * size * deep * wide * x.plain
        else:
            border, inner, all_taps = taps(x.size, kernel, stride)
            sets = -(-wide // SET)
            f["conv"] += all_taps**2 * deep * wide
            f["conv_filters"] += all_taps * (border + inner) * deep * wide
            f["conv_border"] += all_taps * border * deep * sets
            f["conv_inner"] += all_taps * inner * deep * sets
            f["conv_weights"] += min(kernel, 2 * x.size - 1) ** 2 * deep * wide
        f["plain"] += x.plain
        f["weights_mb"] += min(kernel, 2 * x.size - 1) ** 2 * deep * wide * LANES * 4e-6
        return self.activated(Map(out, size), act)

    def depthwise(self, x: Map, kernel: int, stride: int, act: str) -> Map:
        x = self.turned(x, plain=False)
        wide, size = _vectors(x.channels), -(-x.size // stride)
        self.f["layers"] += 1
        self.f["depthwise"] += taps(x.size, kernel, stride)[2] ** 2 * wide
        self.f["depthwise_out"] += size**2 * wide
        self.f["depthwise_weights"] += kernel**2 * wide
        return self.activated(Map(x.channels, size), act)

    def activated(self, x: Map, act: str) -> Map:
        if act in ("relu6", "swish", "h_swish"):  # relu costs nothing that could be seen
            self.f[act] += _vectors(x.channels) * x.size**2
        return x

    def excite(self, x: Map, channels: int) -> Map:
        """Squeeze-and-excitation: mean, two layers, product, on the plain map."""
        x = self.turned(x, plain=True)
        weights = 2 * _vectors(x.channels) * _vectors(channels) * LANES
        self.f["excites"] += 1
        self.f["moved"] += 3 * x.elements / LANES
        self.f["excite_weights"] += weights
        self.f["weights_mb"] += weights * LANES * 4e-6
        return x

    def added(self, y: Map, s: Map, b: Block) -> Map:
        """Squeeze-and-excitation, then addition and activation as operations of their own."""
        y = self.excite(y, b.se)
        self.turned(s, plain=True)
        self.f["layers"] += 1
        self.f["moved"] += (8 if b.activation == "h_swish" else 5) * y.elements / LANES
        return y

    def head(self, x: Map, head: Head, classes: int) -> None:
        if head.conv:
            x = self.conv(self.ready(x), head.conv, act=head.activation)
        x = self.turned(x, plain=True)
        self.f["moved"] += x.elements / LANES
        weights = x.channels * head.hidden + head.hidden * classes if head.hidden else x.channels * classes
        self.f["linear"] += weights
        self.f["weights_mb"] += weights * 4e-6


def separable(part: Part, x: Map, b: Block) -> Map:
    y = part.depthwise(x, b.kernel, b.stride, b.activation)
    y = part.excite(y, b.se) if b.se else y
    return part.conv(part.ready(y), b.out, act=b.activation)


def inverted(part: Part, x: Map, b: Block) -> Map:
    y = part.conv(part.ready(x), b.hidden, act=b.activation) if b.hidden != x.channels else x
    y = part.depthwise(y, b.kernel, b.stride, b.activation)
    y = part.excite(y, b.se) if b.se else y
    return part.conv(part.ready(y), b.out)  # the addition is in it


def residual(part: Part, x: Map, b: Block) -> Map:
    x = part.ready(x)
    y = part.conv(x, b.out, b.kernel, b.stride, b.activation)
    y = part.conv(part.ready(y), b.out, b.kernel, act="" if b.se else b.activation)  # addition and activation are in it
    s = x if b.stride == 1 and b.out == x.channels else part.conv(x, b.out, stride=b.stride)
    return part.added(y, s, b) if b.se else y  # now they are not


def bottleneck(part: Part, x: Map, b: Block) -> Map:
    x = part.ready(x)
    y = part.conv(x, b.hidden, act=b.activation)
    y = part.conv(part.ready(y), b.hidden, b.kernel, b.stride, b.activation)
    y = part.conv(part.ready(y), b.out, act="" if b.se else b.activation)  # addition and activation are in it
    s = x if b.stride == 1 and b.out == x.channels else part.conv(x, b.out, stride=b.stride)
    return part.added(y, s, b) if b.se else y


def foreign(part: Part, x: Map, b: Block) -> Map:
    """A family of a plug-in: its convolutions, seen in a pass on torch's meta device (no memory, no arithmetic)."""
    import torch

    from searchspace.blocks import BLOCKS

    seen: list[tuple[torch.nn.Conv2d, int]] = []
    with torch.device("meta"), torch.no_grad():
        block = BLOCKS[b.family](x.channels, b).eval()
        for module in block.modules():
            if isinstance(module, torch.nn.Conv2d):
                module.register_forward_hook(lambda layer, inputs, _: seen.append((layer, inputs[0].shape[-1])))
        y = block(torch.zeros(1, x.channels, x.size, x.size))
    for layer, size in seen:
        read, kernel, stride = Map(layer.in_channels, size), layer.kernel_size[0], layer.stride[0]
        if layer.groups == layer.in_channels == layer.out_channels:
            part.depthwise(read, kernel, stride, b.activation)
        else:
            part.conv(part.ready(read), layer.out_channels, kernel, stride, b.activation, layer.groups)
    return Map(y.shape[1], y.shape[2])


WALKS: dict[str, Callable[[Part, Map, Block], Map]] = {
    "separable": separable,
    "inverted": inverted,
    "residual": residual,
    "bottleneck": bottleneck,
}


@lru_cache(maxsize=4096)
def taps(size: int, kernel: int, stride: int) -> tuple[int, int, int]:
    """Along one side of a map of `size`: filter taps at the border (an output at a time), inside (TILE outputs at a time), and
    over all outputs; those on the padding are left out."""
    border = inside = total = 0
    for start in range(-(kernel // 2), size - kernel // 2, stride):
        n = min(start + kernel, size) - max(start, 0)
        total += n
        if n == kernel:
            inside += 1
        else:
            border += n
    rounds = inside // TILE + -(-(inside % TILE) // (TILE // 2))  # six at a time, the rest three at a time
    return border, rounds * kernel, total


def _vectors(channels: int) -> int:
    return -(-channels // LANES)

"""What a static net will probably take here, learnt from nets already measured; it replaces no measurement. No torch.

    p = LatencyPredictor.fit([(architecture, latency_ms), ...])        # 8 nets at least, gates taken off
    p.predict(a), p.blocks(a)           # ms; ms of stem, each block, head, which add up to it
    p.error, p.upper, p.tau, p.n        # on held-out nets: median and 95 % quantile of the relative error, Kendall's tau
    p.clearly_over(a, budget_ms)        # even an error of `upper` would not bring it under the budget

Additive over blocks, as in BRP-NAS's layer-wise baseline (arXiv:2007.08668, section 3), but a block is not a table's entry: it
is a sum of 23 counts, each with a cost in ns. The counts are what ONNX Runtime's convolutions do on one core (MLAS,
sconv_nchwc_kernel: channels in lanes of 16, filters in sets of four lanes, six outputs at a time, those at the border one by
one, taps on the padding left out); plain mult-adds get the ranking right to tau 0.85 only. The costs are at least
a little above 0, fitted to relative errors, and drawn by a ridge to `PRIOR_NS` times this machine's speed, or to 0; which, and
how strongly, cross-validation says. On nets that had no part in all this: docstring of tests/hardware/test_predictor.py.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from statistics import median

import numpy as np
from scipy.optimize import nnls
from scipy.stats import kendalltau

from searchspace.architecture import Architecture, Block

LEAST = 8  # nets
LANES, SET, TILE = 16, 4, 6  # floats of a vector, vectors of filters in a set, outputs held in registers
CACHE_MB = 8.0  # weights beyond this come from memory at every call; what a core had of 32 MiB shared
FLOOR = 0.05  # of the prior: no layer is free, so a net with one block more is never predicted faster
STRENGTHS = (0.03, 0.3, 3.0, 10.0, 30.0, 100.0)

# ns, as fitted to 380 nets of the mobile space, 32 to 96 px, ONNX Runtime 1.32, one Zen 5 core; only their ratios matter
PRIOR_NS = {
    "net": 1830.0,
    "layers": 609.0,
    "plain": 460.0,
    "turned": 2.1,
    "moved": 0.339,
    "relu6": 1.37,
    "swish": 2.67,
    "h_swish": 2.84,
    "conv_filters": 0.0568,
    "conv": 0.0761,
    "conv_border": 0.616,
    "conv_inner": 0.424,
    "conv_weights": 0.332,
    "pointwise": 0.697,
    "pointwise_plain": 0.247,
    "depthwise": 0.145,
    "depthwise_out": 1.71,
    "depthwise_weights": 5.52,
    "excites": 2990.0,
    "excite_weights": 0.628,
    "linear": 0.614,
    "far": 28500.0,
}
NAMES = tuple(PRIOR_NS)


class LatencyPredictor:
    """Made by `fit`. `error`, `upper`: shares of the latency; `tau`: between predicted and measured; all on held-out nets, over
    `n` distinct nets. `costs_ns`: by name of the count."""

    def __init__(self, costs: np.ndarray, pairs: Sequence[tuple[float, float]]):
        """`costs`: ns of each of `NAMES`; `pairs`: (predicted without this net, measured), ms."""
        self._costs = costs
        self.costs_ns = dict(zip(NAMES, costs.tolist(), strict=True))
        self.n = len(pairs)
        off = sorted(abs(predicted / measured - 1) for predicted, measured in pairs)
        self.error = median(off)
        # the order statistic below which a new net's error lies in 95 % of cases (conformal: Vovk et al. 2005)
        self.upper = off[min(self.n, math.ceil(0.95 * (self.n + 1))) - 1]
        self.tau = float(kendalltau(*zip(*pairs, strict=True)).statistic)

    @classmethod
    def fit(cls, measured: Iterable[tuple[Architecture, float]]) -> LatencyPredictor:
        """`measured`: (net without gates, ms), all by one setting of one machine; of a net given twice the geometric mean
        counts. ValueError for fewer than 8 distinct nets, a gated net, or a latency that is not above 0. About 0.2 s."""
        logs: dict[Architecture, list[float]] = {}
        for net, ms in measured:
            if not 0 < ms < math.inf:
                raise ValueError(f"{net.id}: a latency of {ms!r} ms")
            logs.setdefault(net, []).append(math.log(ms))
        if len(logs) < LEAST:
            raise ValueError(f"{len(logs)} different nets are too few to predict from: measure at least {LEAST}")
        nets = sorted(logs, key=lambda net: (sum(logs[net]) / len(logs[net]), net.id))  # folds do not hang on the order given
        ms_of = np.exp([sum(logs[net]) / len(logs[net]) for net in nets])
        rows = np.array([counts(net).sum(0) for net in nets])
        fold = np.arange(len(nets)) % min(len(nets), 10)  # sorted by latency: every fold spans the range
        held_out = {strength: np.empty(len(nets)) for strength in STRENGTHS}
        for k in range(int(fold.max()) + 1):
            for strength, out in held_out.items():
                out[fold == k] = rows[fold == k] @ _costs(rows[fold != k], ms_of[fold != k], strength) / 1e6
        losses = {strength: np.abs(np.log(out / ms_of)) for strength, out in held_out.items()}
        best = min(losses.values(), key=np.mean)
        enough = best.mean() + best.std() / math.sqrt(len(nets))  # one standard error (Breiman et al., CART, 1984, 3.4.3)
        strength = max(s for s, loss in losses.items() if loss.mean() <= enough)
        return cls(_costs(rows, ms_of, strength), list(zip(held_out[strength].tolist(), ms_of.tolist(), strict=True)))

    def predict(self, architecture: Architecture) -> float:
        """ms. ValueError for a gated net."""
        return math.fsum(self.blocks(architecture))

    def blocks(self, architecture: Architecture) -> list[float]:
        """ms of the stem, of each block, of the head. ValueError for a gated net."""
        return [float(ms) for ms in counts(architecture) @ self._costs / 1e6]

    def clearly_over(self, architecture: Architecture, budget_ms: float) -> bool:
        """Whether the net would miss the budget even if it were `upper` faster than predicted."""
        return self.predict(architecture) > budget_ms * (1 + self.upper)


def _costs(rows: np.ndarray, ms: np.ndarray, strength: float) -> np.ndarray:
    """ns of each count, by non-negative least squares on relative errors: rows (n, counts), ms (n,). Each cost is drawn to the
    prior by `strength`, in units of its share of a net's latency, and stays above FLOOR times the prior."""
    shares = rows / (ms[:, None] * 1e6)
    prior = np.array(list(PRIOR_NS.values()))
    prior = prior / np.median(shares @ prior)  # this machine's speed
    unit = np.sqrt((shares**2).mean(0))
    unit[unit == 0] = 1.0  # a count that none of these nets has keeps its prior
    at_least = FLOOR * prior
    weight = math.sqrt(strength * len(ms) / 40)
    a = np.vstack([shares / unit, weight * np.eye(len(prior))])
    b = np.concatenate([1 - shares @ at_least, weight * unit * (prior - at_least)])
    found, _ = nnls(a, b, maxiter=100 * len(prior))
    return np.asarray(found / unit + at_least)


@lru_cache(maxsize=4096)
def counts(net: Architecture) -> np.ndarray:
    """(2 + blocks, len(NAMES)): what stem, each block and head do. ValueError for a gated net. About 0.5 ms, then cached."""
    if net.gates:
        raise ValueError(f"{net.id} is gated, its latency depends on the images: ask about its without_gates()")
    x = Map(net.in_channels, net.resolution, plain=True)
    parts = [Part()]
    parts[0].f["net"] += 1
    parts[0].f["moved"] += 4 * x.elements / LANES  # the normalisation: two operations
    x = parts[0].conv(x, net.stem.out, net.stem.kernel, net.stem.stride, net.stem.activation)
    for block in net.blocks:
        parts.append(Part())
        x = WALKS.get(block.family, foreign)(parts[-1], x, block)
    parts.append(Part())
    parts[-1].head(x, net)
    weights_mb = sum(part.f["weights_mb"] for part in parts)
    for part in parts:
        part.f["far"] = part.f["weights_mb"] * max(0.0, 1 - CACHE_MB / weights_mb)
    table = np.array([[part.f[name] for name in NAMES] for part in parts], dtype=float)
    table.flags.writeable = False
    return table


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
        self.f: Counter[str] = Counter()

    def turned(self, x: Map, plain: bool) -> Map:
        """x in the wanted order."""
        if x.plain != plain:
            self.f["turned"] += x.elements / LANES
        return replace(x, plain=plain)

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

    def head(self, x: Map, net: Architecture) -> None:
        if net.head.conv:
            x = self.conv(self.ready(x), net.head.conv, act=net.head.activation)
        x = self.turned(x, plain=True)
        self.f["moved"] += x.elements / LANES
        hidden = net.head.hidden
        weights = x.channels * hidden + hidden * net.classes if hidden else x.channels * net.classes
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
    if b.se:  # now they are not
        y = part.excite(y, b.se)
        part.turned(s, plain=True)
        part.f["layers"] += 1
        part.f["moved"] += (8 if b.activation == "h_swish" else 5) * y.elements / LANES
    return y


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


WALKS: dict[str, Callable[[Part, Map, Block], Map]] = {"separable": separable, "inverted": inverted, "residual": residual}


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

"""What a static net will probably take here, learnt from nets already measured. It replaces no measurement, and needs no torch.

    p = LatencyPredictor.fit([(architecture, latency_ms), ...])        # 8 nets at least, gates taken off
    p.predict(a), p.blocks(a)           # ms; ms of stem, each block, head, which add up to it
    p.error, p.upper, p.tau, p.n        # on held-out nets: median and 95 % quantile of the relative error, Kendall's tau
    p.clearly_over(a, budget_ms)        # even an error of `upper` would not bring it under the budget

Additive over blocks, like the layer-wise predictors that BRP-NAS compares (arXiv:2007.08668), but no table: what a block does
is counted, and each count has a cost in ns. The counts follow ONNX Runtime on one core (MLAS, snchwc.cpp): channels in vectors
of 16, filters in sets of four vectors, six outputs at a time, those at the border one by one, nothing for taps on the padding,
changes of layout around squeeze-and-excitation. (By mult-adds, elements and layers of each type: tau 0.85 to held-out nets, by
these 0.97.) Costs are fitted to relative errors, kept above 0, and drawn by a ridge towards `PRIOR_NS` times this machine's
speed; how strongly, cross-validation says. Another runtime is another matter: eager torch, tau 0.89, and its `upper` says so.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from statistics import median

import numpy as np
from scipy.optimize import nnls

from hardware.work import NAMES, counts
from searchspace.architecture import Architecture

LEAST = 8  # nets
FLOOR = 0.05  # of the prior: no layer is free, so a net with one block more is never predicted faster
STRENGTHS = (0.03, 0.3, 3.0, 10.0, 30.0, 100.0)

# ns, fitted to 460 nets of the mobile space, 32 to 96 px: ONNX Runtime 1.32, one Zen 5 core. Only their ratios matter
PRIOR_NS = {
    "net": 1830.0, "layers": 609.0, "excites": 2990.0,  # calls: of the net, a layer, a squeeze-and-excitation
    "plain": 460.0, "turned": 2.1, "moved": 0.339,  # layers that read NCHW; vectors put in another layout; read or written apart
    "relu6": 1.37, "swish": 2.67, "h_swish": 2.84,  # vectors
    "conv": 0.0761, "conv_filters": 0.0568, "conv_border": 0.616, "conv_inner": 0.424,  # vectors: mult-adds, filter loads; rounds
    "pointwise": 0.697, "pointwise_plain": 0.247, "depthwise": 0.145, "depthwise_out": 1.71,
    "conv_weights": 0.332, "depthwise_weights": 5.52, "excite_weights": 0.628, "linear": 0.614,  # vectors; of the last, weights
    "far": 28500.0,  # MB of weights that the cache does not hold
}  # fmt: skip


class LatencyPredictor:
    """Made by `fit`. `error`, `upper`: shares of the latency; `tau`: between predicted and measured; all on held-out nets, over
    `n` distinct nets. `costs_ns`: by name of the count."""

    def __init__(self, costs: np.ndarray, pairs: Sequence[tuple[float, float]]):
        """`costs`: ns of each of `NAMES`; `pairs`: (predicted without this net, measured), ms."""
        self.costs = costs
        self.costs_ns = dict(zip(NAMES, costs.tolist(), strict=True))
        self.n = len(pairs)
        off = sorted(abs(predicted / measured - 1) for predicted, measured in pairs)
        self.error = median(off)
        # the order statistic under which the next net's error lies in 95 % of cases (conformal prediction, Vovk et al. 2005);
        # of fewer than 19 nets the largest
        self.upper = off[min(self.n, math.ceil(0.95 * (self.n + 1))) - 1]
        self.tau = _tau(np.array(pairs).T)

    @classmethod
    def fit(cls, measured: Iterable[tuple[Architecture, float]]) -> LatencyPredictor:
        """`measured`: (net without gates, ms), all by one setting of one machine; of a net given twice the geometric mean
        counts. ValueError for fewer than 8 distinct nets, a gated net, or a latency that is not above 0. About 0.05 s."""
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
        return [float(ms) for ms in counts(architecture) @ self.costs / 1e6]

    def clearly_over(self, architecture: Architecture, budget_ms: float) -> bool:
        """Whether the net would miss the budget even with a prediction too high by `upper`; False says nothing. ValueError for a
        gated net: its blocks may be skipped."""
        return self.predict(architecture) > budget_ms * (1 + self.upper)


def prior_costs() -> np.ndarray:
    """(len(NAMES),): ns of each count before anything was measured; only their ratios mean something here."""
    return np.array([PRIOR_NS[name] for name in NAMES])


def _tau(pairs: np.ndarray) -> float:
    """Kendall's tau-b (Biometrika 33, 1945) between the rows of (2, n); NaN where one of them has no order. scipy.stats takes
    half a second to import, in each worker."""
    agreeing = ordered_a = ordered_b = 0.0
    for one in pairs.T:
        a, b = np.sign(pairs - one[:, None])
        agreeing, ordered_a, ordered_b = agreeing + a @ b, ordered_a + a @ a, ordered_b + b @ b
    return float(agreeing / math.sqrt(ordered_a * ordered_b)) if ordered_a and ordered_b else math.nan


def _costs(rows: np.ndarray, ms: np.ndarray, strength: float) -> np.ndarray:
    """ns of each count, by non-negative least squares on relative errors: rows (n, counts), ms (n,). Each cost is drawn to the
    prior by `strength`, in units of its share of a net's latency, and stays above FLOOR times the prior."""
    shares = rows / (ms[:, None] * 1e6)
    prior = prior_costs()
    prior = prior / np.median(shares @ prior)  # this machine's speed
    unit = np.sqrt((shares**2).mean(0))
    unit[unit == 0] = 1.0  # a count that none of these nets has keeps its prior
    at_least = FLOOR * prior
    weight = math.sqrt(strength * len(ms) / 40)
    a = np.vstack([shares / unit, weight * np.eye(len(prior))])
    b = np.concatenate([1 - shares @ at_least, weight * unit * (prior - at_least)])
    found, _ = nnls(a, b, maxiter=100 * len(prior))
    return np.asarray(found / unit + at_least)

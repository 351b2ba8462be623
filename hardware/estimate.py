"""From recorded times to an estimate with a 95 % interval. Pure arithmetic: no clock, no torch.

The unit is the visit: some calls in a row, of which the least is taken (what disturbs a call only adds to it, and the first
calls of a visit find cold caches: 15 %, 5 %, 3 % slower than the visit's best here). The estimate is the mean of the logarithms
of the lowest 70 % of the visits, without those more than 10 % above the least (but of a quarter at least). The minimum of
everything, which rules in a quiet room, follows lucky moments of a shared machine (its clock for some milliseconds): between
eight processes the ranks of 32 nets by minima agreed at tau .983, by this mean at .993, by timm's mean of 40 calls at .972
(docs/results/latency.md).

The machine's pace (hardware/history.py) is then taken out by the reference nets, which were visited in the same rounds: a value
reads as at the best pace that they showed here, so that nets measured an hour apart can be compared, and lies about 1 % above
the minimum of a long quiet loop (median over nets, docs/results/latency.md).

The interval holds what this session's visits leave open, what it cannot see (the bias of a process, the pace's own error), and
reaches down to the end point that the lowest visits point at: a net whose weights lie just beyond a cache is at times a third
faster than it usually is. Were the density near the end point flat, (x1 - end) / (xk - end) of the k lowest would follow
Beta(1, k - 1), and the end lies above x1 - r / (1 - r) (xk - x1) with r = 1 - 0.05^(1 / (k - 1)) in 95 % of cases (Robson and
Whitlock, Biometrika 51, 1964; Cooke, Biometrika 67, 1980).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.special import stdtrit  # scipy.stats takes half a second to import

LOWEST, DISTURBED = 0.7, 1.1
FEWEST = 0.25  # fewer calm visits than that were lucky, and not the others disturbed
FLOOR = 0.5  # the end point of few and wide visits may fall below zero; nothing gets more than twice as fast
Z95 = 1.959964


@dataclass(frozen=True)
class Estimate:
    """Milliseconds. `slack`: half of the interval's part that this session's visits leave open, as a share of the estimate;
    `common`: of the part that other processes at the same time would share (the images, the pace); `end_ms`: see `end_point`;
    `least_ms`: the least that was seen (of a gated net the mean over images of each image's least)."""

    ms: float
    low_ms: float
    high_ms: float
    slack: float
    common: float
    end_ms: float
    least_ms: float
    n: int


@dataclass(frozen=True)
class Level:
    """Mean of the logarithms of the calm visits; `error`: half of its 95 % interval."""

    log_ms: float
    error: float


def level(visits_ms: Sequence[float]) -> Level:
    """At least two values above 0. The error is Student's for the one-sided trimmed mean with its winsorised variance (Tukey
    and McLaughlin, Sankhya A 25, 1963)."""
    logs = np.sort(np.log(np.asarray(visits_ms, dtype=float)))
    n = len(logs)
    calm = int((logs <= logs[0] + math.log(DISTURBED)).sum())
    k = min(n, max(2, math.ceil(FEWEST * n), min(calm, math.ceil(LOWEST * n))))
    winsorised = np.minimum(logs, logs[k - 1])
    sd = float(winsorised.std(ddof=1))
    error = _t975(k - 1) * sd * math.sqrt(n) / k
    return Level(float(logs[:k].mean()), error)


@lru_cache
def _t975(freedom: int) -> float:
    """Kept: scipy takes 0.1 ms, and a gated net asks for each of its images after every round."""
    return float(stdtrit(freedom, 0.975))


def of_one_input(
    times_ms: Sequence[float], visits_ms: Sequence[float], bias: float, pace: float = 1.0, pace_error: float = 0.0
) -> Estimate:
    """A static net: every call does the same work. At least two calls (of one visit, where there is only one). `bias`: half of a
    95 % interval of what the session cannot see (hardware/history.py), as a share; `pace`: factor to the machine's best pace,
    `pace_error`: half of its 95 % interval."""
    visits_ms = visits_ms if len(visits_ms) > 1 else times_ms
    return _estimate(level(visits_ms), end_point(visits_ms), pace_error, bias, pace, min(times_ms), len(times_ms))


def end_point(visits_ms: Sequence[float]) -> float:
    """Below which the visits would hardly go, however many there were."""
    lowest = sorted(visits_ms)
    k = min(len(lowest), max(3, len(lowest) // 4))  # two may lie close by chance
    r = 1 - 0.05 ** (1 / (k - 1))
    return max(lowest[0] - r / (1 - r) * (lowest[k - 1] - lowest[0]), FLOOR * lowest[0])


def of_images(times_ms: Sequence[Sequence[float]], bias: float, pace: float = 1.0, pace_error: float = 0.0) -> Estimate:
    """A gated net: `times_ms[i]` are the calls on image i, one a visit, at least two visits. The estimate is the mean over images
    of each image's level; the images are a sample too, and 1.96 standard errors of theirs go on both ends."""
    by_image = [level(times) for times in times_ms]
    each = np.exp([found.log_ms for found in by_image])
    mean = float(each.mean())
    visits = np.exp(np.median([np.log(times) - found.log_ms for times, found in zip(times_ms, by_image, strict=True)], axis=0))
    sampling = Z95 * float(each.std(ddof=1)) / math.sqrt(len(each)) / mean if len(each) > 1 else 0.0
    found = Level(math.log(mean), level(visits).error)
    least = float(np.mean([min(times) for times in times_ms]))
    end = mean * end_point(list(visits))
    return _estimate(found, end, math.hypot(sampling, pace_error), bias, pace, least, sum(len(times) for times in times_ms))


def _estimate(found: Level, end_ms: float, common: float, bias: float, pace: float, least_ms: float, n: int) -> Estimate:
    ms, end_ms = math.exp(found.log_ms) * pace, end_ms * pace
    half = math.sqrt(found.error**2 + bias**2 + common**2)
    return Estimate(ms, min(ms * math.exp(-half), end_ms), ms * math.exp(half), found.error, common, end_ms, least_ms, n)


def together(found: Sequence[Estimate]) -> Estimate:
    """One net measured in several processes at once: the mean of the logarithms. Its error is that of one process over the square
    root of their number, or what their spread says (Student's t) where that is more; what they have in common stays whole, and it
    reaches down to the lowest of their end points."""
    logs, n = [math.log(e.ms) for e in found], len(found)
    centre = math.fsum(logs) / n
    own = max(math.sqrt(max(0.0, math.log(e.high_ms / e.ms) ** 2 - e.common**2)) for e in found) / math.sqrt(n)
    if n > 1:
        own = max(own, _t975(n - 1) * float(np.std(logs, ddof=1)) / math.sqrt(n))
    common, ms, end_ms = max(e.common for e in found), math.exp(centre), min(e.end_ms for e in found)
    half = math.hypot(own, common)
    slack, least_ms = max(e.slack for e in found) / math.sqrt(n), min(e.least_ms for e in found)
    low_ms = min(ms * math.exp(-half), end_ms)
    return Estimate(ms, low_ms, ms * math.exp(half), slack, common, end_ms, least_ms, sum(e.n for e in found))

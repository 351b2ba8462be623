"""From recorded times to an estimate with a 95 % interval. Pure arithmetic: no clock, no torch.

The unit is the visit: some calls in a row, of which the least is taken (what disturbs a call only adds to it, and the first
calls of a visit find cold caches: 15 %, 5 %, 3 % slower than the visit's best here). The estimate is the mean of the logarithms
of the lowest 70 % of the visits, without those more than 10 % above the least. The minimum of everything, which rules in a quiet
room, follows lucky moments of a shared machine (its clock for some milliseconds): between eight processes the ranks of 32 nets
by minima agreed at tau .983, by this mean at .993, by timm's mean of 40 calls at .972 (docs/results/latency.md).

The machine's pace (hardware/history.py) is then taken out by the reference nets, which were visited in the same rounds: a value
reads as at the pace at which they usually run here at their best, so that nets measured an hour apart can be compared.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student

LOWEST, DISTURBED = 0.7, 1.1
Z95 = 1.959964


@dataclass(frozen=True)
class Estimate:
    """Milliseconds. `slack`: half of the interval's part that this session's visits leave open, as a share of the estimate;
    `least_ms`: the least that was seen (of a gated net the mean over images of each image's least)."""

    ms: float
    low_ms: float
    high_ms: float
    slack: float
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
    k = min(n, max(2, min(calm, math.ceil(LOWEST * n))))
    winsorised = np.minimum(logs, logs[k - 1])
    sd = float(winsorised.std(ddof=1))
    error = float(student.ppf(0.975, k - 1)) * sd * math.sqrt(n) / k
    return Level(float(logs[:k].mean()), error)


def of_one_input(times_ms: Sequence[float], visits_ms: Sequence[float], bias: float, pace: float = 1.0) -> Estimate:
    """A static net: every call does the same work. At least two calls (of one visit, where there is only one). `bias`: half of a
    95 % interval of what the session cannot see (hardware/history.py), as a share; `pace`: factor to the usual pace."""
    found = level(visits_ms if len(visits_ms) > 1 else times_ms)
    return _estimate(found, 0.0, bias, pace, min(times_ms), len(times_ms))


def of_images(times_ms: Sequence[Sequence[float]], bias: float, pace: float = 1.0) -> Estimate:
    """A gated net: `times_ms[i]` are the calls on image i, one a visit, at least two visits. The estimate is the mean over images
    of each image's level; the images are a sample too, and 1.96 standard errors of theirs go on both ends."""
    by_image = [level(times) for times in times_ms]
    each = np.exp([found.log_ms for found in by_image])
    mean = float(each.mean())
    visits = np.exp(np.median([np.log(times) - found.log_ms for times, found in zip(times_ms, by_image, strict=True)], axis=0))
    sampling = Z95 * float(each.std(ddof=1)) / math.sqrt(len(each)) / mean if len(each) > 1 else 0.0
    found = Level(math.log(mean), level(visits).error)
    least = float(np.mean([min(times) for times in times_ms]))
    return _estimate(found, sampling, bias, pace, least, sum(len(times) for times in times_ms))


def _estimate(found: Level, sampling: float, bias: float, pace: float, least_ms: float, n: int) -> Estimate:
    ms = math.exp(found.log_ms) * pace
    half = math.sqrt(found.error**2 + sampling**2 + bias**2)
    return Estimate(ms, ms * math.exp(-half), ms * math.exp(half), found.error, least_ms, n)


def together(found: Sequence[Estimate]) -> Estimate:
    """One net measured in several processes: the mean of the logarithms, its error that of one process over the square root of
    their number, or what their spread says where that is more."""
    logs = [math.log(e.ms) for e in found]
    centre, root = math.fsum(logs) / len(logs), math.sqrt(len(logs))
    half = max(math.log(e.high_ms / e.ms) for e in found) / root
    if len(logs) > 1:
        half = max(half, Z95 * float(np.std(logs, ddof=1)) / root)
    ms = math.exp(centre)
    slack = max(e.slack for e in found) / root
    least = min(e.least_ms for e in found)
    return Estimate(ms, ms * math.exp(-half), ms * math.exp(half), slack, least, sum(e.n for e in found))

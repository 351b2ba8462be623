"""From recorded times to an estimate with a 95 % interval. Pure arithmetic: no clock, no torch.

The estimate is the minimum: what disturbs a call only ever adds to it (between independent processes the ranking of 32 nets by
interleaved minima agreed at tau 0.998, by timm's mean at 0.970). A bootstrap of a minimum cannot reach below the sample's own
minimum, so the interval is made otherwise. What is independent is not the call but the round: the calls of one visit share its
moment (here a visit's minimum lies 1 to 5 % above the least of all visits, whatever the number of its calls). So of the
rounds' minima x1 <= x2 <= ... the k lowest are taken: were the density near the end point flat, (x1 - end) / (xk - end) would
follow Beta(1, k - 1), and the end point lies above x1 - r / (1 - r) (xk - x1) with r = 1 - 0.05^(1 / (k - 1)) in 95 % of cases
(Robson and Whitlock, Biometrika 51, 1964, for k = 2: r / (1 - r) = 19; Cooke, Biometrika 67, 1980).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

FLOOR = 0.5  # with two rounds x1 - 19 (x2 - x1) may fall below zero; nothing gets more than twice as fast
Z95 = 1.959964


@dataclass(frozen=True)
class Estimate:
    """Milliseconds. `slack`: the part of the interval that this session's calls leave open, as a share of the
    estimate."""

    ms: float
    low_ms: float
    high_ms: float
    slack: float
    n: int


def of_one_input(times_ms: Sequence[float], round_minima: Sequence[float], bias: float, slow: float = 1.0) -> Estimate:
    """A static net: every call does the same work. At least two calls (of one round, where there is only one). `bias`: what a
    process adds or takes for its whole life (addresses, page colours), as a share; nothing inside one session can see it
    (hardware/history.py)."""
    units = sorted(round_minima if len(round_minima) > 1 else times_ms)
    k = min(len(units), max(3, len(units) // 4))  # two may lie close by chance
    least = units[0]
    low = max(least - reach(k) * (units[k - 1] - least), FLOOR * least)
    return Estimate(least, min(low, least / slow) * (1 - bias), least * (1 + bias), 1 - low / least, len(times_ms))


def reach(k: int) -> float:
    """r / (1 - r) of the k lowest order statistics: 19 for two, 1.1 for five."""
    r = 1 - 0.05 ** (1 / (k - 1))
    return r / (1 - r)


def of_images(times_ms: Sequence[Sequence[float]], bias: float, slow: float = 1.0) -> Estimate:
    """A gated net: `times_ms[i]` are the calls on image i, at least two. The estimate is the mean over images
    of each image's minimum.

    Each minimum lies above the truth by about x2 - x1 on average (exactly so for an exponential excess: both
    have the mean scale / n, nearly), so the mean of these gaps, doubled, bounds the common part; the images
    are a sample too, so 1.96 standard errors go on both ends."""
    lowest = [sorted(times)[:2] for times in times_ms]
    minima = [x1 for x1, _ in lowest]
    mean = math.fsum(minima) / len(minima)
    gap = min(2 * math.fsum(x2 - x1 for x1, x2 in lowest) / len(minima), FLOOR * mean)
    spread = math.fsum((m - mean) ** 2 for m in minima) / max(1, len(minima) - 1)
    sampling = Z95 * math.sqrt(spread / len(minima))
    low = max(mean - gap - sampling, FLOOR * mean)
    n = sum(len(times) for times in times_ms)
    low = min(low, mean / slow)
    return Estimate(mean, low * (1 - bias), (mean + sampling) * (1 + bias), gap / mean, n)

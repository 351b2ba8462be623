"""Is one net faster than another? Interleaved pairs -> the ratio of their latencies with a 95 % interval, or "not
distinguishable". Pure arithmetic: no clock, no torch.

Both nets are prepared several times over (instances), for a session keeps a bias for its whole life (where its memory lies)
that no number of calls in it can average out; within an instance the two are visited one after the other, so that whatever
slows the machine slows both. The interval is the wider of two: that of the median over all pairs (the order statistics that
invert the sign test; Conover, Practical Nonparametric Statistics, section 3.2) and that of the mean of the instances' medians
(Student's t).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median, stdev

ALIKE = "not distinguishable"


@dataclass(frozen=True)
class Comparison:
    """ratio: latency of the first over that of the second, with its 95 % interval; n: pairs; p: of the two-sided sign test;
    verdict: "faster", "slower" (the first net) or "not distinguishable"."""

    ratio: float
    low: float
    high: float
    n: int
    p: float
    verdict: str


def of_pairs(instances: Sequence[Sequence[tuple[float, float]]]) -> Comparison:
    """`instances[i]`: the pairs (milliseconds of the first, of the second) of one instance; at least two instances, six pairs
    in all."""
    from scipy.stats import binom, binomtest, t  # take half a second to import, and few sessions compare

    logs = [[math.log(first / second) for first, second in pairs] for pairs in instances]
    pooled = sorted(x for row in logs for x in row)
    n, medians = len(pooled), [median(row) for row in logs]
    outside = int(binom.ppf(0.025, n, 0.5))  # so many pairs may lie beyond either end
    centre = median(pooled)
    half = float(t.ppf(0.975, len(medians) - 1)) * stdev(medians) / math.sqrt(len(medians))
    low = min(pooled[max(0, outside - 1)], fmean(medians) - half, centre)
    high = max(pooled[min(n - 1, n - outside)], fmean(medians) + half, centre)
    faster = sum(x < 0 for x in pooled)
    decided = sum(x != 0 for x in pooled)
    p = float(binomtest(faster, decided).pvalue) if decided else 1.0
    verdict = ALIKE
    if p < 0.05 and not low <= 0 <= high:
        verdict = "faster" if centre < 0 else "slower"
    return Comparison(math.exp(centre), math.exp(low), math.exp(high), n, p, verdict)

"""What each choice does to each objective, and what the changes against an anchor bought.

Main effects: the mean of a level minus the grand mean, with a 95 % interval (Welch's t, level against the rest). The search
does not draw levels evenly, so an effect is an association among the nets that were tried, not an experiment's.

When two nets count as different (`judge_accuracy`, `judge_latency`):
accuracy  on test only, for the search chose by validation: |difference| > 1.96 standard errors of two binomials (the images)
          and t standard errors of the seeds (their spread pooled over all finalists), the two added in squares. Both nets
          see the same images, so the binomial part is cautious: "not distinguishable" may mean that more seeds or images
          are needed, not that two nets are equal.
latency   the 95 % intervals, measured side by side, do not overlap.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from analysis.front import nets
from analysis.records import Record
from searchspace.architecture import Architecture, ArchitectureError
from searchspace.edits import distance, edits

SAME = "not distinguishable"
EFFECTS = ("choice", "level", "n", "top1", "top1_half", "latency", "latency_half")


@dataclass(frozen=True)
class Bought:
    """A front net beside its nearest anchor. Accuracies in points of percent, `latency_ratio` = net / anchor (below 1:
    faster). The `_half` are 95 % half-widths, NaN where the noise is not known; verdicts: better, worse, faster, slower,
    "not distinguishable", or "not judged" without known noise."""

    id: str
    anchor_id: str
    anchor: str
    edits: tuple[str, ...]
    distance: int
    val: float
    test: float
    accuracy_half: float
    accuracy_verdict: str
    latency_ratio: float
    latency_verdict: str


@lru_cache(maxsize=2)  # of ten thousand trials it takes a second, and a report asks four times; not to be altered
def main_effects(record: Record) -> pd.DataFrame:
    """One row a (choice, level): n nets, effect on val top-1 (points) and on log latency (natural log; exp() is a factor)
    with 95 % half-widths (NaN below two nets), the largest choices first. Over complete trials of the search alone: anchors
    are not drawn from the space."""
    done = record.trials[(record.trials["state"] == "COMPLETE") & (record.trials["origin"] != "anchor")]
    done = done[done["top1_val"].notna() & (done["latency_ms"] > 0)]
    rows, sizes = [], {}
    for choice in record.choices:
        asked = done[done[choice].notna()]  # where a choice means nothing it was not asked
        levels = sorted(set(asked[choice]), key=lambda v: (isinstance(v, str), v))
        if len(levels) < 2:
            continue
        top, slow = asked["top1_val"].to_numpy(), np.log(asked["latency_ms"].to_numpy())
        masks = [(asked[choice] == level).to_numpy(dtype=bool) for level in levels]
        for level, mask in zip(levels, masks):
            rows.append((choice, level, int(mask.sum()), *_effect(top, mask), *_effect(slow, mask)))
        sizes[choice] = (_explained(top, masks) + _explained(slow, masks)) * len(asked) / len(done)
    table = pd.DataFrame(rows, columns=list(EFFECTS))
    # a stable sort keeps the levels of a choice together and in order
    return table.iloc[np.argsort([-sizes[c] for c in table["choice"]], kind="stable")].reset_index(drop=True)


def _effect(values: np.ndarray, is_level: np.ndarray) -> tuple[float, float]:
    """(mean of the level - grand mean, 95 % half-width). With n of N values the difference to the grand mean is
    (1 - n/N) times the difference to the rest, whose variance is Welch's."""
    inside, rest = values[is_level], values[~is_level]
    share = 1 - len(inside) / len(values)
    difference = float(inside.mean() - values.mean())
    if min(len(inside), len(rest)) < 2:
        return difference, math.nan
    a, b = inside.var(ddof=1) / len(inside), rest.var(ddof=1) / len(rest)
    if a + b == 0:
        return difference, 0.0
    freedom = (a + b) ** 2 / (a**2 / (len(inside) - 1) + b**2 / (len(rest) - 1))
    return difference, share * float(stdtrit(freedom, 0.975)) * math.sqrt(a + b)


def _explained(values: np.ndarray, masks: list[np.ndarray]) -> float:
    """Share of the variance that the levels explain, less what levels without any effect would (epsilon squared, Kelley
    1935): a choice of many levels with few nets each must not win by chance. 0 at least, and 0 without repeats."""
    n, k = len(values), len(masks)
    total = float(((values - values.mean()) ** 2).sum())
    if n <= k or total == 0:
        return 0.0
    within = sum(float(((values[m] - values[m].mean()) ** 2).sum()) for m in masks)
    return max(0.0, 1 - within / (n - k) / (total / (n - 1)))


def accuracy_half(record: Record, first: pd.Series, second: pd.Series | None = None, on: str = "test") -> float:
    """95 % half-width in points of a net's top-1 `on` "test" or "val", or of the difference of two nets; NaN when the number
    of images is not known."""
    images, seeds = 0.0, 0.0
    sd, freedom = seed_spread(record, on)
    for net in (first,) if second is None else (first, second):
        n = net["test_n"] if on == "test" else record.val_n
        if n is None or pd.isna(n) or pd.isna(net[f"top1_{on}"]):
            return math.nan
        share = (net[f"top1_{on}"] / 100 * n + 1) / (n + 2)  # Agresti and Coull 1998: 100 % right is not certain either
        images += share * (1 - share) / n * 100**2
        seeds += sd**2 / int(net["seeds"]) if freedom else 0.0
    t = float(stdtrit(freedom, 0.975)) if freedom else 0.0
    return math.sqrt(1.96**2 * images + t**2 * seeds)


def seed_spread(record: Record, on: str = "test") -> tuple[float, int]:
    """(standard deviation between seeds in points, degrees of freedom), pooled over the finalists; (NaN, 0) with one seed."""
    table = record.finalists[record.finalists["seeds"] > 1]
    freedom = int((table["seeds"] - 1).sum())
    if not record.by_finalists or freedom == 0:
        return math.nan, 0
    return math.sqrt(float(((table["seeds"] - 1) * table[f"top1_{on}_sd"] ** 2).sum()) / freedom), freedom


def judge_accuracy(difference: float, half: float) -> str:
    """ "better", "worse" or SAME; "not judged" where the noise is not known."""
    if math.isnan(difference) or math.isnan(half):
        return "not judged"
    return SAME if abs(difference) <= half else ("better" if difference > 0 else "worse")


def judge_latency(net: pd.Series, other: pd.Series) -> str:
    """ "faster", "slower" or SAME (the intervals overlap); "not judged" without intervals."""
    mine = (net["latency_low_ms"], net["latency_high_ms"])
    theirs = (other["latency_low_ms"], other["latency_high_ms"])
    if any(pd.isna(v) for v in (*mine, *theirs)):
        return "not judged"
    return "faster" if mine[1] < theirs[0] else "slower" if mine[0] > theirs[1] else SAME


def bought(record: Record, net_id: str) -> Bought | None:
    """`net_id` against its nearest anchor (fewest edits; of equally near ones the one nearest in latency) among the nets of
    `front.nets`; None when there is no measured anchor or no architecture to compare."""
    table = nets(record).set_index("id", drop=False)
    mine = _architecture(record, net_id)
    if mine is None or net_id not in table.index:
        return None
    net, near = table.loc[net_id], []
    for anchor_id in record.anchors:
        theirs = _architecture(record, anchor_id)
        if theirs is not None and anchor_id in table.index and anchor_id != net_id:
            apart = abs(math.log(net["latency_ms"] / table.loc[anchor_id]["latency_ms"]))
            near.append((distance(theirs, mine), apart, anchor_id, theirs))
    if not near:
        return None
    steps, _, anchor_id, theirs = min(near, key=lambda row: row[:3])
    anchor = table.loc[anchor_id]
    return Bought(net_id, anchor_id, record.anchors[anchor_id], tuple(edits(theirs, mine)), steps, **compare(record, net, anchor))


def compare(record: Record, net: pd.Series, anchor: pd.Series) -> dict:
    """The numbers of `Bought`. Accuracy is judged on test; on validation, where the best of many was picked by the same
    images, a difference may be called not distinguishable but never real."""
    on = "test" if record.by_finalists else "val"
    val, test = net["top1_val"] - anchor["top1_val"], net["top1_test"] - anchor["top1_test"]
    half = accuracy_half(record, net, anchor, on)
    verdict = judge_accuracy(float(test if on == "test" else val), half)
    return {
        "val": float(val),
        "test": float(test),
        "accuracy_half": half,
        "accuracy_verdict": verdict if on == "test" or verdict == SAME else "not judged",
        "latency_ratio": float(net["latency_ms"] / anchor["latency_ms"]),
        "latency_verdict": judge_latency(net, anchor),
    }


def _architecture(record: Record, net_id: str) -> Architecture | None:
    try:
        return Architecture.from_dict(record.architectures[net_id])
    except (KeyError, ArchitectureError):  # a module that is no Architecture, or one of a later version
        return None

"""Dominance, fronts and exact hypervolume in two dimensions: accuracy is maximised, latency minimised. numpy only.

    front_mask(top1, latency_ms)                                   # (n,) bool
    hypervolume(top1, latency_ms, reference=(0.0, 2.0))            # percent x ms, up to the reference point

Definitions as in Zitzler et al. 2003 (IEEE TEVC 7(2), "Performance assessment of multiobjective optimizers"). For all of it:
a point with NaN is not there (it neither dominates nor is on the front and adds nothing), and equal points do not dominate
each other, so that copies of a front point are all on the front; their volume counts once.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def dominates(a: tuple[float, float], b: tuple[float, float]) -> bool:
    """Whether a = (accuracy, latency) is at least as good as b in both and better in one. False if either holds a NaN."""
    return bool(a[0] >= b[0] and a[1] <= b[1] and (a[0] > b[0] or a[1] < b[1]))


def front_mask(accuracy: ArrayLike, latency: ArrayLike) -> NDArray[np.bool_]:
    """(n,) bool: the points that no other point dominates. One sort and one walk, O(n log n)."""
    top, slow = _pair(accuracy, latency)
    mask = np.zeros(len(top), dtype=bool)
    best, best_at = -np.inf, np.nan
    for i in np.lexsort((-top, slow)):  # fastest first, of equally fast ones the most accurate first
        if np.isnan(top[i]) or np.isnan(slow[i]):
            continue
        # the first point counts even at accuracy -inf; a copy of the last front point is as good as it
        if np.isnan(best_at) or top[i] > best or (top[i] == best and slow[i] == best_at):
            mask[i], best, best_at = True, top[i], slow[i]
    return mask


def hypervolume(accuracy: ArrayLike, latency: ArrayLike, reference: tuple[float, float]) -> float:
    """Area that the points dominate, up to `reference` = (least accuracy, greatest latency), in the product of their units.

    Points that are not strictly better than the reference in both add nothing. No points: 0.0.
    """
    top, slow = _pair(accuracy, latency)
    least, greatest = reference
    inside = (top > least) & (slow < greatest)  # False for NaN
    top, slow = top[inside], slow[inside]
    keep = front_mask(top, slow)
    order = np.argsort(slow[keep], kind="stable")
    top, slow = top[keep][order], slow[keep][order]
    # vertical strips: from each front point to the next slower one, as high as the point is accurate
    until = np.append(slow[1:], greatest)
    wide = until > slow  # copies make strips of no width; 0 x inf would be NaN
    return float(np.sum((until[wide] - slow[wide]) * (top[wide] - least)))


def hypervolume_over(accuracy: ArrayLike, latency: ArrayLike, reference: tuple[float, float]) -> Floats:
    """(n,): the hypervolume after each point, in the order given; never falls."""
    top, slow = _pair(accuracy, latency)
    volumes, front = np.zeros(len(top)), np.zeros(0, dtype=int)
    for i in range(len(top)):
        if not (top[i] > reference[0] and slow[i] < reference[1]) or ((top[front] >= top[i]) & (slow[front] <= slow[i])).any():
            volumes[i] = volumes[i - 1] if i else 0.0
            continue
        front = np.append(front, i)
        front = front[front_mask(top[front], slow[front])]  # only the front so far can matter later
        volumes[i] = hypervolume(top[front], slow[front], reference)
    return np.maximum.accumulate(volumes) if len(volumes) else volumes  # rounding must not look like a loss


def contributions(accuracy: ArrayLike, latency: ArrayLike, reference: tuple[float, float]) -> Floats:
    """(n,): what the hypervolume would lose without each point; 0 off the front and for copies."""
    top, slow = _pair(accuracy, latency)
    whole, lost = hypervolume(top, slow, reference), np.zeros(len(top))
    for i in np.flatnonzero(front_mask(top, slow)):
        rest = np.arange(len(top)) != i
        lost[i] = max(0.0, whole - hypervolume(top[rest], slow[rest], reference))
    return lost


def _pair(accuracy: ArrayLike, latency: ArrayLike) -> tuple[Floats, Floats]:
    top, slow = np.asarray(accuracy, dtype=float), np.asarray(latency, dtype=float)
    if top.ndim != 1 or top.shape != slow.shape:
        raise ValueError(f"accuracy and latency must be two lists of one length, not {top.shape} and {slow.shape}")
    return top, slow

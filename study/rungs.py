"""Which nets deserve more epochs: successive halving by Pareto rank, as pure functions of numbers.

    plan = Plan.of(settings)                            # rungs (1, 3, 9), eta 3
    order(top1, cost)                                   # best first: non-dominated rank, then hypervolume contribution
    going_on({number: (top1, cost)}, {...}, eta)        # who goes on now

Rungs and the share 1/eta: Li et al., ASHA (arXiv:1810.05934, Algorithm 2, get_job). Several objectives: MO-ASHA (Schmucker et
al., arXiv:2106.12639, section 3) ranks by non-dominated sorting (NSGA-II, Deb et al. 2002, section III A) and breaks ties by an
epsilon net; here ties go by the hypervolume that a point alone adds to its own layer, as in SMS-EMOA (Beume et al. 2007,
section 3.2).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analysis.pareto import contributions, front_mask
from study.settings import Settings

BEYOND = 0.1  # of the range: how far the reference point lies behind the worst values, so that extremes count


@dataclass(frozen=True)
class Plan:
    """`rungs`: epochs, the last the whole recipe; the best 1/`eta` of a rung go on. `sample`: halted nets that are trained in
    full to see what halting cost; `seeds`: trainings of each net on and near the front, saved epochs allowing."""

    eta: float
    rungs: tuple[int, ...]
    sample: int
    seeds: int

    @staticmethod
    def of(settings: Settings) -> Plan | None:
        """None: every net is trained in full."""
        h = settings.halving
        return Plan(h["eta"], tuple(h["rungs"]), h["sample"], h["seeds"]) if h else None

    @property
    def top(self) -> int:
        """The number of the last rung."""
        return len(self.rungs) - 1

    def expected_epochs(self) -> float:
        """A net, in the mean, where exactly 1/eta go on; second seeds and the sample not counted."""
        more = pairwise(self.rungs)
        return self.rungs[0] + sum((b - a) / self.eta ** (k + 1) for k, (a, b) in enumerate(more))


def ranks(top1: NDArray[np.float64], cost: NDArray[np.float64]) -> NDArray[np.int_]:
    """(n,): 0 for the front, 1 for the front of the rest, and so on. NaN: behind all."""
    found = np.full(len(top1), len(top1))
    left = np.flatnonzero(~(np.isnan(top1) | np.isnan(cost)))
    rank = 0
    while len(left):
        on = front_mask(top1[left], cost[left])
        found[left[on]] = rank
        left, rank = left[~on], rank + 1
    return found


def order(top1: Collection[float], cost: Collection[float]) -> list[int]:
    """Indices, best first: by rank, in a rank by hypervolume contribution, of equals the first."""
    a, c = np.asarray(list(top1), float), np.asarray(list(cost), float)
    if not len(a):
        return []
    rank, share = ranks(a, c), np.zeros(len(a))
    reference = (float(np.nanmin(a) - BEYOND * np.ptp(a[~np.isnan(a)])), float(np.nanmax(c) + BEYOND * np.ptp(c[~np.isnan(c)])))
    for r in set(rank.tolist()):
        layer = np.flatnonzero(rank == r)
        share[layer] = contributions(a[layer], c[layer], reference)
    return [int(i) for i in np.lexsort((np.arange(len(a)), -share, rank))]


def going_on(
    at_rung: Mapping[int, tuple[float, float]],
    gone: Collection[int],
    eta: float,
    refused: Collection[int] = (),
    last: bool = False,
) -> list[int]:
    """Numbers of the nets of one rung that may go on now, best first.

    at_rung: number -> (val top-1, cost) of all that reached it; gone: those that went on already; refused: over the budget, which
    count as nets of the rung and never go on. `last`: nobody else will reach this rung, so one goes on however few they are."""
    numbers = sorted(at_rung)
    best = [numbers[i] for i in order([at_rung[n][0] for n in numbers], [at_rung[n][1] for n in numbers])]
    k = int(len(numbers) / eta)  # ASHA: floor(|rung| / eta)
    k = max(k, 1) if last and numbers else k
    return [n for n in [b for b in best if b not in refused][:k] if n not in gone]


def plan_of(halving: Mapping[str, Any], epochs: int) -> dict[str, Any] | None:
    """The keys `halving.` with the rungs written out; None without eta. ValueError names the key and the cure."""
    eta, rungs = halving["eta"], halving["rungs"]
    if eta is None:
        if rungs:
            raise ValueError("halving.rungs: means nothing without halving.eta, as in halving.eta=3")
        return None
    if not eta > 1:
        raise ValueError(f"halving.eta={eta:g}: must be above 1, as in 3 (null: train every net in full)")
    for key, least in (("sample", 0), ("seeds", 1)):
        if halving[key] < least:
            raise ValueError(f"halving.{key}={halving[key]}: must be at least {least}")
    if not rungs:
        rungs, r = [epochs], int(epochs / eta)
        while r >= 1:
            rungs, r = [r, *rungs], int(r / eta)
        if len(rungs) == 1:
            raise ValueError(f"halving.eta={eta:g}: epochs={epochs} leaves no rung below it; use epochs={int(eta * 3)}, say")
    rungs = [*rungs] if rungs[-1] == epochs else [*rungs, epochs]
    if rungs[0] < 1 or len(rungs) < 2 or any(a >= b for a, b in pairwise(rungs)):
        raise ValueError(f"halving.rungs={rungs[:-1]}: must be numbers of epochs that grow, from 1 to below epochs={epochs}")
    return {"eta": float(eta), "rungs": rungs, "sample": halving["sample"], "seeds": halving["seeds"]}

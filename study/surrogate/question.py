"""One question of sampler=pareto_gp: which net next. Before there is a model, nets spread over the costs; then the one of the
greatest expected hypervolume improvement."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.trial import FrozenTrial, TrialState

from study.surrogate.candidates import best_unseen
from study.surrogate.codes import Codes
from study.surrogate.ehvi import Known, Staircase
from study.surrogate.excess import Excess

if TYPE_CHECKING:
    from study.pareto_gp import ParetoGP

START = 10  # nets spread over the costs, before any model
NEAREST, SPREAD = 40, 1500  # random codes, of which a start net is chosen: so many near the next cost
MOST = 300  # observations that the model is fitted to
# With more trials than this fewer candidates are looked at, in inverse proportion: a suggestion is to take half a second at most
# with 10,000, and the looks were 0.4 s of it. What that costs in trainings was not measured.
ENOUGH = 1000

Floats = NDArray[np.float64]


class Question:
    """What a study is asked once: where its next trial should be."""

    def __init__(self, sampler: ParetoGP, study: optuna.Study, trial: FrozenTrial):
        self.s, self.rng, self.space = sampler, sampler._rng, sampler._space
        sampler.pool()
        signs = [-1.0 if d == optuna.study.StudyDirection.MAXIMIZE else 1.0 for d in study.directions]
        self.limit = getattr(sampler._known, "limit", None)
        codes, values, feasible, pending = [], [], [], []
        self.seen: set[bytes] = set()
        self.outside: list[tuple[float, float]] = []  # (error, cost) of nets that are no points of the space
        for t in study.get_trials(deepcopy=False):
            if t.number == trial.number:
                continue
            noted = sampler.noted(t)
            if noted.row is not None:
                self.seen.add(noted.key)
            if noted.values is not None:
                value = (signs[0] * noted.values[0], signs[1] * noted.values[1])
                if noted.row is not None:
                    codes.append(noted.row)
                    values.append(value)
                    feasible.append(noted.allowed)
                elif noted.allowed:
                    self.outside.append(value)
            elif noted.row is not None and t.state in (TrialState.RUNNING, TrialState.WAITING):
                pending.append(noted.row)
        d = self.space.d
        self.codes = np.array(codes, dtype=np.int16).reshape(len(codes), d)
        self.pending = np.array(pending, dtype=np.int16).reshape(len(pending), d)
        self.errors, self.costs = np.array(values).reshape(len(values), 2).T
        self.feasible = np.array(feasible, dtype=bool)

    def answer(self) -> Codes | None:
        if len(self.codes) + len(self.pending) < START or len(self.codes) < 3:
            return self.spread()
        return self.improving()

    def spread(self) -> Codes | None:
        """Near the next target cost, the net farthest from those tried."""
        codes = self.unseen(self.space.drawn(round(SPREAD * self.space.effort), self.rng))
        if not len(codes):
            return None
        facts = self.s.facts(codes)
        unknown = np.isnan(facts).any(1)
        if unknown.any() and self.rng.random() < unknown.mean():
            codes = codes[unknown]  # to learn what is asked there
        elif facts.shape[1]:
            within = self.allowed(facts)
            codes, facts = codes[within], facts[within]
            if not len(codes):
                return None
            target = self.s.targets(facts[:, 0])[(len(self.codes) + len(self.pending)) % START]
            codes = codes[np.argsort(np.abs(facts[:, 0] - target), kind="stable")[:NEAREST]]
        tried = np.concatenate([self.codes, self.pending])
        if not len(tried):
            return codes[int(self.rng.integers(len(codes)))]
        apart = (codes[:, None] != tried[None]).sum(2).min(1)
        ties = np.flatnonzero(apart == apart.max())
        return codes[ties[int(self.rng.integers(len(ties)))]]

    def allowed(self, facts: Floats) -> NDArray[np.bool_]:
        return np.asarray(facts[:, 0] <= (self.limit or np.finfo(float).max))

    def unseen(self, codes: Codes) -> Codes:
        return codes[[row.tobytes() not in self.seen for row in codes]]

    def improving(self) -> Codes | None:
        s, known = self.s, self.s._known is not None
        if (unclear := self._unclear()) is not None:
            return unclear
        few = len(self.codes) <= MOST  # of thousands it would take long to tell what is known
        costs = s.facts(self.codes)[:, 0] if known and few else self.costs
        first = self.errors[:START]
        reference = (self._worst_cost(costs), float(first.max()))
        front_costs = np.append(self.costs[self.feasible], [c for _, c in self.outside])
        front_errors = np.append(self.errors[self.feasible], [e for e, _ in self.outside])
        stairs = Staircase.of(front_costs, front_errors, reference)
        rows = self._subset(stairs)
        inputs = s.inputs(self.codes[rows], s.facts(self.codes[rows]))
        error = Excess(s, "error", inputs, self.errors[rows])
        cost = None if known else Excess(s, "cost", inputs, self.costs[rows])
        s._fitted = len(rows)
        if (usual := self._usually(error)) > reference[1]:
            reference = (reference[0], usual)
            stairs = Staircase.of(front_costs, front_errors, reference)
        more = s.facts(self.pending)
        told = ~np.isnan(more).any(1)  # another worker may be asking still, or have been killed at it
        pending, more = self.pending[told], more[told]
        if len(pending):  # taken as done, with what is expected of them
            x = s.inputs(pending, more)
            c = more[:, 0] if cost is None else cost.fantasise(x)
            front_costs, front_errors = np.append(front_costs, c), np.append(front_errors, error.fantasise(x))
            stairs = Staircase.of(front_costs, front_errors, reference)

        def score(codes: Codes) -> Floats:
            facts = s.facts(codes)
            if not len(codes):
                return np.zeros(0)
            x = s.inputs(codes, facts)
            gain = stairs.expected_improvement(
                Known(np.minimum(facts[:, 0], np.finfo(float).max)) if cost is None else cost.at(x), error.at(x)
            )
            return np.where(self.allowed(facts), gain, -np.inf) if known else gain

        share = min(1.0, ENOUGH / len(self.codes))
        return best_unseen(self._parents(stairs), self.seen, self.space, score, self.rng, share)

    def _unclear(self) -> Codes | None:
        """Now and then a random net of which `known` cannot tell because a choice is missing: while no trial shows that the
        choice is asked there, no such net could be looked at again."""
        pool = self.s.pool()
        unclear = pool.codes[np.isnan(pool.facts).any(1)]
        if not len(unclear) or self.rng.random() >= len(unclear) / len(pool.codes):
            return None
        unclear = self.unseen(unclear)
        return unclear[int(self.rng.integers(len(unclear)))] if len(unclear) else None

    def _usually(self, error: Excess) -> float:
        """An error that 19 of 20 random nets are expected to be below: what is worse than the worst of the first ten, and still
        better than this, counts. Else the fast end of the front hangs on what the first ten happened to be."""
        pool = self.s.pool()
        return float(np.quantile(error.median(pool.standardised(pool.codes, pool.facts)), 0.95))

    def _worst_cost(self, costs: Floats) -> float:
        if self.limit is not None:
            return float(self.limit)
        return float(max(costs[np.isfinite(costs)].max(initial=-np.inf), self.s.pool().costs.max(initial=-np.inf)))

    def _parents(self, stairs: Staircase) -> Codes:
        """Points of the space on the front so far, those still running among them."""
        on = set(zip(stairs.costs, stairs.errors))
        rows = [i for i in range(len(self.codes)) if self.feasible[i] and (self.costs[i], self.errors[i]) in on]
        return self.codes[rows] if rows else self.codes[self.feasible]

    def _subset(self, stairs: Staircase) -> NDArray[np.intp]:
        """Of many observations: two thirds nearest to the staircase, the rest at random."""
        n = len(self.codes)
        if n <= MOST:
            return np.arange(n)
        level = np.append(stairs.reference[1], stairs.errors)[np.searchsorted(stairs.costs, self.costs, side="right")]
        near = np.argsort(self.errors - level, kind="stable")
        best, rest = near[: 2 * MOST // 3], near[2 * MOST // 3 :]
        return np.sort(np.concatenate([best, self.rng.choice(rest, MOST - len(best), replace=False)]))

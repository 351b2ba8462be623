"""sampler=pareto_gp: of all nets the one that is expected to add most to the front, for any Optuna study with two objectives.

    sampler = ParetoGP(seed=0, known=None)
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)

A Gaussian process (study/surrogate/gp.py) learns the log of the first objective's excess over what can be reached; the expected
hypervolume improvement (study/surrogate/ehvi.py) decides. `known(list of params) -> (n, m)` tells what is known of a net without
training it: column 0 the second objective (inf: not allowed), the others what may explain the first (mult-adds, parameters; all
above 0). Then the cost needs no model, and the attributes help to model the error. Without `known` both objectives are modelled.
What `known` may have besides: `limit`, the greatest cost that is allowed; `walk(ask)`, which asks each choice of the space in
turn (study/surrogate/codes.py); `version`, a number that changes when what it tells of a net has changed.

Only categorical parameters are modelled; others are drawn. No net that the study has seen, is trying or has queued is proposed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState

from study.surrogate.candidates import best_unseen
from study.surrogate.codes import ABSENT, Codes, Learned, Params, Walked
from study.surrogate.ehvi import Known, LogNormal, Staircase
from study.surrogate.gp import GaussianProcess, Inputs

START = 10  # nets spread over the costs, before any model
POOL, NEAREST, SPREAD = 2000, 40, 1500  # random codes: to standardise attributes; of which a start net is chosen
CLIP = 4.0  # standard deviations of an attribute
MOST = 300  # observations that the model is fitted to
THOROUGH_EVERY = 5  # observations

Floats = NDArray[np.float64]


class ParetoGP(optuna.samplers.BaseSampler):
    """`seed`: what the same study at the same point is answered hangs on it alone."""

    def __init__(self, seed: int | None = None, known: Callable[[list[Params]], np.ndarray] | None = None):
        self._rng = np.random.default_rng(seed)
        self._random = optuna.samplers.RandomSampler(seed)
        self._known = known
        walk = getattr(known, "walk", None)
        self._space: Learned = Walked(walk) if walk is not None else Learned()
        self._read: set[int] = set()  # numbers of finished trials
        self._rows: tuple[int, dict[int, Codes]] = (0, {})  # for d choices: their codes by number
        self._facts: dict[bytes, Floats] = {}
        self._m = 1  # columns of `known`, once it has told something
        self._drawn: Codes | None = None  # random nets
        self._pool: tuple[int, Floats, Floats, Floats] | None = None  # for a version: known costs, attributes' mean and sd
        self._targets: Floats | None = None
        self._logs: dict[str, Floats] = {}  # hyperparameters of the last fits
        self._fitted = 0

    def reseed_rng(self) -> None:
        self._rng = np.random.default_rng()
        self._random.reseed_rng()

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        self._look(study)
        return {name: CategoricalDistribution(c) for name, c in zip(self._space.names, self._space.choices)}

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._random.sample_independent(study, trial, param_name, param_distribution)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        if len(study.directions) != 2:
            raise ValueError(f"pareto_gp needs a study with two objectives, this one has {len(study.directions)}")
        if not search_space or "fixed_params" in trial.system_attrs:
            return {}
        row = _Ask(self, study, trial).answer()
        params = {} if row is None else self._space.params(row[None])[0]
        return {name: value for name, value in params.items() if name in search_space}

    # -- what the study has shown -------------------------------------------------------------------------------------

    def _look(self, study: optuna.Study) -> None:
        for t in study.get_trials(deepcopy=False):
            if t.number in self._read or not t.state.is_finished():
                continue
            self._read.add(t.number)
            params = _categorical(t)
            choices = {name: t.distributions[name].choices for name in params}  # type: ignore[attr-defined]
            if params and t.state == TrialState.COMPLETE:
                self._space.see(params, choices)
            else:  # it may not have been asked everything, and tells nothing of conditions
                for name in params:
                    self._space.add(name, choices[name])
        if isinstance(self._space, Walked):
            self.pool()  # many walks meet (nearly) all choices

    def row(self, t: FrozenTrial) -> Codes | None:
        """(d,): a trial's choices as far as they are known, those of a queued one too; None where there are none."""
        if self._rows[0] != self._space.d:
            self._rows = self._space.d, {}
        row = self._rows[1].get(t.number)
        if row is None:
            params = _categorical(t) or t.system_attrs.get("fixed_params", {})
            row = self._space.code(params) if params else np.full(self._space.d, ABSENT, dtype=np.int16)
            if t.state.is_finished():
                self._rows[1][t.number] = row
        return row if (row != ABSENT).any() else None

    def facts(self, codes: Codes) -> Floats:
        """(n, m): what is known of nets, (n, 0) without `known`."""
        if self._known is None or not len(codes):
            return np.zeros((len(codes), 0))
        keys = [row.tobytes() for row in codes]
        new = {key: i for i, key in enumerate(keys) if key not in self._facts}
        if new:
            told = self._told(self._space.params(codes[list(new.values())]))
            self._facts.update(zip(new, told))
        return np.stack([self._facts[key] for key in keys])

    def _told(self, params: list[Params]) -> Floats:
        """Where the conditions of the space are not known yet a set may lack a choice: what `known` cannot tell is NaN."""
        assert self._known is not None
        try:
            told = np.asarray(self._known(params), dtype=float).reshape(len(params), -1)
            self._m = told.shape[1]
            return told
        except (LookupError, ValueError):
            if len(params) == 1:
                return np.full((1, self._m), np.nan)
        each = [self._told([p])[0] for p in params]
        return np.array([row if len(row) == self._m else np.full(self._m, np.nan) for row in each])

    def inputs(self, codes: Codes, facts: Floats) -> Inputs:
        """Attributes are logs, standardised over random nets."""
        _, mean, sd = self.pool()
        return Inputs(codes, np.clip((_logs(facts) - mean) / sd, -CLIP, CLIP))

    def pool(self) -> tuple[Floats, Floats, Floats]:
        """Known costs of random nets that are allowed, mean and sd of the logs of what is known."""
        drawn, version = self._drawn, getattr(self._known, "version", 0)
        if drawn is None or drawn.shape[1] != self._space.d:
            drawn = self._space.drawn(round(POOL * self._space.effort), self._rng)
            if self._space.d != drawn.shape[1]:  # walking showed more choices
                drawn = self._space.drawn(round(POOL * self._space.effort), self._rng)
            self._drawn, self._pool = drawn, None
        if self._pool is None or self._pool[0] != version:
            self._facts.clear()
            facts = self.facts(drawn)
            facts = facts[np.isfinite(facts).all(1)] if np.isfinite(facts).all(1).any() else np.ones((1, facts.shape[1]))
            logs = _logs(facts)
            costs = facts[:, 0] if facts.shape[1] else np.zeros(0)
            self._pool = version, costs, logs.mean(0), np.maximum(logs.std(0), 1e-9)
        return self._pool[1:]

    def targets(self, within: Floats) -> Floats:
        """Costs at which the first nets are looked for, in random order."""
        if self._targets is None:
            self._targets = self._rng.permutation(np.linspace(0, 1, START))
        return np.quantile(within, self._targets)

    def fit(self, key: str, inputs: Inputs, z: Floats) -> GaussianProcess:
        n = len(z)
        thorough = n // THOROUGH_EVERY != self._fitted // THOROUGH_EVERY or key not in self._logs
        gp = GaussianProcess.fit(inputs, z, self._logs.get(key), thorough)
        self._logs[key] = gp.logs
        return gp


def _logs(facts: Floats) -> Floats:
    return np.log(np.maximum(facts, 1e-12))


def _categorical(t: FrozenTrial) -> Params:
    return {name: value for name, value in t.params.items() if isinstance(t.distributions[name], CategoricalDistribution)}


class _Ask:
    """One question of a study."""

    def __init__(self, sampler: ParetoGP, study: optuna.Study, trial: FrozenTrial):
        self.s, self.rng, self.space = sampler, sampler._rng, sampler._space
        sampler.pool()
        signs = [-1.0 if d == optuna.study.StudyDirection.MAXIMIZE else 1.0 for d in study.directions]
        self.limit = getattr(sampler._known, "limit", None)
        seen, codes, values, feasible, pending = set(), [], [], [], []
        self.outside: list[tuple[float, float]] = []  # (error, cost) of nets that are no points of the space
        for t in study.get_trials(deepcopy=False):
            if t.number == trial.number:
                continue
            row = sampler.row(t)
            if row is not None:
                seen.add(row.tobytes())
            done = t.state == TrialState.COMPLETE and t.values is not None and np.isfinite(t.values).all()
            if done:
                value = (signs[0] * t.values[0], signs[1] * t.values[1])
                allowed = all(c <= 0 for c in t.constraints.values())
                if row is not None:
                    codes.append(row)
                    values.append(value)
                    feasible.append(allowed)
                elif allowed:
                    self.outside.append(value)
            elif row is not None and t.state in (TrialState.RUNNING, TrialState.WAITING):
                pending.append(row)
        self.seen = seen
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
        facts = s.facts(self.codes)
        costs = facts[:, 0] if known else self.costs
        inputs = s.inputs(self.codes, facts)
        first = self.errors[:START]
        reference = (self._worst_cost(costs), float(first.max()))
        front_costs = np.append(self.costs[self.feasible], [c for _, c in self.outside])
        front_errors = np.append(self.errors[self.feasible], [e for e, _ in self.outside])
        stairs = Staircase.of(front_costs, front_errors, reference)
        rows = self._subset(stairs)
        error = _Model(s, "error", inputs[rows], self.errors[rows])
        cost = None if known else _Model(s, "cost", inputs[rows], self.costs[rows])
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

        return best_unseen(self._parents(stairs), self.seen, self.space, score, self.rng)

    def _usually(self, error: _Model) -> float:
        """An error that 19 of 20 random nets are expected to be below: what is worse than the worst of the first ten, and still
        better than this, counts. Else the fast end of the front hangs on what the first ten happened to be."""
        drawn = self.s._drawn
        assert drawn is not None
        expected = error.at(self.s.inputs(drawn, self.s.facts(drawn)))
        return float(np.quantile(expected.floor + np.exp(expected.mu), 0.95))

    def _worst_cost(self, costs: Floats) -> float:
        if self.limit is not None:
            return float(self.limit)
        return float(max(costs[np.isfinite(costs)].max(initial=-np.inf), self.s.pool()[0].max(initial=-np.inf)))

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


class _Model:
    """ln(value - floor), standardised, as a Gaussian process. The floor lies as far under the best value as the median over it:
    what is left to gain shrinks with the best, and so does the scale on which it is looked at."""

    def __init__(self, sampler: ParetoGP, key: str, inputs: Inputs, values: Floats):
        best, middle = float(values.min()), float(np.median(values))
        self.floor = best - max(middle - best, 1e-9 * max(1.0, abs(best)))
        logs = np.log(values - self.floor)
        self.mean, self.sd = float(logs.mean()), max(float(logs.std()), 1e-9)
        self.gp = sampler.fit(key, inputs, (logs - self.mean) / self.sd)

    def at(self, x: Inputs) -> LogNormal:
        mean, sd = self.gp.posterior(x)
        return LogNormal(self.floor, self.mean + self.sd * mean, self.sd * sd)

    def fantasise(self, x: Inputs) -> Floats:
        """Takes nets as observed with the value expected of them (the median), which is returned."""
        z, _ = self.gp.posterior(x)
        self.gp = self.gp.given(x, z)
        return np.asarray(self.floor + np.exp(self.mean + self.sd * z))

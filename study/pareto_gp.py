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

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState

from study.surrogate.codes import ABSENT, Codes, Learned, Params, Walked
from study.surrogate.gp import GaussianProcess, Inputs
from study.surrogate.question import START, Question

POOL = 2000  # random codes, to standardise attributes
CLIP = 4.0  # standard deviations of an attribute
MOST_WALKED = 300  # trials of a study that goes on, the newest: of the others their parameters are taken as they are
THOROUGH_EVERY = 5  # observations

Floats = NDArray[np.float64]


class Noted(NamedTuple):
    """Of a trial: its choices (d,) as far as they are known, None where there are none; both objectives, if it has them, and
    whether they keep to the constraints."""

    row: Codes | None
    key: bytes
    values: list[float] | None
    allowed: bool


class Pool(NamedTuple):
    """Random nets by a version of what is known: `facts` (n, m), the costs of those that are allowed, mean and sd (m,) of the
    logs of their facts."""

    version: int
    codes: Codes
    facts: Floats
    costs: Floats
    mean: Floats
    sd: Floats

    def standardised(self, codes: Codes, facts: Floats) -> Inputs:
        return Inputs(codes, np.clip((_logs(facts) - self.mean) / self.sd, -CLIP, CLIP))


class ParetoGP(optuna.samplers.BaseSampler):
    """`seed`: what the same study at the same point is answered hangs on it alone."""

    def __init__(self, seed: int | None = None, known: Callable[[list[Params]], np.ndarray] | None = None):
        self._rng = np.random.default_rng(seed)
        self._random = optuna.samplers.RandomSampler(seed)
        self._known = known
        walk = getattr(known, "walk", None)
        self._space: Learned = Walked(walk) if walk is not None else Learned()
        self._read: set[int] = set()  # numbers of finished trials
        self._plain: set[int] = set()  # those that were not walked
        self._noted: tuple[int, dict[int, Noted]] = (0, {})  # for d choices: of finished trials, by number
        self._facts: dict[bytes, Floats] = {}
        self._m = 1  # columns of `known`, once it has told something
        self._drawn: Codes | None = None  # random nets
        self._form = (0, 0)  # of the space, when they were drawn
        self._pool: Pool | None = None
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
        row = Question(self, study, trial).answer()
        params = {} if row is None else self._space.params(row[None])[0]
        return {name: value for name, value in params.items() if name in search_space}

    # -- what the study has shown -------------------------------------------------------------------------------------

    def _look(self, study: optuna.Study) -> None:
        new = [t for t in study.get_trials(deepcopy=False) if t.number not in self._read and t.state.is_finished()]
        self._read |= {t.number for t in new}
        if isinstance(self._space, Walked):
            self._plain |= {t.number for t in new[:-MOST_WALKED]}
        for t in new:
            params = _categorical(t) if t.state == TrialState.COMPLETE and t.number not in self._plain else {}
            if params:
                self._space.see(params, {name: t.distributions[name].choices for name in params})  # type: ignore[attr-defined]
            else:  # it may not have been asked everything, and tells nothing of conditions
                for name, asked in t.distributions.items():
                    if name not in self._space and isinstance(asked, CategoricalDistribution):
                        self._space.add(name, asked.choices)
        if isinstance(self._space, Walked):
            self.pool()  # many walks meet (nearly) all choices

    def noted(self, t: FrozenTrial) -> Noted:
        """What a trial says; kept of one that is finished."""
        if self._noted[0] != self._space.d:
            self._noted = self._space.d, {}
        noted = self._noted[1].get(t.number)
        if noted is None:
            noted = self._note(t)
            if t.state.is_finished():
                self._noted[1][t.number] = noted
        return noted

    def _note(self, t: FrozenTrial) -> Noted:
        params = _categorical(t) or t.system_attrs.get("fixed_params", {})  # those of a queued one, too
        row = None
        if params:
            row = self._space.plain(params) if t.number in self._plain else self._space.code(params)
            row = row if (row != ABSENT).any() else None
        values = t.values if t.state == TrialState.COMPLETE and t.values and all(map(math.isfinite, t.values)) else None
        return Noted(row, b"" if row is None else row.tobytes(), values, all(c <= 0 for c in t.constraints.values()))

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
        return self.pool().standardised(codes, facts)

    def pool(self) -> Pool:
        """Of random nets, those that are not allowed among them."""
        drawn, version = self._drawn, getattr(self._known, "version", 0)
        if drawn is None or self._form != self._space.form():
            drawn = self._space.drawn(round(POOL * self._space.effort), self._rng)
            if self._space.d != drawn.shape[1]:  # walking showed more choices
                drawn = self._space.drawn(round(POOL * self._space.effort), self._rng)
            self._drawn, self._pool, self._form = drawn, None, self._space.form()
        if self._pool is None or self._pool.version != version:
            self._facts.clear()
            told = self.facts(drawn)
            facts = told[np.isfinite(told).all(1)] if np.isfinite(told).all(1).any() else np.ones((1, told.shape[1]))
            logs = _logs(facts)
            costs = facts[:, 0] if facts.shape[1] else np.zeros(0)
            self._pool = Pool(version, drawn, told, costs, logs.mean(0), np.maximum(logs.std(0), 1e-9))
        return self._pool

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
    asked = t.distributions
    return {name: value for name, value in t.params.items() if isinstance(asked[name], CategoricalDistribution)}

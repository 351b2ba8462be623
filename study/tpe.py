"""sampler=tpe: Optuna's TPE, to which a large study shows its front, the newest SEEN trials that are done, and those that run.

TPE tells the best tenth of the trials from the others, once for each group of choices that are asked together; our spaces have
some twenty. With ten thousand trials that takes seconds a suggestion. Up to SEEN trials this is Optuna's TPE and nothing else;
what it costs in trainings to see no more was not measured.
"""

from __future__ import annotations

from collections.abc import Container
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

from analysis.pareto import front_mask

SEEN = 1000


class BoundedTPE(optuna.samplers.TPESampler):
    """Arguments are TPESampler's. For studies with two objectives."""

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return super().infer_relative_search_space(_part(study), trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return super().sample_relative(_part(study), trial, search_space)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return super().sample_independent(_part(study), trial, param_name, param_distribution)


def _part(study: optuna.Study) -> Any:
    """The study, or what stands for it while one question is answered."""
    return study if len(study._storage.get_all_trials(study._study_id, deepcopy=False)) <= SEEN else _Part(study)


class _Part:
    """A study that shows a part of its trials, the same whenever it is asked."""

    def __init__(self, study: optuna.Study):
        self._whole = study
        trials = study._storage.get_all_trials(study._study_id, deepcopy=False)
        done = [t for t in trials if t.state == TrialState.COMPLETE and t.values and all(c <= 0 for c in t.constraints.values())]
        signs = [1 if d == optuna.study.StudyDirection.MAXIMIZE else -1 for d in study.directions]
        gain, cost = [signs[0] * t.values[0] for t in done], [-signs[1] * t.values[1] for t in done]
        # of copies (a net that was proposed again, say) the newest
        front = {(g, c): t.number for t, on, g, c in zip(done, front_mask(gain, cost), gain, cost) if on}
        told = [t.number for t in trials if t.state in (TrialState.COMPLETE, TrialState.PRUNED)]
        shown = {*front.values(), *told[-SEEN:], *(t.number for t in trials if not t.state.is_finished())}
        self._shown = [t for t in trials if t.number in shown]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._whole, name)

    def _get_trials(
        self, deepcopy: bool = True, states: Container[TrialState] | None = None, use_cache: bool = False
    ) -> list[FrozenTrial]:
        return [t for t in self._shown if states is None or t.state in states]

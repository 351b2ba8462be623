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

    def __init__(self, **arguments: Any):
        super().__init__(**arguments)
        self._front = _Front()
        self._shown: tuple[tuple[str, int], Any] = ("", -1), None  # study and trial that were asked last, and what was shown

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return super().infer_relative_search_space(self._part(study, trial), trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return super().sample_relative(self._part(study, trial), trial, search_space)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return super().sample_independent(self._part(study, trial), trial, param_name, param_distribution)

    def _part(self, study: optuna.Study, trial: FrozenTrial) -> Any:
        """The study, or what stands for it while one trial is asked."""
        asked = study.study_name, trial.number
        if self._shown[0] != asked:
            trials = study._storage.get_all_trials(study._study_id, deepcopy=False)
            if self._shown[0][0] != study.study_name:
                self._front = _Front()
            self._shown = asked, study if len(trials) <= SEEN else _Part(study, trials, self._front.of(study, trials))
        return self._shown[1]


class _Front:
    """The front of a study that grows: a trial that is over is looked at once."""

    def __init__(self) -> None:
        self._over: set[int] = set()
        self._best: list[FrozenTrial] = []

    def of(self, study: optuna.Study, trials: list[FrozenTrial]) -> set[int]:
        """Numbers of the trials within their limits that no other beats; of copies (a net proposed again, say) the newest."""
        new = [t for t in trials if t.number not in self._over and t.state.is_finished()]
        self._over.update(t.number for t in new)
        done = [t for t in new if t.state == TrialState.COMPLETE and t.values and all(c <= 0 for c in t.constraints.values())]
        if done:
            signs = [1 if d == optuna.study.StudyDirection.MAXIMIZE else -1 for d in study.directions]
            each = sorted([*self._best, *done], key=lambda t: t.number)
            gain, cost = [signs[0] * t.values[0] for t in each], [-signs[1] * t.values[1] for t in each]
            on = front_mask(gain, cost)
            self._best = list({(g, c): t for t, best, g, c in zip(each, on, gain, cost) if best}.values())
        return {t.number for t in self._best}


class _Part:
    """A study that shows a part of its trials, the same whenever it is asked: these best ones, the newest, and those that run."""

    def __init__(self, study: optuna.Study, trials: list[FrozenTrial], best: set[int]):
        self._whole = study
        told = [t.number for t in trials if t.state in (TrialState.COMPLETE, TrialState.PRUNED)]
        shown = {*best, *told[-SEEN:], *(t.number for t in trials if not t.state.is_finished())}
        self._shown = [t for t in trials if t.number in shown]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._whole, name)

    def _get_trials(
        self, deepcopy: bool = True, states: Container[TrialState] | None = None, use_cache: bool = False
    ) -> list[FrozenTrial]:
        return [t for t in self._shown if states is None or t.state in states]

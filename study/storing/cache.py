"""Optuna's cache of a study's trials, handing them out by their numbers."""

from __future__ import annotations

from collections.abc import Container

import optuna
from optuna.trial import FrozenTrial, TrialState


class Cache(optuna.storages._CachedStorage):
    """Optuna sorts the trials at each look by asking each for its number: 9 ms of 10,000, four times a suggestion. It keeps them
    under their numbers."""

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        if deepcopy or states is not None:
            return super().get_all_trials(study_id, deepcopy, states)
        self._read_trials_from_remote_storage(study_id)
        with self._lock:
            trials = self._studies[study_id].trials
            return [trials[number] for number in sorted(trials)]

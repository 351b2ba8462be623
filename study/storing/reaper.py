"""Trials whose worker is gone on another machine: ended, and queued again. Each parent process looks now and then.

A living worker tells of itself every 30 s (Optuna's heartbeat) and signs its trial a moment after it asked for it. What counts
is silence over several looks in a row, each of them answered: after a server was away for minutes every heartbeat is old, and
the living need a moment to be heard again. A dead machine's trial is tried again after about three minutes.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

import optuna
from optuna.trial import TrialState

from study.storing.given_back import give_back
from study.storing.patience import PatientStorage
from study.storing.storage import of_states

EVERY_S = 15.0
LOOKS_SILENT = 3  # on top of the grace period
LOOKS_UNSIGNED = 6  # a worker that died between asking and signing left no heartbeat either


class Reaper:
    """`look` as often as you like."""

    def __init__(self, storage: PatientStorage, every_s: float = EVERY_S):
        self.storage, self.every_s = storage, every_s
        self.looked = time.monotonic()
        self.seen: dict[int, int] = {}  # trial id -> looks in a row at which it was silent

    def look(self, studies: Iterable[optuna.Study]) -> int:
        """Returns how many trials were given back."""
        if time.monotonic() - self.looked < self.every_s:
            return 0
        self.looked = time.monotonic()
        suspects: dict[int, int] = {}
        returned = 0
        for study in studies:
            silent = set(self.storage.silent(study._study_id))
            for trial in of_states(study, TrialState.RUNNING):
                unsigned = "runner" not in trial.user_attrs
                if trial._trial_id not in silent and not unsigned:
                    continue
                looks = suspects[trial._trial_id] = self.seen.get(trial._trial_id, 0) + 1
                if looks >= (LOOKS_SILENT if trial._trial_id in silent else LOOKS_UNSIGNED):
                    returned += give_back(study, trial)
        self.seen = suspects
        return returned

"""One trial of a study, from its beginning to its end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import optuna
from optuna.trial import TrialState

from study.storing.given_back import KILLED


def take(study: optuna.Study, objective: Callable[[optuna.Trial], Any]) -> None:
    """Asks for a trial and runs it. What goes wrong in it is its own, and written down (study/storing/failure.py).

    One that was given back meanwhile, since nothing was heard of this process for minutes, is another worker's now. Optuna cannot
    end it a second time, and raises a ValueError or an AssertionError: no reason for this worker to end."""
    taken: list[int] = []

    def noted(trial: optuna.Trial) -> Any:
        taken.append(trial._trial_id)
        return objective(trial)

    try:
        study.optimize(noted, n_trials=1, catch=(Exception,))
    except Exception:
        if not taken:
            raise
        now = study._storage.get_trial(taken[0])
        if now.state != TrialState.FAIL or not now.user_attrs.get("reason", "").startswith(KILLED):
            raise

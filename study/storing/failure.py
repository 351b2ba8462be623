"""Why a trial failed: written down with it, and the traceback in its worker's log."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Callable, Iterator

import optuna
from optuna.exceptions import UpdateFinishedTrialError

from study.storing.patience import out_of_room


@contextlib.contextmanager
def recorded(trial: optuna.Trial, also: Callable[[str], None] = lambda reason: None) -> Iterator[None]:
    """Passes every exception on. StorageGone instead where the disk is full: that is not the trial's fault."""
    try:
        yield
    except (optuna.TrialPruned, UpdateFinishedTrialError):
        raise
    except Exception as error:
        out_of_room(error)
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"[:500]
        trial.set_user_attr("reason", reason)
        traceback.print_exc()
        also(reason)
        raise

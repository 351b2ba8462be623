"""Why a trial failed: written down with it, and the traceback in its worker's log."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Callable, Iterator

import optuna
from optuna.exceptions import UpdateFinishedTrialError

from study.storing.patience import StorageGone, out_of_room
from trainers.recipe import CheckpointUnwritable


@contextlib.contextmanager
def recorded(trial: optuna.Trial, also: Callable[[str], None] = lambda reason: None) -> Iterator[None]:
    """Passes every exception on. StorageGone instead where the disk is full: that is not the trial's fault. (Why a checkpoint
    could not be written torch does not tell, and no other would fare better.)"""
    try:
        yield
    except (optuna.TrialPruned, UpdateFinishedTrialError):
        raise
    except CheckpointUnwritable as error:
        raise StorageGone(str(error)) from None
    except Exception as error:
        out_of_room(error)
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"[:500]
        trial.set_user_attr("reason", reason)
        traceback.print_exc()
        also(reason)
        raise

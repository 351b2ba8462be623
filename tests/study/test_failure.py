"""What a failing trial leaves behind, and what is not its fault."""

import errno

import optuna
import pytest
from optuna.trial import TrialState

from study.storing.failure import recorded
from study.storing.patience import StorageGone
from trainers.recipe import CheckpointError, CheckpointUnwritable


def run(error):
    study = optuna.create_study()

    def objective(trial):
        with recorded(trial):
            raise error

    study.optimize(objective, n_trials=1, catch=(Exception,))
    return study.trials[0]


@pytest.mark.parametrize(
    "error",
    [CheckpointUnwritable("a.ckpt could not be written (no room): make room and go on"), OSError(errno.ENOSPC, "no room", "a")],
)
def test_a_full_disk_stops_the_search_and_uses_up_no_net(error):
    with pytest.raises(StorageGone, match="make room"):
        run(error)


def test_anything_else_is_the_trials_own(capsys):
    trial = run(CheckpointError("a.ckpt belongs to another"))
    assert trial.state == TrialState.FAIL and trial.user_attrs["reason"] == "CheckpointError: a.ckpt belongs to another"

"""A trial that was given back while its worker lived."""

import pytest
from optuna.trial import TrialState

from study.storing.failure import recorded
from study.storing.given_back import KILLED, give_back
from study.storing.storage import mine, note, open_storage, open_study
from study.storing.taking import take

pytestmark = pytest.mark.filterwarnings("ignore:Heartbeat of storage:UserWarning")


@pytest.mark.parametrize("then", ["writes", "returns", "fails"])
def test_its_worker_goes_on_with_another(tmp_path, then):
    """It was cut off for minutes: the colleague who gave the trial back has queued its net again."""
    url = f"sqlite:///{tmp_path / 'study.db'}"
    ours, theirs = (open_study(open_storage(url), "s", ["maximize", "minimize"]) for _ in range(2))

    def objective(trial):
        note(trial, {"runner": mine(), "origin": "search", "net": "a"})
        with recorded(trial):
            assert give_back(theirs, theirs.get_trials()[0])
            if then == "writes":
                note(trial, {"epoch": 1})
            if then == "fails":
                raise RuntimeError("no memory")
            return 50.0, 1.0

    take(ours, objective)
    states = [t.state for t in ours.trials]
    assert states == [TrialState.FAIL, TrialState.WAITING] and ours.trials[0].user_attrs["reason"].startswith(KILLED)


def test_what_a_trial_does_is_its_own_and_what_the_study_does_is_not(tmp_path):
    study = open_study(open_storage(f"sqlite:///{tmp_path / 'study.db'}"), "s", ["maximize"])
    take(study, lambda trial: 1 / 0)
    assert study.trials[0].state == TrialState.FAIL

    def ask():
        raise ValueError("no trial")

    study.ask = ask
    with pytest.raises(ValueError, match="no trial"):
        take(study, lambda trial: 1.0)

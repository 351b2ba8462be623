"""A storage that is away, busy or full; trials whose worker is gone elsewhere; passwords. Without a server."""

import contextlib
import errno
import subprocess
import sys
import time

import optuna
import pytest
from optuna.trial import TrialState
from sqlalchemy import exc, text

from study.prepare import other_kind
from study.settings import SettingsError
from study.storing import bulk, patience
from study.storing.given_back import give_back, queue_forgotten
from study.storing.patience import Patience, PatientStorage, StorageGone, out_of_room, passing
from study.storing.reaper import LOOKS_SILENT, LOOKS_UNSIGNED, Reaper
from study.storing.secret import has_password, shown, stored
from study.storing.storage import mine, note, open_storage, open_study
from tests.study.conftest import ROOT

pytestmark = pytest.mark.filterwarnings(
    "ignore::optuna.exceptions.ExperimentalWarning", "ignore:Heartbeat of storage:UserWarning"
)
AWAY = exc.OperationalError("select 1", None, Exception("server closed the connection"))


def failing(times, then="done", error=AWAY):
    calls = []

    def operation(again):
        assert again == bool(calls)
        calls.append(again)
        if len(calls) <= times:
            raise error
        return then

    return operation


def test_patience_waits_and_tells_once():
    told = []
    assert Patience(30, told.append).insist(failing(3)) == "done"
    assert len(told) == 1 and "server closed the connection" in told[0]


def test_patience_ends_for_all_threads_of_a_process():
    patience = Patience(0.3)
    with pytest.raises(StorageGone, match="does not answer"):
        patience.insist(failing(10**6))
    begun = time.monotonic()
    with pytest.raises(StorageGone):
        patience.insist(failing(0))
    assert time.monotonic() - begun < 0.1
    assert not issubclass(StorageGone, Exception), "Optuna would record it as the trial's failure"


def test_what_is_wrong_with_us_is_not_waited_for():
    with pytest.raises(KeyError):
        Patience(30).insist(failing(1, error=KeyError("x")))
    wrapped = optuna.exceptions.StorageInternalError("commit")
    wrapped.__cause__ = AWAY
    assert "server closed" in passing(wrapped) and not passing(exc.ProgrammingError("select", None, Exception("syntax")))


def test_a_full_disk_ends_a_worker_whatever_it_wrote():
    with pytest.raises(StorageGone, match="make room"):
        out_of_room(OSError(errno.ENOSPC, "No space left on device", "net.bin"))
    out_of_room(OSError(errno.ENOENT, "there is no such file"))
    out_of_room(ValueError("no file at all"))


@pytest.fixture
def study(tmp_path):
    return open_study(open_storage(f"sqlite:///{tmp_path / 'study.db'}"), "s", ["maximize", "minimize"])


def backend(study) -> PatientStorage:
    return study._storage._backend


def test_a_completion_whose_answer_was_lost_counts_once(study, monkeypatch):
    trial = study.ask()
    trial.suggest_categorical("a", [1, 2])  # written with the completion
    plain, transaction = bulk.move, patience._create_scoped_session
    moved, lost = [], []

    def move(*arguments):
        moved.append(True)
        return plain(*arguments)

    @contextlib.contextmanager
    def answer_lost(*arguments):
        with transaction(*arguments) as session:
            yield session
        if moved and not lost:
            lost.append(True)
            raise AWAY

    monkeypatch.setattr(bulk, "move", move)
    monkeypatch.setattr(patience, "_create_scoped_session", answer_lost)
    study.tell(trial, (50.0, 1.0))
    (done,) = study.trials
    assert lost and done.state == TrialState.COMPLETE and done.values == [50.0, 1.0] and done.params == trial.params


def test_attributes_are_written_together_and_seen_by_the_trial(study):
    trial = study.ask()
    note(trial, {"a": 1, "b": [2]})
    note(trial, {"a": 3})
    assert trial.user_attrs == study.trials[0].user_attrs == {"a": 3, "b": [2]}


def test_a_dead_machines_trial_is_given_back_and_a_living_ones_is_not(study):
    study.enqueue_trial({}, user_attrs={"origin": "search", "architecture": {"x": 1}})
    dead, living, unsigned = study.ask(), study.ask(), study.ask()
    elsewhere = {**mine(), "host": "another"}
    for trial in (dead, living):
        note(trial, {"runner": elsewhere})
        backend(study).record_heartbeat(trial._trial_id)
    with backend(study).engine.begin() as db:
        db.execute(text("update trial_heartbeats set heartbeat = '2020-01-01 00:00:00'"))  # a server was away for long
    reaper = Reaper(backend(study), every_s=0)
    assert reaper.look([study]) == 0
    backend(study).record_heartbeat(living._trial_id)  # it is heard again
    returned = [reaper.look([study]) for _ in range(LOOKS_UNSIGNED)]
    states = {t.number: t.state for t in study.trials}
    assert states[dead.number] == TrialState.FAIL and returned[LOOKS_SILENT - 2] == 1
    assert states[living.number] == TrialState.RUNNING
    assert states[unsigned.number] == TrialState.FAIL and sum(returned) == 2
    (waiting,) = study.get_trials(states=(TrialState.WAITING,))
    assert waiting.user_attrs["retry_of"] == dead.number and waiting.user_attrs["architecture"] == {"x": 1}


def test_two_who_give_a_trial_back_queue_it_once(study):
    study.enqueue_trial({"alpha": 0.5})
    trial = study.ask()
    frozen = study.trials[trial.number]
    assert give_back(study, frozen) and not give_back(study, frozen)
    assert len(study.get_trials(states=(TrialState.WAITING,))) == 1


def test_a_reaper_that_dies_in_the_middle_forgets_nothing(study, monkeypatch):
    study.enqueue_trial({"alpha": 0.5})
    trial = study.ask()
    with monkeypatch.context() as killed:
        killed.setattr("study.storing.given_back._queue_again", lambda *a: None)
        give_back(study, study.trials[trial.number])
    assert not study.get_trials(states=(TrialState.WAITING,))
    for _ in range(2):
        queue_forgotten(study)
        (waiting,) = study.get_trials(states=(TrialState.WAITING,))
        assert waiting.system_attrs["fixed_params"] == {"alpha": 0.5}


@pytest.mark.parametrize(
    "url, safe",
    [
        ("postgresql+psycopg://me:s3c@ret@host:5/db", "postgresql+psycopg://me@host:5/db"),
        ("postgresql://me@host/db?password=s3cret&sslmode=require", "postgresql://me@host/db?sslmode=require"),
        ("mysql://me@host/db?sslmode=x&password=s3cret", "mysql://me@host/db?sslmode=x"),
    ],
)
def test_passwords_are_neither_shown_nor_stored(url, safe):
    assert stored(url) == safe and has_password(url) and not has_password(safe)
    line = f"python search.py 'storage={url}' name=a"
    assert "s3c" not in shown(line) and "***" in shown(line) and shown(line).endswith("name=a")


@pytest.mark.parametrize("url", ["sqlite:////tmp/a:b/study.db", "postgresql+psycopg://me@host/db", "anchors=[timm:x, a.b:c]"])
def test_what_holds_no_password_stays(url):
    assert stored(url) == shown(url) == url and not has_password(url)


def test_a_missing_driver_is_named_with_its_cure():
    with pytest.raises(SettingsError, match="pymysql is not installed; pip install pymysql"):
        open_storage("mysql+pymysql://me@host/db")
    code = (
        "import sys; sys.modules['psycopg'] = None\n"
        "from study.storing.storage import open_storage\n"
        "open_storage('postgresql+psycopg://me:s3cret@host/db')"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    last = done.stderr.strip().splitlines()[-1]
    assert "psycopg is not installed; pip install -e '.[cluster]'" in last and "s3cret" not in last


def test_another_kind_of_machine_is_told_from_this_one():
    from hardware.machine import fingerprint

    ours = fingerprint()
    assert other_kind(None, "cpu") == [] == other_kind({**ours, "torch": "0.1", "gpu": "another"}, "cpu")
    assert other_kind({**ours, "cpu": "abacus"}, "cpu") == [f"cpu: abacus → {ours['cpu']}"]
    assert len(other_kind({**ours, "gpu": "another"}, "cuda")) == 1

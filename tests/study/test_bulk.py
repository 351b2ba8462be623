"""Trials read in few statements are those that Optuna's own storage reads, and what is written together is there."""

import optuna
import pytest
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import TrialState
from sqlalchemy import text

from analysis import stored
from analysis.opening import opened, trials_of
from benchmarks.servers import Postgres
from study.storing import patience
from study.storing.storage import note, of_states, open_storage, open_study, over, values_of

pytestmark = pytest.mark.filterwarnings(
    "ignore::optuna.exceptions.ExperimentalWarning", "ignore:Heartbeat of storage:UserWarning"
)


@pytest.fixture(scope="module")
def server():
    with Postgres() as running:
        yield running


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'study.db'}"
    if Postgres.missing():
        pytest.skip(Postgres.missing())
    return request.getfixturevalue("server").url(tmp_path.name)


def filled(url):
    study = open_study(open_storage(url), "s", ["maximize", "minimize"])
    open_study(open_storage(url), "another", ["maximize"]).ask().set_user_attr("x", 1)
    study.enqueue_trial({"a": 2}, user_attrs={"origin": "anchor"})
    for k in range(4):
        trial = study.ask()
        trial.suggest_categorical("a", [1, 2, None, True])
        trial.suggest_categorical("s0.kernel", ["x", "y"])
        trial.suggest_float("f", 0, 1)
        note(trial, {"runner": {"pid": k}, "list": [1, 2.5, None]})
        trial.set_constraint("latency_ms", -0.5)
        if k == 1:
            study.tell(trial, (float("inf"), 1.25))
        elif k == 2:
            study.tell(trial, state=TrialState.FAIL)
        elif k == 3:
            study.tell(trial, (50.0, 0.1))
    study.enqueue_trial({"a": 1})
    return study


def test_it_reads_what_optuna_reads(url):
    ours = filled(url)
    optunas = optuna.load_study(study_name="s", storage=url)
    mine, theirs = ours.get_trials(), optunas.get_trials()
    assert len(mine) == len(theirs) == 5 and mine == theirs == ours.get_trials(deepcopy=False)
    for a, b in zip(mine, theirs):
        assert list(a.params) == list(b.params) and a.distributions == b.distributions and a._trial_id == b._trial_id
        assert (a.datetime_start, a.datetime_complete) == (b.datetime_start, b.datetime_complete)
    fresh = open_study(open_storage(url), "s", ["maximize", "minimize"])
    assert fresh.get_trials() == theirs


def test_a_part_of_a_study_is_what_the_whole_says(url, monkeypatch):
    study = filled(url)
    every = study.get_trials()
    monkeypatch.setattr(stored, "IDS", 2)
    for states in ((TrialState.RUNNING,), (TrialState.COMPLETE, TrialState.FAIL), (TrialState.PRUNED,)):
        assert of_states(study, *states) == [t for t in every if t.state in states]
    assert values_of(study, "runner") == [{"pid": k} for k in range(4)] and values_of(study, "no such") == []
    assert over(study) == 3
    in_memory = optuna.create_study(directions=study.directions)  # no storage of ours: the same answers
    in_memory.add_trials([t for t in every if t.state != TrialState.WAITING])
    assert over(in_memory) == 3 and values_of(in_memory, "origin") == ["anchor"]
    assert [t.number for t in of_states(in_memory, TrialState.FAIL)] == [t.number for t in of_states(study, TrialState.FAIL)]


def test_a_study_that_is_opened_twice_is_read_once(url, monkeypatch):
    filled(url)
    storage, read = open_storage(url), []
    monkeypatch.setattr(patience, "read_trials", lambda *chosen: read.append(chosen[1:]) or stored.read_trials(*chosen))
    theirs = [open_study(storage, "s", ["maximize", "minimize"]).get_trials(deepcopy=False) for _ in range(2)]
    assert theirs[0][1] is theirs[1][1] and read[0][-1] == -1 and read[1][-1] > 0


def test_a_large_study_is_read_in_parts(url, monkeypatch):
    theirs = filled(url).get_trials()
    asked, rows = [], stored._rows
    monkeypatch.setattr(stored, "_rows", lambda dialect: asked.append(dialect) or rows(dialect))
    for page, parts in ((2, 3), (4, 2), (5, 1)):
        monkeypatch.setattr(stored, "PAGE", page)
        asked.clear()
        stored._named.cache_clear()  # as a new process: also choices must be asked for between the parts
        with opened(url) as storage:
            assert trials_of(storage, storage.get_study_id_from_name("s")) == theirs
        assert len(asked) == (parts if url.startswith("postgresql") else 1)


def test_what_changes_is_read_again(url):
    study, other = filled(url), open_study(open_storage(url), "s", ["maximize", "minimize"])
    assert [t.state.name for t in other.get_trials()] == ["RUNNING", "COMPLETE", "FAIL", "COMPLETE", "WAITING"]
    waiting = study.ask()
    note(waiting, {"runner": 9})
    seen = other.get_trials()[waiting.number]
    assert seen.state == TrialState.RUNNING and seen.user_attrs["runner"] == 9
    study.tell(0, (1.0, 2.0))
    assert other.get_trials()[0].values == [1.0, 2.0]


def test_trials_come_by_number_whenever_they_were_read(url):
    """The server tells of new ones and of those that were open in any order."""
    study = filled(url)
    cache = study._storage
    trials = cache._studies[study._study_id].trials
    for number in (3, 0, 2):
        trials[number] = trials.pop(number)
    assert list(trials) != sorted(trials)
    assert [t.number for t in study.get_trials(deepcopy=False)] == [0, 1, 2, 3, 4]
    assert [t.number for t in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))] == [1, 3]


def test_parameters_wait_for_the_next_write_and_are_there_at_the_end(url):
    study = filled(url)
    trial = study.ask({"a": optuna.distributions.CategoricalDistribution([1, 2, None, True])})
    trial.suggest_float("f", 0, 1)
    study.tell(trial, (1.0, 1.0))
    assert study.trials[trial.number].params == trial.params == optuna.load_study(study_name="s", storage=url).trials[-1].params
    with pytest.raises(ValueError, match="different distribution kind"):
        study.ask().suggest_int("f", 0, 1)


def test_a_trial_that_is_over_takes_nothing_more(url):
    study = filled(url)
    trial = study.ask()
    study.tell(trial.number, state=TrialState.FAIL)
    with pytest.raises(optuna.exceptions.UpdateFinishedTrialError):
        note(trial, {"late": 1})


def test_a_study_is_found_and_a_trial_that_is_over_stays(url):
    study = filled(url)
    study.set_user_attr("ended", "why")
    study.set_user_attr("estimate", {"trial_s": 1.5})
    backend = study._storage._backend
    theirs = optuna.load_study(study_name="s", storage=url)
    assert study.user_attrs == theirs.user_attrs == {"ended": "why", "estimate": {"trial_s": 1.5}}
    bare = open_study(open_storage(url), "bare", ["maximize"])
    assert bare.user_attrs == {}
    for ask in (backend.get_study_user_attrs, backend._create_new_trial):
        with pytest.raises(KeyError):
            ask(999)
    over = study.trials[1]
    with pytest.raises(UpdateFinishedTrialError):
        backend.set_trial_user_attrs(over._trial_id, {"late": 1})
    with pytest.raises(UpdateFinishedTrialError):
        backend.set_trial_state_values(over._trial_id, TrialState.FAIL)
    with pytest.raises(KeyError):
        backend.set_trial_state_values(9999, TrialState.FAIL)
    assert theirs.trials[1] == over


def test_a_sign_of_life_is_heard(url):
    study = filled(url)
    backend, running = study._storage._backend, study.trials[0]._trial_id
    if url.startswith("postgresql"):  # which looks whether there is such a trial: nobody minds
        backend.record_heartbeat(9999)
    assert backend.silent(study._study_id) == []
    backend.record_heartbeat(running)
    with backend.engine.begin() as db:
        assert db.execute(text("update trial_heartbeats set heartbeat = '2020-01-01 00:00:00'")).rowcount == 1
    assert backend.silent(study._study_id) == [running]
    backend.record_heartbeat(running)
    assert backend.silent(study._study_id) == []


def test_a_running_trial_is_made_anew_only_when_it_changed(url):
    study, other = filled(url), open_study(open_storage(url), "s", ["maximize", "minimize"])
    other.get_trials()  # of all trials the server may tell in another order than of a few
    first, again = other.get_trials(deepcopy=False)[0], other.get_trials(deepcopy=False)[0]
    assert first.state == TrialState.RUNNING and first is again
    running = optuna.trial.Trial(study, first._trial_id)
    note(running, {"late": [3]})
    assert other.get_trials(deepcopy=False)[0].user_attrs["late"] == [3] and "late" not in first.user_attrs
    study.tell(running, (1.0, 2.0))
    assert other.get_trials(deepcopy=False)[0].values == [1.0, 2.0]

"""Several workers at one study: how many nets, and who has which. Training is replaced, the rest is real."""

import threading
import time
from dataclasses import replace

import optuna
import pytest
from optuna.trial import TrialState

import study.searcher as searching
from searchspace.space import SearchSpace
from study.storing.given_back import give_back_dead
from study.storing.storage import note, open_storage, open_study
from study.tracking import NoTracker
from tests.study.test_searcher import DEAD, SPACE, FakeBench, measured, rows, study

__all__ = ["study"]  # a fixture
FEW = replace(SPACE, squeeze_excite=(False,))  # four nets
pytestmark = pytest.mark.filterwarnings(
    "ignore::optuna.exceptions.ExperimentalWarning", "ignore:Heartbeat of storage:UserWarning"
)


def together(url, *works):
    """Each in a thread of its own."""
    open_study(open_storage(url), "s", ["maximize", "minimize"])
    threads = [
        threading.Thread(target=lambda w=w: w(open_study(open_storage(url), "s", ["maximize", "minimize"]))) for w in works
    ]
    [t.start() for t in threads]
    [t.join(120) for t in threads]
    return open_study(open_storage(url), "s", ["maximize", "minimize"])


def test_the_asked_number_with_several_workers(tmp_path, monkeypatch):
    monkeypatch.setattr(searching, "run_trial", measured)
    url = f"sqlite:///{tmp_path / 'study.db'}"
    open_study(open_storage(url), "s", ["maximize", "minimize"]).enqueue_trial(
        {}, user_attrs={"origin": "anchor", "net": "mine:net"}
    )
    big = SearchSpace(classes=2, in_channels=1, resolutions=(16,))

    def work(index):
        study = open_study(open_storage(url), "s", ["maximize", "minimize"])
        searching.Searcher(study, FakeBench(9, big), "random", index, "search", NoTracker()).run()

    threads = [threading.Thread(target=work, args=(i,)) for i in range(3)]
    [t.start() for t in threads]
    [t.join(120) for t in threads]
    study = open_study(open_storage(url), "s", ["maximize", "minimize"])
    done = rows(study, TrialState.COMPLETE)
    assert sum(t.user_attrs["origin"] == "search" for t in done) == 9
    assert sum(t.user_attrs["origin"] == "anchor" for t in done) == 1
    assert len({t.user_attrs["id"] for t in done}) == 10


def test_a_net_queued_after_another_worker_had_looked_at_the_queue_keeps_its_place(study, monkeypatch):
    """Optuna looks at the queue, then makes a trial: a net that is given back in between has the lower number."""
    monkeypatch.setattr(searching, "run_trial", measured)
    searcher = searching.Searcher(study, FakeBench(1), "random", 0, "search", NoTracker())
    kept = SPACE.encode(SPACE.walk(lambda name, choices: choices[0]))
    pop = study._pop_waiting_trial_id

    def looked() -> None:
        found = pop()
        assert found is None
        study.enqueue_trial(kept, user_attrs={"origin": "search"})
        monkeypatch.setattr(study, "_pop_waiting_trial_id", pop)

    monkeypatch.setattr(study, "_pop_waiting_trial_id", looked)
    searcher.run()
    states = [t.state for t in study.trials]
    assert states == [TrialState.COMPLETE, TrialState.PRUNED] and study.trials[0].params == kept
    assert study.trials[1].user_attrs["withdrawn"]


def test_a_net_that_a_later_trial_has_begun_is_not_trained_twice(tmp_path, monkeypatch):
    """One sampler takes long to choose, the other is quick and has the higher number."""
    choosing, begun, over = threading.Event(), threading.Event(), threading.Event()
    trained = []

    def run(candidate, *rest):
        trained.append(candidate.id)
        found = measured(candidate, *rest[:2], lambda *_: None, rest[3])
        rest[2]("doing", "training")
        begun.set()
        over.wait(60)
        return found

    class Chooses(optuna.samplers.RandomSampler):
        slow = False

        def infer_relative_search_space(self, study, trial):
            if self.slow:
                choosing.set()
                begun.wait(60)
            return {}

        def sample_independent(self, study, trial, name, distribution):
            return distribution.choices[0]

        def after_trial(self, *args):
            over.set()

    class Slow(Chooses):
        slow = True

    monkeypatch.setattr(searching, "run_trial", run)
    monkeypatch.setattr(searching, "make", lambda name, seed, known=None: {"slow": Slow, "quick": Chooses}.get(name, Chooses)())
    monkeypatch.setattr(searching, "REPEATS_BEFORE_END", 3)

    def search(name, index):
        return lambda study: searching.Searcher(study, FakeBench(2), name, index, "search", NoTracker()).run()

    def second(study):
        choosing.wait(60)
        search("quick", 1)(study)

    study = together(f"sqlite:///{tmp_path / 'study.db'}", search("slow", 0), second)
    assert len(trained) == 1 == len(rows(study)) and rows(study)[0].number > 0
    assert study.trials[0].user_attrs["duplicate_of"] == rows(study)[0].number


def test_a_search_that_ends_early_waits_for_the_nets_that_are_being_trained(tmp_path, monkeypatch):
    monkeypatch.setattr(searching, "run_trial", lambda *a: time.sleep(slow.get(threading.get_ident(), 0)) or measured(*a))
    slow, seen = {}, []

    def search(index):
        def work(study):
            slow[threading.get_ident()] = 2.0 * index
            searching.Searcher(study, FakeBench(1000, FEW), "random", index, "search", NoTracker()).run()
            seen.append(sorted(t.state.name for t in rows(study)))

        return work

    study = together(f"sqlite:///{tmp_path / 'study.db'}", search(0), search(1))
    assert "used up" in study.user_attrs["ended"]
    assert seen == [["COMPLETE"] * 4] * 2 and FEW.size() == 4


def test_what_was_given_back_after_an_early_end_is_trained(study, monkeypatch):
    """kill -9 of all, then the same command."""
    monkeypatch.setattr(searching, "run_trial", measured)
    trial = study.ask()
    net = FEW.suggest(trial)
    note(trial, {"origin": "search", "id": net.id, "architecture": net.to_dict(), "runner": DEAD})
    study.set_user_attr("ended", "the space is used up: it holds 4 nets")
    assert give_back_dead(study, private=True, blame=False) == 1
    searching.Searcher(study, FakeBench(1000, FEW), "random", 0, "search", NoTracker()).run()
    assert [t.state.name for t in study.trials] == ["FAIL", "COMPLETE"] and study.trials[1].user_attrs["id"] == net.id

"""Where a search begins: edits of the anchors; and what it is said to cost."""

import random

import optuna
import pytest
from optuna.trial import TrialState

import study.estimate as estimates
import study.searcher as searching
from searchspace.anchors import anchor
from searchspace.architecture import Architecture
from searchspace.space import SearchSpace
from study.prepare import _queue_starts
from study.search import _what_it_costs
from study.starts import drawn, head_start, starts
from study.storing.storage import FINALISTS, is_row, open_storage, open_study
from study.tracking import NoTracker
from tests.study.test_searcher import SPACE, FakeBench, measured, rows

BIG = SearchSpace(classes=10, in_channels=1, resolutions=(16, 24))
ANCHORS = [
    anchor(n, resolution=16, classes=10, in_channels=1) for n in ("mobilenet_v1-0.25", "mobilenet_v2-0.5", "skipnet_20-rnn")
]
pytestmark = pytest.mark.filterwarnings(
    "ignore::optuna.exceptions.ExperimentalWarning", "ignore:Heartbeat of storage:UserWarning"
)


@pytest.fixture
def study(tmp_path):
    return open_study(open_storage(f"sqlite:///{tmp_path / 'study.db'}"), "s", ["maximize", "minimize"])


def settings(**changed):
    base = {"n_trials": 20, "seed": 3, "sampler": {"name": "tpe"}, "halving": None, **changed}
    return type("S", (), base)()


def test_starts_are_distinct_points_near_the_anchors():
    first = starts(BIG, ANCHORS, 9, random.Random(3))
    assert len(set(first)) == 9 and not set(first) & set(ANCHORS) and all(net in BIG for net in first)
    assert first == starts(BIG, ANCHORS, 9, random.Random(3)) != starts(BIG, ANCHORS, 9, random.Random(4))
    assert starts(BIG, [], 9, random.Random(0)) == []
    assert 0 < len(starts(SPACE, [SPACE.walk(lambda name, choices: choices[0])], 99, random.Random(0))) <= SPACE.size() - 1
    assert all(net in BIG for net in drawn(BIG, 5, random.Random(0)))


def test_they_are_queued_once_and_not_for_random_search(study):
    params = [BIG.encode(a) for a in ANCHORS] + [{}]  # {}: an anchor outside of the space
    for _ in range(2):
        _queue_starts(settings(), BIG, study, params)
    waiting = study.get_trials(states=(TrialState.WAITING,))
    assert len(waiting) == study.user_attrs["starts"] == 8
    for t in waiting:
        assert BIG.decode(t.system_attrs["fixed_params"]).to_dict() == t.user_attrs["architecture"]
    storage = study._storage
    other = open_study(storage, "random", ["maximize", "minimize"])
    _queue_starts(settings(sampler={"name": "random"}), BIG, other, params)
    old = open_study(storage, "old", ["maximize", "minimize"])
    old.tell(old.ask(), state=TrialState.FAIL)
    _queue_starts(settings(), BIG, old, params)
    for s in (other, old):
        assert s.user_attrs["starts"] == 0 and not s.get_trials(states=(TrialState.WAITING,))


def test_every_second_proposal_is_an_edit_of_the_front(study, monkeypatch):
    monkeypatch.setattr(searching, "run_trial", measured)
    searching.Searcher(study, FakeBench(30, BIG), "random", 0, "search", NoTracker(), edits=True).run()
    done = rows(study, TrialState.COMPLETE)
    edits = [t for t in done if "edit_of" in t.user_attrs]
    assert len(done) == 30 and 8 <= len(edits) <= 22
    nets = {t.user_attrs["id"]: Architecture.from_dict(t.user_attrs["architecture"]) for t in done}
    for t in edits:
        assert nets[t.user_attrs["id"]] in BIG.neighbours(nets[t.user_attrs["edit_of"]])


def test_a_study_that_goes_on_does_not_propose_the_same_again(study, monkeypatch):
    monkeypatch.setattr(searching, "run_trial", measured)
    for n in (10, 20):
        searching.Searcher(study, FakeBench(n, BIG), "random", 0, "search", NoTracker()).run()
    assert len(rows(study)) == 20 and sum(not is_row(t) for t in study.get_trials(deepcopy=False)) < 5


def test_a_control_by_mult_adds_begins_as_the_search_did(study, monkeypatch):
    monkeypatch.setattr(searching, "run_trial", measured)
    bench = FakeBench(6, BIG, control="macs")
    monkeypatch.setattr(
        bench, "candidate", lambda name: searching.Candidate(anchor(name, resolution=16, classes=10, in_channels=1), name)
    )
    study.enqueue_trial(BIG.encode(ANCHORS[0]), user_attrs={"origin": "anchor", "net": "mobilenet_v1-0.25"})
    _queue_starts(settings(n_trials=6), BIG, study, [BIG.encode(ANCHORS[0])])
    searching.Searcher(study, bench, "tpe", 0, "search", NoTracker(), edits=True).run()
    control = open_study(study._storage, "s.control", ["maximize", "minimize"])
    for _ in range(2):
        head_start(control, study)
    searching.Searcher(control, bench, "tpe", 0, "control", NoTracker(), edits=True).run()
    begun = [t.user_attrs["id"] for t in rows(study) if t.user_attrs["origin"] == "search"][: study.user_attrs["starts"]]
    ours = rows(control)
    assert [t.user_attrs["id"] for t in ours][: len(begun)] == begun and len(begun) == 3
    assert {t.user_attrs["origin"] for t in ours} == {"control"} and len(rows(control, TrialState.COMPLETE)) == 6
    (copy,) = [t for t in control.get_trials(deepcopy=False) if "copied" in t.user_attrs]
    assert copy.values[1] == copy.user_attrs["macs_m"] and copy.user_attrs["id"] == ANCHORS[0].id


def test_a_finalist_that_is_queued_twice_is_trained_once(study, tmp_path):
    from study.finalists import _train

    finals = optuna.create_study(storage=study._storage, study_name="s" + FINALISTS, directions=["maximize"])
    for _ in range(2):
        finals.enqueue_trial({}, user_attrs={"id": "a1", "seed": 0, "net": "mine:net", "origin": "anchor"})
    first, second = finals.ask(), finals.ask()
    with pytest.raises(optuna.TrialPruned):
        _train(second, None, None, tmp_path)
    assert "withdrawn" in finals.trials[second.number].user_attrs and "withdrawn" not in finals.trials[first.number].user_attrs


class Timed:
    """A bench whose nets take a known time; `bad` raise."""

    def __init__(self, monkeypatch, images_per_s, bad=()):
        self.space, self.data = BIG, type("D", (), {"train_images": 1000})()
        self.settings = settings(max_latency_ms=None, epochs=2, finalists={"epochs": 10, "seeds": 2}, workers=2, worker=None,
                                 control=None, hardware={"spread_s": 1.0})  # fmt: skip

        def speed(bench, candidate):
            if candidate.net in bad or "all" in bad:
                raise RuntimeError("out of memory")
            return images_per_s

        monkeypatch.setattr(estimates, "images_per_s", speed)

    def candidate(self, name):
        return searching.Candidate(None, name)


def test_the_estimate_is_arithmetic(study, monkeypatch):
    for net in ("a", "b"):
        study.enqueue_trial({}, user_attrs={"origin": "anchor", "net": net})
    e = estimates.estimate(Timed(monkeypatch, 500.0), study)  # 2 s an epoch
    assert e["nets_timed"] == 2 + estimates.DRAWN
    assert e["search_s"] == pytest.approx((2 * 22 * 2 * estimates.OVERHEAD + 3.0 * 22) / 2)
    assert e["finalists_s"] == pytest.approx(10 * 2 * 5 * 2 * estimates.OVERHEAD / 2)
    assert estimates.estimate(Timed(monkeypatch, 500.0, bad=("a",)), study)["nets_timed"] == 1 + estimates.DRAWN


def test_nothing_that_can_be_timed_is_said(study, monkeypatch):
    e = estimates.estimate(Timed(monkeypatch, 500.0, bad=("all",)), study)
    assert e["search_s"] is None and "cannot be told" in _what_it_costs(e)
    assert _what_it_costs({"search_s": 60.0, "finalists_s": 30.0}) == "This will take about 1:30 (search 1:00, finalists 0:30)"

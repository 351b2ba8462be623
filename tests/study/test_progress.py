"""How far a study is: what the display is told, look by look."""

import optuna
import pytest
from optuna.trial import TrialState, create_trial

from study import progress
from study.progress import Watch
from study.storing.storage import CONTROL, FINALISTS

SETTINGS = type("S", (), {"halving": None, "n_trials": 5, "workers": 2, "epochs": 3, "seed": 0, "max_latency_ms": 2.0,
                          "control": "random", "finalists": {"epochs": 4}})  # fmt: skip


def over(study, name, top1, ms, origin="search", state=TrialState.COMPLETE, **attrs):
    attrs = {"id": name, "origin": origin, "top1_val": top1, "latency_ms": ms, "seconds": 10.0, **attrs}
    values = [top1, ms][: len(study.directions)] if state == TrialState.COMPLETE else None
    study.add_trial(create_trial(values=values, state=state, user_attrs=attrs))


@pytest.fixture
def study():
    return optuna.create_study(directions=["maximize", "minimize"])


def names(found):
    return [f.what for f in found]


def test_what_was_over_before_counts_and_is_not_told_again(study):
    over(study, "a", 50.0, 1.0)
    over(study, "b", 40.0, 1.5)
    watch = Watch(SETTINGS)
    first = watch.look({"": study})
    assert (first.done, first.wanted, first.left_s) == (2, 5, 15.0)
    assert first.finished == [] and names(first.front) == ["a"]
    over(study, "c", 60.0, 1.5)
    over(study, "d", 90.0, 3.0)  # over the budget
    over(study, "e", None, 0.5, state=TrialState.FAIL, reason="no memory")
    over(study, "c", 60.0, 1.5, duplicate_of=2)
    second = watch.look({"": study})
    assert names(second.finished) == ["c", "d", "e"] and second.finished[2].reason == "no memory"
    assert (second.done, names(second.front)) == (4, ["a", "c"])
    assert watch.look({"": study}) == second and first.finished == []


def test_running_trials_are_looked_at_again_those_that_are_over_are_not(study, monkeypatch):
    over(study, "a", 50.0, 1.0)
    running = study.ask()
    watch, looked, plain = Watch(SETTINGS), [], progress.is_row
    monkeypatch.setattr(progress, "is_row", lambda t: looked.append(t.number) or plain(t))
    assert [r.doing for r in watch.look({"": study}).running] == ["starting"]
    running.set_user_attr("epoch", 2)
    (seen,) = watch.look({"": study}).running
    assert (seen.doing, seen.epoch, seen.epochs) == ("training", 2, 3) and looked == [0, 1, 1]
    study.tell(running, state=TrialState.FAIL)
    assert watch.look({"": study}).running == [] and watch.look({"": study}).running == [] and looked == [0, 1, 1, 1]


def test_the_control_and_the_finalists_follow(study):
    for k in range(5):
        over(study, f"s{k}", 50.0 + k, 1.0)
    control, finals = optuna.create_study(directions=["maximize", "minimize"]), optuna.create_study(direction="maximize")
    watch = Watch(SETTINGS)
    assert watch.look({"": study, CONTROL: control, FINALISTS: finals}).phase == "search"
    over(control, "r", 30.0, 1.0, origin="control")
    now = watch.look({"": study, CONTROL: control, FINALISTS: finals})
    assert (now.phase, now.done, names(now.finished)) == ("control (random)", 1, ["r"])
    finals.set_user_attr("queued_for", 5)
    finals.enqueue_trial({}, user_attrs={"named": "f1"})
    over(finals, "f0", 60.0, 1.0)
    now = watch.look({"": study, CONTROL: control, FINALISTS: finals})
    assert (now.phase, now.done, now.wanted, names(now.finished)) == ("finalists", 1, 2, ["r", "f0"])
    study_of_finals = {"": study, CONTROL: control, FINALISTS: finals}
    finals.tell(finals.ask(), 61.0)
    assert watch.look(study_of_finals).phase == "measuring side by side" and names(watch.look(study_of_finals).front) == ["s4"]


def test_a_study_that_goes_on_for_more_nets_searches_again_first(study):
    more = type("S", (SETTINGS,), {"n_trials": 7})
    for k in range(5):
        over(study, f"s{k}", 50.0 + k, 1.0)
    control, finals = optuna.create_study(directions=["maximize", "minimize"]), optuna.create_study(direction="maximize")
    over(control, "r", 30.0, 1.0, origin="control")
    finals.set_user_attr("queued_for", 5)
    over(finals, "f", 60.0, 1.0)
    studies, watch = {"": study, CONTROL: control, FINALISTS: finals}, Watch(more)
    assert Watch(SETTINGS).look(studies).phase == "measuring side by side"
    first = watch.look(studies)
    assert (first.phase, first.done, first.wanted, first.finished, watch.over) == ("search", 5, 7, [], 7)
    over(study, "s5", 40.0, 1.0)
    now = watch.look(studies)
    assert (now.phase, now.done, names(now.finished), watch.over) == ("search", 6, ["s5"], 8)
    over(study, "s6", 40.0, 1.0)
    assert watch.look(studies).phase == "control (random)"

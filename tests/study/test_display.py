"""What is told in a pipe, line by line."""

import io

import optuna
import pytest
from optuna.trial import TrialState, create_trial
from rich.console import Console

from study.display import Display
from study.progress import Watch
from study.storing.storage import CONTROL, FINALISTS, HALVING

PLAIN = {"halving": None, "n_trials": 2, "workers": 1, "epochs": 3, "seed": 0, "max_latency_ms": None, "control": None,
         "finalists": {"epochs": 4}}  # fmt: skip


def over(study, name, origin="search", **attrs):
    attrs = {"id": name, "origin": origin, "top1_val": 50.0, "latency_ms": 1.0, "seconds": 10.0, **attrs}
    study.add_trial(create_trial(values=[50.0, 1.0], state=TrialState.COMPLETE, user_attrs=attrs))


@pytest.fixture
def told():
    """`look(studies)` shows them; `lines()` what was printed since the last call."""

    class Told:
        def __init__(self):
            self.out, self.read = io.StringIO(), 0
            self.show = Display(Console(file=self.out, width=200))

        def begin(self, **settings):
            self.watch = Watch(type("S", (), {**PLAIN, **settings}))

        def look(self, studies):
            self.show.update(self.watch.look(studies))
            new, self.read = self.out.getvalue()[self.read :], len(self.out.getvalue())
            return new.splitlines()

    return Told()


def studies(*suffixes):
    return {suffix: optuna.create_study(directions=["maximize", "minimize"]) for suffix in suffixes}


def test_the_last_net_of_a_search_is_told_though_the_control_has_begun(told):
    told.begin(control="random")
    every = studies("", CONTROL)
    over(every[""], "a")
    assert told.look(every) == ["— search"]  # an earlier command told of it
    over(every[""], "b")
    over(every[CONTROL], "c", origin="control")
    assert told.look(every) == [
        "(search) trial 1  b  top-1 50.00 %  1.000 ms  10 s",
        "— control (random)",
        "[1/2] trial 0  c  top-1 50.00 %  1.000 ms  10 s   left 0:10",
    ]
    assert told.look(every) == []


def test_so_is_the_last_one_before_the_finalists_and_the_last_of_these(told):
    told.begin()
    every = studies("", FINALISTS)
    told.look(every)
    for net in "ab":
        over(every[""], net)
    every[FINALISTS].set_user_attr("queued_for", 2)
    over(every[FINALISTS], "f")
    assert told.look(every) == [
        "(search) trial 0  a  top-1 50.00 %  1.000 ms  10 s",
        "(search) trial 1  b  top-1 50.00 %  1.000 ms  10 s",
        "— measuring side by side",
        "[1/1] trial 0  f  top-1 50.00 %  1.000 ms  10 s   left ?",
    ]


def test_promotions_are_told_while_the_search_goes_on(told):
    told.begin(halving={"eta": 2.0, "rungs": [1, 3]})
    every = studies("", HALVING)
    assert told.look(every) == ["— search"]
    over(every[""], "a", rung=0)
    over(every[HALVING], "a", of=0, rung=1, seed=0)
    assert told.look(every) == [
        "(promotion) trial 0  a  top-1 50.00 %  1.000 ms  10 s",
        "[1/2] trial 0  a  top-1 50.00 %  1.000 ms  10 s   left 0:10",
    ]

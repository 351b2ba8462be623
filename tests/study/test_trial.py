"""One trial's order of things: what is over the budget is not trained, whatever its gates promise."""

import pytest

import study.trial as trials
from hardware.meter import Latency
from searchspace.anchors import anchor
from study.trial import Bench, Candidate, OverBudget, run_trial

GATED = anchor("skipnet_20-rnn", resolution=16, in_channels=1)
PLAIN = GATED.without_gates()


class Clock:
    """A meter whose answer is known: `closed` for the net with closed gates, `dense` without gates."""

    def __init__(self, closed: float, dense: float, dense_runtime: str = "law"):
        self.closed, self.dense, self.dense_runtime, self.asked, self.slices = closed, dense, dense_runtime, 0, []

    def measure(self, nets, **more):
        self.asked += 1
        found = []
        for net in nets:
            gated = bool(getattr(net, "architecture", net).gates)
            ms = self.closed if gated else self.dense
            runtime = "law" if gated else self.dense_runtime
            found.append(Latency(ms, ms * 0.99, ms * 1.01, 9, runtime, "m", False, "", 0.0 if gated else None, 1, 1))
        return found


@pytest.fixture
def trial(monkeypatch):
    class Trained(Exception):
        pass

    def fit(self, *arguments, **more):
        raise Trained

    def run(architecture, clock, budget, net=""):
        bench = Bench.__new__(Bench)
        bench.meter = clock
        bench.data = type("D", (), {"sample": lambda self, n: None, "channels": 1, "mean": None, "std": None})()
        bench.settings = type("S", (), {"max_latency_ms": budget, "hardware": {"batch": 1, "device": "cpu"}, "epochs": 1})()
        monkeypatch.setattr(Bench, "fit", fit)
        monkeypatch.setattr(Bench, "recipe", lambda *a: None)
        told = {}
        try:
            run_trial(Candidate(architecture, net), bench, 0, told.__setitem__, lambda e, t: None)
        except Trained:
            return "trained", told
        except OverBudget as over:
            return str(over), told
        raise AssertionError

    return run


class Predicted:
    n, upper = 40, 0.08

    def predict(self, architecture):
        return 1.5

    def clearly_over(self, architecture, budget_ms):
        return budget_ms * (1 + self.upper) < 1.5


def test_what_is_predicted_clearly_over_the_budget_is_not_even_measured(trial, monkeypatch):
    monkeypatch.setattr(Bench, "predictor", Predicted())
    clock = Clock(9, 0.5)
    reason, told = trial(PLAIN, clock, 1.0)
    assert "predicted 1.5 ms (from 40 nets measured here; 95 % are predicted within 8%)" in reason and clock.asked == 0
    assert told["predicted_ms"] == 1.5 and "latency_ms" not in told  # a reported latency is always measured
    assert trial(PLAIN, clock, 1.45)[0] == "trained" and clock.asked == 1  # not clear: measured
    assert trial(PLAIN, clock, 1.0, net="mobilenet")[0] == "trained"  # an anchor is measured, whatever is predicted


def test_a_static_net(trial):
    assert trial(PLAIN, Clock(9, 0.5), 1.0)[0] == "trained" and trial(PLAIN, Clock(9, 5.0), None)[0] == "trained"
    reason, told = trial(PLAIN, Clock(9, 1.5), 1.0)
    assert reason == "1.5 ms is over max_latency_ms=1: not trained" and told["latency_ms"] == 1.5


@pytest.mark.parametrize(
    ("closed", "dense", "said"),
    [
        (0.4, 0.9, "trained"),
        (0.4, 2.5, "trained"),  # a keep rate of 0.28 would fit
        (0.4, 3.0, "without gates 3 ms: max_latency_ms=1 allows it to keep less than 25% of its gated blocks: not trained"),
        (1.2, 3.0, "with all gates closed 1.2 ms is over max_latency_ms=1: not trained"),
        (0.98, 0.9, "trained"),  # gates that cost more than the blocks: that is for the clock to say, after training
    ],
)
def test_a_gated_net_is_judged_by_what_it_would_have_to_skip(trial, closed, dense, said):
    reason, told = trial(GATED, Clock(closed, dense), 1.0)
    assert reason == said and (said == "trained" or told["latency_ms"] > 1.0)


def test_two_runtimes_are_not_mixed_in_that(trial):
    assert trial(GATED, Clock(0.4, 3.0, "cuda_graph"), 1.0)[0] == "trained"
    assert trials.LEAST_KEPT == 0.25

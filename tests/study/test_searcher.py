"""Places, duplicates, endings and failures, without training: the objective is replaced, the rest is real."""

from dataclasses import replace

import optuna
import pytest
from optuna.trial import TrialState

import study.searcher as searching
from searchspace.complexity import count
from searchspace.space import SearchSpace
from study.storing.given_back import give_back_dead
from study.storing.storage import is_row, open_storage, open_study
from study.tracking import NoTracker
from study.trial import Candidate, Measurements, OverBudget

SPACE = SearchSpace(
    name="tiny",
    classes=2,
    in_channels=1,
    skeletons=("resnet",),
    alphas=(0.25, 0.5),
    activations=("relu", "swish"),
    resolutions=(8,),
    families=("residual",),
    kernels=(3,),
    expansions=(1,),
    depths=(1,),
    squeeze_excite=(False, True),
    gates=("none",),
)


DEAD = {"host": searching.mine()["host"], "pid": 2**22 + 1, "born": "1"}
pytestmark = pytest.mark.filterwarnings(
    "ignore::optuna.exceptions.ExperimentalWarning", "ignore:Heartbeat of storage:UserWarning"
)


class FakeBench:
    predictor = None

    def __init__(self, n_trials, space=SPACE, control=None, budget=None):
        self.space = space
        self.settings = type("S", (), {"n_trials": n_trials, "seed": 0, "control": control, "max_latency_ms": budget})()

    def candidate(self, name):
        return Candidate(None, name)


def measured(candidate, bench, seed, report, on_epoch):
    a = candidate.architecture
    size = sum(b.out for b in a.blocks) if a else 1
    on_epoch(1, 50.0)
    return Measurements(50.0 + size % 7, size / 100, size / 101, size / 99, 24, False, "fake", None, size / 10, 0.1, 1, 0.01)


@pytest.fixture
def study(tmp_path):
    return open_study(open_storage(f"sqlite:///{tmp_path / 'study.db'}"), "s", ["maximize", "minimize"])


def rows(study, state=None):
    return [t for t in study.get_trials(deepcopy=False) if is_row(t) and (state is None or t.state == state)]


@pytest.mark.parametrize("sampler", ["pareto_gp", "tpe", "nsga2", "random"])
def test_the_space_is_used_up_and_every_net_trained_once(study, monkeypatch, sampler):
    monkeypatch.setattr(searching, "run_trial", measured)
    searching.Searcher(study, FakeBench(1000), sampler, 0, "search", NoTracker()).run()
    ids = [t.user_attrs["id"] for t in rows(study)]
    assert len(ids) == len(set(ids)) == SPACE.size() == 32
    assert "used up" in study.user_attrs["ended"]


@pytest.mark.parametrize("sampler", ["pareto_gp", "tpe", "nsga2", "gp", "random"])
def test_every_sampler_walks_the_mobile_space(study, monkeypatch, sampler):
    monkeypatch.setattr(searching, "run_trial", measured)
    big = SearchSpace(classes=2, in_channels=1, resolutions=(16, 24))
    searching.Searcher(study, FakeBench(14, big), sampler, 0, "search", NoTracker()).run()
    assert len({t.user_attrs["id"] for t in rows(study, TrialState.COMPLETE)}) == 14


def test_a_control_by_mult_adds_searches_by_them_and_records_both(study, monkeypatch):
    monkeypatch.setattr(searching, "run_trial", measured)
    searching.Searcher(study, FakeBench(3, control="macs"), "tpe", 0, "control", NoTracker()).run()
    for t in rows(study, TrialState.COMPLETE):
        assert t.values[1] == t.user_attrs["macs_m"] != t.user_attrs["latency_ms"] and t.user_attrs["origin"] == "control"


def test_failures_and_nets_over_budget_do_not_count(study, monkeypatch):
    calls = []

    def sometimes(candidate, bench, seed, report, on_epoch):
        calls.append(candidate.id)
        if len(calls) % 3 == 1:
            raise FloatingPointError("the loss is not finite in epoch 1")
        if len(calls) % 3 == 2:
            report("latency_ms", 9.0)
            raise OverBudget("9 ms is over max_latency_ms=1: not trained", 9.0)
        return measured(candidate, bench, seed, report, on_epoch)

    monkeypatch.setattr(searching, "run_trial", sometimes)
    searching.Searcher(study, FakeBench(3, budget=1.0), "tpe", 0, "search", NoTracker()).run()
    assert len(rows(study, TrialState.COMPLETE)) == 3 and len(calls) == len(set(calls)) == 9
    failed, over = rows(study, TrialState.FAIL), rows(study, TrialState.PRUNED)
    assert len(failed) == len(over) == 3
    assert all(t.user_attrs["reason"] == "FloatingPointError: the loss is not finite in epoch 1" for t in failed)
    assert all(t.user_attrs["reason"].startswith("9 ms is over") and t.constraints["latency_ms"] == 8.0 for t in over)


def test_the_predictor_learns_from_what_was_measured(study, monkeypatch):
    """Static nets alone, under a budget, from the eighth on; what it is worth is told to the study."""
    seen = []

    def timed(candidate, bench, seed, report, on_epoch):
        seen.append(bench.predictor and bench.predictor.n)
        report("latency_ms", 0.1 + count(candidate.architecture).macs / 1e9)
        return replace(
            measured(candidate, bench, seed, report, on_epoch), latency_ms=0.1 + count(candidate.architecture).macs / 1e9
        )

    monkeypatch.setattr(searching, "run_trial", timed)
    big = SearchSpace(classes=2, in_channels=1, resolutions=(16, 24), gates=("none",))
    searching.Searcher(study, FakeBench(24, big, budget=9.0), "random", 0, "search", NoTracker()).run()
    assert seen == [None] * 8 + list(range(8, 24))
    told = study.user_attrs["predictor"]
    assert told["n"] == 23 and 0 < told["error"] <= told["upper"] and told["tau"] > 0.5


def test_a_seen_proposal_is_answered_from_the_record(study, monkeypatch):
    monkeypatch.setattr(searching, "run_trial", measured)
    monkeypatch.setattr(
        searching,
        "make",
        lambda name, seed, known=None: optuna.samplers.PartialFixedSampler(
            {"alpha": 0.25, "activation": "relu", "s0.se": False, "s1.se": False, "s2.se": False},
            optuna.samplers.RandomSampler(seed=seed),
        ),
    )
    searching.Searcher(study, FakeBench(2), "any", 0, "search", NoTracker()).run()
    trained = rows(study)
    hidden = [t for t in study.get_trials(deepcopy=False) if not is_row(t)]
    assert len(trained) == 1 and len(hidden) == searching.REPEATS_BEFORE_END
    assert all(t.values == trained[0].values and t.user_attrs["duplicate_of"] == trained[0].number for t in hidden)
    assert study.user_attrs["ended"] == "200 proposals in a row brought no new net"


def test_a_copy_of_a_net_over_the_budget_is_over_it_too(study, monkeypatch):
    """A gated net is measured after its training: it is complete, and no net for the front."""
    monkeypatch.setattr(searching, "run_trial", lambda *a: replace(measured(*a), latency_ms=5.0))
    monkeypatch.setattr(searching, "REPEATS_BEFORE_END", 3)
    monkeypatch.setattr(
        searching,
        "make",
        lambda name, seed, known=None: optuna.samplers.PartialFixedSampler(
            SPACE.encode(SPACE.walk(lambda name, choices: choices[0])), optuna.samplers.RandomSampler(seed=seed)
        ),
    )
    searching.Searcher(study, FakeBench(2, budget=1.0), "any", 0, "search", NoTracker()).run()
    assert len(study.trials) == 4 and all(t.state == TrialState.COMPLETE for t in study.trials)
    assert [t.constraints for t in study.trials] == [{"latency_ms": 4.0}] * 4


def test_a_dead_process_gives_its_trial_back(study, monkeypatch):
    params = SPACE.encode(SPACE.decode({"alpha": 0.5, "activation": "relu", "s0.se": True, "s1.se": False, "s2.se": False}))
    study.enqueue_trial(params)
    trial = study.ask()
    SPACE.suggest(trial)
    trial.set_user_attr("runner", DEAD)
    trial.set_user_attr("origin", "search")
    living = study.ask()
    living.set_user_attr("runner", searching.mine())
    assert give_back_dead(study, private=True) == 1
    assert study.trials[trial.number].state == TrialState.FAIL and "killed" in study.trials[trial.number].user_attrs["reason"]
    assert study.trials[living.number].state == TrialState.RUNNING
    waiting = study.get_trials(states=(TrialState.WAITING,))
    assert len(waiting) == 1 and waiting[0].user_attrs["retry_of"] == trial.number and waiting[0].user_attrs["tries"] == 2
    study.tell(living.number, state=TrialState.FAIL)
    monkeypatch.setattr(searching, "run_trial", measured)
    searching.Searcher(study, FakeBench(1), "tpe", 0, "search", NoTracker()).run()
    (done,) = rows(study, TrialState.COMPLETE)
    assert SPACE.encode(SPACE.decode(done.params)) == params


def test_an_interruption_is_not_the_nets_fault(study):
    study.enqueue_trial({"alpha": 0.5}, user_attrs={"origin": "search"})
    for _ in range(6):  # killed before it has asked for anything: what was queued with it stays
        study.ask().set_user_attr("runner", DEAD)
        assert give_back_dead(study, private=True, blame=False) == 1
        (waiting,) = study.get_trials(states=(TrialState.WAITING,))
        assert waiting.user_attrs["tries"] == 1 and waiting.system_attrs["fixed_params"] == {"alpha": 0.5}


def test_a_net_that_kills_its_process_is_given_up(study):
    study.enqueue_trial({}, user_attrs={"origin": "anchor", "net": "mine:bomb"})
    for _ in range(10):
        if not study.get_trials(states=(TrialState.WAITING,)):
            break
        trial = study.ask()
        trial.set_user_attr("runner", DEAD)
        give_back_dead(study, private=True)
    assert len(study.trials) == 3 and "given up" in study.trials[-1].user_attrs["reason"]

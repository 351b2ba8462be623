"""sampler=pareto_gp on studies of its own: never a seen net, the limit, what is pending, conditions, seeds."""

from __future__ import annotations

import numpy as np
import optuna
import pytest

from analysis.pareto import hypervolume
from study.pareto_gp import ParetoGP
from study.samplers import make
from study.surrogate import candidates, question

LETTERS = ("a", "b", "c", "d")


def conditional(ask):
    """Choices that hang on others: `wide` on `kind`, `deep` on `kind` and `size` together."""
    kind, size = ask("kind", ("plain", "rich")), ask("size", (1, 2, 3))
    wide = ask("wide", LETTERS) if kind == "rich" else None
    deep = ask("deep", (False, True)) if (kind, size) in (("plain", 1), ("rich", 3)) else None
    rest = tuple(ask(f"x{i}", LETTERS) for i in range(4))
    return kind, size, wide, deep, rest


def values(net):
    """(accuracy, latency): both fall with what costs less, by amounts of their own."""
    kind, size, wide, deep, rest = net
    rng = np.random.default_rng(0)
    gain, cost = rng.random((4, 4)), rng.random((4, 4))
    a = size + 2 * (kind == "rich") + (0 if wide is None else 0.4 * LETTERS.index(wide)) + 0.5 * bool(deep)
    latency = 1 + a + sum(cost[i, LETTERS.index(x)] for i, x in enumerate(rest))
    accuracy = 80 + 5 * np.log(a) + sum(gain[i, LETTERS.index(x)] for i, x in enumerate(rest))
    return float(accuracy), float(latency)


class Told:
    """`known` of this space; `limit` as asked."""

    def __init__(self, limit=None):
        self.limit = limit
        self.asked = 0

    def __call__(self, params):
        self.asked += len(params)
        found = []
        for p in params:
            net = conditional(lambda name, choices, p=p: p[name])  # KeyError: the sampler left out what is asked
            _, latency = values(net)
            found.append((latency, latency**2))
        return np.array(found)


class Walks(Told):
    def walk(self, ask):
        return conditional(ask)


def run(sampler, n, study=None, limit=None):
    study = study or optuna.create_study(directions=["maximize", "minimize"])
    study.sampler = sampler
    for _ in range(n):
        trial = study.ask()
        accuracy, latency = values(conditional(trial.suggest_categorical))
        if limit is not None:
            trial.set_constraint("latency", latency / limit - 1)
        study.tell(trial, (accuracy, latency))
    return study


def nets(study):
    return [tuple(sorted(t.params.items())) for t in study.trials]


def volume(study):
    return hypervolume([t.values[0] for t in study.trials], [t.values[1] for t in study.trials], (80.0, 12.0))


@pytest.mark.parametrize("known", [None, Told(), Walks()], ids=["blind", "told", "walked"])
def test_finds_more_than_random_search_and_proposes_nothing_twice(known):
    ours = run(ParetoGP(1, known), 40)
    drawn = run(optuna.samplers.RandomSampler(1), 40)
    assert volume(ours) > volume(drawn)
    # a condition that no trial has shown yet may let a draw of Optuna's repeat a net; a walked space knows all of them
    repeated = len(ours.trials) - len(set(nets(ours)))
    assert repeated <= (0 if isinstance(known, Walks) else 2)


def test_every_net_of_a_small_space_is_proposed_once_then_optuna_draws():
    study = optuna.create_study(directions=["minimize", "minimize"], sampler=ParetoGP(0))
    for _ in range(14):
        trial = study.ask()
        a, b = trial.suggest_categorical("a", LETTERS), trial.suggest_categorical("b", (1, 2, 3))
        study.tell(trial, (float(b), float(LETTERS.index(a))))
    assert len(set(nets(study))) == 12


def test_conditions_are_learnt_from_trials_alone():
    sampler = ParetoGP(3)
    study = run(optuna.samplers.RandomSampler(3), 60)
    sampler._look(study)
    codes = sampler._space.drawn(500, np.random.default_rng(0))
    for params in sampler._space.params(codes):
        asked = []
        conditional(lambda name, choices, asked=asked, params=params: (asked.append(name), params[name])[1])
        assert set(asked) == set(params)


class Shy(Told):
    """Cannot tell of a net with x0 = a until one was tried: as where it seems that a choice which is asked there is not."""

    version = 0

    def __call__(self, params):
        if not self.version and any(p["x0"] == "a" for p in params):
            raise KeyError("something else that is asked there")
        return super().__call__(params)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_what_known_cannot_tell_of_is_not_shut_off(seed):
    known = Shy()
    study = optuna.create_study(directions=["maximize", "minimize"])
    for k in range(12):
        study.enqueue_trial({"x0": LETTERS[1 + k % 3], "x1": LETTERS[k % 4], "size": 1 + k % 3})
    run(ParetoGP(seed, known), 12, study)
    sampler = ParetoGP(seed, known)
    for _ in range(30):
        run(sampler, 1, study)
        known.version = int(study.trials[-1].params["x0"] == "a")
        if known.version:
            break
    assert known.version
    run(sampler, 5, study)  # and it goes on with what it has learnt


def test_nothing_over_the_limit_is_proposed_and_nothing_infeasible_is_on_the_front():
    known = Walks(limit=6.0)
    study = run(ParetoGP(2, known), 30, limit=6.0)
    assert all(t.values[1] <= 6.0 for t in study.trials)
    # blind, over the limit now and then: its front is of those within
    blind = run(ParetoGP(2), 30, limit=6.0)
    assert len(blind.trials) == 30


def test_same_seed_same_nets_other_seed_others():
    first, again, other = (nets(run(ParetoGP(seed, Walks()), 25)) for seed in (5, 5, 6))
    assert first == again != other


def test_goes_on_with_a_study_that_another_process_began():
    study = run(ParetoGP(1, Walks()), 15)
    run(ParetoGP(7, Walks()), 15, study)
    assert len(set(nets(study))) == 30


def test_a_large_study_looks_at_fewer_candidates(monkeypatch):
    looks = []
    whole = candidates.Unseen.of
    monkeypatch.setattr(candidates.Unseen, "of", lambda self, codes: looks.append(len(codes)) or whole(self, codes))
    looked = {}
    for enough in (1000, 4):
        monkeypatch.setattr(question, "ENOUGH", enough)
        study = run(ParetoGP(1, Walks()), 20)
        looks.clear()
        run(study.sampler, 1, study)
        looked[enough] = sum(looks)
        assert len(set(nets(study))) == 21
    assert 0 < looked[4] < 0.5 * looked[1000]


def test_running_and_queued_trials_are_taken_as_tried():
    study = run(ParetoGP(1, Walks()), 20)
    asked = [study.ask() for _ in range(6)]  # six workers at once
    proposed = [conditional(t.suggest_categorical) for t in asked]
    assert len(set(proposed)) == 6
    assert not {tuple(sorted(t.params.items())) for t in asked} & set(nets(study)[:20])
    study.enqueue_trial({"kind": "plain", "size": 2, **{f"x{i}": "a" for i in range(4)}})
    queued = study.ask()
    assert conditional(queued.suggest_categorical)[:2] == ("plain", 2)


def test_starts_spread_over_the_known_costs():
    study = run(ParetoGP(0, Walks()), 10)
    latencies = sorted(t.values[1] for t in study.trials)
    rng = np.random.default_rng(0)
    everything = [values(conditional(lambda name, choices: choices[rng.integers(len(choices))]))[1] for _ in range(300)]
    assert latencies[0] < np.quantile(everything, 0.1) and latencies[-1] > np.quantile(everything, 0.9)


def test_other_parameters_are_drawn_and_failed_trials_are_not_tried_again():
    study = optuna.create_study(directions=["minimize", "minimize"], sampler=ParetoGP(0))
    for k in range(20):
        trial = study.ask()
        a, x = trial.suggest_categorical("a", LETTERS * 1), trial.suggest_float("x", 0, 1)
        b = trial.suggest_categorical("b", LETTERS)
        if k % 3 == 0:
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
        else:
            study.tell(trial, (x + LETTERS.index(a), 1.0 + LETTERS.index(b)))
    assert len({(t.params["a"], t.params["b"]) for t in study.trials[:16]}) == 16


def test_by_name_and_for_two_objectives_only():
    study = optuna.create_study(directions=["minimize"], sampler=make("pareto_gp", 0))
    trial = study.ask()
    with pytest.raises(ValueError, match="two objectives"):
        trial.suggest_categorical("a", LETTERS)

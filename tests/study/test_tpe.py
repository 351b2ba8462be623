"""sampler=tpe is Optuna's TPE, until a study is so large that it is shown a part."""

import warnings

import optuna

import study.tpe
from study.samplers import make


def asked(trial: optuna.Trial) -> tuple[float, float]:
    kind = trial.suggest_categorical("kind", ["a", "b"])
    size = trial.suggest_categorical("size", [1, 2, 3]) if kind == "b" else 0
    width = trial.suggest_categorical("width", [1, 2, 4, 8])
    trial.set_constraint("latency_ms", width / 4 - 1)
    return 50 + 10 * size + width, width * (1 + size)


def searched(sampler: optuna.samplers.BaseSampler, n: int) -> optuna.Study:
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)
    study.optimize(asked, n_trials=n)
    return study


def optunas(seed: int) -> optuna.samplers.BaseSampler:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return optuna.samplers.TPESampler(seed=seed, multivariate=True, group=True, constant_liar=True)


def test_a_small_study_is_optunas_own():
    ours, theirs = searched(make("tpe", 3), 40), searched(optunas(3), 40)
    assert [t.params for t in ours.trials] == [t.params for t in theirs.trials]


def test_of_a_large_study_it_sees_the_front_and_the_newest(monkeypatch):
    monkeypatch.setattr(study.tpe, "SEEN", 15)
    shown = []
    real = optuna.samplers._tpe.sampler._split_trials
    monkeypatch.setattr(
        "optuna.samplers._tpe.sampler._split_trials",
        lambda s, trials, n: shown.append([t.number for t in trials]) or real(s, trials, n),
    )
    large = optuna.create_study(directions=["maximize", "minimize"], sampler=make("tpe", 0))
    best = {"kind": "b", "size": 3, "width": 4}
    large.enqueue_trial(best)
    over = {"kind": "b", "size": 3, "width": 8}  # better still, but over the limit
    large.enqueue_trial(over)
    large.enqueue_trial({"kind": "a", "width": 1})
    large.optimize(asked, n_trials=60)
    assert large.trials[0].params == best and large.trials[1].params == over
    last = shown[-1]
    points = {tuple(large.trials[k].values) for k in last}
    assert 1 not in last and {tuple(large.trials[k].values) for k in (0, 2)} <= points  # the best, the fastest
    assert set(range(45, 59)) <= set(last) and 59 not in last  # the newest, and not the one that is being asked
    older = [(t.values[0], t.values[1]) for t in large.trials[:44] if t.number in last]
    assert 0 < len(older) <= 6 and len(set(older)) == len(older), "of the older ones the front only, each point once"


def test_it_goes_on_being_reproducible_beyond_the_bound(monkeypatch):
    monkeypatch.setattr(study.tpe, "SEEN", 12)
    one, other = searched(make("tpe", 5), 30), searched(make("tpe", 5), 30)
    assert [t.params for t in one.trials] == [t.params for t in other.trials]


def test_trials_that_tell_nothing_take_no_place(monkeypatch):
    monkeypatch.setattr(study.tpe, "SEEN", 20)
    large = searched(make("tpe", 0), 40)
    running = large.ask()
    for _ in range(30):
        large.tell(large.ask(), state=optuna.trial.TrialState.FAIL)
    shown = make("tpe", 0)._part(large, large.ask())._get_trials()
    assert {t.number for t in shown} >= {*range(20, 40), running.number}
    assert not any(t.state == optuna.trial.TrialState.FAIL for t in shown)


def test_what_it_remembers_of_the_front_is_the_front(monkeypatch):
    monkeypatch.setattr(study.tpe, "SEEN", 10)
    large, remembered = searched(make("tpe", 1), 12), study.tpe._Front()
    for _ in range(20):
        large.optimize(asked, n_trials=1)
        trials = large.get_trials(deepcopy=False)
        once = study.tpe._Front().of(large, trials)
        assert remembered.of(large, trials) == once and {t.number for t in large.best_trials} >= once
    other = searched(make("tpe", 2), 30)  # a sampler that goes over to another study forgets the first
    sampler = large.sampler
    seen = {t.number for t in sampler._part(other, other.ask())._get_trials()}
    assert seen == {t.number for t in make("tpe", 0)._part(other, other.trials[-1])._get_trials()}

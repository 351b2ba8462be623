"""Promotions as they are written: who is trained how far, by how many workers, and what a kill or a lost checkpoint costs. But
for the last two tests training is replaced by a law, the rest is real."""

import sqlite3
import threading
import time

import numpy as np
import optuna
import pytest
import torch
from optuna.trial import TrialState

import study.halving as halving
from analysis.front import front, write_csv
from analysis.halving import halved, halving_part
from analysis.records import list_studies, read
from searchspace.architecture import Architecture, Block, Head, Stage, Stem
from searchspace.network import build
from study.finalists import chosen
from study.halving import Halving, in_full, nets_of
from study.known import new_top1
from study.progress import Watch
from study.rungs import Plan
from study.storing.given_back import give_back_dead
from study.storing.storage import HALVING, is_row, open_storage, open_study
from study.trial import Candidate
from tests.study.conftest import kill
from trainers.data import load
from trainers.recipe import Recipe
from trainers.supervised import fit

pytestmark = pytest.mark.filterwarnings(
    "ignore::optuna.exceptions.ExperimentalWarning", "ignore:Heartbeat of storage:UserWarning"
)
NET = Architecture(Stem(4), (Stage((Block("separable", 4),)),), Head(), resolution=8, classes=10, in_channels=1)
DONE = TrialState.COMPLETE


def law(number, epochs, seed=0):
    """Val top-1: late bloomers (odd numbers) are worse early and better late."""
    return 50 + number + epochs * (3 if number % 2 else 1) + seed * 0.1


class FakeBench:
    reuse = None

    def __init__(self, budget=None):
        self.settings = type("S", (), {"seed": 0, "epochs": 9, "max_latency_ms": budget, "control": None})()
        self.ran = []

    def recipe(self, epochs, seed):
        return Recipe(epochs, seed=seed)

    def make(self, candidate, seed):
        return None

    def checkpoint(self, candidate, seed):
        return None


@pytest.fixture
def trained(monkeypatch):
    """What was trained: (id, epoch, seed), in place of the training. Each net goes on from the rung below."""
    log = []

    def fake(candidate, bench, net, recipe, report, on_epoch, until):
        name = candidate.net
        before = max((e for n, e, s in log if n == name and s == recipe.seed), default=1 if recipe.seed == 0 else 0)
        log.append((name, until, recipe.seed))
        report("epochs_run", until - before)
        time.sleep(0.005)
        return law(int(name[1:]), until, recipe.seed)

    monkeypatch.setattr(halving, "new_top1", fake)
    return log


def study_of(tmp_path, n=12, plan=None):
    url = f"sqlite:///{tmp_path / 'study.db'}"
    study = open_study(open_storage(url), "s", ["maximize", "minimize"])
    keys = plan and {"eta": plan.eta, "rungs": list(plan.rungs), "sample": plan.sample, "seeds": plan.seeds}
    settings = {"name": "s", "n_trials": n, "epochs": 9, "seed": 0, "finalists": {"epochs": 9, "seeds": 1}, "halving": keys}
    study.set_user_attr("settings", settings)
    for i in range(n):
        attrs = {"id": f"a{i}", "net": f"n{i}", "origin": "search", "seed": 0, "top1_val": law(i, 1), "macs_m": 1.0}
        attrs |= {"latency_ms": 0.1 + i / 10, "latency_low_ms": 0.1, "latency_high_ms": 2.0, "latency_n": 24}
        attrs |= {"epochs": 1, "epochs_run": 1, "seconds": 1.0}
        study.add_trial(optuna.trial.create_trial(values=[attrs["top1_val"], attrs["latency_ms"]], user_attrs=attrs))
    return url, study


def at(url, plan, budget=None):
    storage = open_storage(url)
    return Halving(open_study(storage, "s", ["maximize", "minimize"]), storage, FakeBench(budget), plan)


def promoted(url, state=DONE):
    study = open_study(open_storage(url), "s" + HALVING, ["maximize"])
    return [t for t in study.get_trials(deepcopy=False, states=(state,)) if is_row(t)]


PLAN = Plan(3.0, (1, 3, 9), 0, 1)


def test_each_rung_hands_a_third_on(tmp_path, trained):
    url, study = study_of(tmp_path)
    at(url, PLAN).run()
    assert [(t.user_attrs["rung"], t.user_attrs["why"]) for t in promoted(url)].count((1, "rung")) == 4
    assert [t.user_attrs["rung"] for t in promoted(url)].count(2) == 1 and len(trained) == 5 == len(set(trained))
    assert sum(t.user_attrs["epochs_run"] for t in promoted(url)) == 4 * 2 + 6
    assert len(study.trials) == 12, "a promotion is no row"
    at(url, PLAN).run()
    assert len(trained) == 5, "what is done is done"


def test_more_nets_later_hand_more_on(tmp_path, trained):
    url, study = study_of(tmp_path)
    at(url, PLAN).run()
    for i in range(12, 24):
        attrs = {"id": f"a{i}", "net": f"n{i}", "origin": "search", "seed": 0, "top1_val": 90.0 + i, "latency_ms": 0.01}
        study.add_trial(optuna.trial.create_trial(values=[90.0 + i, 0.01], user_attrs={**attrs, "epochs": 1, "epochs_run": 1}))
    at(url, PLAN).run()
    assert len(trained) == len(set(trained)) > 5
    assert {t.user_attrs["of"] for t in promoted(url)} & set(range(12, 24))


def test_workers_share_promotions(tmp_path, trained):
    url, _ = study_of(tmp_path, 27)
    workers = [threading.Thread(target=lambda: at(url, PLAN).run()) for _ in range(3)]
    [w.start() for w in workers]
    [w.join(120) for w in workers]
    keys = [(t.user_attrs["of"], t.user_attrs["rung"]) for t in promoted(url)]
    assert len(keys) == len(set(keys)) and [rung for _, rung in keys].count(1) == 9
    assert 3 <= [rung for _, rung in keys].count(2) <= 5  # nobody waits for a rung to be full, so it may be one or two more
    assert len(trained) == len(set(trained)) == len(keys)


def test_nets_over_the_budget_do_not_go_on(tmp_path, trained):
    url, _ = study_of(tmp_path)
    at(url, PLAN, budget=0.55).run()
    assert promoted(url) and all(t.user_attrs["latency_ms"] <= 0.55 for t in promoted(url))


def test_a_killed_promotion_is_tried_again_and_given_up_the_third_time(tmp_path, trained, monkeypatch):
    url, _ = study_of(tmp_path)
    dead = {"host": halving.mine()["host"], "pid": 2**22 + 1, "born": "1"}
    mine, times = at(url, Plan(6.0, (1, 9), 0, 1)), 0
    first = next(mine._jobs())
    while (job := next(mine._jobs())) == first:
        trial = mine.promotions.ask()
        for key, value in {"runner": dead, "architecture": {"of": "this net"}, **job}.items():
            trial.set_user_attr(key, value)  # and then nothing: kill -9
        assert next(mine._jobs()) != first, "somebody is at it"
        assert give_back_dead(mine.promotions, private=True) == 1
        assert not promoted(url, TrialState.WAITING), "who goes on is decided anew"
        times += 1
    assert times == 3
    mine.run()
    assert [t.user_attrs["of"] for t in promoted(url)] == [job["of"]] and (f"n{first['of']}", 9, 0) not in trained


def test_a_promotion_interrupted_by_its_user_is_never_given_up(tmp_path, trained):
    url, _ = study_of(tmp_path)
    dead = {"host": halving.mine()["host"], "pid": 2**22 + 1, "born": "1"}
    mine = at(url, PLAN)
    first = next(mine._jobs())
    for _ in range(4):  # Ctrl-C, four times
        trial = mine.promotions.ask()
        for key, value in {"runner": dead, **first}.items():
            trial.set_user_attr(key, value)
        assert give_back_dead(mine.promotions, private=True, blame=False) == 1
    assert next(mine._jobs()) == first


def test_a_search_that_has_ended_waits_for_nobody(tmp_path, trained):
    url, study = study_of(tmp_path)
    study.enqueue_trial({}, user_attrs={"origin": "search"})  # given back after the end: nobody takes it
    study.set_user_attr("ended", "the space is used up")
    at(url, PLAN).run()
    assert promoted(url)


def test_the_sample_and_second_seeds_from_what_was_saved(tmp_path, trained):
    url, study = study_of(tmp_path)
    plan = Plan(3.0, (1, 3, 9), 3, 2)
    at(url, plan).run()
    whys = [t.user_attrs["why"] for t in promoted(url)]
    assert whys.count("sample") == 3
    run = sum(t.user_attrs["epochs_run"] for t in promoted(url))
    assert 12 + run <= 12 * 9, "second seeds come from the epochs that were saved"
    assert whys.count("seed") >= 1 and {s for _, _, s in trained} == {0, 1}
    net = next(n for n in nets_of(study, at(url, plan).promotions).values() if n.seeds)
    first, second = law(net.number, 9), law(net.number, 9, 1)
    mean = {n: top1 for n, top1, _ in in_full(study, at(url, plan).promotions)}[net.number]
    assert mean == pytest.approx((first + second) / 2)
    at(url, plan).run()
    assert len(promoted(url)) == len(whys)


def test_what_the_ledger_hands_out_counts_as_if_it_had_been_run(tmp_path, trained, monkeypatch):
    """So that the same nets get second seeds."""
    plan = Plan(3.0, (1, 3, 9), 0, 9)

    def second_seeds(folder):
        folder.mkdir()
        url, _ = study_of(folder, 27)
        at(url, plan).run()
        return sorted((t.user_attrs["id"], t.user_attrs["seed"]) for t in promoted(url) if t.user_attrs["why"] == "seed")

    run = second_seeds(tmp_path / "run")

    def known(candidate, bench, recipe, report, until=None):
        report("reused_from", "first")
        return law(int(candidate.net[1:]), until, recipe.seed)

    monkeypatch.setattr(halving, "known_top1", known)
    assert second_seeds(tmp_path / "reused") == run and len(run) == 20


def test_a_failure_is_not_tried_again(tmp_path, monkeypatch, capsys):
    def fails(*arguments):
        raise FloatingPointError("the loss is not finite in epoch 2")

    monkeypatch.setattr(halving, "new_top1", fails)
    url, _ = study_of(tmp_path)
    at(url, PLAN).run()
    reasons = [t.user_attrs["reason"] for t in promoted(url, TrialState.FAIL)]
    assert reasons == ["FloatingPointError: the loss is not finite in epoch 2"] * 4 and not promoted(url)


def test_finalists_come_from_the_nets_trained_in_full(tmp_path, trained):
    url, study = study_of(tmp_path)
    at(url, PLAN).run()
    (full,) = [t.user_attrs["id"] for t in promoted(url) if t.user_attrs["rung"] == 2]
    assert [a["id"] for a in chosen(study, None, at(url, PLAN).promotions)] == [full]


def test_the_record_merges_rows_and_the_report_says_what_it_cost(tmp_path, trained):
    plan = Plan(3.0, (1, 3, 9), 3, 2)
    url, _ = study_of(tmp_path, plan=plan)
    at(url, plan).run()
    record = read(url, "s")
    assert len(record.trials) == 12 and [s.name for s in list_studies(url)] == ["s"]
    full = record.trials[record.trials["state"] == "COMPLETE"]
    assert set(full["epochs"]) == {9} and len(full) == 4  # one promoted, three of the sample
    for row in record.trials.to_dict("records"):
        assert row["top1_val"] == law(row["number"], row["epochs"])
        halted = row["state"] == "PRUNED" and row["reason"] == f"halted after {row['epochs']} of 9 epochs"
        assert halted != (row["epochs"] == 9)
    assert set(front(record)["id"]) <= set(full["id"])
    h = halved(record)
    assert (h.nets, h.full, h.halted, h.spent, h.whole, h.sampled, h.n) == (12, 1, 11, 26, 108, 3, 4)
    values = np.array([[law(n, 1), law(n, 9)] for n in full["number"]])
    pairs = [(a, b) for i, a in enumerate(values) for b in values[:i]]
    tau = sum(np.sign((a[0] - b[0]) * (a[1] - b[1])) for a, b in pairs) / len(pairs)
    assert h.tau == pytest.approx(tau)
    promoted_ = next(t.user_attrs for t in promoted(url) if t.user_attrs["rung"] == 2)
    joins = [law(n, 9) > promoted_["top1_val"] or 0.1 + n / 10 < promoted_["latency_ms"]
             for n in (t.user_attrs["of"] for t in promoted(url) if t.user_attrs["why"] == "sample")]  # fmt: skip
    assert h.joined == sum(joins)
    text = " ".join(str(item) for item in halving_part(record))
    assert "26 by the rungs, where training all 12 nets in full takes 108 (24%)" in text and "11 halted" in text
    write_csv(record, tmp_path)


def test_a_lost_checkpoint_costs_its_epochs_and_says_so(tmp_path):
    """From the seed, to the same accuracy."""
    data, candidate, told = load("digits"), Candidate(NET), {}
    bench = FakeBench()
    bench.checkpoints = tmp_path
    bench.checkpoint = lambda candidate, seed: tmp_path / "a.ckpt"
    bench.fit = lambda candidate, net, recipe, on_epoch, checkpoint=None, until=None: fit(
        net, data, recipe, on_epoch, checkpoint, 8, until=until
    )

    def to(until):
        told.clear()
        torch.manual_seed(0)
        return new_top1(candidate, bench, build(NET), Recipe(3), told.__setitem__, lambda e, t: None, until)

    to(1)
    assert told == {"epochs_run": 1}
    whole = to(3)
    assert told == {"epochs_run": 2}
    (tmp_path / "a.ckpt").write_bytes(b"cut off")
    assert to(3) == whole and told["epochs_run"] == 3 and "cannot be read" in told["checkpoint_unusable"]
    (tmp_path / "a.ckpt").unlink()
    assert to(3) == whole and told == {"epochs_run": 3}


def test_the_display_counts_promotions_and_shows_the_front_of_whole_nets(tmp_path, trained):
    url, study = study_of(tmp_path, plan=PLAN)
    settings = type("S", (), {"halving": {"rungs": [1, 3, 9]}, "n_trials": 12, "workers": 1, "epochs": 9, "seed": 0,
                              "max_latency_ms": None})  # fmt: skip
    mine = at(url, PLAN)
    watch, studies = Watch(settings), {"": study, HALVING: mine.promotions}
    before = watch.look(studies)
    assert (before.phase, before.done, before.front) == ("search", 12, [])
    mine.run()
    after = watch.look(studies)
    assert (after.phase, after.done, after.wanted) == ("promotions", 5, 5)
    (full,) = [t.user_attrs for t in promoted(url) if t.user_attrs["rung"] == 2]
    assert [(f.what, f.top1) for f in after.front] == [(full["named"], full["top1_val"])]


def test_bad_keys_are_one_line(search):
    done = search.run("halving.eta=3", "epochs=2")
    assert done.returncode == 2 and done.stderr.startswith("error: halving.eta=3: epochs=2") and done.stderr.count("\n") == 1
    assert not search.folder.exists()


def test_a_search_with_halving_that_is_killed_on_its_way(search):
    more = [
        "n_trials=3",
        "epochs=4",
        "halving.eta=2",
        "halving.sample=1",
        "workers=1",
        "searchspace.families=[separable]",
        "ledger=false",
    ]
    process = search.start(*more)
    end = time.monotonic() + 480
    while (before := _promotions(search)) < 1:
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.1)
    kill(process)
    time.sleep(1.5)
    done = search.run(*more)
    assert done.returncode == 0, done.stderr + done.stdout
    assert "— promotions" in done.stdout and "Epochs by Pareto rank" in (search.folder / "report.md").read_text()
    record = read(f"sqlite:///{search.folder / 'study.db'}", search.name)
    h = halved(record)
    assert (h.nets, h.whole, h.sampled) == (4, 16, 1) and h.full == 1 and before >= 1
    table = record.rungs[record.rungs["state"] == "COMPLETE"]
    assert not table.duplicated(["of", "rung", "seed"]).any()
    assert h.spent <= 4 + 2 + 2 + 2, "going on costs the new epochs, and a kill at most those of the running trial"
    assert (record.trials["state"] == "COMPLETE").sum() == 2 and len(record.trials) == 4


def _promotions(search):
    """Finished ones, told by the database itself."""
    try:
        with sqlite3.connect(f"file:{search.folder / 'study.db'}?mode=ro", uri=True, timeout=5) as db:
            query = (
                "select count(*) from trials t join studies s using (study_id) where s.study_name = ? and t.state = 'COMPLETE'"
            )
            return db.execute(query, (search.name + HALVING,)).fetchone()[0]
    except sqlite3.Error:
        return 0

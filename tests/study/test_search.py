"""The main job as a user meets it: whole, resumed, interrupted, killed."""

import csv
import os
import random
import signal
import subprocess
import sys
import time

import pytest

import searchspace as ss
from tests.study.conftest import ROOT, kill, workers_of

COLUMNS = [
    "number",
    "state",
    "id",
    "origin",
    "reason",
    "seed",
    "top1_val",
    "latency_ms",
    "latency_low_ms",
    "latency_high_ms",
    "latency_n",
    "keep_rate",
    "macs_m",
    "params_m",
    "epochs",
    "seconds",
]


def searched(rows):
    return [r for r in rows if r[1] == "COMPLETE" and r[2] == "search"]


def report(search, *arguments):
    return subprocess.run(
        [sys.executable, str(ROOT / "report.py"), *arguments], cwd=search.cwd, capture_output=True, text=True, timeout=120
    )


def test_the_whole_way(search):
    done = search.run("n_trials=3")
    assert done.returncode == 0, done.stderr + done.stdout
    assert done.stdout.strip().endswith("report.html") and "This will take about" in done.stdout
    rows = search.rows()
    assert len(searched(rows)) == 3 and rows[0][2] == "anchor"
    assert len({r[3] for r in rows}) == len(rows)
    with open(search.folder / "trials.csv") as file:
        table = list(csv.DictReader(file))
    assert list(table[0])[: len(COLUMNS)] == COLUMNS and len(table) == len(rows)
    for row in table:
        assert (
            0 < float(row["latency_low_ms"]) <= float(row["latency_ms"]) <= float(row["latency_high_ms"])
            and float(row["top1_val"]) > 0
        )
    with open(search.folder / "front.csv") as file:
        front = list(csv.DictReader(file))
    assert front and all(0 <= float(r["top1_test"]) <= 100 for r in front)
    for name in ("config.yaml", "study.db", "report.html", "report.md"):
        assert (search.folder / name).stat().st_size > 0
    for row in front:
        folder = search.folder / "nets" / row["id"]
        assert {p.name for p in folder.iterdir()} == {"architecture.json", "weights.safetensors", "model.onnx", "card.json"}
        net = ss.load(folder)
        assert net.architecture.id == row["id"] and not net.training
        assert (
            net.card["latency"]["n"] >= 24
            and net.card["onnx_parity"] < 1e-4
            and abs(net.card["top1_test"] - float(row["top1_test"])) < 1e-4
        )
    assert not list(search.folder.glob("*.log")), "a worker complained"

    again = search.run("n_trials=3")
    assert again.returncode == 0 and search.rows() == rows, "the same command changes nothing"
    more = search.run("n_trials=4", "workers=1")
    assert more.returncode == 0 and len(searched(search.rows())) == 4
    other = search.run("n_trials=4", "seed=1")
    assert (
        other.returncode == 2
        and "seed: 0 → 1" in other.stderr
        and other.stderr.count("\n") == 1
        and len(searched(search.rows())) == 4
    )
    fewer = search.run("n_trials=2")
    assert fewer.returncode == 2 and "n_trials" in fewer.stderr

    assert "demo" in report(search).stdout
    best = report(search, "name=demo", "max_latency_ms=1000")
    assert best.returncode == 0 and "nets/" in best.stdout
    assert report(search, "name=demo", "max_latency_ms=0.000001").returncode == 0
    for table in ("front", "trials", "anchors"):
        shown = report(search, "name=demo", f"table={table}")
        assert shown.returncode == 0 and shown.stdout.strip(), shown.stderr
    figure = report(search, "name=demo", "figure=front")
    assert figure.returncode == 0 and (search.folder / "front.png").read_bytes()[:4] == b"\x89PNG"


def test_a_budget_keeps_slow_nets_from_training(search):
    done = search.run(
        "n_trials=1",
        "max_latency_ms=0.000001",
        "searchspace.depths=[1]",
        "searchspace.kernels=[3]",
        "searchspace.squeeze_excite=[false]",
        "searchspace.families=[separable]",
    )
    assert done.returncode == 0, done.stderr
    assert "ended early" in done.stdout and "used up" in done.stdout  # the one net of this space is over the budget
    with open(search.folder / "trials.csv") as file:
        table = list(csv.DictReader(file))
    assert {r["state"] for r in table} == {"PRUNED"} and all("max_latency_ms" in r["reason"] and not r["top1_val"] for r in table)


def test_ctrl_c_tells_how_to_go_on(search):
    process = search.start("n_trials=50")
    _wait(lambda: search.finished() >= 2, process)
    os.kill(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Interrupted" in err and "search.py" in err and "n_trials=50" in err and "Traceback" not in err


def test_a_cluster_that_takes_a_job_away_is_told_how_to_go_on(search):
    process = search.start("n_trials=50")
    _wait(lambda: workers_of(search.cwd), process)
    process.terminate()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 143, err
    assert "Terminated" in err and "n_trials=50" in err and "Traceback" not in err and workers_of(search.cwd) == []


@pytest.mark.parametrize("seed", [0])
def test_kill_9_loses_nothing_that_was_finished(search, seed):
    rng = random.Random(seed)
    kept = []
    for wanted in (1, 3):
        process = search.start("n_trials=6")
        _wait(lambda wanted=wanted: search.finished() >= wanted, process)
        time.sleep(rng.random() * 2)
        kill(process)
        time.sleep(1.5)  # the workers see that their parent is gone
        assert workers_of(search.cwd) == []
        rows = {r for r in search.rows() if r[1] == "COMPLETE"}
        assert set(kept) <= rows
        kept = rows
    done = search.run("n_trials=6")
    assert done.returncode == 0, done.stderr
    rows = search.rows()
    assert set(kept) <= set(rows) and len(searched(rows)) == 6
    trained = [r[3] for r in rows if r[1] == "COMPLETE"]
    assert len(trained) == len(set(trained)), "a net was trained twice"
    assert not any(r[1] == "RUNNING" for r in rows)


@pytest.mark.skipif(not os.path.isdir("/proc"), reason="needs /proc to see processes")
def test_workers_end_with_a_parent_that_dies_before_they_have_begun(search):
    process = search.start("n_trials=50")
    _wait(lambda: workers_of(search.cwd), process)
    kill(process)
    time.sleep(1.5)
    assert workers_of(search.cwd) == []


def test_a_sweep_makes_one_study_each_and_names_the_reports(search):
    done = search.run("-m", "seed=0,1", "n_trials=1", "name=sweep-${seed}", "control=random", "workers=1", "logger=wandb")
    assert done.returncode == 0, done.stderr
    last = done.stdout.strip().splitlines()[-1]
    assert last.startswith("Reports: ")
    for seed in (0, 1):
        folder = search.cwd / "outputs" / f"sweep-{seed}"
        assert f"sweep-{seed}/report.html" in last and (folder / "report.html").exists()
        with open(folder / "trials.csv") as file:
            rows = [(r["origin"], r["state"], r["reason"]) for r in csv.DictReader(file)]
        assert sorted(rows) == [(origin, "COMPLETE", "") for origin in ("anchor", "control", "search")]
        runs = list(folder.glob("wandb/offline-run-*/run-*.wandb"))
        assert len(runs) == 4  # a trial each, and the study's


def _wait(condition, process, seconds=180):
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.1)

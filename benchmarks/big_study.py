"""A study of 10,000 trials, and what its size could spoil; run by `python benchmarks/workers.py big`.

The trials are written straight into the tables, each with the parameters and attributes of a real one: through Optuna that would
take an hour. Then: the user's own command, from its start until a worker has chosen its first net (resume), beside a study of one
trial; in a process without a parent, suggestions with everything that a worker does between two trainings; the report.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from servers import Postgres
from workers import BIG, ROOT, Asleep, measured

LIMITS = {
    "resume_s": 10.0,
    "suggestion_pareto_gp_ms": 500.0,
    "suggestion_random_ms": 500.0,
    "suggestion_tpe_ms": 500.0,
    "report_s": 20.0,
}


def fill(url: str, trials: int) -> None:
    """Makes the study; nets drawn at random, no one twice."""
    import json

    import optuna
    from optuna.distributions import distribution_to_json
    from optuna.storages._rdb import models
    from sqlalchemy import insert, text

    from study.storing.storage import mine, open_storage, open_study

    storage = open_storage(url)
    study = open_study(storage, "big", ["maximize", "minimize"])
    bench, runner, rng = Asleep(trials), mine(), random.Random(0)
    base = study.ask()._trial_id + 1
    study.tell(0, state=optuna.trial.TrialState.FAIL)
    tables: dict[Any, list[dict[str, Any]]] = {
        m: [] for m in (models.TrialModel, models.TrialParamModel, models.TrialUserAttributeModel, models.TrialValueModel)
    }
    seen: set[str] = set()
    number = seed = 0
    while number < trials:
        seed += 1
        drawn = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed)).ask()  # one study would grow
        net = bench.space.suggest(drawn)
        if net.id in seen:
            continue
        seen.add(net.id)
        number += 1
        told: dict[str, Any] = {"runner": runner, "origin": "search", "id": net.id, "architecture": net.to_dict(), "seed": 0,
                                "choices": drawn.params}  # fmt: skip
        found = measured(type("C", (), {"architecture": net, "id": net.id}), bench, 0, told.__setitem__, lambda *a: None, 0.0)
        told |= found.to_dict()
        id_, now = base + number, drawn.datetime_start
        tables[models.TrialModel].append({"trial_id": id_, "number": number, "study_id": study._study_id, "state": "COMPLETE",
                                          "_datetime_start_utc": now, "_datetime_complete_utc": now})  # fmt: skip
        for name, value in drawn.params.items():
            d = drawn.distributions[name]
            tables[models.TrialParamModel].append({"trial_id": id_, "param_name": name, "param_value": d.to_internal_repr(value),
                                                   "distribution_json": distribution_to_json(d)})  # fmt: skip
        tables[models.TrialUserAttributeModel] += [
            {"trial_id": id_, "key": k, "value_json": json.dumps(v)} for k, v in told.items()
        ]
        tables[models.TrialValueModel] += [
            {"trial_id": id_, "objective": k, "value": v * (1 + 1e-6 * rng.random()), "value_type": "FINITE"}
            for k, v in enumerate((found.top1_val, found.latency_ms))
        ]
    with storage.engine.begin() as db:
        for model, rows in tables.items():
            for k in range(0, len(rows), 5000):
                db.execute(insert(model), rows[k : k + 5000])
        db.execute(text("select setval(pg_get_serial_sequence('trials', 'trial_id'), (select max(trial_id) from trials))"))


SEARCH = ["searchspace=mobile", "data=digits", "searchspace.resolutions=[16,24]", "epochs=1", "max_latency_ms=null",
          "anchors=none", "logger=none", f"n_trials={2 * BIG}"]  # fmt: skip


def resumed(url: str, name: str, sampler: str, folder: str, workers: int) -> float:
    """Seconds from `python search.py ...` until a worker has its first net; the search is interrupted then."""
    import psycopg

    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as db:

        def asked(sql: str, *values: int) -> int:
            return int((db.execute(sql, values).fetchone() or (0,))[0])

        before = asked("select coalesce(max(trial_id), 0) from trials")
        command = [sys.executable, str(ROOT / "search.py"), *SEARCH, f"name={name}", f"storage={url}", f"sampler={sampler}",
                   f"workers={workers}"]  # fmt: skip
        begun = time.perf_counter()
        with subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as search:
            while not asked("select count(*) from trial_user_attributes where trial_id > %s and key = 'id'", before):
                if search.poll() is not None:
                    raise RuntimeError(search.stderr.read() if search.stderr else "it ended")
                time.sleep(0.05)
            took = time.perf_counter() - begun
            search.terminate()
            search.communicate()
        db.execute("update trials set state = 'FAIL' where state in ('RUNNING', 'WAITING')")  # the next begins as this one did
    return took


SUGGEST = """
import sys, time
sys.path[:0] = [{root!r}, {root!r} + "/benchmarks"]
from workers import Asleep, measured
import study.searcher as searching
from study.storing.storage import open_storage, open_study
from study.tracking import NoTracker
study = open_study(open_storage({url!r}), "big", ["maximize", "minimize"])
asked = []
def quick(candidate, bench, seed, report, on_epoch):
    asked.append(time.perf_counter())
    return measured(candidate, bench, seed, report, on_epoch, 0.0)
searching.run_trial = quick
there = sum(t.state.name == "COMPLETE" and t.user_attrs.get("origin") == "search" and "duplicate_of" not in t.user_attrs
            for t in study.get_trials(deepcopy=False))
searching.Searcher(study, Asleep(there + 11), {sampler!r}, 0, "search", NoTracker(), edits={sampler!r} == "tpe").run()
gaps = sorted(b - a for a, b in zip(asked, asked[1:]))
print(1e3 * gaps[len(gaps) // 2], 1e3 * gaps[-1])
"""


def suggested(url: str, sampler: str, folder: str) -> tuple[float, float]:
    """In a process of its own: ms from one training to the next, the median and the worst of ten."""
    code = SUGGEST.format(root=str(ROOT), url=url, sampler=sampler)
    one = {**os.environ, "OMP_NUM_THREADS": "1"}  # as study/workers.py gives each of two workers on two cores
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=folder, check=True, env=one)
    median, worst = map(float, done.stdout.split())
    return median, worst


def main() -> int:
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder, Postgres() as server:
        url = server.url("big")
        begun = time.perf_counter()
        fill(url, BIG)
        print(f"{BIG} trials written in {time.perf_counter() - begun:.0f} s", flush=True)
        print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}", flush=True)
        for name in ("small", "big"):
            resumed(url, name, "pareto_gp", folder, 1)  # the first time also times some nets, to estimate what is to come
        small = resumed(url, "small", "pareto_gp", folder, 1)
        print(f"a study of one trial goes on after {small:.1f} s", flush=True)
        for workers in (1, 2):
            took = resumed(url, "big", "pareto_gp", folder, workers)
            found["resume_s"] = max(found.get("resume_s", 0.0), took)
            print(f"this one with {workers} worker{'s' * (workers > 1)} after {took:.1f} s", flush=True)
        for sampler in ("pareto_gp", "random", "tpe"):
            median, worst = suggested(url, sampler, folder)
            found[f"suggestion_{sampler}_ms"] = median
            print(f"{sampler}: from one training to the next {median:.0f} ms (median of 10; worst {worst:.0f})", flush=True)
        begun = time.perf_counter()
        report = [sys.executable, str(ROOT / "report.py"), "name=big", f"storage={url}"]
        done = subprocess.run(report, cwd=folder, capture_output=True, text=True)
        found["report_s"] = time.perf_counter() - begun
        written = (Path(folder) / "outputs/big/report.html").exists()
        print(f"report in {found['report_s']:.1f} s, code {done.returncode}{done.stderr[-500:]}", flush=True)
    missed = [f"{k} {found[k]:.1f} (limit {limit:g})" for k, limit in LIMITS.items() if found[k] > limit]
    print("missed: " + ", ".join(missed) if missed else "all within their limits")
    return int(bool(missed or not written))

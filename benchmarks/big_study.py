"""A study of 10,000 trials, and what its size could spoil; run by `python benchmarks/workers.py big`.

The trials are written straight into the tables, each with the parameters and attributes of a real one: through Optuna that would
take an hour. Then, in fresh processes: opening the study until the first proposal is made (resume), suggestions with everything
that the worker does between two trainings, the report.
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
    study.set_user_attr("settings", {"n_trials": trials, "searchspace": {"name": "mobile"}, "anchors": []})
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


RESUME = """
import sys, time
begun = time.perf_counter()
sys.path[:0] = [{root!r}, {root!r} + "/benchmarks"]
from workers import Asleep, measured
import study.searcher as searching
import trainers.supervised  # as a worker does
from study.storing.storage import open_storage, open_study
from study.tracking import NoTracker
imported = time.perf_counter()
study = open_study(open_storage({url!r}), {name!r}, ["maximize", "minimize"])
asked = []
def quick(candidate, bench, seed, report, on_epoch):
    asked.append(time.perf_counter())
    return measured(candidate, bench, seed, report, on_epoch, 0.0)
searching.run_trial = quick
searcher = searching.Searcher(study, Asleep({more}), {sampler!r}, 0, "search", NoTracker(), edits={sampler!r} == "tpe")
searcher.run()
gaps = sorted(b - a for a, b in zip(asked, asked[1:]))
print(asked[0] - begun, asked[0] - imported, 1e3 * gaps[len(gaps) // 2], 1e3 * gaps[-1])
"""


def resumed(url: str, name: str, sampler: str, more: int, folder: str) -> tuple[float, float, float, float]:
    """In a process of its own: seconds from its start to the first proposal, those after the imports, ms from one training to
    the next, the median and the worst."""
    code = RESUME.format(root=str(ROOT), url=url, name=name, more=more, sampler=sampler)
    one = {**os.environ, "OMP_NUM_THREADS": "1"}  # as study/workers.py gives each of two workers on two cores
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=folder, check=True, env=one)
    whole, resume, median, worst = map(float, done.stdout.split())
    return whole, resume, median, worst


def main() -> int:
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder, Postgres() as server:
        url = server.url("big")
        begun = time.perf_counter()
        fill(url, BIG)
        print(f"{BIG} trials written in {time.perf_counter() - begun:.0f} s", flush=True)
        print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}", flush=True)
        whole, resume, _, _ = resumed(url, "empty", "pareto_gp", 11, folder)
        print(f"a study without trials begins after {whole:.1f} s ({resume:.1f} s after the imports)", flush=True)
        more = BIG
        for sampler in ("pareto_gp", "random", "tpe"):
            more += 11
            whole, resume, median, worst = resumed(url, "big", sampler, more, folder)
            found["resume_s"] = max(found.get("resume_s", 0.0), whole)
            found[f"suggestion_{sampler}_ms"] = median
            print(f"{sampler}: resumed in {whole:.1f} s ({resume:.1f} s after the imports); from one training to the next "
                  f"{median:.0f} ms (median of 10; worst {worst:.0f})", flush=True)  # fmt: skip
        begun = time.perf_counter()
        report = [sys.executable, str(ROOT / "report.py"), "name=big", f"storage={url}"]
        done = subprocess.run(report, cwd=folder, capture_output=True, text=True)
        found["report_s"] = time.perf_counter() - begun
        written = (Path(folder) / "outputs/big/report.html").exists()
        print(f"report in {found['report_s']:.1f} s, code {done.returncode}{done.stderr[-500:]}", flush=True)
    missed = [f"{k} {found[k]:.1f} (limit {limit:g})" for k, limit in LIMITS.items() if found[k] > limit]
    print("missed: " + ", ".join(missed) if missed else "all within their limits")
    return int(bool(missed or not written))

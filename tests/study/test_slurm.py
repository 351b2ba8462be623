"""One study by four jobs of a real Slurm, through Hydra's launcher, on a real PostgreSQL. Skipped where either is missing."""

import csv
import re
import subprocess
import sys

import pytest

from benchmarks.servers import Postgres, Slurm
from tests.study.conftest import ROOT, SMALL

WHY = Slurm.missing() or Postgres.missing()
pytestmark = pytest.mark.skipif(bool(WHY), reason=WHY or "there is one")


@pytest.fixture(scope="module")
def cluster():
    with Postgres() as server, Slurm() as slurm:
        yield server, slurm


def launch(cwd, slurm, url, *more):
    command = [sys.executable, str(ROOT / "search.py"), "-m", "hydra/launcher=submitit_slurm", *SMALL, f"storage={url}", *more]
    environment = {**slurm.environment, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=550)


def test_four_jobs_are_workers_of_one_study(cluster, tmp_path):
    server, slurm = cluster
    url = server.url("slurm")
    done = launch(tmp_path, slurm, url, "worker=range(0,4)", "name=big", "n_trials=8")
    logs = sorted((tmp_path / "outputs/.submitit").glob("*/*_log.out"))
    told = "".join(log.read_text() for log in logs)
    assert done.returncode == 0, done.stderr + told
    assert done.stdout.strip().endswith("Reports: outputs/big/report.html")
    with open(tmp_path / "outputs/big/trials.csv") as file:
        rows = list(csv.DictReader(file))
    trained = [r["id"] for r in rows if r["state"] == "COMPLETE" and r["origin"] == "search"]
    assert len(trained) == len(set(trained)) == 8
    assert [r["origin"] for r in rows].count("anchor") == 1, "queued once, whoever came first"
    workers = server.sql(
        "select count(distinct value_json::json->>'pid') from trial_user_attributes where key = 'runner'", "slurm"
    )
    assert len(logs) == 4 and int(workers) >= 2, "several jobs took part"
    written = len(re.findall(r"report\.html$", told, re.M))
    assert written == 1 and written + told.count("the last of them writes the report") == 4
    assert server.sql("select value_json from study_user_attributes where key = 'command'", "slurm").startswith('"python ')
    assert not list((tmp_path / "outputs/big").glob(".at-work-*"))

    # another study of the same nets: what jobs of the first have trained is in the storage's ledger
    again = launch(tmp_path, slurm, url, "worker=range(0,2)", "name=again", "n_trials=4")
    assert again.returncode == 0, again.stderr
    said = "".join(log.read_text() for log in (tmp_path / "outputs/.submitit").glob("*/*_log.out"))
    reused = re.search(r"From the ledger: (\d+) trainings? reused, of big", said)
    assert reused and int(reused[1]) >= 2, said[-2000:]

    refused = launch(tmp_path, slurm, url, "worker=range(0,2)", "name=big", "n_trials=8", "seed=1")
    assert refused.returncode == 2, refused.stderr
    assert "seed: 0 → 1" in refused.stderr.splitlines()[-1] and "Traceback" not in refused.stderr

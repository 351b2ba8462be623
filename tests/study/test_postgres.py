"""A study on a real PostgreSQL: several machines' processes, a server that goes away, kills, passwords. Skipped without one."""

import os
import random
import signal
import subprocess
import sys
import threading
import time

import pytest

from benchmarks.servers import Postgres
from tests.study.conftest import ROOT, Search, kill, workers_of

pytestmark = pytest.mark.skipif(bool(Postgres.missing()), reason=Postgres.missing() or "there is one")
FEW = ("finalists.epochs=1", "workers=2")


@pytest.fixture(scope="module")
def server():
    with Postgres() as running:
        yield running


class Shared(Search):
    """A search whose study lives on the server, in a database of its own."""

    def __init__(self, cwd, server, database):
        super().__init__(cwd)
        self.server, self.database = server, database
        self.url = server.url(database)

    def command(self, *more):
        return [*super().command(f"storage={self.url}"), *more]

    def finished(self, suffix=""):
        told = self.server.sql(
            "select count(*) from trials join studies using (study_id) "
            f"where study_name = '{self.name}{suffix}' and state = 'COMPLETE'",
            self.database, check=False,
        )  # fmt: skip
        return int(told or 0)

    def rows(self, suffix=""):
        """(number, state, origin, id, values) of the trials that are rows."""
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        study = optuna.load_study(study_name=self.name + suffix, storage=self.url)
        return [
            (t.number, t.state.name, t.user_attrs.get("origin"), t.user_attrs.get("id"), tuple(t.values or ()))
            for t in study.get_trials(deepcopy=False)
            if not {"duplicate_of", "withdrawn"} & t.user_attrs.keys()
        ]


def trained(rows):
    done = [r for r in rows if r[1] == "COMPLETE"]
    assert len({r[3] for r in done}) == len(done), "a net was trained twice"
    assert not any(r[1] == "RUNNING" for r in rows)
    return [r for r in done if r[2] == "search"]


def wait_for(condition, *processes, seconds=240):
    end = time.monotonic() + seconds
    while not condition():
        for p in processes:
            assert p.poll() is None, p.communicate()
        assert time.monotonic() < end
        time.sleep(0.1)


def test_two_machines_join_one_study_by_the_same_command(tmp_path, server):
    """Two folders stand for two machines without a shared disk."""
    machines = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        machines.append(Shared(tmp_path / name, server, "join"))
    processes = [m.start("n_trials=5", "workers=1") for m in machines]
    ends = [p.communicate(timeout=300) for p in processes]
    assert [p.returncode for p in processes] == [0, 0], ends
    rows = machines[0].rows()
    assert len(trained(rows)) == 5 and sum(r[2] == "anchor" for r in rows) == 1
    hosts = server.sql("select count(distinct value_json::json->>'pid') from trial_user_attributes where key = 'runner'", "join")
    assert int(hosts) == 2, "both took part"
    for m in machines:
        assert (m.folder / "report.html").exists()
    other = machines[1].run("n_trials=5", "seed=1", "name=demo")
    assert other.returncode == 2 and other.stderr.count("\n") == 1 and "seed: 0 → 1" in other.stderr
    elsewhere = Shared(tmp_path, server, "join")  # a folder that has never heard of this study
    other = elsewhere.run("n_trials=5", "epochs=2")
    assert other.returncode == 2 and "the storage holds this study with other settings (epochs: 1 → 2)" in other.stderr
    server.sql("update study_user_attributes set value_json = replace(value_json, '\"cpu\": \"', '\"cpu\": \"Abacus ') "
               "where key = 'machine'", "join")  # fmt: skip
    other = elsewhere.run("n_trials=5")
    assert other.returncode == 2 and "another kind of machine (cpu: Abacus" in other.stderr and other.stderr.count("\n") == 1


def test_a_server_that_goes_away_is_waited_for(tmp_path, server):
    search = Shared(tmp_path, server, "away")
    process = search.start("n_trials=6", *FEW)
    wait_for(lambda: search.finished() >= 2, process)
    server.stop()
    restart = threading.Timer(30, server.start)
    restart.start()
    out, err = process.communicate(timeout=300)
    restart.join()
    assert process.returncode == 0, err
    assert "The storage does not answer" in out and "Traceback" not in err
    assert len(trained(search.rows())) == 6


def test_kill_9_of_a_worker_the_server_and_the_parent_loses_nothing(tmp_path, server):
    rng = random.Random(1)
    search = Shared(tmp_path, server, "kills")
    kept = set()
    process = search.start("n_trials=9", *FEW)
    for wanted, victim in ((1, "worker"), (3, "server"), (5, "parent")):
        wait_for(lambda wanted=wanted: search.finished() >= wanted, process)
        time.sleep(rng.random() * 2)
        before = {r for r in search.rows() if r[1] == "COMPLETE"}
        assert kept <= before
        kept = before
        if victim == "worker":
            os.kill(rng.choice(workers_of(search.cwd)), signal.SIGKILL)
        elif victim == "server":
            server.kill()
            server.start()
        else:
            kill(process)
    process.communicate()
    done = search.run("n_trials=9", *FEW)
    assert done.returncode == 0, done.stderr
    rows = search.rows()
    assert kept <= set(rows) and len(trained(rows)) == 9
    finals = search.rows(".finalists")
    assert finals and all(r[1] in ("COMPLETE", "FAIL") for r in finals)


def test_a_password_is_neither_told_nor_written(tmp_path, server):
    secret = "s3cret-of-ours"  # the server trusts everybody; what matters is where it is found afterwards
    search = Shared(tmp_path, server, "secret")
    search.url = server.url("secret", password=secret)
    process = search.start("n_trials=40", "workers=1", "logger=wandb")
    wait_for(lambda: search.finished() >= 1, process)
    os.kill(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130 and "storage=postgresql+psycopg://optuna:***@" in err
    refused = search.run("-m", "worker=0,1", "n_trials=1")
    assert refused.returncode == 2 and "PGPASSWORD" in refused.stderr and refused.stderr.count("\n") == 1
    wrong = search.run("n_trials=1", "storage=postgresql+psycopg://me:" + secret + "@127.0.0.1:1/none", "name=other")
    assert wrong.returncode == 2 and "cannot be opened" in wrong.stderr and wrong.stderr.count("\n") == 1
    told = out + err + "".join(d.stdout + d.stderr for d in (refused, wrong))
    told += server.sql("select value_json from study_user_attributes union all select value_json from trial_user_attributes",
                       "secret")  # fmt: skip
    assert (secret not in told and "settings" in told) or "hardware" in told
    files = [p for p in tmp_path.rglob("*") if p.is_file()]
    assert {"config.yaml", ".settings.json"} <= {p.name for p in files}
    assert [p for p in files if secret.encode() in p.read_bytes()] == []
    report = subprocess.run([sys.executable, str(ROOT / "report.py"), "name=demo"], cwd=tmp_path, capture_output=True, text=True)
    assert report.returncode == 0, report.stderr  # by the URL of config.yaml; the server asks for no password


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 3 MB, where one may be mounted."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.geteuid() or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(disk)]).returncode:
        pytest.skip("a small disk needs root and mount")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_disk_that_fills_up_is_waited_for_and_the_same_command_goes_on(tmp_path, small_disk):
    """SQLite on a full disk: the search says so and waits; with room again it goes on, and nothing is lost."""
    search = Search(tmp_path)
    storage = f"storage=sqlite:///{small_disk / 'study.db'}"

    def finished():
        import sqlite3

        try:
            with sqlite3.connect(f"file:{small_disk / 'study.db'}?mode=ro", uri=True, timeout=5) as db:
                asked = (
                    "select count(*) from trials join studies using (study_id) where study_name = 'demo' and state = 'COMPLETE'"
                )
                return db.execute(asked).fetchone()[0]
        except sqlite3.Error:
            return 0

    process = search.start("n_trials=4", "workers=1", storage)
    wait_for(lambda: finished() >= 1, process)
    filler = small_disk / "filler"
    with open(filler, "wb", buffering=0) as file:
        for size in (65536, 512, 1):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                pass
    log = search.folder / "worker-0.log"
    wait_for(lambda: log.exists() and "The storage does not answer (database or disk is full" in log.read_text(), process)
    held = finished()
    filler.unlink()
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err + out
    assert held <= finished() == 5  # four nets and the anchor

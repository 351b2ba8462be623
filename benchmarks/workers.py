"""How much of their time many workers lose to each other: `python benchmarks/workers.py`, on a PostgreSQL of its own.

Sixteen processes take trials of one study; a trial sleeps a second instead of training, the sampler is random. Counted from the
first trial of 320 to the last that all are at work on, against sixteen trials a second. What is lost is told by whom: seconds a
trial that a worker spends in our own code, in Optuna's (its storage layer included), and waiting for the server.

`python benchmarks/workers.py big` makes a study of 10,000 trials and times what its size could spoil: going on with it until
the first proposal, a suggestion, the report.
docs/results/cluster/workers.md holds a run of both.
"""

from __future__ import annotations

import multiprocessing as mp
import os
import platform
import random
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from servers import Postgres  # noqa: E402

WORKERS, SLEEP_S, TRIALS = 16, 1.0, 320
BIG = 10_000


class Asleep:
    """What a Searcher needs of a bench, and no data."""

    predictor = None

    def __init__(self, n_trials: int, budget: float | None = None):
        from searchspace.space import SearchSpace

        self.space = SearchSpace(classes=10, in_channels=1, resolutions=(16, 24))
        self.settings = type("S", (), {"n_trials": n_trials, "seed": 0, "control": None, "max_latency_ms": budget})()


def measured(candidate: Any, bench: Any, seed: int, report: Any, on_epoch: Any, sleep_s: float = SLEEP_S) -> Any:
    """A trial that takes a second and reports what a real one does."""
    from study.trial import Measurements

    size = sum(b.out for b in candidate.architecture.blocks)
    report("macs_m", size / 10)
    report("params_m", size / 1e3)
    report("doing", "measuring")
    for key in ("machine", "engine", "precision", "threads", "batch", "pace", "least_ms", "latency_ms", "latency_low_ms",
                "latency_high_ms", "latency_n", "keep_rate", "slices"):  # fmt: skip
        report(key, size / 100)
    report("doing", "training")
    time.sleep(sleep_s)
    top1 = 50 + random.Random(candidate.id).random() * 40
    on_epoch(1, top1)
    return Measurements(top1, size / 100, size / 101, size / 99, 24, False, "none", None, size / 10, size / 1e3, 1, sleep_s)


def work(url: str, index: int, ready: Any, go: Any, done_with: Any, out: Any) -> None:
    """One worker process: a real Searcher on the real storage, its time told apart by whom."""
    import study.searcher as searching
    from study.storing.storage import open_storage, open_study
    from study.tracking import NoTracker

    spent = {"storage": 0.0, "server": 0.0, "asleep": 0.0}
    storage = open_storage(url)
    _count_storage(spent)
    _count_server(storage.engine, spent)

    def asleep(*arguments: Any) -> Any:
        begun, before = time.perf_counter(), spent["storage"]
        found = measured(*arguments)
        spent["asleep"] += time.perf_counter() - begun - (spent["storage"] - before)
        return found

    searching.run_trial = asleep
    study = open_study(storage, "bench", ["maximize", "minimize"])
    searcher = searching.Searcher(study, Asleep(TRIALS), "random", index, "search", NoTracker())  # type: ignore[arg-type]
    spent.update(dict.fromkeys(spent, 0.0))
    ready.release()
    go.wait()
    begun, cpu = time.perf_counter(), time.process_time()
    if os.environ.get("PROFILE") and index == WORKERS - 1:
        import cProfile

        profile = cProfile.Profile(time.process_time)
        profile.runcall(searcher.run)
        profile.dump_stats(os.environ["PROFILE"])
    else:
        searcher.run()
    out.put({**spent, "wall": time.perf_counter() - begun, "cpu": time.process_time() - cpu, "trials": _mine(study)})
    done_with.wait()


def _mine(study: Any) -> int:
    return sum(t.user_attrs.get("runner", {}).get("pid") == os.getpid() and t.state.name == "COMPLETE" for t in study.trials)


def _count_storage(spent: dict[str, float]) -> None:
    """Time within Optuna's storage layer, the server's included, of the thread that searches."""
    import threading

    from optuna.storages import _CachedStorage

    main, depth = threading.current_thread(), [0]

    def timed(plain: Any) -> Any:
        def call(*args: Any, **named: Any) -> Any:
            if threading.current_thread() is not main or depth[0]:
                return plain(*args, **named)
            depth[0], begun = 1, time.perf_counter()
            try:
                return plain(*args, **named)
            finally:
                depth[0] = 0
                spent["storage"] += time.perf_counter() - begun

        return call

    from study.storing.patience import PatientStorage

    for name in [n for n in vars(_CachedStorage) if not n.startswith("__") and callable(getattr(_CachedStorage, n))]:
        setattr(_CachedStorage, name, timed(getattr(_CachedStorage, name)))
    PatientStorage.set_trial_user_attrs = timed(PatientStorage.set_trial_user_attrs)  # type: ignore[method-assign]


def _count_server(engine: Any, spent: dict[str, float]) -> None:
    """Time that statements and commits wait for the server."""
    from sqlalchemy import event

    begun: list[float] = []
    event.listen(engine, "before_cursor_execute", lambda *a: begun.append(time.perf_counter()))
    event.listen(
        engine, "after_cursor_execute", lambda *a: spent.update(server=spent["server"] + time.perf_counter() - begun.pop())
    )
    commit = engine.dialect.do_commit

    def timed(connection: Any) -> None:
        at = time.perf_counter()
        commit(connection)
        spent["server"] += time.perf_counter() - at

    engine.dialect.do_commit = timed


def _cpu_s(postmaster: int) -> float:
    """CPU seconds of a server's processes, so far."""
    children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
    ticks = 0
    for pid in [str(postmaster), *children]:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def many() -> float:
    """Share of linear that sixteen workers reach."""
    load = os.getloadavg()[0]
    with Postgres() as server:
        import study.searcher  # noqa: F401  once, and nothing is computed before the fork: sixteen imports of torch take minutes

        url, context = server.url("bench"), mp.get_context("fork")
        ready, go, done_with, out = context.Semaphore(0), context.Event(), context.Event(), context.Queue()
        processes = [context.Process(target=work, args=(url, i, ready, go, done_with, out)) for i in range(WORKERS)]
        for p in processes:
            p.start()
        for _ in processes:
            ready.acquire()
        go.set()
        told = [out.get() for _ in processes]
        server_s = _cpu_s(server.pid)  # of backends that still run: the workers have not ended yet
        done_with.set()
        for p in processes:
            p.join()
        seconds = [float(s) for s in server.sql(
            "select extract(epoch from datetime_start), extract(epoch from datetime_complete) from trials where state = "
            "'COMPLETE' order by 2", "bench").replace("|", "\n").split()]  # fmt: skip
        begun, ended = seconds[::2], seconds[1::2]
        ids = int(server.sql("select count(distinct value_json) from trial_user_attributes where key = 'id'", "bench"))
    done = len(ended)
    assert done == TRIALS and ids >= TRIALS, (done, ids)
    wall = ended[-WORKERS] - min(begun)  # to the moment when the first worker finds nothing left
    rate = (done - WORKERS + 1) / wall
    share = rate / (WORKERS / SLEEP_S)
    each = {k: sum(t[k] for t in told) / done for k in told[0] if k != "trials"}
    ours = each["wall"] - each["asleep"] - each["storage"]
    print(f"{platform.machine()}, {os.cpu_count()} cores, load before {load:.1f}")
    print(f"{done} trials of {SLEEP_S:g} s by {WORKERS} workers: {wall:.1f} s, {rate:.2f} a second, {share:.2f} of linear")
    print(f"a trial of {each['wall']:.3f} s: asleep {each['asleep']:.3f}, ours {ours:.3f}, Optuna's storage "
          f"{each['storage'] - each['server']:.3f}, waiting for the server {each['server']:.3f}")  # fmt: skip
    print(f"CPU of a trial: its worker {each['cpu']:.3f} s, the server {server_s / done:.3f} s; this machine has "
          f"{(os.cpu_count() or 1) * SLEEP_S / WORKERS:.3f} s for it, of which others took their part")  # fmt: skip
    return share


if __name__ == "__main__":
    if sys.argv[1:] == ["big"]:
        from big_study import main

        sys.exit(main())
    sys.exit(int(many() < 0.8))

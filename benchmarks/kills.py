"""Kills a real search again and again, at random moments, and checks what is left.

    python benchmarks/kills.py 12              # SQLite; the parent is killed, its workers must notice by themselves
    python benchmarks/kills.py 50 postgres     # four workers on PostgreSQL; a worker, the server or the parent

After each kill -9 every trial that was finished before must still be there, unchanged; at the end the count must be what was
asked for, and no net trained twice. Exit code 1 if not. A server is started again after a moment, a parent by the same command;
a search that comes to its end before the kills do is asked for more nets.
The nets are tiny and the images digits: this is about the storage, not about accuracy. docs/results/kills.md holds a run.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import optuna

sys.path.insert(0, str(Path(__file__).resolve().parent))
from servers import Postgres

ROOT = Path(__file__).resolve().parent.parent
SMALL = [
    "searchspace.skeletons=[mobilenet_v1]",
    "searchspace.alphas=[0.25]",
    "searchspace.families=[separable,residual]",
    "data.resolutions=[12]",
    "data.resolution=12",
    "data.fraction=0.3",
    "anchors=[mobilenet_v1-0.25]",
    "epochs=1",
    "finalists.epochs=1",
    "hardware.spread_s=0",
    "logger=none",
    "name=kills",
]
Rows = dict[tuple[str, int], tuple[str, tuple[float, ...]]]


class Marathon:
    """One search in a folder, started again whenever it is not running."""

    def __init__(self, folder: Path, server: Postgres | None, nets: int):
        self.folder, self.server, self.nets, self.more = folder, server, nets, nets // 2
        self.url = server.url("kills") if server else f"sqlite:///{folder / 'outputs/kills/study.db'}"
        self.process: subprocess.Popen[bytes] | None = None
        self.failures: list[str] = []

    def command(self) -> list[str]:
        shared = [f"storage={self.url}", "workers=4"] if self.server else []
        return [sys.executable, str(ROOT / "search.py"), *SMALL, *shared, f"n_trials={self.nets}"]

    def finished(self) -> Rows:
        """(stage, number) -> (id, values) of all that is trained, proposals seen before left out."""
        found: Rows = {}
        for stage in ("", ".finalists"):
            try:
                study = optuna.load_study(study_name="kills" + stage, storage=self.url)
            except Exception:  # not made yet
                continue
            for t in study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,)):
                if "duplicate_of" not in t.user_attrs:
                    found[stage, t.number] = t.user_attrs["id"], tuple(t.values)
        return found

    def run_for(self, seconds: float) -> None:
        """The search runs for so long; one that is complete is asked for more, one that fails is written down."""
        end = time.monotonic() + seconds
        while True:
            if self.process is None:
                with open(self.folder / "errors", "ab") as errors:
                    self.process = subprocess.Popen(
                        self.command(), cwd=self.folder, stdout=subprocess.DEVNULL, stderr=errors, start_new_session=True
                    )
            try:
                code = self.process.wait(max(0.0, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                return
            self.process = None
            if code:
                self.failures.append(f"code {code}: {(self.folder / 'errors').read_text()[-300:]}")
                print(f"the search ended by itself, {self.failures[-1]}", flush=True)
            else:
                self.nets += self.more
                print(f"the search is complete: {self.nets} nets are asked for from now on", flush=True)

    def run_until_one_more(self, count: int, limit_s: float = 120) -> None:
        end = time.monotonic() + limit_s
        while len(self.finished()) <= count and time.monotonic() < end:
            self.run_for(0.5)

    def kill(self, victim: str, rng: random.Random) -> None:
        assert self.process is not None
        if victim == "server":
            assert self.server is not None
            self.server.kill()
            time.sleep(rng.uniform(0, 3))
            self.server.start()
        elif victim == "worker":
            children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
            if children:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(rng.choice(children)), signal.SIGKILL)
        else:
            os.kill(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None
            time.sleep(1.5)  # the workers see that their parent is gone


def main(kills: int, server: Postgres | None) -> int:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    rng = random.Random(0)
    lost, begun = 0, time.monotonic()
    victims = ("worker", "server", "parent") if server else ("parent",)
    hit: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as made:
        marathon = Marathon(Path(made), server, 30 if server else 60)
        after: Rows = {}
        for kill in range(kills):
            before, victim = after, rng.choice(victims)
            if kill % 4 == 1:  # else it might be killed again and again before it has begun to train
                marathon.run_until_one_more(len(before))
            marathon.run_for(rng.uniform(0, 6))
            before = {**before, **marathon.finished()}
            marathon.kill(victim, rng)
            hit[victim] += 1
            after = marathon.finished()
            gone = {n for n, row in before.items() if after.get(n) != row}
            lost += len(gone)
            print(f"{time.monotonic() - begun:6.0f} s  kill {kill + 1:2} ({victim}): {len(before):3} finished before, "
                  f"{len(after):3} after, {len(gone)} lost", flush=True)  # fmt: skip
        if marathon.process:
            marathon.process.wait()
        done = subprocess.run(marathon.command(), cwd=made, capture_output=True, text=True)
        end = marathon.finished()
    lost += sum(end.get(n) != row for n, row in after.items())
    search = [net for (stage, _), (net, _) in end.items() if not stage]
    finals = [net for (stage, _), (net, _) in end.items() if stage]
    searched = len(search) - 1  # one is the anchor
    twice = len(search) - len(set(search)) + len(finals) - len(set(finals))
    of = ", ".join(f"{n} of the {v}" for v, n in sorted(hit.items()))
    print(f"{kills} kills ({of}) in {time.monotonic() - begun:.0f} s: {lost} finished trials lost, {searched} of {marathon.nets} "
          f"nets trained, {len(finals)} finalists, {twice} trained twice, {len(marathon.failures)} times it ended by itself with "
          f"an error, last run's exit code {done.returncode}")  # fmt: skip
    return int(bool(lost or searched != marathon.nets or twice or marathon.failures or done.returncode))


if __name__ == "__main__":
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 12
    if sys.argv[2:] != ["postgres"]:
        sys.exit(main(count, None))
    with Postgres() as postgres:
        sys.exit(main(count, postgres))

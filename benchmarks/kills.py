"""Kills a real search again and again, at random moments, and checks what is left: `python benchmarks/kills.py 12`.

After each kill -9 of the parent (the workers must notice by themselves) every trial that was finished before must still be
there, unchanged; at the end the count must be what was asked for, and no net trained twice. Exit code 1 if not.
The nets are tiny and the images digits: this is about the storage, not about accuracy. docs/results/kills.md holds a run.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import optuna

ROOT = Path(__file__).resolve().parent.parent
TRIALS = 60
SMALL = [
    "searchspace.skeletons=[mobilenet_v1]",
    "searchspace.alphas=[0.25]",
    "searchspace.families=[separable,residual]",
    "data.resolutions=[12]",
    "data.resolution=12",
    "anchors=[mobilenet_v1-0.25]",
    "epochs=1",
    "finalists.epochs=1",
    "hardware.spread_s=0",
    "logger=none",
    "name=kills",
]


def finished(folder: Path) -> dict[int, tuple[str, tuple[float, ...]]]:
    """Number -> (id, values) of the trained nets, proposals seen before left out."""
    storage = f"sqlite:///{folder / 'outputs/kills/study.db'}"
    try:
        study = optuna.load_study(study_name="kills", storage=storage)
    except Exception:  # not made yet
        return {}
    rows = [t for t in study.get_trials(deepcopy=False) if t.state == optuna.trial.TrialState.COMPLETE]
    return {t.number: (t.user_attrs["id"], tuple(t.values)) for t in rows if "duplicate_of" not in t.user_attrs}


def main(kills: int) -> int:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    rng = random.Random(0)
    lost, restarts = 0, []
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        command = [sys.executable, str(ROOT / "search.py"), *SMALL, f"n_trials={TRIALS}"]
        for kill in range(kills):
            before = finished(folder)
            process = subprocess.Popen(
                command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
            )
            wait = rng.uniform(2, 25)  # from before the workers have begun to the middle of trials
            try:
                process.wait(wait)
                print(f"kill {kill + 1}: the search ended by itself, code {process.returncode}")
                break
            except subprocess.TimeoutExpired:
                os.kill(process.pid, signal.SIGKILL)
                process.wait()
            time.sleep(1.5)
            after = finished(folder)
            gone = {n for n, row in before.items() if after.get(n) != row}
            lost += len(gone)
            restarts.append(len(after) - len(before))
            print(
                f"kill {kill + 1:2} after {wait:4.1f} s: {len(before):2} finished before, {len(after):2} after, {len(gone)} lost",
                flush=True,
            )
        kept = finished(folder)
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        end = finished(folder)
    lost += sum(end.get(n) != row for n, row in kept.items())
    ids = [i for i, _ in end.values()]
    searched = len(ids) - 1  # one is the anchor
    print(
        f"{len(restarts)} kills: {lost} finished trials lost, {searched} of {TRIALS} nets trained, "
        f"{len(ids) - len(set(ids))} trained twice, last run's exit code {done.returncode}"
    )
    return int(bool(lost or searched != TRIALS or len(ids) != len(set(ids)) or done.returncode))


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 12))

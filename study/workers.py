"""The worker processes of this machine: started, watched, replaced, ended. The parent trains nothing.

Processes begin afresh (never forked: a fork after torch has used threads hangs), in a session of their own, so that Ctrl-C
reaches the parent alone; they end by themselves when the parent is gone.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

GONE = 75  # the exit code of a worker whose storage went away, or whose disk is full (sysexits' EX_TEMPFAIL)
MAX_DEATHS = 5  # of one worker, in a row without a trial finished between: then something is wrong with all of them


class WorkersFailed(RuntimeError):
    """Workers died again and again; the message holds the end of their log."""


class WorkerStopped(RuntimeError):
    """A worker could not write any more; one line."""


def default_workers(device: str) -> int:
    """One a core on a CPU, with one thread each (two threads collapse beside any other busy process); one a GPU."""
    if device == "cuda":
        import torch

        return max(1, torch.cuda.device_count())
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Workers:
    """`with Workers(folder, count, threads, device, environment) as workers:` then `workers.check()` now and then."""

    def __init__(self, folder: Path, indices: list[int], threads: int, device: str, more: Mapping[str, str] | None = None):
        self.folder, self.indices, self.threads, self.device, self.more = folder, indices, threads, device, more or {}
        self.running: dict[int, subprocess.Popen[bytes]] = {}
        self.deaths = 0

    def __enter__(self) -> Workers:
        for index in self.indices:
            self._start(index)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for process in self.running.values():
            process.kill()  # nothing to lose but the running trial, which the same command takes up again
        for process in self.running.values():
            process.wait()
        for log in self.folder.glob("worker-*.log"):
            if log.stat().st_size == 0:
                log.unlink()

    def check(self) -> bool:
        """True when a worker died and was started again since the last call. WorkersFailed when that goes on and on,
        WorkerStopped when there is no use in starting it again."""
        died = False
        for index, process in list(self.running.items()):
            if (code := process.poll()) is None:
                continue
            del self.running[index]
            if code == 0:
                continue
            if code == GONE:
                raise WorkerStopped((self._log_end(index).splitlines() or ["storage: a worker waited for it in vain"])[-1])
            died = True
            self.deaths += 1
            if self.deaths >= MAX_DEATHS:
                raise WorkersFailed(
                    f"worker {index} ended with code {code}, {self.deaths} such ends in a row; "
                    f"its log ends:\n{self._log_end(index)}"
                )
            self._start(index)
        return died

    def progress(self) -> None:
        """A trial was finished: deaths before it do not count any more."""
        self.deaths = 0

    @property
    def done(self) -> bool:
        return not self.running

    def _start(self, index: int) -> None:
        threads = str(self.threads)
        environment = {**os.environ, **self.more, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, "PYTHONUNBUFFERED": "1",
                       # a waiting thread that spins keeps the partner it waits for off the core
                       **({"OMP_WAIT_POLICY": "PASSIVE"} if self.threads > 1 else {})}  # fmt: skip
        root = str(Path(__file__).resolve().parent.parent)
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH", "")]))
        if self.device == "cuda" and len(self.indices) > 1:
            gpus = os.environ.get("CUDA_VISIBLE_DEVICES", "")
            visible = gpus.split(",") if gpus else [str(i) for i in range(default_workers("cuda"))]
            environment["CUDA_VISIBLE_DEVICES"] = visible[index % len(visible)]
        with open(self.folder / f"worker-{index}.log", "ab") as log:
            self.running[index] = subprocess.Popen(
                [sys.executable, "-m", "study.start", str(self.folder), str(index), str(os.getpid())],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,
            )

    def _log_end(self, index: int) -> str:
        return "\n".join((self.folder / f"worker-{index}.log").read_text(errors="replace").splitlines()[-15:])

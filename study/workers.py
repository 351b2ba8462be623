"""The worker processes of this machine: started, watched, replaced, ended. The parent trains nothing.

Processes begin afresh (never forked: a fork after torch has used threads hangs), in a session of their own, so that Ctrl-C
reaches the parent alone; they end by themselves when the parent is gone. Importing torch and Lightning takes them seconds, so
they are started early and held until the parent has prepared the study: before, they touch neither folder nor storage.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, BinaryIO

from study.storing.secret import STORAGE

if TYPE_CHECKING:
    from study.settings import Settings

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
    """`with Workers(folder, indices, threads, device, environment) as workers:`, `workers.release()`, then `workers.check()` now
    and then."""

    def __init__(self, folder: Path, indices: list[int], threads: int, device: str, more: Mapping[str, str] | None = None):
        self.folder, self.indices, self.threads, self.device, self.more = folder, indices, threads, device, more or {}
        self.running: dict[int, subprocess.Popen[bytes]] = {}
        self.told: dict[int, BinaryIO] = {}  # what each said while it was held
        self.logged: dict[int, int] = {}  # bytes of its log that are older than it
        self.released = False
        self.deaths = 0

    @classmethod
    def of(cls, settings: Settings, folder: Path) -> Workers:
        """Those that a search asks for here."""
        indices = [settings.worker] if settings.worker is not None else list(range(settings.workers))
        return cls(folder, indices, settings.trainer["threads"], settings.hardware["device"], {STORAGE: settings.storage or ""})

    def __enter__(self) -> Workers:
        for index in self.indices:
            self._start(index)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for process in self.running.values():
            process.kill()  # nothing to lose but the running trial, which the same command takes up again
        for process in self.running.values():
            process.wait()
            if process.stdin:
                process.stdin.close()
        for held in self.told.values():
            held.close()
        for log in (log_of(self.folder, index) for index in self.indices if self.released):
            if log.exists() and log.stat().st_size == 0:
                log.unlink()

    def release(self) -> None:
        """The study is prepared, in `folder` and storage: they begin."""
        self.released = True
        for process in self.running.values():
            self._let_go(process)

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

    @staticmethod
    def _let_go(process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None
        with contextlib.suppress(OSError):  # it died: `check` sees that
            process.stdin.write(b"\n")
            process.stdin.close()

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
        log = log_of(self.folder, index)
        self.logged[index] = log.stat().st_size if log.exists() else 0
        if index in self.told:
            self.told[index].close()
        self.told[index] = _unnamed()
        self.running[index] = subprocess.Popen(
            [sys.executable, "-m", "study.start", str(self.folder), str(index), str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=self.told[index],
            stderr=self.told[index],
            env=environment,
            start_new_session=True,
        )
        if self.released:
            self._let_go(self.running[index])

    def _log_end(self, index: int) -> str:
        said = b""
        with contextlib.suppress(FileNotFoundError):
            said = log_of(self.folder, index).read_bytes()[self.logged[index] :]
        if not said.strip():  # it was not let go yet, or could not write there
            self.told[index].seek(0)
            said = self.told[index].read()
        return "\n".join(said.decode(errors="replace").splitlines()[-15:])


def _unnamed() -> BinaryIO:
    try:
        return tempfile.TemporaryFile()
    except OSError:  # no room anywhere: that is told by whoever needs it
        return open(os.devnull, "r+b")


def log_of(folder: Path, index: int) -> Path:
    """What a worker says once it was let go."""
    return folder / f"worker-{index}.log"

"""A measuring process of one's own, seen from the process that asks: begun with `subprocess`, so that it works from a notebook,
from stdin and in a script without a main guard; given files, never a pickle.

It is killed with its client; when it dies by itself (a net that needs more memory than there is), `Died` says over which net.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hardware.job import Job
from hardware.session import Protocol
from hardware.setting import Setting
from hardware.subject import pack

# Where a process's pages happen to lie decides what they push out of the cache: with small ones the values of one net differ by
# 0.5 % from process to process beside 0.2 % of noise, with huge ones by 0.4 %, and lie 0.7 % lower (glibc; others ignore it)
HUGE_PAGES = {"GLIBC_TUNABLES": ":".join(filter(None, [os.environ.get("GLIBC_TUNABLES", ""), "glibc.malloc.hugetlb=1"]))}
ROOT = str(Path(__file__).resolve().parent.parent)


KILLED = 9  # by signal: most often the kernel, when there is no memory left


class Died(RuntimeError):
    """The measuring process is gone. `at`: position of the net that it was preparing, None while it measured."""

    def __init__(self, why: str, at: int | None):
        super().__init__(why)
        self.at = at


class Client:
    """One measuring process. `references`: ONNX files by name, none for runtimes that take modules."""

    def __init__(self, setting: Setting, protocol: Protocol, machine: str, references: dict[str, bytes]):
        self.folder = tempfile.TemporaryDirectory(prefix="measuring-", ignore_cleanup_errors=True)
        threads = str(setting.threads)
        environment = {**os.environ, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, **HUGE_PAGES,
                       # the modules that this process finds, found alike (-P: but nothing of ours from the folder it stands in)
                       "PYTHONPATH": os.pathsep.join([ROOT, *(str(Path(p).resolve()) for p in sys.path)])}  # fmt: skip
        self.errors = open(Path(self.folder.name) / "stderr", "w+b")  # noqa: SIM115 as long as the process
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "hardware.server"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors,
            env=environment, start_new_session=True, text=True,
        )  # fmt: skip
        self._kill = weakref.finalize(self, _end, self.process, self.errors, self.folder)
        paths = {}
        for name, data in references.items():
            paths[name] = str(self._path(f"reference-{name}.onnx"))
            Path(paths[name]).write_bytes(data)
        self._send({"do": "open", "setting": setting.to_dict(), "protocol": vars(protocol), "machine": machine,
                    "references": paths, "folder": self.folder.name})  # fmt: skip

    def close(self) -> None:
        """Ends the process, whatever it does."""
        self._kill()

    def measure(self, jobs: Sequence[Job], max_ms: float | None, on_round: Callable[[int], None]) -> dict[str, Any]:
        """{"rows", "busy", "clock_mhz", "slices"} or {"bad": {position: why}}. Raises Died."""
        return self._ask({"do": "measure", "max_ms": max_ms}, jobs, on_round)

    def pairs(self, jobs: Sequence[Job], rounds: int, on_round: Callable[[int], None]) -> dict[str, Any]:
        """{"pairs": a list an instance} or {"bad": ...}; the jobs are the first and second of each instance in turn."""
        return self._ask({"do": "pairs", "rounds": rounds}, jobs, on_round)

    def _ask(self, request: dict[str, Any], jobs: Sequence[Job], on_round: Callable[[int], None]) -> dict[str, Any]:
        written: dict[int, dict[str, Any]] = {}
        before = set(Path(self.folder.name).iterdir())
        for i, job in enumerate(jobs):
            if id(job) not in written:  # an instance more of the same net is the same files
                self.pack(job)
                written[id(job)] = job.write(Path(self.folder.name), str(i))
        self._send({**request, "jobs": [written[id(job)] for job in jobs]})
        at: int | None = None
        try:
            while True:
                told = self._hear(at)
                if "preparing" in told:
                    at = told["preparing"]  # None: all are prepared
                elif "round" in told:
                    at = None
                    on_round(told["round"])
                elif "opened" not in told:
                    told["bad"] = {int(k): v for k, v in told.get("bad", {}).items()}
                    return told
        finally:
            for path in Path(self.folder.name).glob("*"):
                if path not in before:
                    path.unlink(missing_ok=True)  # arrays, files, weights: they have been read

    def pack(self, job: Job) -> None:
        """Puts the weights of a module into this client's folder, where it has one; any client can read them there."""
        pack(job, str(self._path(f"weights-{id(job)}.safetensors")))

    def _path(self, name: str) -> Path:
        return Path(self.folder.name) / name

    def _send(self, request: dict[str, Any]) -> None:
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it died: the answer that does not come will tell
            print(json.dumps(request), file=self.process.stdin, flush=True)

    def _hear(self, at: int | None) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if line.endswith("\n"):
            told: dict[str, Any] = json.loads(line)
            return told
        code = self.process.wait()
        if code == -KILLED:
            why = "the measuring process was killed; most likely there was not enough memory"
        else:
            self.errors.seek(0)
            said = [line.strip() for line in self.errors.read().decode(errors="replace").splitlines() if line.strip()]
            why = f"the measuring process ended with code {code}: {said[-1] if said else 'it said nothing'}"[:300]
        self.close()
        raise Died(why, at)


def _end(process: subprocess.Popen[str], errors: Any, folder: tempfile.TemporaryDirectory[str]) -> None:
    process.kill()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()
    process.wait()
    errors.close()
    folder.cleanup()

"""The measuring process: `python -m hardware.server`, begun by hardware/client.py.

It reads one request a line from stdin and writes answers, one JSON a line, to what was its stdout; whatever a library prints
goes to stderr. It collects no garbage while it answers, and imports torch only for nets that
need it: ONNX files do not. It ends when its stdin does, and between two slices when its parent is gone.

    {"do": "open", "setting": {...}, "protocol": {...}, "machine": "m...", "references": {"dense": path, ...},
     "folder": where the files of requests lie}
    {"do": "measure", "jobs": [...], "max_ms": null}     -> {"preparing": 0} ... {"round": 1} ... {"rows": [...], ...}
    {"do": "pairs", "jobs": [...], "rounds": 12}         -> the jobs are first and second of each instance, in turn
"""

from __future__ import annotations

import gc
import json
import os
import shutil
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from hardware.errors import one_line
from hardware.job import Job
from hardware.quiet import stay_on_one_core
from hardware.rounds import Candidate
from hardware.session import Clocks, Protocol, Session
from hardware.setting import Setting
from hardware.spread import levels_ms


class Server:
    """Answers requests until there are no more."""

    def __init__(self, answers: IO[str], parent: int):
        self.answers, self.parent = answers, parent
        self.session: Session | None = None
        self.folder = ""

    def say(self, **what: Any) -> None:
        print(json.dumps(what), file=self.answers, flush=True)

    def on_round(self, done: int) -> None:
        if os.getppid() != self.parent:  # nobody reads any more
            self.leave()
            os._exit(1)
        self.say(round=done)

    def leave(self) -> None:
        """A client that was killed cleans nothing up."""
        if self.folder:
            shutil.rmtree(self.folder, ignore_errors=True)

    def answer(self, request: dict[str, Any]) -> None:
        if request["do"] == "open":
            setting = Setting(**request["setting"])
            self.folder = request["folder"]
            if setting.runtime == "openvino" and setting.threads == 1:
                stay_on_one_core()  # it computes in threads of its own, which inherit this; others are pinned slice by slice
            files = {name: Path(path).read_bytes() for name, path in request["references"].items()} or None
            self.session = Session(
                setting, request["machine"], Protocol(**request["protocol"]), Clocks(cpu=time.process_time), self.on_round,
                files=files,
            )  # fmt: skip
            self.say(opened=True)
            return
        assert self.session is not None
        found, bad = self._prepared(request["jobs"], request.get("max_ms"))
        if bad:
            self.say(bad=bad)
        elif request["do"] == "pairs":
            pairs = self.session.paired(list(zip(found[::2], found[1::2], strict=True)), request["rounds"])
            self.say(pairs=pairs, slices=self.session.slices)
        else:
            busy, clock_mhz = self.session.measure(found, request["max_ms"])
            self.say(rows=[row_of(c) for c in found], busy=busy, clock_mhz=clock_mhz, slices=self.session.slices)
        self.session.slices.clear()

    def _prepared(self, jobs: list[dict[str, Any]], max_ms: float | None) -> tuple[list[Candidate], dict[int, str]]:
        assert self.session is not None
        found, bad = [], {}
        for i, written in enumerate(jobs):
            self.say(preparing=i)
            try:
                found.append(self.session.prepare(Job.read(written), max_ms))
            except Exception as error:  # a foreign net may raise anything; it is named, with its reason
                bad[i] = one_line(error)
        self.say(preparing=None)
        return found, bad


def row_of(candidate: Candidate) -> dict[str, Any]:
    """What is told of a candidate that has been measured; of a gated net at batch 1 also what each image cost and decided."""
    e = candidate.estimate()
    row = {
        **asdict(e), "stopped": candidate.stopped, "keep_rate": candidate.keep_rate, "runtime": candidate.runtime.name,
        "parity": candidate.parity, "pace": candidate.pace, "visits_ms": candidate.visits_ms,
    }  # fmt: skip
    return {**row, "decided": candidate.decided, "images_ms": levels_ms(candidate.times)} if candidate.decided else row


def main() -> None:
    """Serves until stdin ends."""
    gc.disable()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    server = Server(answers, os.getppid())
    try:
        for line in sys.stdin:
            server.answer(json.loads(line))
            gc.collect()  # between requests, where no clock runs
    except BrokenPipeError:
        pass
    server.leave()


if __name__ == "__main__":
    main()

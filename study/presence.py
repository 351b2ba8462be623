"""Who is at work on a study from this folder: a cluster's jobs share one, and the last to finish writes the report.

A file a process, touched every few seconds; one that was not touched for STALE_S is a dead job's. Two that finish in the same
moment may both be the last: then both write the same report, and a file appears whole or not at all.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from pathlib import Path
from types import TracebackType

TOUCH_S, STALE_S = 10.0, 90.0
PATTERN = ".at-work-*"


class Presence:
    """`with Presence(folder) as here:`, `here.touch()` now and then; afterwards `last(folder)`."""

    def __init__(self, folder: Path):
        self.mark = folder / PATTERN.replace("*", f"{socket.gethostname()}-{os.getpid()}")
        self.touched = 0.0

    def __enter__(self) -> Presence:
        self.touch()
        return self

    def touch(self) -> None:
        if time.monotonic() - self.touched > TOUCH_S:
            self.touched = time.monotonic()
            with contextlib.suppress(OSError):  # a full disk is told elsewhere
                self.mark.touch()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.mark.unlink(missing_ok=True)


def last(folder: Path) -> bool:
    """Whether nobody else is at work; marks of the dead are taken away."""
    others = 0
    for mark in folder.glob(PATTERN):
        with contextlib.suppress(FileNotFoundError):  # gone meanwhile
            if time.time() - mark.stat().st_mtime < STALE_S:
                others += 1
            else:
                mark.unlink()
    return not others

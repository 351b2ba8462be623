"""Who is at work on a study from this folder: a cluster's jobs share one, and the last to finish writes the report.

A file a process, written every few seconds; one that was not written for STALE_S is a dead job's, and so is at once that of a
process of this machine that is gone. Jobs end together, when the last net is measured: of those that find nobody else at work
one takes the pen.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from study.storing.storage import alive, here, mine

TOUCH_S, STALE_S = 10.0, 90.0
PATTERN, PEN = ".at-work-*", ".writing"


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
                self.mark.write_text(json.dumps(mine()))

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.mark.unlink(missing_ok=True)


@contextlib.contextmanager
def last(folder: Path) -> Iterator[bool]:
    """Whether this process is to write the report: nobody else is at work, nor at writing it. Marks of the dead go."""
    if any(_fresh(mark) for mark in folder.glob(PATTERN)) or _fresh(folder / PEN):
        yield False
        return
    try:
        with open(folder / PEN, "x") as pen:
            pen.write(json.dumps(mine()))
    except FileExistsError:
        yield False
        return
    try:
        yield True
    finally:
        (folder / PEN).unlink(missing_ok=True)


def _fresh(mark: Path) -> bool:
    with contextlib.suppress(FileNotFoundError):  # gone meanwhile
        if time.time() - mark.stat().st_mtime < STALE_S and not _dead(mark.read_text()):
            return True
        mark.unlink()
    return False


def _dead(written: str) -> bool:
    """Whether a mark is of a process of this machine that is gone. One in the making tells nothing yet."""
    with contextlib.suppress(ValueError, KeyError, TypeError):
        by = json.loads(written)
        return by["host"] == here() and not alive(by["pid"], by["born"])
    return False

"""What ends a command from outside: Ctrl-C, and SIGTERM, which `kill` sends, and a cluster before it takes a job away."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

INTERRUPTED, TERMINATED = 130, 143  # exit codes: 128 and the signal's number


class Terminated(KeyboardInterrupt):
    """SIGTERM, on the way that Ctrl-C takes: workers are ended, what is finished is kept."""


@contextlib.contextmanager
def sigterm_as_interrupt() -> Iterator[None]:
    """Not where somebody else has taken the signal, as submitit does in a cluster's job."""
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return

    def end(number: int, frame: FrameType | None) -> None:
        raise Terminated

    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)

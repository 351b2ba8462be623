"""Where a worker process begins: `python -m study.start FOLDER INDEX PARENT`.

It watches its parent from the first moment on, before the long import of torch: a worker whose parent is gone ends at once,
as if killed, and the same command finds everything in the storage. It imports what it will need, then waits to be let go.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from pathlib import Path

from study.imports import imports
from study.workers import GONE, log_of


def die_with(parent: int) -> None:
    """Ends this process when `parent` is no longer its parent."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def held(folder: Path, index: int) -> None:
    """Returns when the parent lets go (study/workers.py); from then on this process has no input and its own log."""
    if not os.read(0, 1):
        os._exit(1)  # the parent is gone
    with contextlib.suppress(OSError):  # a full disk is told by what it keeps from being written
        log = os.open(log_of(folder, index), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for mine, new in ((0, nothing), (1, log), (2, log)):
            os.dup2(new, mine)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's: it ends its workers
    die_with(int(sys.argv[3]))
    with imports():
        import trainers.supervised  # noqa: F401  with Lightning: where it cannot be imported no trial is to blame
        from study.storing.patience import StorageGone
        from study.worker import main
    held(Path(sys.argv[1]), int(sys.argv[2]))

    try:
        main(Path(sys.argv[1]), int(sys.argv[2]))
    except StorageGone as gone:
        with contextlib.suppress(OSError):  # the log may lie on the disk that is full
            print(gone, file=sys.stderr, flush=True)
        os._exit(GONE)  # whatever else would be written on the way out

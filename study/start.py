"""Where a worker process begins: `python -m study.start FOLDER INDEX PARENT`.

It watches its parent from the first moment on, before the long import of torch: a worker whose parent is gone ends at once,
as if killed, and the same command finds everything in the storage.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from pathlib import Path

from study.workers import GONE


def die_with(parent: int) -> None:
    """Ends this process when `parent` is no longer its parent."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's: it ends its workers
    die_with(int(sys.argv[3]))
    from study.storing.patience import StorageGone
    from study.worker import main

    try:
        main(Path(sys.argv[1]), int(sys.argv[2]))
    except StorageGone as gone:
        with contextlib.suppress(OSError):  # the log may lie on the disk that is full
            print(gone, file=sys.stderr, flush=True)
        os._exit(GONE)  # whatever else would be written on the way out

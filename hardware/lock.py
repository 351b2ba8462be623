"""One measurement at a time per device and machine: an flock on a small file in the temporary folder.

The kernel releases the lock when its holder dies, kill -9 included, so there is nothing to clean up. Where
the platform has no flock (Windows) this is said once and measuring goes on without. Processes with different
temporary folders do not see each other's lock.
"""

from __future__ import annotations

import os
import platform
import re
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_said = False


def lock_path(device: str) -> str:
    """The file that stands for `device` ("cpu", "cuda-<uuid>") of this machine."""
    name = re.sub(r"[^\w.-]", "_", f"latency-{platform.node()}-{device}.lock")
    return os.path.join(tempfile.gettempdir(), name)


@contextmanager
def exclusive(device: str) -> Iterator[None]:
    """Hold the device inside; waits as long as somebody else holds it (Ctrl-C works while waiting)."""
    global _said
    if fcntl is None:
        if not _said:
            warnings.warn("no flock on this platform: measurements of several processes may overlap", stacklevel=2)
            _said = True
        yield
        return
    descriptor = _open(lock_path(device))
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(descriptor, fcntl.LOCK_UN)  # said aloud: a child forked meanwhile would keep a closed one
    finally:
        os.close(descriptor)


def _open(path: str) -> int:
    """Open without O_CREAT first: in a sticky /tmp the kernel denies that for a file of another user, who may
    be sharing this device with us. Reading is enough for flock."""
    flags = os.O_RDONLY | os.O_NOFOLLOW
    try:
        return os.open(path, flags)
    except FileNotFoundError:
        descriptor = os.open(path, flags | os.O_CREAT, 0o644)
        os.fchmod(descriptor, 0o644)  # whatever the umask: others must be able to read it
        return descriptor

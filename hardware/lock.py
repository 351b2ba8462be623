"""One measurement at a time per device and machine, and none while others train on it.

    with exclusive("cpu"): ...            # a meter: alone on the device, for a slice of at most 100 ms or one call
    with shared("cpu") as breathe:        # a trainer: beside other trainers; between its steps it calls breathe(), which
        ...; breathe()                    # costs 2 us while no meter waits, and lets a meter that does go first

Two flocks on small files in the temporary folder: the device, which trainers hold shared and a meter exclusively, and a
turnstile before it. A waiting meter holds the turnstile, so that trainers who come back queue behind it: however many they
are, a meter waits for one step of each. The kernel releases both when their holder dies, kill -9 included, so there is nothing
to clean up. Where the platform has no flock (Windows) this is said once and measuring goes on without. Processes with
different temporary folders do not see each other's lock.
"""

from __future__ import annotations

import os
import platform
import re
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_said = False


def lock_path(device: str, turnstile: bool = False) -> str:
    """The file that stands for `device` ("cpu", "cuda-<uuid>") of this machine, or for the turnstile before it."""
    name = re.sub(r"[^\w.-]", "_", f"latency-{platform.node()}-{device}{'-turnstile' * turnstile}.lock")
    return os.path.join(tempfile.gettempdir(), name)


def lock_name(device: str) -> str:
    """`cpu`, or a card by its own name: a device's number means another card under another CUDA_VISIBLE_DEVICES."""
    if device.partition(":")[0] != "cuda":
        return "cpu"
    import torch

    return f"cuda-{torch.cuda.get_device_properties(device).uuid}"


@contextmanager
def exclusive(device: str) -> Iterator[None]:
    """Alone on the device inside; waits as long as somebody else holds it (Ctrl-C works while waiting)."""
    if _without():
        yield
        return
    with (
        _opened(device, turnstile=True) as turn,
        _opened(device) as held,
        _locked(turn, fcntl.LOCK_EX),
        _locked(held, fcntl.LOCK_EX),
    ):
        yield


@contextmanager
def shared(device: str) -> Iterator[Callable[[], None]]:
    """Beside other sharers, never beside a meter; gives `breathe`, to be called often: a meter waits for it."""
    if _without():
        yield lambda: None
        return
    with _opened(device, turnstile=True) as turn, _opened(device) as held:

        def enter() -> None:
            with _locked(turn, fcntl.LOCK_SH):  # behind a meter that waits or measures
                fcntl.flock(held, fcntl.LOCK_SH)

        def breathe() -> None:
            try:
                fcntl.flock(turn, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:  # a meter is in the turnstile: let it pass
                fcntl.flock(held, fcntl.LOCK_UN)
                enter()
            else:
                fcntl.flock(turn, fcntl.LOCK_UN)

        enter()
        try:
            yield breathe
        finally:
            fcntl.flock(held, fcntl.LOCK_UN)


def _without() -> bool:
    global _said
    if fcntl is None and not _said:
        warnings.warn("no flock on this platform: measurements of several processes may overlap", stacklevel=4)
        _said = True
    return fcntl is None


@contextmanager
def _locked(descriptor: int, how: int) -> Iterator[None]:
    fcntl.flock(descriptor, how)
    try:
        yield
    finally:
        fcntl.flock(descriptor, fcntl.LOCK_UN)  # said aloud: a child forked meanwhile would keep a closed one


@contextmanager
def _opened(device: str, turnstile: bool = False) -> Iterator[int]:
    with ExitStack() as closing:
        descriptor = _open(lock_path(device, turnstile))
        closing.callback(os.close, descriptor)
        yield descriptor


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

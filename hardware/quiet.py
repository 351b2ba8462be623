"""A calmer process while the clock runs: no garbage collection, and one core where one thread is timed."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def quiet(pin: bool) -> Iterator[None]:
    """No garbage collection inside; with `pin` the calling thread stays on one core (where the OS lets it).
    As before after."""
    collecting = gc.isenabled()
    before = stay_on_one_core() if pin else None
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()
        if before is not None:
            os.sched_setaffinity(0, before)


def stay_on_one_core() -> set[int] | None:
    """Pins the calling thread, and threads that it starts later; returns where it might run before, None where nothing was
    done."""
    if not hasattr(os, "sched_setaffinity"):
        return None
    allowed = os.sched_getaffinity(0)
    if len(allowed) == 1:
        return None
    try:
        os.sched_setaffinity(0, {best_core(allowed)})
    except OSError:  # a sandbox may forbid it: measured without
        return None
    return allowed


def best_core(allowed: set[int]) -> int:
    """The fastest of the allowed cores (laptops mix fast and slow ones); of equals the last, as interrupts
    and everybody's first thread tend to sit on the first."""

    def speed(core: int) -> int:
        try:
            return int(Path(f"/sys/devices/system/cpu/cpu{core}/cpufreq/cpuinfo_max_freq").read_text())
        except (OSError, ValueError):
            return 0

    return max(allowed, key=lambda core: (speed(core), core))

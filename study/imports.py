"""Importing without the garbage collector: torch, Lightning and Optuna make a million objects that all stay, and the collector
would look through them again and again (a fifth of the 7 s that a worker imports)."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def imports() -> Iterator[None]:
    """Around import statements; what they made is never looked through again."""
    gc.collect()  # an earlier job of a sweep: what is gone must not be kept with them
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.freeze()

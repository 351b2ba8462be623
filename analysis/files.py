"""Files that a reader sees whole: the old one or the new one, never half of it. Standard library only."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def write_text(path: Path, text: str) -> None:
    """Replaces a file in one step: a reader sees the old or the new one."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, data: bytes) -> None:
    """As `write_text`."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.chmod(temporary, 0o644)  # mkstemp's own 0600 would hide a report from a colleague
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise

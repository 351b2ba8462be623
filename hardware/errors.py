"""Errors as one line."""

from __future__ import annotations


class MeasureError(RuntimeError):
    """Nets that cannot be measured. `bad`: position in the list -> why; the text, one line, names the
    nets."""

    def __init__(self, bad: dict[int, str]):
        super().__init__("; ".join(bad.values()))
        self.bad = bad


def one_line(error: BaseException) -> str:
    """The first telling line of an error, for a table."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:240]

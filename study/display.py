"""What a person sees while a study runs: a live table in a terminal, one line an event in a pipe or CI.

with display() as show:
    show.note("...")
    show.update(progress)
"""

from __future__ import annotations

import sys
from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from study.progress import Finished, Progress, clock
from study.storing.storage import CONTROL, FINALISTS, HALVING

OF = {"": "search", HALVING: "promotion", CONTROL: "control", CONTROL + HALVING: "control's promotion", FINALISTS: "finalist"}


class Display:
    """Plain lines. Each finished trial is told once."""

    def __init__(self, console: Console):
        self.console = console
        self._told: set[tuple[str, int]] = set()
        self._phase = ""

    def __enter__(self) -> Display:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Nothing to take down."""

    def note(self, text: str) -> None:
        """One line, whatever happens around it."""
        self.console.print(text, highlight=False, soft_wrap=True)

    def update(self, progress: Progress) -> None:
        """The present state."""
        new = [f for f in progress.finished if (f.of, f.number) not in self._told]
        self._told |= {(f.of, f.number) for f in new}
        for f in new:
            if f.of != progress.of:  # the last of a phase that is over
                self.finished(f, progress)
        if progress.phase != self._phase:
            self._phase = progress.phase
            self.note(f"— {progress.phase}")
        for f in new:
            if f.of == progress.of:
                self.finished(f, progress)

    def finished(self, f: Finished, progress: Progress) -> None:
        """Tells one trial; how far it is are figures of the present phase alone."""
        far = f"[{progress.done}/{progress.wanted}]", f"   left {clock(progress.left_s)}"
        before, after = far if f.of == progress.of else (f"({OF[f.of]})", "")
        self.note(f"{before} {told(f)}{after}")


class LiveDisplay(Display):
    """A table that stays in place: progress, running trials, the front so far."""

    def __init__(self, console: Console):
        super().__init__(console)
        self.live = Live(console=console, refresh_per_second=4, transient=True)

    def __enter__(self) -> LiveDisplay:
        self.live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.live.stop()

    def finished(self, f: Finished, progress: Progress) -> None:
        """Only what went wrong is worth a line of its own here."""
        if f.state == "FAIL":
            self.note(told(f))

    def update(self, progress: Progress) -> None:
        super().update(progress)
        self.live.update(picture(progress))


def picture(progress: Progress) -> RenderableType:
    """The live table."""
    head = Table.grid(padding=(0, 2))
    bar = ProgressBar(total=max(1, progress.wanted), completed=progress.done, width=30)
    head.add_row(Text(progress.phase, style="bold"), bar, f"{progress.done}/{progress.wanted}", f"left {clock(progress.left_s)}")
    running = Table(box=None, padding=(0, 2), header_style="dim")
    for column in ("trial", "net", "doing", "latency ms", "epoch", "val top-1 %"):
        running.add_column(column, justify="left" if column in ("net", "doing") else "right")
    for r in progress.running:
        running.add_row(str(r.number), r.what, r.doing, _number(r.latency_ms, 3), f"{r.epoch}/{r.epochs}", _number(r.top1, 2))
    front = Table(box=None, padding=(0, 2), header_style="dim", title="front so far", title_justify="left", title_style="bold")
    for column in ("net", "val top-1 %", "latency ms"):
        front.add_column(column, justify="left" if column == "net" else "right")
    for f in progress.front[-12:]:
        front.add_row(f.what, _number(f.top1, 2), _number(f.latency_ms, 3))
    return Group(head, running, front) if progress.front else Group(head, running)


def told(f: Finished) -> str:
    """One finished trial on one line."""
    parts = [f"trial {f.number}", f.what]
    if f.top1 is not None:
        parts.append(f"top-1 {f.top1:.2f} %")
    if f.latency_ms is not None:
        parts.append(f"{f.latency_ms:.3f} ms")
    if f.seconds is not None:
        parts.append(f"{f.seconds:.0f} s")
    if f.reason:
        parts.append(f.reason)
    elif f.state == "FAIL":
        parts.append("failed")
    return "  ".join(parts)


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def display() -> Display:
    """Live in a terminal, lines elsewhere."""
    console = Console(file=sys.stdout)
    return LiveDisplay(console) if console.is_terminal else Display(console)

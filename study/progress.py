"""How far a study is, read from its storage: a value for the display, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from analysis.pareto import front_mask
from study.settings import Settings
from study.storing.storage import CONTROL, FINALISTS, HALVING, is_row


@dataclass(frozen=True)
class Finished:
    """A trial or finalist that is over, of the study with this suffix; the latency and accuracies are None where they were not
    reached."""

    of: str
    number: int
    what: str
    state: str
    top1: float | None
    latency_ms: float | None
    reason: str
    seconds: float | None


@dataclass(frozen=True)
class Running:
    """A trial under way. `epoch` of `epochs`."""

    number: int
    what: str
    doing: str
    epoch: int
    epochs: int
    top1: float | None
    latency_ms: float | None


@dataclass(frozen=True)
class Progress:
    """A moment of a study. `done` of `wanted` searched nets, rows of the study with the suffix `of`; seconds left as far as can
    be told. `finished`: since the first look, in all studies: a phase may end and the next begin between two looks."""

    phase: str
    of: str
    done: int
    wanted: int
    left_s: float | None
    running: list[Running] = field(default_factory=list)
    finished: list[Finished] = field(default_factory=list)
    front: list[Finished] = field(default_factory=list)
    ended: str = ""


class Watch:
    """`Watch(settings).look(studies)`, again and again. `studies`: "" the study itself, its others by their suffixes."""

    def __init__(self, settings: Settings):
        self.settings = settings
        self._seen: dict[str, _Rows] = {}
        self._begun = False  # what is over at the first look was told by an earlier command
        self._front: list[FrozenTrial] = []
        self._judged = 0  # of what is over, how much the front knows

    def look(self, studies: Mapping[str, optuna.Study]) -> Progress:
        """How far it is now."""
        settings, study = self.settings, studies[""]
        rows, _, control, _, finals = (self._rows(studies, s) for s in ("", HALVING, CONTROL, CONTROL + HALVING, FINALISTS))
        self._begun = True
        front = self._front_of(self._seen[HALVING if settings.halving else ""])
        finished = [f for seen in self._seen.values() for f in seen.finished]
        estimate, ended = study.user_attrs.get("estimate", {}), study.user_attrs.get("ended", "")
        # a study that goes on after its finalists, for more nets, searches again first
        if FINALISTS in studies and studies[FINALISTS].user_attrs.get("queued_for", 0) >= settings.n_trials:
            wanted = len(finals.over) + len(finals.open)
            left = _left(finals.over, len(finals.open), settings.workers, estimate.get("finalists_s"), wanted)
            epochs = settings.finalists["epochs"]
            if finals.open:
                running = finals.running(epochs)
                return Progress("finalists", FINALISTS, len(finals.over), wanted, left, running, finished, front, ended)
            return Progress("measuring side by side", FINALISTS, wanted, wanted, None, [], finished, front, ended)
        phase, origin, of, done = "search", "search", "", rows.searched("search")
        if (control.over or control.open) and (ended or done >= settings.n_trials):
            phase, origin, of, done = f"control ({settings.control})", "control", CONTROL, control.searched("control")
            rows = control
        trained = [t for t in rows.over if t.state == TrialState.COMPLETE]
        epochs = settings.epochs
        if settings.halving:
            rungs = settings.halving["rungs"]
            moved = self._seen[of + HALVING]
            if (moved.over or moved.open) and done >= settings.n_trials:
                phase = "promotions" if origin == "search" else "control's promotions"
                running = [_running(t, rungs[t.user_attrs["rung"]]) for t in moved.open if t.state == TrialState.RUNNING]
                wanted = len(moved.over) + len(moved.open)
                return Progress(phase, of + HALVING, len(moved.over), wanted, None, running, finished, front, ended)
            epochs = rungs[0]
        left = _left(trained, settings.n_trials - done, settings.workers, estimate.get("search_s"), settings.n_trials)
        return Progress(phase, of, done, settings.n_trials, left, rows.running(epochs), finished, front, ended)

    def _rows(self, studies: Mapping[str, optuna.Study], suffix: str) -> _Rows:
        rows = self._seen.setdefault(suffix, _Rows(suffix))
        if suffix in studies:
            rows.look(studies[suffix], "of" if suffix.endswith(HALVING) else None, self._begun)
        return rows

    @property
    def over(self) -> int:
        """How many rows are, in all of its studies."""
        return sum(len(rows.over) for rows in self._seen.values())

    def _front_of(self, rows: _Rows) -> list[Finished]:
        """Of the nets trained in full by the search's seed."""
        new, budget, halving = rows.over[self._judged :], self.settings.max_latency_ms, self.settings.halving
        self._judged = len(rows.over)
        new = [t for t in new if t.state == TrialState.COMPLETE]
        if halving:
            full = {"rung": len(halving["rungs"]) - 1, "seed": self.settings.seed}
            new = [t for t in new if full.items() <= t.user_attrs.items()]
        if budget is not None:
            new = [t for t in new if t.user_attrs["latency_ms"] <= budget]
        if new:
            each = [*self._front, *new]
            mask = front_mask([t.user_attrs["top1_val"] for t in each], [t.user_attrs["latency_ms"] for t in each])
            self._front = [t for t, on in zip(each, mask) if on]
        return sorted((_finished(t) for t in self._front), key=lambda f: f.latency_ms or 0.0)


class _Rows:
    """The rows of one study. One that is over is taken in once: with ten thousand a look each second would take half a core."""

    def __init__(self, of: str) -> None:
        self.of = of
        self.over: list[FrozenTrial] = []
        self.finished: list[Finished] = []  # those to be told
        self.open: list[FrozenTrial] = []
        self._known: set[int] = set()

    def look(self, study: optuna.Study, marked: str | None, new: bool) -> None:
        """Only of trials with the attribute `marked`, if it is given; what is `new` will be told."""
        self.open = []
        for t in study.get_trials(deepcopy=False):
            if t.number in self._known:
                continue
            over = t.state.is_finished()
            if over:
                self._known.add(t.number)
            if not is_row(t) or (marked and marked not in t.user_attrs):
                continue
            if over:
                self.over.append(t)
                if new:
                    self.finished.append(_finished(t, self.of))
            else:
                self.open.append(t)

    def searched(self, origin: str) -> int:
        return sum(t.state == TrialState.COMPLETE and t.user_attrs.get("origin") == origin for t in self.over)

    def running(self, epochs: int) -> list[Running]:
        return [_running(t, epochs) for t in self.open if t.state == TrialState.RUNNING]


def _left(over: list[FrozenTrial], open_: int, workers: int, estimate_s: float | None, wanted: int) -> float | None:
    """From the mean of what is over; before that from the estimate."""
    seconds = [t.user_attrs["seconds"] for t in over if "seconds" in t.user_attrs]
    if seconds:
        return sum(seconds) / len(seconds) * max(0, open_) / workers
    return None if estimate_s is None else estimate_s * max(0, open_) / max(1, wanted)


def _what(attrs: dict[str, Any]) -> str:
    return str(attrs.get("net") or attrs.get("named") or attrs.get("id") or "choosing")


def _running(t: FrozenTrial, epochs: int) -> Running:
    a = t.user_attrs
    return Running(t.number, _what(a), a.get("doing", "training" if "epoch" in a else "starting"), a.get("epoch", 0), epochs,
                   a.get("top1_now"), a.get("latency_ms"))  # fmt: skip


def _finished(t: FrozenTrial, of: str = "") -> Finished:
    a = t.user_attrs
    return Finished(
        of, t.number, _what(a), t.state.name, a.get("top1_val"), a.get("latency_ms"), a.get("reason", ""), a.get("seconds")
    )


def clock(seconds: float | None) -> str:
    """90 -> '1:30'; unknown -> '?'."""
    if seconds is None:
        return "?"
    minutes, s = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{s:02}" if hours else f"{minutes}:{s:02}"

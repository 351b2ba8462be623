"""How far a study is, read from its storage: a value for the display, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from analysis.pareto import front_mask
from study.settings import Settings
from study.storing.storage import is_row


@dataclass(frozen=True)
class Finished:
    """A trial or finalist that is over; the latency and accuracies are None where they were not reached."""

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
    """A moment of a study. `done` of `wanted` searched nets; seconds left as far as can be told."""

    phase: str
    done: int
    wanted: int
    left_s: float | None
    running: list[Running] = field(default_factory=list)
    finished: list[Finished] = field(default_factory=list)
    front: list[Finished] = field(default_factory=list)
    ended: str = ""


def progress(study: optuna.Study, control: optuna.Study | None, finals: optuna.Study | None, settings: Settings,
             promotions: optuna.Study | None = None, of_control: optuna.Study | None = None) -> Progress:  # fmt: skip
    """Reads the storage once. `promotions`, `of_control`: of study/halving.py, where nets are halved."""
    front = _front(study, promotions, settings)
    estimate = study.user_attrs.get("estimate", {})
    rows = [t for t in study.get_trials(deepcopy=False) if is_row(t)]
    ended = study.user_attrs.get("ended", "")
    if finals is not None and "queued_for" in finals.user_attrs:
        trials = [t for t in finals.get_trials(deepcopy=False) if is_row(t)]
        over = [t for t in trials if t.state.is_finished()]
        measuring = len(over) == len(trials)
        left = _left(over, len(trials) - len(over), settings.workers, estimate.get("finalists_s"), len(trials))
        return Progress(
            "measuring side by side" if measuring else "finalists",
            len(over),
            len(trials),
            None if measuring else left,
            [_running(t, settings.finalists["epochs"]) for t in trials if t.state == TrialState.RUNNING],
            [_finished(t) for t in over],
            front,
            ended,
        )
    phase, origin = "search", "search"
    if control is not None and any(is_row(t) for t in control.get_trials(deepcopy=False)):
        phase, origin = f"control ({settings.control})", "control"
        rows = [t for t in control.get_trials(deepcopy=False) if is_row(t)]
    done = sum(t.state == TrialState.COMPLETE and t.user_attrs.get("origin") == origin for t in rows)
    over = [t for t in rows if t.state.is_finished()]
    trained = [t for t in over if t.state == TrialState.COMPLETE]
    epochs = settings.epochs
    if settings.halving:
        epochs = settings.halving["rungs"][0]
        moved = _promoted(promotions if origin == "search" else of_control)
        if moved and done >= settings.n_trials:
            ended_ = [_finished(t) for t in moved if t.state.is_finished()]
            running = [
                _running(t, settings.halving["rungs"][t.user_attrs["rung"]]) for t in moved if t.state == TrialState.RUNNING
            ]
            phase = "promotions" if origin == "search" else "control's promotions"
            return Progress(phase, len(ended_), len(moved), None, running, ended_, front, ended)
    left = _left(trained, settings.n_trials - done, settings.workers, estimate.get("search_s"), settings.n_trials)
    return Progress(phase, done, settings.n_trials, left, [_running(t, epochs) for t in rows if t.state == TrialState.RUNNING],
                    [_finished(t) for t in over], front, ended)  # fmt: skip


def _promoted(promotions: optuna.Study | None) -> list[FrozenTrial]:
    trials = promotions.get_trials(deepcopy=False) if promotions else []
    return [t for t in trials if is_row(t) and "of" in t.user_attrs]


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


def _finished(t: FrozenTrial) -> Finished:
    a = t.user_attrs
    return Finished(
        t.number, _what(a), t.state.name, a.get("top1_val"), a.get("latency_ms"), a.get("reason", ""), a.get("seconds")
    )


def _front(study: optuna.Study, promotions: optuna.Study | None, settings: Settings) -> list[Finished]:
    """Of the nets trained in full by the search's seed."""
    done = [t for t in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)) if is_row(t)]
    if settings.halving:
        top = len(settings.halving["rungs"]) - 1
        done = [t for t in _promoted(promotions) if t.state == TrialState.COMPLETE]
        done = [t for t in done if t.user_attrs["rung"] == top and t.user_attrs["seed"] == settings.seed]
    if settings.max_latency_ms is not None:
        done = [t for t in done if t.user_attrs["latency_ms"] <= settings.max_latency_ms]
    mask = front_mask([t.user_attrs["top1_val"] for t in done], [t.user_attrs["latency_ms"] for t in done])
    return sorted((_finished(t) for t, on in zip(done, mask) if on), key=lambda f: f.latency_ms or 0.0)


def clock(seconds: float | None) -> str:
    """90 -> '1:30'; unknown -> '?'."""
    if seconds is None:
        return "?"
    minutes, s = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{s:02}" if hours else f"{minutes}:{s:02}"

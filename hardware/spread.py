"""How a gated net's latency spreads over images: one decides on more blocks than another, and costs more.

    (row,) = meter.measure([net], images=images); row.spread.p95_ms, row.spread.executed

It is read from the measurement that the mean is read from (hardware/rounds.py): each image is called once a round, in another
order each time, and has a level of its own (hardware/estimate.py: the mean of its calm calls). What it costs hangs on which
blocks are executed, so images with the same decisions all get the mean of their levels: noise of single images, which would
widen p95, is averaged out where there is something to average, and the mean over all images stays what it was. (Of three
trained nets in ONNX Runtime images with the same decisions lay 0.4-1 % apart, standard deviation with all noise, others 4-7 %; of
the 0.4 % two sessions shared less than half.) Everything is then scaled so that this mean is the net's latency, which holds the
pace of the machine and, of several processes, all of them.

Batch 1 alone: a call of several images has no cost an image. Pure arithmetic: no clock, no torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from hardware.estimate import level


@dataclass(frozen=True)
class Spread:
    """A gated net at batch 1, milliseconds over images. `executed[k]`: images on which k of the len(executed) - 1 gated blocks
    were kept by their gates; `ms_by_executed[k]`: the mean over these images, None where there is none."""

    mean_ms: float
    p50_ms: float
    p95_ms: float
    executed: tuple[int, ...]
    ms_by_executed: tuple[float | None, ...]

    @property
    def images(self) -> int:
        return sum(self.executed)

    @property
    def gates(self) -> int:
        return len(self.executed) - 1

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}


def levels_ms(times_ms: Sequence[Sequence[float]]) -> list[float]:
    """What each image costs, from its calls `times_ms[i]`, two at least: the values whose mean hardware.estimate.of_images is."""
    return [float(np.exp(level(times).log_ms)) for times in times_ms]


def spread_of(decided: Sequence[str], images_ms: Sequence[Sequence[float]], latency_ms: float) -> Spread:
    """`decided[i]`: the decisions on image i, a digit a gate, "0110"; `images_ms[p][i]`: its level in process p; `latency_ms`: of
    the net, which the mean is scaled to."""
    each = np.exp(np.log(np.asarray(images_ms, dtype=float)).mean(axis=0))  # over processes as hardware.estimate.together
    _, alike = np.unique(decided, return_inverse=True)
    each = (np.bincount(alike, each) / np.bincount(alike))[alike]
    each *= latency_ms / each.mean()
    kept = np.array([decisions.count("1") for decisions in decided])
    executed = np.bincount(kept, minlength=len(decided[0]) + 1)
    by_executed = tuple(float(each[kept == k].mean()) if n else None for k, n in enumerate(executed))
    p50_ms, p95_ms = (float(p) for p in np.quantile(each, (0.5, 0.95)))
    return Spread(float(each.mean()), p50_ms, p95_ms, tuple(int(n) for n in executed), by_executed)

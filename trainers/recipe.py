"""How a net is to be trained, what training it gave, and what may be wrong with its checkpoint: what can be said of a training
without Lightning, which takes three seconds to import.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Recipe:
    """How a net is trained. `warmup_epochs` may be broken; `device` is cpu or cuda; `threads` counts on a CPU."""

    epochs: int
    lr: float = 0.05
    momentum: float = 0.9
    weight_decay: float = 5e-4
    warmup_epochs: float = 1.0
    label_smoothing: float = 0.1
    batch_size: int = 32
    seed: int = 0
    precision: str = "32-true"
    channels_last: bool = True
    threads: int = 1
    device: str = "cpu"


class CheckpointError(ValueError):
    """A checkpoint that cannot be gone on with; the message names the file and why."""


class CheckpointUnwritable(CheckpointError):
    """There is no room for it, or no right: the next one would fare no better."""


class CheckpointUnusable(CheckpointError):
    """It cannot be read, or belongs to another training: whoever can do without begins again."""


@dataclass(frozen=True)
class Fit:
    """What training gave: top-1 on val in percent, mean share of gated blocks that ran (None without gates). `seconds` and
    `images_per_s` are of this process alone, validation included: a resumed training's are of the epochs it ran."""

    top1_val: float
    keep_rate: float | None
    epochs: int
    seconds: float
    images_per_s: float

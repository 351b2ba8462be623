"""Checkpoints that belong to one net, one set of data and one recipe: written whole or not at all, and read
without unpickling."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import nn

from searchspace.network import Network
from trainers.recipe import CheckpointUnusable, CheckpointUnwritable, Recipe


def made_by(net: nn.Module, recipe: Recipe, data: Any, resolution: int) -> dict[str, Any]:
    """What a checkpoint must agree in to be gone on with. A module without an Architecture is told by the names and shapes of
    its weights, data by its size and mean."""
    shapes = repr([(k, tuple(v.shape)) for k, v in net.state_dict().items()])
    name = f"{type(net).__name__}-{hashlib.sha256(shapes.encode()).hexdigest()[:8]}"
    return {
        "net": net.architecture.id if isinstance(net, Network) else name,
        "data": f"{data.train_images} of {data.name}, mean {data.mean[0]:.3f}, at {resolution} px",
        **{k: v for k, v in asdict(recipe).items() if k not in ("device", "precision", "threads")},
    }


class EachEpoch(L.Callback):
    """Tells the caller and writes the checkpoint, after each epoch's validation."""

    def __init__(self, on_epoch: Callable[[int, float], None] | None, checkpoint: Path | None):
        self.on_epoch, self.checkpoint = on_epoch, checkpoint

    def on_train_epoch_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self.save(trainer)
        if self.on_epoch:
            self.on_epoch(trainer.current_epoch + 1, float(module.top1_val))  # type: ignore[arg-type]

    def save(self, trainer: L.Trainer) -> None:
        """Whole or not at all: a kill leaves the one before, and so does a full disk, which is a CheckpointUnwritable."""
        if self.checkpoint is None:
            return
        part = self.checkpoint.with_name(f".{self.checkpoint.name}.{os.getpid()}")
        try:
            trainer.save_checkpoint(part)
            os.replace(part, self.checkpoint)
        except (OSError, RuntimeError) as error:  # torch's writer raises the latter
            why = " ".join(str(error).split())[:150]
            before = "the one before is still there" if self.checkpoint.exists() else "there is none yet"
            raise CheckpointUnwritable(f"{self.checkpoint} could not be written ({why}); {before}: make room and go on") from None
        finally:
            part.unlink(missing_ok=True)


def check_checkpoint(path: Path, now: dict[str, Any], until: int | None = None) -> None:
    """CheckpointUnusable unless the file is whole, made by `now` (made_by) and not past epoch `until`. Only tensors and plain
    values are read."""
    try:
        read = torch.load(path, map_location="cpu", weights_only=True)
        made, done = dict(read["made_by"]), int(read["epoch"]) + 1
    except Exception as error:  # truncated, no zip file, foreign objects: torch raises what it pleases
        why = " ".join(str(error).split())[:150]
        raise CheckpointUnusable(f"{path} cannot be read ({why}); remove it to begin again") from None
    if differ := [f"{k}: {made.get(k)} → {v}" for k in {**made, **now} if made.get(k) != (v := now.get(k))]:
        raise CheckpointUnusable(
            f"{path} was made by another net, data or recipe ({'; '.join(differ)}); remove it or give another name="
        )
    if until is not None and done > until:
        raise CheckpointUnusable(f"{path} is of epoch {done}, past {until}; remove it to begin again")

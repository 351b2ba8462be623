"""Training under the Lightning Trainer, whatever the objective (trainers/objectives.py; cross-entropy, and for gated nets the
skip reward, where none is given).

SGD with momentum, linear warm-up, cosine to zero, label smoothing. No weight decay on depthwise filters (MobileNetV1, section
3.2: "very little or no weight decay"), norms and biases.

The same net, recipe, seed and thread count give bit-equal accuracy on one machine. Nothing is logged a step: a log costs
half a millisecond, as much as the rest of Lightning's loop.
"""

from __future__ import annotations

import logging
import math
import signal
import time
import warnings
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import lightning as L
import torch
from lightning.pytorch.plugins.environments import LightningEnvironment
from torch import Tensor, nn

from searchspace.network import Network
from trainers.checkpoint import EachEpoch, check_checkpoint, made_by
from trainers.data import ImageData
from trainers.folders import FolderData
from trainers.loaders import DataModule, epoch_seed
from trainers.objectives import Objective
from trainers.pixels import normalised
from trainers.recipe import CheckpointError as CheckpointError
from trainers.recipe import CheckpointUnusable as CheckpointUnusable
from trainers.recipe import Fit as Fit
from trainers.recipe import Recipe as Recipe


class Supervised(L.LightningModule):
    """x: (N, C, H, W) raw pixels, y: (N,). Normalises and counts on the device."""

    mean: Tensor
    std: Tensor

    def __init__(self, net: nn.Module, data: Any, recipe: Recipe, steps_per_epoch: int, origin: dict[str, Any] | None = None,
                 between_steps: Callable[[], None] | None = None, objective: Objective | None = None):  # fmt: skip
        super().__init__()
        self.objective = objective or Objective()
        self.net, self.recipe, self.steps_per_epoch, self.origin = net, recipe, steps_per_epoch, origin
        self.between_steps = between_steps or (lambda: None)
        self.images = 0  # trained on in this process, which a resumed training began later than epoch 1
        self.register_buffer("mean", torch.tensor(data.mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(data.std).view(1, -1, 1, 1), persistent=False)
        gated = isinstance(net, Network) and len(net.gates) > 0
        self.tally = torch.zeros(4)  # images, right, gates that ran, gates
        self.losses: Tensor | None = None
        self.top1_val, self.keep_rate = math.nan, math.nan if gated else None

    def prepared(self, x: Tensor) -> Tensor:
        """Raw pixels -> what the net takes."""
        return normalised(x, self.mean, self.std, self.recipe.channels_last)

    def on_train_epoch_start(self) -> None:
        # whatever is drawn in an epoch follows from seed and epoch: order and augmentation from the batches' generator,
        # dropout and the crops of streamed images from torch's own. So a resumed training needs no other state
        torch.manual_seed(epoch_seed(self.recipe.seed, self.current_epoch))
        self.trainer.datamodule.begin_epoch(self.current_epoch)  # type: ignore[attr-defined]

    def training_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        self.between_steps()
        x, y = batch
        self.images += len(y)
        loss = self.objective.loss(self.net, self.prepared(x), y, self.recipe.label_smoothing)
        self.losses = loss.detach() if self.losses is None else self.losses + loss.detach()
        return loss

    def on_validation_epoch_start(self) -> None:
        losses, self.losses = self.losses, None  # of the epoch that validation closes; before any checkpoint is written
        if losses is not None and not torch.isfinite(losses):
            raise FloatingPointError(f"the loss is not finite in epoch {self.current_epoch + 1}; a smaller trainer.lr may help")
        self.tally = torch.zeros(4, device=self.device)
        self.objective.begin()

    def validation_step(self, batch: tuple[Tensor, Tensor]) -> None:
        self.between_steps()
        x, y = batch
        self.tally += tally(*self.objective.run(self.net, self.prepared(x)), y)

    def on_validation_epoch_end(self) -> None:
        self.top1_val, self.keep_rate = rates(self.tally)

    def configure_optimizers(self) -> Any:
        r = self.recipe
        gates = {id(p) for p in self.net.gates.parameters()} if isinstance(self.net, Network) else set()
        groups = []
        for decays, parameters in parameter_groups(self.net):
            for times, mine in ((1.0, [p for p in parameters if id(p) not in gates]),
                                (self.objective.gate_lr, [p for p in parameters if id(p) in gates])):  # fmt: skip
                if mine:
                    groups.append({"params": mine, "weight_decay": r.weight_decay if decays else 0.0, "lr": r.lr * times})
        optimiser = torch.optim.SGD(groups, lr=r.lr, momentum=r.momentum, nesterov=r.momentum > 0)
        total, warm = r.epochs * self.steps_per_epoch, round(r.warmup_epochs * self.steps_per_epoch)

        def factor(step: int) -> float:
            if step < warm:
                return (step + 1) / (warm + 1)
            return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, total - warm)))

        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, factor)
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["made_by"] = self.origin
        checkpoint["found"] = {"top1_val": self.top1_val, "keep_rate": self.keep_rate}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.top1_val, self.keep_rate = checkpoint["found"]["top1_val"], checkpoint["found"]["keep_rate"]


def parameter_groups(net: nn.Module) -> list[tuple[bool, list[nn.Parameter]]]:
    """(decays, parameters): weights of convolutions and linear layers decay, but for depthwise ones."""
    decaying = {
        id(m.weight)
        for m in net.modules()
        if isinstance(m, nn.Linear) or (isinstance(m, nn.Conv2d) and not m.groups == m.in_channels > 1)
    }
    parameters = list(net.parameters())
    return [(True, [p for p in parameters if id(p) in decaying]), (False, [p for p in parameters if id(p) not in decaying])]


def tally(logits: Tensor, kept: Tensor, y: Tensor) -> Tensor:
    """(4,): images, right ones, gates that ran, gates."""
    right = (logits.argmax(1) == y).sum()
    return torch.stack(
        [
            torch.tensor(float(len(y)), device=y.device),
            right.float(),
            kept.float().sum(),
            torch.tensor(float(kept.numel()), device=y.device),
        ]
    )


def rates(counts: Tensor) -> tuple[float, float | None]:
    """Top-1 in percent and keep rate of a tally."""
    images, right, ran, gates = counts.tolist()
    return 100 * right / images, ran / gates if gates else None


def fit(net: nn.Module, data: ImageData | FolderData, recipe: Recipe, on_epoch: Callable[[int, float], None] | None = None,
        checkpoint: Path | None = None, resolution: int | None = None,
        between_steps: Callable[[], None] | None = None, objective: Objective | None = None,
        until: int | None = None) -> Fit:  # fmt: skip
    """Trains `net` in place, by `objective`. `on_epoch(epoch, top1_val)` after each epoch; `between_steps()` before each batch,
    for whoever wants the device for a moment. With `checkpoint`, goes on from it when it is there
    (CheckpointUnusable when it is another net's, data's or recipe's) and writes it every epoch. `until`: stop after that epoch of
    the recipe, whose schedule stays that of all its epochs; with the checkpoint a later call goes on as if nothing had been.
    Raises FloatingPointError for a loss that is not finite; Ctrl-C comes out as KeyboardInterrupt."""
    resolution = resolution or (net.architecture.resolution if isinstance(net, Network) else data.size)
    if recipe.device == "cpu":
        torch.set_num_threads(recipe.threads)
    torch.manual_seed(recipe.seed)
    net.train()  # Lightning leaves the mode as it finds it, and a net that was judged before is in eval mode
    batches: L.LightningDataModule
    if isinstance(data, FolderData):
        batches = data.module(resolution, recipe)
    else:
        batches = DataModule(data, resolution, recipe.batch_size, recipe.seed, recipe.device)
    steps = max(1, data.train_images // min(recipe.batch_size, data.train_images))
    objective = objective or Objective()
    origin = made_by(net, recipe, data, resolution) | objective.told()
    module = Supervised(net, data, recipe, steps, origin, between_steps, objective)
    if recipe.channels_last:
        net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    resume = checkpoint if checkpoint is not None and checkpoint.exists() else None
    if resume:
        check_checkpoint(resume, origin, until)
    begun = time.monotonic()
    with _quiet():
        trainer = L.Trainer(
            accelerator="gpu" if recipe.device == "cuda" else "cpu",
            devices=1,
            precision=cast(Any, recipe.precision),
            max_epochs=until or recipe.epochs,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
            inference_mode=True,
            plugins=[LightningEnvironment()],  # not Slurm's, in a worker of ours
            callbacks=[EachEpoch(on_epoch, checkpoint)],
        )
        handler = signal.getsignal(signal.SIGINT) if _in_main_thread() else None
        try:
            trainer.fit(module, datamodule=batches, ckpt_path=resume, weights_only=True)
        except SystemExit as ended:  # Lightning's answer to Ctrl-C, whatever kind of KeyboardInterrupt that was, is sys.exit(1)
            asked: BaseException | None = ended
            while asked is not None and not isinstance(asked, KeyboardInterrupt):
                asked = asked.__context__
            raise asked or KeyboardInterrupt() from None
        finally:
            if handler is not None:
                signal.signal(signal.SIGINT, handler)  # which it leaves ignored
    seconds = time.monotonic() - begun
    return Fit(module.top1_val, module.keep_rate, until or recipe.epochs, seconds, module.images / max(seconds, 1e-9))


def _in_main_thread() -> bool:
    import threading

    return threading.current_thread() is threading.main_thread()


@contextmanager
def _quiet() -> Any:
    """Lightning tells what hardware it found and what it would advise: not to our users."""
    loggers = [logging.getLogger(n) for n in ("lightning.pytorch", "lightning.fabric", "lightning.pytorch.utilities.rank_zero")]
    levels = [log.level for log in loggers]
    for log in loggers:
        log.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="lightning")
        warnings.filterwarnings("ignore", message=".*(does not have many workers|Trainer will use only|treespec|LeafSpec).*")
        try:
            yield
        finally:
            for log, level in zip(loggers, levels, strict=True):
                log.setLevel(level)

"""`train.py`: one network by the full recipe, tested once, measured and saved as nets/<id>. Goes on from its checkpoint.

The checkpoint (last.ckpt in the output folder; sp.ckpt of a first stage) is written every epoch, whole or not at all, and read
without unpickling.
"""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from rich.console import Console
from torch import Tensor

from hardware.errors import MeasureError
from hardware.export import ExportError
from searchspace import card
from searchspace.inputs import is_normalised
from searchspace.network import Network, sharpened
from study.final_session import int8_accuracy, latency_row, update_card
from study.finalists import save
from study.folder import put, refuse_other_settings, remember
from study.settings import SettingsError
from study.tracking import check_login, tracker
from study.training.curve import Curve
from study.training.decisions import other_images, told, write_decisions
from study.training.stages import Stage
from study.training.train_subject import Subject, settings_of, subject_of
from study.trial import Bench
from trainers.data import ImageData
from trainers.judged import judge
from trainers.recipe import CheckpointError

COMMAND = "command.txt"  # what was typed, for tables of trainings

# SqueezeNet, two epochs of 30 % of Fashion-MNIST at 32 px, val top-1: lr 0.05 10 %, 0.02 70 %, 0.01 80 %, 0.005 79 %
UNNORMALISED_LR = 0.01


def train(config: Mapping[str, Any], folder: Path) -> Path:
    """Trains `net` and returns the folder it is saved in. SettingsError for what cannot be used."""
    settings = settings_of(config)
    check_login(settings.logger)
    refuse_other_settings(settings, folder, "a training")
    bench, subject = subject_of(settings, folder)
    console = Console()
    if not is_normalised(subject.net) and settings.trainer["lr"] > UNNORMALISED_LR:
        console.print(
            f"{subject.name} has no batch norm: with trainer.lr={settings.trainer['lr']:g} it may stay at chance or diverge; "
            f"trainer.lr={UNNORMALISED_LR:g} has trained such nets",
            highlight=False, soft_wrap=True,
        )  # fmt: skip
    target = folder / "nets" / f"{subject.candidate.id}{subject.stages[-1].suffix}"
    if _complete(target):
        console.print(f"{subject.name} is trained already; remove {folder} to begin again", highlight=False, soft_wrap=True)
        return target
    remember(settings, folder)
    put(folder / COMMAND, shlex.join(["python", Path(sys.argv[0]).name, *sys.argv[1:]]) + "\n")
    curve = Curve(folder / "curve.csv")
    if curve.rows:
        at, epoch, _ = curve.rows[-1]
        console.print(f"Going on after epoch {epoch} of stage {at}", highlight=False)
    run = tracker(settings, folder).trial(0, subject.candidate, "train")
    found: dict[str, Any] = {}
    try:
        for stage in subject.stages:
            saved = folder / "nets" / f"{subject.candidate.id}{stage.suffix}"
            if _complete(saved):
                subject.net.load_state_dict(card.load(saved).state_dict())
                continue
            found = _run_stage(stage, subject, bench, folder, saved, curve, run, console)
    except OSError as error:
        raise SettingsError(f"name={settings.name}: {folder} cannot be written to ({error}); make room and run again") from None
    finally:
        run.end(found)
    return target


def _complete(target: Path) -> bool:
    """Whether a stage is through: trained, tested and, where it can be, measured."""
    if not (target / "card.json").exists():
        return False
    there = json.loads((target / "card.json").read_text())
    return there["latency"] is not None or there.get("stage") == "random"


def _run_stage(stage: Stage, subject: Subject, bench: Bench, folder: Path, saved: Path, curve: Curve, run: Any,
               console: Console) -> dict[str, Any]:  # fmt: skip
    """Trains, tests, saves, measures; what was found."""
    candidate, net, recipe, data = subject.candidate, subject.net, stage.recipe, cast(ImageData, bench.data)
    seed, size = bench.settings.seed, bench.resolution(candidate)
    several = f"{stage.name} " if len(subject.stages) > 1 else ""

    def on_epoch(epoch: int, top1: float) -> None:
        curve.add(stage.name, epoch, top1)
        console.print(f"{several}epoch {epoch}/{recipe.epochs}  val top-1 {top1:.2f} %", highlight=False)
        run.log({"stage": stage.name, "epoch": epoch, "top1_val": top1})

    if stage.sharpen != 1:
        sharpened(cast(Network, net), stage.sharpen)
    try:
        trained = bench.fit(candidate, net, recipe, on_epoch, checkpoint=folder / stage.checkpoint, objective=stage.objective)
    except CheckpointError as error:
        raise SettingsError(f"name={bench.settings.name}: {error}") from None
    except FloatingPointError as error:
        key = "trainer.hrl.lr" if stage.name == "hrl" else "trainer.lr"
        there = f"; the last good checkpoint is {folder / stage.checkpoint}" if (folder / stage.checkpoint).exists() else ""
        raise SettingsError(f"{key}={recipe.lr}: {error}{there}") from None
    x, y = data.open_test(f"{candidate.id}{stage.suffix}", seed, size)
    judged = judge(net, x, y, data, size, device=recipe.device, objective=stage.objective)
    found = {
        "top1_val": trained.top1_val,
        "top1_test": judged.top1,
        "test_n": len(y),
        "keep_rate": judged.keep_rate,
        "epochs": recipe.epochs,
    }
    more = {"stage": stage.name, "control_of": subject.of, "skip_alpha": getattr(candidate.architecture, "skip_alpha", None)}
    if isinstance(net, Network) and candidate.gated:
        more |= told(net, judged, gates_run=stage.name != "random")
        if stage.name != "random":
            others = judge(net, x, y, data, size, device=recipe.device, force=other_images(judged.kept))
            more["top1_test_others"] = others.top1  # by the decisions of another image
    deployed = stage.name != "random"
    try:
        found["onnx_parity"] = save(candidate, net, bench, folder, found, seed, more, stage.suffix, deployed)
        if candidate.gated and isinstance(x, Tensor) and x.dtype == torch.uint8:
            write_decisions(saved, judged, x)
        if deployed:
            measured = bench.latency(candidate, card.load(saved) if isinstance(net, Network) else net, deployed=True)
            here = latency_row(measured) | (int8_accuracy(bench, saved) if measured.precision == "int8" else {})
            found |= here
            update_card(saved, here)
    except (MeasureError, ExportError) as error:
        raise SettingsError(f"net: {subject.name} is trained, but cannot be exported or measured: {error}") from None
    console.print(f"{subject.name}: {_line(several, found, len(y))}", highlight=False, soft_wrap=True)
    return found


def _line(several: str, found: Mapping[str, Any], images: int) -> str:
    """What came out, for people."""
    said = f"{several}test top-1 {found['top1_test']:.2f} % ({images} images), val {found['top1_val']:.2f} %"
    if found["keep_rate"] is not None:
        said += f", keeps {found['keep_rate']:.1%} of its gated blocks"
    if "latency_ms" in found:
        said += (
            f", {found['latency_ms']:.3f} ms [{found['low_ms']:.3f}, {found['high_ms']:.3f}]; "
            f"ONNX differs from torch by {found['onnx_parity']:.1e} of the largest logit"
        )
    return said + _in_int8(found)


def _in_int8(found: Mapping[str, Any]) -> str:
    if "top1_val_int8" not in found:
        return ""
    return f"; val top-1 in int8 {found['top1_val_int8']:.2f} % where fp32 has {found['top1_val_fp32']:.2f} %"

"""Which stages a training has, by `trainer=`: one, or SkipNet's two in order; and what a gate's reward is worth.

supervised    one stage; gates, if any, train jointly with the skip reward
skipnet_sp    SkipNet's first stage
skipnet_hrl   its second, from a net that has had the first: net=outputs/NAME/nets/ID
skipnet       both
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from hardware.breakdown import breakdown
from hardware.errors import MeasureError
from hardware.meter import Meter
from searchspace.architecture import Architecture
from searchspace.complexity import count
from study.folder import put
from study.settings import SettingsError
from trainers.objectives import Objective
from trainers.recipe import Recipe
from trainers.skipnet import BASELINES, REDUCTIONS, Hybrid, Policy, StraightThrough

TRAINERS = ("supervised", "skipnet_sp", "skipnet_hrl", "skipnet")
COSTS = ("one", "macs", "time")


@dataclass(frozen=True)
class Stage:
    """One training of a net: by what it learns, by which recipe, into which checkpoint. `sharpen`: the gates' logits are
    multiplied by it before; `suffix`: of the saved net's folder, where another stage follows."""

    name: str
    objective: Objective
    recipe: Recipe
    checkpoint: str
    sharpen: float = 1.0
    suffix: str = ""


def check_stages(trainer: Mapping[str, Any]) -> None:
    """SettingsError for what trainers/skipnet.py would refuse."""
    if trainer["name"] not in TRAINERS:
        raise SettingsError(f"trainer={trainer['name']}: must be one of {', '.join(TRAINERS)}")
    if (hrl := trainer.get("hrl")) is None:
        return
    for key, known in (("cost", COSTS), ("reduction", REDUCTIONS), ("baseline", BASELINES)):
        if hrl[key] not in known:
            raise SettingsError(f"trainer.hrl.{key}={hrl[key]}: must be one of {', '.join(known)}")
    for key in ("epochs", "lr", "gate_lr", "weight", "sharpen"):
        if hrl[key] <= 0:
            raise SettingsError(f"trainer.hrl.{key}={hrl[key]}: must be above 0")
    for key in ("skip_alpha", "beta"):
        if hrl[key] is not None and hrl[key] < 0:
            raise SettingsError(f"trainer.hrl.{key}={hrl[key]}: must be at least 0")


def stages_of(trainer: Mapping[str, Any], net: Architecture | None, recipe: Recipe, folder: Path, meter: Meter) -> list[Stage]:
    """In order. Raises SettingsError for a net without gates where gates are trained."""
    name = trainer["name"]
    if name == "supervised":
        return [Stage("supervised" if net is not None and net.gates else "none", Objective(), recipe, "last.ckpt")]
    if net is None or not net.gates:
        raise SettingsError(
            f"trainer={name}: this net has no gates to train; use trainer=supervised, or a gated net (skipnet_20-rnn)"
        )
    stages = []
    if name in ("skipnet_sp", "skipnet"):
        both = name == "skipnet"
        stages.append(Stage("sp", StraightThrough(), recipe, "sp.ckpt" if both else "last.ckpt", suffix="-sp" if both else ""))
    if name in ("skipnet_hrl", "skipnet"):
        hrl = trainer["hrl"]
        policy = Policy(
            skip_alpha=float(net.skip_alpha or 0), costs=_costs(hrl["cost"], net, folder, meter), beta=hrl["beta"],
            weight=hrl["weight"], reduction=hrl["reduction"], baseline=hrl["baseline"],
        )  # fmt: skip
        second = replace(recipe, epochs=hrl["epochs"], lr=hrl["lr"], warmup_epochs=0.0)
        stages.append(Stage("hrl", Hybrid(policy, hrl["gate_lr"]), second, "last.ckpt", hrl["sharpen"]))
    return stages


def with_skip_alpha(net: Architecture, trainer: Mapping[str, Any]) -> Architecture:
    """The net with the weight of its skip reward that trainer.hrl.skip_alpha asks for."""
    asked = (trainer.get("hrl") or {}).get("skip_alpha")
    return net if asked is None or not net.gates else replace(net, skip_alpha=float(asked))


def _costs(how: str, net: Architecture, folder: Path, meter: Meter) -> tuple[float, ...]:
    """C_i of every gate: 1; what a skip saves in mult-adds; or the block's measured time here, as its share. Scaled to mean 1, so
    that skip_alpha means the same whatever the costs. Measured ones are kept in the folder: a resumed training must not measure
    others."""
    if how == "one":
        return (1.0,) * len(net.gates)
    kept = folder / ".costs.json"  # hidden: a training that is refused after this has begun nothing
    if kept.exists() and how in (costs_of := json.loads(kept.read_text())):
        return tuple(costs_of[how])
    if how == "macs":
        counted = count(net)
        raw = [float(counted.by_block[i].macs - counted.shortcuts[i]) for i in net.gates]
    else:
        try:
            parts = breakdown(meter, net)  # stem, blocks, head
        except MeasureError as error:
            raise SettingsError(f"trainer.hrl.cost=time: the blocks cannot be measured here ({error}); use macs") from None
        raw = [max(0.0, parts[1 + i].ms) for i in net.gates]
    costs = tuple(float(c) for c in np.asarray(raw) / np.mean(raw))
    put(kept, json.dumps({how: costs}))
    return costs

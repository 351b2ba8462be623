"""The cards of SkipNet's trainings, outputs/NAME/nets/ID/card.json, as values.

    for t in read_trainings(Path("outputs")): t.net, t.stage, t.top1

A card's `stage` is one of no gates, gates trained with the skip reward at once (supervised), SkipNet's supervised pre-training
(SP), hybrid reinforcement learning (HRL) (arXiv:1711.09485, section 3), or a control of such a net: its static twin, or random
skipping at its keep rates. Top-1 in percent on the test images, mult-adds in millions (of a gated net the mean of an image,
gates included), latency in milliseconds.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.records import StudyError

STAGES = {
    "none": "no gates",
    "supervised": "supervised",
    "sp": "SP",
    "hrl": "SP+HRL",
    "static": "static twin",
    "random": "random",
}
CONTROLS = ("static", "random")
# keys that a stage was given later, at the value at which they change nothing: older cards lack them
SINCE: dict[str, dict[str, Any]] = {"hrl": {"gate_lr": 1.0}}
# of a recipe: told elsewhere, or of no matter for what is learnt; of HRL's, what only the stage before it uses
NO_RECIPE = ("name", "epochs", "seed", "skip_alpha", "threads", "device", "precision", "channels_last")
BEFORE_HRL = ("lr", "warmup_epochs")
# mean and standard deviation of CIFAR-10's training pixels, 0..255: arrays of one's own (data=npz) have no name
CIFAR10 = (125.3, 123.0, 113.9, 63.0, 62.1, 66.7)
NEAR = 1.0  # a share of the data moves these a little


@dataclass(frozen=True)
class Trained:
    """One net's card. `epochs`: of this stage alone; `top1_others`: by the decisions of another image, as many and each as often;
    `macs_m`: mean mult-adds of an image; `open_m`: with all blocks open; `keep_by_gate`: () without gates; NaN: not known.
    `setting`: what the latency was measured with, "" where it was not measured."""

    folder: str  # NAME/nets/ID
    net: str
    stage: str
    skip_alpha: float
    seed: int
    data: str
    resolution: int
    fraction: float
    epochs: int
    recipe: tuple[str, ...]
    top1: float
    top1_others: float
    images: int
    keep_rate: float
    keep_by_gate: tuple[float, ...]
    macs_m: float
    open_m: float
    latency_ms: float
    low_ms: float
    high_ms: float
    setting: str
    control_of: str  # NAME/nets/ID, "" for a net that is no control

    @property
    def paper_rate(self) -> float:
        """The "computation percentage" of SkipNet's code: the first block, which has no gate, counts as kept."""
        if not self.keep_by_gate:
            return math.nan
        return 100 * (sum(self.keep_by_gate) + 1) / (len(self.keep_by_gate) + 1)

    @property
    def constant(self) -> bool:
        """Whether each gate is always open or always closed."""
        return bool(self.keep_by_gate) and all(rate in (0.0, 1.0) for rate in self.keep_by_gate)


def read_trainings(outputs: Path) -> list[Trained]:
    """All cards below `outputs` that say a stage. StudyError, one line, for a card that cannot be used."""
    found = []
    for path in sorted(outputs.glob("*/nets/*/card.json")):
        try:
            card = json.loads(path.read_text())
            if isinstance(card, dict) and "stage" in card:
                found.append(_trained("/".join(path.parts[-4:-1]), card))
        except KeyError as error:
            raise StudyError(f"{path}: has no {error.args[0]}; remove {path.parent} and train it again") from None
        except (OSError, ValueError, TypeError, AttributeError) as error:
            why = " ".join(str(error).split())[:150]
            raise StudyError(f"{path}: cannot be used ({why}); remove {path.parent} and train it again") from None
    return found


def _trained(folder: str, card: dict[str, Any]) -> Trained:
    if card["stage"] not in STAGES:
        raise ValueError(f"stage {card['stage']!r} is not one of {', '.join(STAGES)}")
    data, recipe, latency = card["data"], card["recipe"], card.get("latency") or {}
    expected = card.get("macs_expected_m")
    control_of = card.get("control_of") or ""
    return Trained(
        folder=folder,
        net=str(card.get("net") or card["id"]),
        stage=card["stage"],
        skip_alpha=_number(card.get("skip_alpha")),
        seed=int(card["seed"]),
        data=data_name(data),
        resolution=int(data.get("resolution") or 0),
        fraction=float(data["fraction"]),
        epochs=int(recipe["epochs"]),
        recipe=_recipe(recipe, card["stage"]),
        top1=float(card["top1_test"]),
        top1_others=_number(card.get("top1_test_others")),
        images=int(card["test_images"]),
        keep_rate=_number(card.get("keep_rate")),
        keep_by_gate=tuple(float(v) for v in card.get("keep_by_gate") or ()),
        macs_m=float(card["macs_m"] if expected is None else expected),
        open_m=float(card["macs_m"]),
        latency_ms=_number(latency.get("latency_ms")),
        low_ms=_number(latency.get("low_ms")),
        high_ms=_number(latency.get("high_ms")),
        setting=_setting(latency),
        control_of="/".join(Path(control_of).parts[-3:]),
    )


def data_name(data: Mapping[str, Any]) -> str:
    """Of a card's data. Arrays of one's own that are CIFAR-10 by their pixels are called so."""
    name, classes = str(data["name"]), data.get("classes") or ()
    if name not in ("npz", "imagefolder"):
        return name
    pixels = [*(data.get("mean") or ()), *(data.get("std") or ())]
    if len(classes) == 10 and len(pixels) == len(CIFAR10) and all(abs(a - b) <= NEAR for a, b in zip(pixels, CIFAR10)):
        return "cifar10"
    return f"{name} with {len(classes)} classes" if classes else name


def _recipe(recipe: Mapping[str, Any], stage: str) -> tuple[str, ...]:
    """What of a recipe acts on what this stage learns, `key=value`; a stage's own settings lie in a group of its name."""
    left_out = (*NO_RECIPE, *BEFORE_HRL) if stage == "hrl" else NO_RECIPE
    found = {k: v for k, v in recipe.items() if k not in left_out and not isinstance(v, Mapping)}
    own = recipe.get(stage)
    own = {**SINCE.get(stage, {}), **own} if isinstance(own, Mapping) else own
    found |= {f"{stage}.{k}": v for k, v in own.items() if k not in NO_RECIPE} if isinstance(own, Mapping) else {}
    return tuple(sorted(f"{k}={v}" for k, v in found.items()))


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)


def _setting(latency: dict[str, Any]) -> str:
    if latency.get("latency_ms") is None:
        return ""
    threads, batch = latency.get("threads"), latency.get("batch")
    words = [str(latency.get(k) or "") for k in ("device", "runtime")]
    words += [f"{threads} thread{'s' * (threads != 1)}"] if threads else []
    words += [f"batch {batch}"] if batch else []
    words += [str(latency[k]) for k in ("precision", "machine") if latency.get(k)]
    return ", ".join(w for w in words if w) or "not said"

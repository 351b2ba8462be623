"""nets/ID/decisions.npz with the card and the architecture beside it -> Decisions. Nothing is unpickled.

kept (n, gates) bool; loss (n,) float32; label, predicted (n,) int64; easiest, hardest (k, H, W, C) uint8; easiest_row,
hardest_row (k,): their rows
"""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from analysis.decisions import Decisions
from analysis.records import StudyError
from analysis.skipnet import TRAIN
from analysis.skipnet_cards import CONTROLS, STAGES, data_name
from searchspace.architecture import Architecture, ArchitectureError

LEAST_IMAGES = 20


def read_decisions(folder: Path) -> list[Decisions]:
    """The gated nets of a training's folder; controls only where there is nothing else. StudyError, one line."""
    saved = [p.parent for p in sorted(folder.glob("nets/*/decisions.npz"))]
    if not saved:
        if folder.is_dir():  # whose name is taken
            raise StudyError(f"{folder} holds no decisions of a gated net; train one under a name of its own: {TRAIN}")
        raise StudyError(f"{folder} is not there; train one: {TRAIN} name={folder.name}")
    nets = [(_card(p), p) for p in saved]
    own = [(card, p) for card, p in nets if card.get("stage") not in CONTROLS]
    return [_read(p, card) for card, p in own or nets]


def _card(folder: Path) -> dict[str, Any]:
    try:
        card = json.loads((folder / "card.json").read_text())
        if "name" not in card.get("data", {}):
            raise ValueError("it names no data")
        return dict(card)
    except (OSError, ValueError, AttributeError) as error:
        raise _unusable(folder / "card.json", error) from None


def _unusable(path: Path, error: object) -> StudyError:
    return StudyError(f"{path}: cannot be used ({' '.join(str(error).split())[:150]}); remove {path.parent} and train it again")


SHAPES = {"kept": 2, "loss": 1, "label": 1, "predicted": 1, "easiest": 4, "hardest": 4, "easiest_row": 1, "hardest_row": 1}


def _read(folder: Path, card: dict[str, Any]) -> Decisions:
    path = folder / "decisions.npz"
    try:
        with np.load(path, allow_pickle=False) as file:
            found = {name: file[name] for name in SHAPES}
        _check(found)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise _unusable(path, error) from None
    gates = found["kept"].shape[1]
    blocks, n_blocks, borders = _stages(folder, gates)
    classes = [f"class {c}" if str(c).isdigit() else str(c) for c in card["data"].get("classes") or ()]
    numbers = range(max(len(classes), int(found["label"].max()) + 1))
    stage = "" if card.get("stage") in CONTROLS else STAGES.get(str(card.get("stage")), "")  # a control's name says it
    top1 = 100 * float((found["predicted"] == found["label"]).mean())
    told = [str(card.get("net") or card.get("id") or folder.name), stage, data_name(card["data"])]
    return Decisions(
        id=folder.name, name=", ".join(w for w in told if w), top1=top1,
        classes=tuple(classes[i] if i < len(classes) else f"class {i}" for i in numbers),
        kept=found["kept"].astype(np.bool_), loss=found["loss"].astype(np.float64), label=found["label"].astype(np.int64),
        predicted=found["predicted"].astype(np.int64), easiest=found["easiest"], hardest=found["hardest"],
        easiest_row=found["easiest_row"].astype(np.int64), hardest_row=found["hardest_row"].astype(np.int64),
        blocks=blocks, n_blocks=n_blocks, borders=borders,
        top1_others=float("nan" if (others := card.get("top1_test_others")) is None else others),
        by_chance=card.get("stage") == "random",
    )  # fmt: skip


def _check(found: dict[str, np.ndarray]) -> None:
    """ValueError when the arrays cannot belong together."""
    for name, dimensions in SHAPES.items():
        if found[name].ndim != dimensions:
            raise ValueError(f"{name} has {found[name].ndim} dimensions, not {dimensions}")
    n, gates = found["kept"].shape
    if n < LEAST_IMAGES or gates < 1:
        raise ValueError(f"kept is {n} x {gates}: at least {LEAST_IMAGES} images and one gate are needed")
    for name in ("loss", "label", "predicted"):
        if len(found[name]) != n:
            raise ValueError(f"{name} has {len(found[name])} rows, kept {n}")
    if not np.isfinite(found["loss"]).all():
        raise ValueError("loss is not finite")
    for name in ("easiest", "hardest"):
        rows = found[f"{name}_row"]
        if len(rows) != len(found[name]) or (rows < 0).any() or (rows >= n).any():
            raise ValueError(f"{name}_row does not name the rows of {name}")


def _stages(folder: Path, gates: int) -> tuple[tuple[int, ...], int, tuple[int, ...]]:
    """Positions of the gated blocks, number of blocks and where stages begin; without a known architecture the gates alone."""
    try:
        net = Architecture.from_json((folder / "architecture.json").read_text())
    except (OSError, ArchitectureError):
        return tuple(range(gates)), gates, ()
    if len(net.gates) != gates:
        return tuple(range(gates)), gates, ()
    begins = np.cumsum([len(stage.blocks) for stage in net.stages])[:-1]
    return net.gates, len(net.blocks), tuple(int(b) for b in begins)

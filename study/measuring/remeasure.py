"""`measure.py name=STUDY`: the nets of a study measured again, under the hardware settings given now. Nothing is trained.

What a static net costs does not hang on its weights: it is built from the study's record. What a gated net costs does, so it
runs with the weights that the finalists' stage saved, on the study's validation images; one that was not saved is left out,
and so it is told. All nets go through one interleaved session; the rows of a setting replace those it had in measured.csv.
Expect 2-4 s and 0.1-0.3 s a net.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console

from hardware.machine import fingerprint
from searchspace.anchors import UnknownNet
from searchspace.architecture import Architecture, ArchitectureError
from searchspace.card import CardError
from searchspace.card import load as load_net
from searchspace.named import resolve
from study.folder import put
from study.measuring import executed
from study.measuring.sidebyside import measured, session, show
from study.settings import SettingsError, import_plugins
from study.trial import deployed_sample
from trainers.data import DataError, look
from trainers.data import load as load_data

# runtime and precision are those that were asked for, `ran_by` what ran the net (on CUDA gated nets go by eager);
# `options`: what else is not as usual; `chip` is for people, `machine` the fingerprint's id
COLUMNS = ("id", "net", "device", "runtime", "ran_by", "threads", "batch", "precision", "options", "machine", "chip",
           "latency_ms", "low_ms", "high_ms", "n", "busy", "keep_rate", "measured_at")  # fmt: skip
SETTING = ("device", "runtime", "threads", "batch", "precision", "options", "machine")  # equal in all: one setting
NAMED = 3  # nets that a line names before it counts


@dataclass
class Subjects:
    """What can be measured of a study: (id, net) pairs, the images that gated nets decide on, and why others are left out."""

    nets: list[tuple[str, Any]] = field(default_factory=list)
    images: np.ndarray | None = None  # (n, C, H, W) uint8
    mean: tuple[float, ...] | None = None  # a channel, on the scale 0..255
    std: tuple[float, ...] | None = None
    left_out: list[tuple[str, str]] = field(default_factory=list)  # (id, why)


def measure_study(
    study_ms: Mapping[str, float], architectures: Mapping[str, dict[str, Any]], names: Mapping[str, str],
    settings: Mapping[str, Any], max_ms: float | None, hardware: Mapping[str, Any], folder: Path,
) -> Path:  # fmt: skip
    """Measures the nets of `study_ms` and writes FOLDER/measured.csv, whose path it returns.

    study_ms: id of each trained net -> its latency in the study, shown beside; architectures: id -> Architecture.to_dict();
    names: id -> anchor; settings: of the study; hardware: of this measurement. Raises SettingsError when nothing can be
    measured or measured.csv cannot be read."""
    path = folder / "measured.csv"
    _earlier(path)  # before minutes of measuring, not after
    import_plugins((settings.get("searchspace") or {}).get("plugins") or [])
    data = settings.get("data") or {}
    subjects = subjects_of(study_ms, architectures, names, data, folder)
    console = Console()
    rows: list[dict[str, Any]] = []
    if subjects.nets:
        with session(hardware, console) as (meter, tell):
            tell(f"measuring {len(subjects.nets)} nets of {folder.name}", 0)
            size = int(data.get("resolution") or 1)
            rows, bad = measured(meter, subjects.nets, size, max_ms, subjects.images, subjects.mean, subjects.std)
            subjects.left_out += [(net_id, why.removeprefix(f"{net_id}: ")) for net_id, why in bad]
    told = left_out(subjects.left_out, names)
    if not rows:
        raise SettingsError(f"name={folder.name}: none of its nets can be measured; {' '.join(told)}")
    table = pd.DataFrame(rows).rename(columns={"net": "id"})
    table["net"] = [names.get(i) or i for i in table["id"]]
    table["study_ms"] = [study_ms[i] for i in table["id"]]
    show(table, console)
    for line in executed.lines(rows, "validation images") + told:
        console.print(line, highlight=False, soft_wrap=True)
    folder.mkdir(parents=True, exist_ok=True)
    put(path, replaced(_earlier(path), _rows(table, names, hardware)).to_csv(index=False, lineterminator="\n"))
    return path


def subjects_of(
    ids: Iterable[str], architectures: Mapping[str, dict[str, Any]], names: Mapping[str, str], data: Mapping[str, Any],
    folder: Path,
) -> Subjects:  # fmt: skip
    """The nets of these ids: static Architectures as values, gated ones with their saved weights, other modules by name.
    `data`: the study's settings of that name; images are loaded only where a net needs them."""
    found = Subjects()
    gated: list[tuple[str, Any]] = []
    for net_id in ids:
        try:
            if net_id not in architectures:
                classes, channels = look(data["name"], data["path"])
                found.nets.append((net_id, resolve(names[net_id], data["resolution"], classes, channels)))
                continue
            value = Architecture.from_dict(architectures[net_id])
            if not value.gates:
                found.nets.append((net_id, value))
            elif (saved := folder / "nets" / net_id).is_dir():
                gated.append((net_id, load_net(saved)))
            else:
                found.left_out.append((net_id, f"its latency hangs on trained gates, and {saved.parent} holds no finalist of it"))
        except DataError as error:
            found.left_out.append((net_id, f"the study's data cannot be loaded ({error})"))
        except (UnknownNet, ArchitectureError, CardError, KeyError) as error:
            found.left_out.append((net_id, str(error)))
    if gated:
        try:
            loaded = load_data(data["name"], path=data["path"], fraction=data["fraction"])
        except DataError as error:
            why = f"gated nets decide on the study's validation images, which cannot be loaded ({error})"
            found.left_out += [(net_id, why) for net_id, _ in gated]
        else:
            found.nets += gated
            found.images, found.mean, found.std = deployed_sample(loaded), loaded.mean, loaded.std
    return found


def left_out(pairs: Iterable[tuple[str, str]], names: Mapping[str, str]) -> list[str]:
    """One line a reason, with the nets it is true of."""
    by_reason: dict[str, list[str]] = {}
    for net_id, why in pairs:
        by_reason.setdefault(why, []).append(names.get(net_id) or net_id)
    lines = []
    for why, nets in by_reason.items():
        more = f" and {len(nets) - NAMED} more" if len(nets) > NAMED else ""
        lines.append(f"Left out: {', '.join(nets[:NAMED])}{more}: {why}.")
    return lines


def replaced(earlier: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """The earlier rows of other settings, then this one's: rows of one setting are of one session."""
    now = [str(table.iloc[0][c]) for c in SETTING]
    others = earlier[(earlier[list(SETTING)].astype(str) != now).any(axis=1)]
    return pd.concat([others, table], ignore_index=True) if len(others) else table


def options(hardware: Mapping[str, Any]) -> str:
    """The settings of memory layout and cache that are not the usual ones, in words; "" when all are."""
    unusual = {"channels_last=false": not hardware.get("channels_last", True), "flush_l2=true": hardware.get("flush_l2", False)}
    return " ".join(word for word, said in unusual.items() if said)


def _rows(table: pd.DataFrame, names: Mapping[str, str], hardware: Mapping[str, Any]) -> pd.DataFrame:
    """The rows of this session as they stand in measured.csv."""
    about, precision = fingerprint(), str(hardware.get("precision") or "fp32")
    added = {
        "net": [names.get(i, "") for i in table["id"]],
        "device": hardware["device"],
        "runtime": hardware["runtime"],
        "ran_by": [r if p == precision else f"{r} {p}" for r, p in zip(table["runtime"], table["precision"])],
        "precision": precision,
        "options": options(hardware),
        "chip": str(about["cpu"] if hardware["device"] == "cpu" else about["gpu"]),
    }
    return table.assign(**added)[list(COLUMNS)]


def _earlier(path: Path) -> pd.DataFrame:
    """What was measured before; SettingsError when it is another kind of table."""
    if not path.exists():
        return pd.DataFrame(columns=list(COLUMNS))
    try:
        table = pd.read_csv(
            path, dtype={"id": str, **dict.fromkeys(SETTING, str)}, keep_default_na=False, na_values={"keep_rate": [""]}
        )
        if missing := [c for c in COLUMNS if c not in table]:
            raise ValueError(f"it has no column {missing[0]}")
    except (ValueError, OSError) as error:  # pandas' own are ValueErrors
        why = " ".join(str(error).split())[:150]
        raise SettingsError(
            f"name={path.parent.name}: {path} is no table of measurements ({why}); move it away and measure again"
        ) from None
    return table[list(COLUMNS)]

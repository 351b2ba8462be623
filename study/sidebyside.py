"""`measure.py`: any nets a user can name, measured here in one interleaved session, as a table and measure.csv."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table
from torch import nn

from hardware.meter import MeasureError, Meter
from hardware.regime import regimes
from hardware.runtimes import RuntimeUnavailable
from searchspace.anchors import LISTS, UnknownNet
from searchspace.architecture import Architecture, ArchitectureError
from searchspace.card import CardError
from searchspace.complexity import count
from searchspace.named import expand, resolve
from searchspace.network import Network
from study.folder import put
from study.settings import SettingsError

RESOLUTION = 224  # of modules that do not say theirs


def measure_nets(
    nets: Any, resolution: int | None, max_ms: float | None, hardware: dict[str, Any], folder: Path, with_regime: bool = True
) -> tuple[Path, list[str]]:
    """Measures what can be measured; returns the path of measure.csv and one line for each net that could not be.

    Raises SettingsError when no net is left. Always measures: earlier values are not looked up."""
    if not isinstance(nets, (str, list)) or not nets or not all(isinstance(n, str) for n in nets):
        raise SettingsError(f"nets: must be a list of nets like [mobilenet_v1-0.25, timm:mobilenetv2_100], or {', '.join(LISTS)}")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / "measure.csv").exists():
        raise SettingsError(f"name={folder.name}: {folder} holds something else than measurements; give another name=")
    subjects, refused, advice = [], [], []
    for name in expand(nets):
        try:
            subjects.append((name, resolve(name, resolution)))
        except UnknownNet as error:
            refused.append(f"nets: {error}")
        except (ArchitectureError, CardError) as error:
            refused.append(f"nets: {name}: {error}")
    console = Console()
    try:
        with _told(console) as told, Meter(
            hardware["device"], runtime=hardware["runtime"], threads=hardware["threads"], batch=hardware["batch"],
            rounds=hardware["rounds"], spread_s=hardware["spread_s"], on_round=lambda done: told(None, done),
        ) as meter:  # fmt: skip
            told(f"measuring {len(subjects)} nets", 0)
            rows = _measure(meter, subjects, resolution or RESOLUTION, max_ms, refused)
            if with_regime and rows:
                told("asking which lever works here (regime)", 0)
                advice = _regimes(meter, subjects, rows)
    except RuntimeUnavailable as error:
        raise SettingsError(f"hardware.runtime={hardware['runtime']}: {error}") from None
    if not rows:
        raise SettingsError(*(refused or ["nets: none is given"]))
    table = pd.DataFrame(rows)
    _show(table, console)
    for line in advice:
        console.print(line, highlight=False, soft_wrap=True)
    folder.mkdir(parents=True, exist_ok=True)
    put(folder / "measure.csv", _with_earlier(folder / "measure.csv", table).to_csv(index=False, lineterminator="\n"))
    return folder / "measure.csv", refused


@contextmanager
def _told(console: Console) -> Iterator[Callable[[str | None, int], None]]:
    """told(what, rounds done): a line that changes in a terminal, one line a step elsewhere."""
    step = ""
    if not console.is_terminal:

        def line(what: str | None, done: int) -> None:
            if what:
                console.print(what, highlight=False)

        yield line
        return
    with console.status("") as status:

        def live(what: str | None, done: int) -> None:
            nonlocal step
            step = what or step
            status.update(f"{step}, round {done}" if done else step)

        yield live


def _regimes(meter: Meter, subjects: list[tuple[str, Any]], rows: list[dict[str, Any]]) -> list[str]:
    """Fills the column `regime` of what is an Architecture; one sentence of advice each."""
    values = {n: a for n, net in subjects if isinstance(a := getattr(net, "architecture", net), Architecture)}
    try:
        found = dict(zip(values, regimes(meter, list(values.values())), strict=True)) if values else {}
    except MeasureError as error:  # a twin of double width may need more memory than there is
        return [f"The regime could not be told: {error}"]
    for row in rows:
        row["regime"] = found[row["net"]].name if row["net"] in found else ""
    return [f"{name}: {r.name}-bound ({r.of_peak:.0%} of the measured peak); {r.advice}." for name, r in found.items()]


def _with_earlier(path: Path, table: pd.DataFrame) -> pd.DataFrame:
    """Earlier measurements of this name stay, above the new ones."""
    if not path.exists():
        return table
    try:
        return pd.concat([pd.read_csv(path), table], ignore_index=True)
    except (ValueError, pd.errors.ParserError):
        raise SettingsError(f"name={path.parent.name}: {path} cannot be read as a table; move it or give another name=") from None


def _measure(
    meter: Meter, subjects: list[tuple[str, Any]], resolution: int, max_ms: float | None, refused: list[str]
) -> list[dict[str, Any]]:
    """One session; a net that cannot be measured is taken out, told, and the others go again."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    while subjects:
        try:
            measured = meter.measure([net for _, net in subjects], [_shape(net, resolution) for _, net in subjects], max_ms)
        except MeasureError as error:
            refused += [f"nets: {subjects[i][0]}: {why}" for i, why in error.bad.items()]
            subjects = [s for i, s in enumerate(subjects) if i not in error.bad]
            continue
        rows = []
        for (name, net), m in zip(subjects, measured, strict=True):
            macs = count(net, _shape(net, resolution)).macs
            rows.append(
                {
                    "net": name,
                    "latency_ms": m.latency_ms,
                    "low_ms": m.low_ms,
                    "high_ms": m.high_ms,
                    "n": m.n,
                    "macs_m": macs / 1e6,
                    "gmac_per_s": macs * m.batch / m.latency_ms / 1e6,
                    "keep_rate": m.keep_rate,
                    "runtime": m.runtime,
                    "threads": m.threads,
                    "batch": m.batch,
                    "precision": m.precision,
                    "busy": m.busy,
                    "stopped": m.stopped,
                    "machine": m.machine,
                    "measured_at": now,
                }
            )
        return rows
    return []


def _shape(net: Any, resolution: int) -> tuple[int, int, int, int]:
    a = net if isinstance(net, Architecture) else net.architecture if isinstance(net, Network) else None
    return (1, a.in_channels, a.resolution, a.resolution) if a else (1, _channels(net), resolution, resolution)


def _channels(module: nn.Module) -> int:
    """What the first convolution of a foreign module takes."""
    return next((m.in_channels for m in module.modules() if isinstance(m, nn.Conv2d)), 3)


def _show(table: pd.DataFrame, console: Console) -> None:
    first = table.iloc[0]
    threads = "1 thread" if first.threads == 1 else f"{first.threads} threads"
    shown = Table(title=f"{first.runtime}, {threads}, batch {first.batch}, {first.precision}", title_justify="left")
    left = ("net", "regime", "as fast as")
    for column in ("net", "ms", "95 % interval", "n", "M mult-adds", "GMAC/s", "keep rate", "regime", "as fast as"):
        shown.add_column(column, justify="left" if column in left else "right", overflow="fold")
    table = table.sort_values("latency_ms")
    for i, r in table.iterrows():
        alike = [o.net for j, o in table.iterrows() if j != i and o.low_ms <= r.high_ms and r.low_ms <= o.high_ms]
        keep = "" if r.keep_rate is None or np.isnan(r.keep_rate) else f"{r.keep_rate:.2f} on noise"
        shown.add_row(
            r.net,
            f"{r.latency_ms:.3f}",
            f"{r.low_ms:.3f}–{r.high_ms:.3f}",
            str(r.n),
            f"{r.macs_m:.2f}",
            f"{r.gmac_per_s:.2f}",
            keep,
            str(r.get("regime", "")),
            ", ".join(alike),
        )
    console.print(shown) if console.is_terminal else Console(width=160).print(shown)
    if table.busy.any():
        console.print("The machine was busy meanwhile: the reference nets ran unsteadily. Measure again on a quiet machine.")

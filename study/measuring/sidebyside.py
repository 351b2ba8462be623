"""`measure.py`: any nets a user can name, measured here in one interleaved session, as a table and measure.csv. `session`,
`measured` and `show` are for remeasure.py, too."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from rich.table import Table
from torch import nn

from hardware.breakdown import breakdown
from hardware.machine import fingerprint
from hardware.meter import MeasureError, Meter
from hardware.regime import regimes
from hardware.runtimes import RuntimeUnavailable
from searchspace.anchors import LISTS, UnknownNet
from searchspace.architecture import Architecture, ArchitectureError
from searchspace.card import CardError
from searchspace.classics import is_classic
from searchspace.complexity import count
from searchspace.inputs import input_of
from searchspace.named import expand, resolve
from searchspace.network import Network
from searchspace.published import usual_resolution
from study.folder import put
from study.measuring import executed
from study.measuring.images import images_for
from study.settings import SettingsError

Tell = Callable[[str | None, int], None]  # called with a step (or None) and the rounds done


def measure_nets(
    nets: Any,
    resolution: int | None,
    max_ms: float | None,
    hardware: dict[str, Any],
    folder: Path,
    with_regime: bool = True,
    with_blocks: bool = False,
) -> tuple[Path, list[str]]:
    """Measures what can be measured; returns the path of measure.csv and one line for each net that could not be.

    Raises SettingsError when no net is left. Always measures: earlier values are not looked up."""
    if not isinstance(nets, (str, list)) or not nets or not all(isinstance(n, str) for n in nets):
        raise SettingsError(f"nets: must be a list of nets like [mobilenet_v1-0.25, timm:mobilenetv2_100], or {', '.join(LISTS)}")
    if folder.is_dir() and any(folder.iterdir()) and not any((folder / f).exists() for f in ("measure.csv", "pieces.csv")):
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
    with session(hardware, console) as (meter, tell):
        tell(f"measuring {len(subjects)} nets", 0)
        images = images_for(net for _, net in subjects)
        sizes = {name: resolution or usual_resolution(name) for name, _ in subjects}
        rows, bad = measured(meter, subjects, sizes, max_ms, images.pixels, images.mean, images.std)
        refused += [f"nets: {name}: {why.removeprefix(f'{name}: ')}" for name, why in bad]
        if with_regime and rows:
            tell("asking which lever works here (regime)", 0)
            advice = _regimes(meter, subjects, rows)
        parts = _blocks(meter, subjects, rows, tell) if with_blocks else []
    if not rows:
        raise SettingsError(*(refused or ["nets: none is given"]))
    table = pd.DataFrame(rows).drop(columns="spread").assign(**place(hardware))
    show(table, console, images.what)
    for line in [images.why] * bool(images.why) + executed.lines(rows, images.what) + advice:
        console.print(line, highlight=False, soft_wrap=True)
    _show_blocks(parts, console)
    folder.mkdir(parents=True, exist_ok=True)
    if len(by_blocks := executed.table(rows, images.what)):
        path = folder / "executed.csv"
        put(path, with_earlier(path, by_blocks).to_csv(index=False, lineterminator="\n"))
    put(folder / "measure.csv", with_earlier(folder / "measure.csv", table).to_csv(index=False, lineterminator="\n"))
    if parts:
        put(folder / "blocks.csv", pd.DataFrame(parts).to_csv(index=False, lineterminator="\n"))
    return folder / "measure.csv", refused


def _architectures(subjects: Sequence[tuple[str, Any]], rows: Sequence[dict[str, Any]]) -> dict[str, Architecture]:
    there = {row["net"] for row in rows}
    return {n: a for n, net in subjects if n in there and isinstance(a := getattr(net, "architecture", net), Architecture)}


def _blocks(meter: Meter, subjects: Sequence[tuple[str, Any]], rows: list[dict[str, Any]], tell: Tell) -> list[dict[str, Any]]:
    """A row each part of each Architecture (a module has no blocks that we know of)."""
    found = []
    for name, architecture in _architectures(subjects, rows).items():
        tell(f"taking {name} apart", 0)
        try:
            parts = breakdown(meter, architecture)
        except MeasureError:  # a beginning that cannot be exported: the net has no shares, the table goes on
            continue
        name += " (without its gates, all blocks kept)" if architecture.gates else ""
        for p in parts:
            found.append({"net": name, "part": p.name, "ms": p.ms, "share": p.share, "low": p.low, "high": p.high})
    return found


def _show_blocks(parts: list[dict[str, Any]], console: Console) -> None:
    for name in dict.fromkeys(p["net"] for p in parts):
        shown = Table(title=f"{name}: where the time goes", title_justify="left")
        for column in ("part", "ms", "share", "95 % interval"):
            shown.add_column(column, justify="left" if column == "part" else "right")
        for p in parts:
            if p["net"] == name:
                shown.add_row(p["part"], f"{p['ms']:.4f}", f"{p['share']:.1%}", f"{p['low']:.1%} to {p['high']:.1%}")
        console.print(shown)


@contextmanager
def session(hardware: Mapping[str, Any], console: Console) -> Iterator[tuple[Meter, Tell]]:
    """The meter of these settings (conf/schema.py's Hardware), and what tells its progress. SettingsError names a runtime that
    is not there."""
    try:
        with _told(console) as tell, Meter.of(hardware, on_round=lambda done: tell(None, done)) as meter:
            yield meter, tell
    except RuntimeUnavailable as error:
        raise SettingsError(f"hardware.runtime={hardware['runtime']}: {error}") from None


@contextmanager
def _told(console: Console) -> Iterator[Tell]:
    """tell(what, rounds done): a line that changes in a terminal, one line a step elsewhere."""
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
    values = _architectures(subjects, rows)
    try:
        found = dict(zip(values, regimes(meter, list(values.values())), strict=True)) if values else {}
    except MeasureError as error:  # a twin of double width may need more memory than there is
        return [f"The regime could not be told: {error}"]
    for row in rows:
        row["regime"] = found[row["net"]].name if row["net"] in found else ""
    return [f"{name}: {r.name}-bound ({r.of_peak:.0%} of the measured peak); {r.advice}." for name, r in found.items()]


def place(hardware: Mapping[str, Any]) -> dict[str, str]:
    """Where it was measured, for people: `device`, and `chip`, the name of its processor."""
    about = fingerprint()
    return {"device": str(hardware["device"]), "chip": str(about["cpu"] if hardware["device"] == "cpu" else about["gpu"])}


def with_earlier(path: Path, table: pd.DataFrame) -> pd.DataFrame:
    """Earlier measurements of this name stay, above the new ones."""
    if not path.exists():
        return table
    try:
        return pd.concat([pd.read_csv(path), table], ignore_index=True)
    except (ValueError, pd.errors.ParserError):
        raise SettingsError(f"name={path.parent.name}: {path} cannot be read as a table; move it or give another name=") from None


def measured(
    meter: Meter, subjects: Sequence[tuple[str, Any]], resolution: int | Mapping[str, int], max_ms: float | None,
    images: Any = None,    mean: Sequence[float] | None = None, std: Sequence[float] | None = None,
) -> tuple[list[dict[str, Any]], list[tuple[str, str]]]:  # fmt: skip
    """One session of (name, net) pairs: a row each of what could be measured, (name, why) of what could not: such a net is
    taken out and the others go again. `resolution`: pixels of modules that do not say theirs (by name); images, mean, std: as of
    Meter.measure, for gated nets to decide on."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    left, bad = list(subjects), []

    def pixels(name: str) -> int:
        return resolution if isinstance(resolution, int) else resolution[name]

    while left:
        try:
            shapes: list[Any] = [input_of(net, pixels(name)) for name, net in left]
            found = meter.measure([_travelling(name, net) for name, net in left], shapes, max_ms, images, mean, std)
        except MeasureError as error:
            bad += [(left[i][0], why) for i, why in error.bad.items()]
            left = [s for i, s in enumerate(left) if i not in error.bad]
            continue
        rows = []
        for (name, net), m in zip(left, found, strict=True):
            macs = count(net, input_of(net, pixels(name))).macs
            rows.append(
                {
                    "net": name,
                    "latency_ms": m.latency_ms,
                    "low_ms": m.low_ms,
                    "high_ms": m.high_ms,
                    "n": m.n,
                    "macs_m": macs / 1e6,
                    # of a gated net not all mult-adds are done
                    "gmac_per_s": macs * m.batch / m.latency_ms / 1e6 if m.keep_rate is None else float("nan"),
                    "keep_rate": m.keep_rate,
                    "p50_ms": m.spread.p50_ms if m.spread else float("nan"),  # over images
                    "p95_ms": m.spread.p95_ms if m.spread else float("nan"),
                    "runtime": m.runtime,
                    "threads": m.threads,
                    "batch": m.batch,
                    "precision": m.precision,
                    "busy": m.busy,
                    "stopped": m.stopped,
                    "least_ms": m.least_ms,
                    "pace": m.pace,
                    "logits_differ": m.parity,
                    "engine": m.engine,
                    "process": m.process,
                    "clock_mhz": m.clock_mhz,
                    "options": "/".join(meter.setting.key.split("/")[4:]),
                    "machine": m.machine,
                    "measured_at": now,
                    "spread": m.spread,  # hardware.spread.Spread or None: not of the csv
                }
            )
        return rows, bad
    return [], bad


def _travelling(name: str, net: Any) -> Any:
    """A module by its name, where it has one: so the measuring process can make it again for runtimes that take no file."""
    named = ":" in name or is_classic(name)
    return name if named and isinstance(net, nn.Module) and not isinstance(net, Network) else net


def show(table: pd.DataFrame, console: Console, images: str = "") -> None:
    """Prints rows of `measured`, fastest first; `images`: on which gated nets decided. Of a study's nets (they carry study_ms,
    the study's own latency) that stands in the last column, of others which nets they cannot be told from."""
    first, of_study = table.iloc[0], "study_ms" in table
    threads = "1 thread" if first.threads == 1 else f"{first.threads} threads"
    shown = Table(title=f"{first.runtime}, {threads}, batch {first.batch}, {first.precision}", title_justify="left")
    last = ("in the study, ms",) if of_study else ("regime", "as fast as")
    for column in ("net", "ms", "95 % interval", "n", "M mult-adds", "GMAC/s", "keep rate", *last):
        shown.add_column(column, justify="left" if column in ("net", "regime", "as fast as") else "right", overflow="fold")
    table = table.sort_values("latency_ms")
    for i, r in table.iterrows():
        keep = "" if pd.isna(r.keep_rate) else f"{r.keep_rate:.2f}" + (f" on {images}" if images else "")
        if of_study:
            more = ["" if pd.isna(r.study_ms) else f"{r.study_ms:.3f}"]
        else:
            alike = [o.net for j, o in table.iterrows() if j != i and o.low_ms <= r.high_ms and r.low_ms <= o.high_ms]
            more = [str(r.get("regime", "")), ", ".join(alike)]
        shown.add_row(
            r.net,
            f"{r.latency_ms:.3f}",
            f"{r.low_ms:.3f}–{r.high_ms:.3f}",
            str(r.n),
            f"{r.macs_m:.2f}",
            "" if pd.isna(r.gmac_per_s) else f"{r.gmac_per_s:.2f}",
            keep,
            *more,
        )
    console.print(shown) if console.is_terminal else Console(width=160).print(shown)
    if "pace" in table:
        console.print(
            f"At the best pace that the reference nets showed here: they ran {1 / table.pace.iloc[0] - 1:.1%} slower meanwhile, "
            "and by so much the values lie below the calm visits (least_ms in the csv: the least that was seen).",
            highlight=False, soft_wrap=True,
        )  # fmt: skip
    if first.precision == "int8":
        console.print("Accuracy in int8 is another than in fp32 and not measured here (search.py and train.py do).")
    if "process" in table and (table.process == "caller").any():
        console.print("Measured in this process: a module that no other process can make again is among the nets.")
    if table.busy.any():
        console.print("The machine was busy meanwhile: the reference nets ran unsteadily. Measure again on a quiet machine.")

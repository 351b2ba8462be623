"""`measure.py nets=pieces`: the four blocks of MobileNetV2's Figure 4 at equal shapes, and what an activation costs an element.

    path = measure_pieces(hardware, max_ms, folder)      # FOLDER/pieces.csv, which `report.py figure=classics` draws

A block costs what a small net takes more with it than without: a stem before it, so that its input lies as the engine likes it,
and a pooling behind it, so that no map is copied out (as hardware/breakdown.py does with the blocks of a net). An activation:
what IN_A_ROW of them take more than none. Engines that fuse them (compiled, CUDA graphs of it) show less than one pass each.
Expect half a minute.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from hardware.breakdown import parts_of
from hardware.latency import Latency
from hardware.meter import MeasureError
from searchspace.activations import ACTIVATION_MODULES
from searchspace.architecture import Block
from searchspace.blocks import InvertedResidual, Separable, conv_norm
from searchspace.classics.nasnet import NormalCell, ReductionCell
from searchspace.classics.shufflenet_v1 import Unit
from searchspace.complexity import count
from study.folder import put
from study.measuring.sidebyside import place, session, with_earlier
from study.settings import SettingsError

CHANNELS, SIZE = 192, 28  # of the map that comes in; with stride 2 twice the channels go out on half the size
BLOCKS = ("nasnet", "mobilenet", "shufflenet", "mobilenet_v2")  # in the order of the figure
STRIDES = (1, 2)
GROUPS, EXPANSION = 3, 6  # of ShuffleNet's and MobileNetV2's papers
IN_A_ROW = 4
ACTIVATION_SHAPE = (32, 112, 112)  # channels and pixels of a first layer at 224 pixels
ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    **{name: ACTIVATION_MODULES[name] for name in ("relu", "relu6")},
    "sigmoid": nn.Sigmoid,
    "h_sigmoid": nn.Hardsigmoid,
    **{name: ACTIVATION_MODULES[name] for name in ("swish", "h_swish")},
}


class FromBoth(nn.Module):
    """A NASNet cell whose two inputs are the same map."""

    def __init__(self, cell: nn.Module):
        super().__init__()
        self.cell = cell

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.cell(x, x)
        return out


class Centred(nn.Module):
    """Raw pixels 0..255 -> -4..4, where the activations are not flat."""

    def forward(self, x: Tensor) -> Tensor:
        return (x - 127.5) * (4 / 127.5)


def block(name: str, stride: int, channels: int = CHANNELS) -> nn.Module:
    """(N, channels, H, W) -> (N, channels * stride, H / stride, W / stride). KeyError for another name."""
    out = channels * stride
    made: dict[str, Callable[[], nn.Module]] = {
        "nasnet": lambda: FromBoth(
            NormalCell(channels, channels, out // 6, halves=False) if stride == 1 else ReductionCell(channels, channels, out // 4)
        ),
        "mobilenet": lambda: Separable(channels, Block("separable", out, stride)),
        "shufflenet": lambda: Unit(channels, out, stride, GROUPS, GROUPS),
        "mobilenet_v2": lambda: InvertedResidual(
            channels, Block("inverted", out, stride, hidden=EXPANSION * channels, activation="relu6")
        ),
    }
    return made[name]()


def measure_pieces(hardware: dict[str, Any], max_ms: float | None, folder: Path) -> Path:
    """Measures and writes FOLDER/pieces.csv; earlier rows stay. SettingsError when it cannot be measured."""
    path = folder / "pieces.csv"
    earlier = with_earlier(path, pd.DataFrame())  # before measuring, not after
    console = Console()
    with session(hardware, console) as (meter, tell):
        try:
            tell("measuring four blocks at equal shapes", 0)
            about = [(name, stride) for stride in STRIDES for name in BLOCKS]
            nets = [framed(), *(framed(block(name, stride)) for name, stride in about)]
            of_blocks = meter.measure(nets, (1, 3, SIZE, SIZE), max_ms)
            tell("measuring activations", 0)
            chains = [chained(None), *(chained(name) for name in ACTIVATIONS)]
            of_activations = meter.measure(chains, (1, *ACTIVATION_SHAPE), max_ms)
        except MeasureError as error:
            raise SettingsError(*(f"nets=pieces: {why}" for why in error.bad.values())) from None
        rows = [_block_row(*a, of_blocks[0], row) for a, row in zip(about, of_blocks[1:], strict=True)]
        rows += [_activation_row(n, of_activations[0], row) for n, row in zip(ACTIVATIONS, of_activations[1:], strict=True)]
        first = of_blocks[0]
        setting = {
            "runtime": first.runtime,
            "threads": first.threads,
            "batch": first.batch,
            "precision": first.precision,
            "options": "/".join(meter.setting.key.split("/")[4:]),
            "busy": any(row.busy for row in (*of_blocks, *of_activations)),
            "machine": first.machine,
            "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
            **place(hardware),
        }
    table = pd.DataFrame(rows).assign(**setting)
    _show(table, console)
    folder.mkdir(parents=True, exist_ok=True)
    table = pd.concat([earlier, table], ignore_index=True) if len(earlier) else table
    put(path, table.to_csv(index=False, lineterminator="\n"))
    return path


def framed(piece: nn.Module | None = None) -> nn.Module:
    """A stem, the piece, a pooling."""
    stem = conv_norm(3, CHANNELS, 3, act="relu")
    inside = [] if piece is None else [piece]
    return nn.Sequential(stem, *inside, nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()


def chained(name: str | None) -> nn.Module:
    """IN_A_ROW activations of that name, or none, before a pooling."""
    inside = [] if name is None else [ACTIVATIONS[name]() for _ in range(IN_A_ROW)]
    return nn.Sequential(Centred(), *inside, nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()


def beyond(frame: Latency, row: Latency) -> tuple[float, float, float]:
    """What a net takes more than its frame, in ms, with the 95 % interval (which may reach below zero)."""
    part = parts_of([frame, row], ["frame", "piece"])[1]
    return part.ms, part.low * row.latency_ms, part.high * row.latency_ms


def counted_blocks() -> pd.DataFrame:
    """The columns of the four blocks that need no clock: name, stride, shape_in, shape_out, macs_m, params_m."""
    return pd.DataFrame([_counted(name, stride) for stride in STRIDES for name in BLOCKS])


def _counted(name: str, stride: int) -> dict[str, Any]:
    counted = count(block(name, stride), (1, CHANNELS, SIZE, SIZE))
    return {
        "name": name,
        "stride": stride,
        "shape_in": f"{SIZE}x{SIZE}x{CHANNELS}",
        "shape_out": f"{SIZE // stride}x{SIZE // stride}x{CHANNELS * stride}",
        "macs_m": counted.macs / 1e6,
        "params_m": counted.params / 1e6,
    }


def _block_row(name: str, stride: int, frame: Latency, row: Latency) -> dict[str, Any]:
    ms, low, high = beyond(frame, row)
    return {"kind": "block", **_counted(name, stride), "ms": ms, "low_ms": low, "high_ms": high}


def _activation_row(name: str, frame: Latency, row: Latency) -> dict[str, Any]:
    elements = row.batch * IN_A_ROW
    for n in ACTIVATION_SHAPE:
        elements *= n
    ms, low, high = beyond(frame, row)
    channels, height, width = ACTIVATION_SHAPE
    shape = f"{height}x{width}x{channels}"
    return {
        "kind": "activation",
        "name": name,
        "shape_in": shape,
        "shape_out": shape,
        "ms": ms / IN_A_ROW,
        "low_ms": low / IN_A_ROW,
        "high_ms": high / IN_A_ROW,
        "ns_per_element": 1e6 * ms / elements,
        "low_ns": 1e6 * low / elements,
        "high_ns": 1e6 * high / elements,
    }


def _show(table: pd.DataFrame, console: Console) -> None:
    first: Any = table.iloc[0]
    threads = "1 thread" if first.threads == 1 else f"{first.threads} threads"
    shown = Table(title=f"{first.runtime}, {threads}, batch {first.batch}, {first.precision}", title_justify="left")
    columns: Sequence[str] = ("piece", "in", "out", "M mult-adds", "ms", "95 % interval", "ns an element")
    for column in columns:
        shown.add_column(column, justify="left" if column in ("piece", "in", "out") else "right")
    for row in table.to_dict("records"):
        on_block = row["kind"] == "block"
        name = f"{row['name']}, stride {row['stride']:.0f}" if on_block else row["name"]
        macs = f"{row['macs_m']:.2f}" if on_block else ""
        ns = "" if on_block else f"{row['ns_per_element']:.3f}"
        interval = f"{row['low_ms']:.4f}-{row['high_ms']:.4f}"
        shown.add_row(name, row["shape_in"], row["shape_out"], macs, f"{row['ms']:.4f}", interval, ns)
    console.print(shown) if console.is_terminal else Console(width=140).print(shown)
    if first.busy:
        console.print("The machine was busy meanwhile: the reference nets ran unsteadily. Measure again on a quiet machine.")

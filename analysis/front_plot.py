"""The figure of the first screen: accuracy against latency, anchors named, the front a staircase."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from analysis.effects import accuracy_half
from analysis.front import front, nets
from analysis.labels import place
from analysis.palette import STEPS, STYLE, Drawing, canvas
from analysis.records import Record

CROWD = 1000  # nets; of more, each on its own would take a minute to draw and could not be told apart


def front_figure(record: Record, palette: Mapping[str, str], wide: bool = True) -> Drawing:
    """Accuracy against latency with 95 % intervals both ways, anchors named, the front a staircase.

    On finalists: test top-1. Else validation top-1 of the trials. The staircase is what one gets at each latency budget."""
    table, chosen, on = nets(record), front(record), "test" if record.by_finalists else "val"
    table = table[table[f"top1_{on}"].notna()]
    with matplotlib.rc_context(STYLE):
        figure, axes = canvas(palette, (7.6, 4.35) if wide else (4.0, 4.6), top=0.92 if wide else 0.88)
        drawing = Drawing(
            figure,
            f"{'Test' if on == 'test' else 'Validation'} top-1 in percent against latency in milliseconds: "
            f"{len(table)} nets, {len(chosen)} on the front",
        )
        _frame(axes, record, table, chosen, on)
        floor, lines, numbers = axes.get_ylim()[0], [], {net: str(i) for i, net in enumerate(chosen["id"], 1)}
        slow, top = chosen["latency_ms"].to_numpy(), chosen[f"top1_{on}"].to_numpy()
        if len(chosen):
            stairs = np.column_stack([np.repeat(np.append(slow, axes.get_xlim()[1]), 2)[1:-1], np.repeat(top, 2)])
            axes.plot(*stairs.T, color=palette["found"], linewidth=1.4, alpha=0.75, zorder=2, scalex=False, scaley=False)
            lines.append(stairs)
        alone = table if len(table) <= CROWD else _crowd(axes, table, numbers, on, palette, floor)
        for i, (_, net) in enumerate(alone.iterrows()):
            below = net[f"top1_{on}"] < floor
            kind = "anchor" if net["origin"] == "anchor" else "control" if net["origin"] == "control" else "found"
            lines += _point(axes, record, net, on, palette[kind], palette["paper"], kind, net["id"] in numbers, below, f"net{i}")
            drawing.tips[f"net{i}"] = _tip(net, on, record)
        names = [
            (n["latency_ms"], max(n[f"top1_{on}"], floor), record.anchors.get(n["id"], n["net"]), palette["anchor"])
            for _, n in table[table["origin"] == "anchor"].iterrows()
        ]
        names += [
            (n["latency_ms"], n[f"top1_{on}"], numbers[n["id"]], palette["found"])
            for _, n in chosen.iterrows()
            if n["origin"] != "anchor"
        ]
        place(
            axes, names, np.maximum(table[["latency_ms", f"top1_{on}"]].to_numpy(), [-np.inf, floor]), lines, 9.5 if wide else 9
        )
        _legend(figure, table, numbers, palette, bool((table[f"top1_{on}"] < floor).any()))
    return drawing


def _crowd(axes: Axes, table: pd.DataFrame, numbers: Mapping[str, str], on: str, palette: Mapping[str, str], floor: float) -> Any:
    """Draws the many that are neither anchors nor on the front at once, without intervals, and returns the others."""
    strong = table["id"].isin(list(numbers)) | (table["origin"] == "anchor")
    for kind, marker in (("found", "o"), ("control", "s")):
        some = table[~strong & ((table["origin"] == "control") == (kind == "control"))]
        top1 = np.maximum(some[f"top1_{on}"], floor)
        axes.plot(some["latency_ms"], top1, marker, color=palette[kind], markersize=2, alpha=0.3, zorder=2, gid=f"crowd-{kind}")
    return table[strong]


def _point(
    axes: Axes, record: Record, net: pd.Series, on: str, colour: str, paper: str, kind: str, chosen: bool, below: bool, gid: str
) -> list:
    """Draws one net with its intervals and returns these as polylines."""
    x, y = net["latency_ms"], net[f"top1_{on}"]
    if below:  # a net far under the others would flatten all of them: it stands at the lower edge
        axes.plot(x, axes.get_ylim()[0], "v", color=colour, markersize=5, alpha=0.6, clip_on=False, gid=gid)
        return []
    strong = chosen or kind == "anchor"
    half, low, high = accuracy_half(record, net, on=on), net["latency_low_ms"], net["latency_high_ms"]
    bars = [np.array([(x, y - half), (x, y + half)])] if not math.isnan(half) else []
    bars += [np.array([(low, y), (high, y)])] if pd.notna(low) and pd.notna(high) else []
    for bar in bars:
        axes.plot(*bar.T, color=colour, linewidth=1.1, alpha=0.8 if strong else 0.3, zorder=2.5)
    axes.plot(
        x,
        y,
        {"anchor": "D", "control": "s"}.get(kind, "o"),
        color=colour,
        zorder=4 if strong else 3,
        markersize=7 if strong else 5,
        markerfacecolor=colour if strong else paper,
        alpha=1 if strong else 0.6,
        gid=gid,
    )
    return bars if strong else []


def _frame(axes: Axes, record: Record, table: pd.DataFrame, chosen: pd.DataFrame, on: str) -> None:
    """Limits, ticks and units of accuracy against latency."""
    hardware = record.settings.get("hardware") or {}
    how = [str(record.latency_session.get("runtime") or hardware.get("runtime") or "")]
    how += [f"{hardware[k]} thread{'s' * (hardware[k] != 1)}" for k in ("threads",) if hardware.get(k)]
    how += [f"batch {hardware['batch']}"] if hardware.get("batch") else []
    slow = table["latency_ms"].to_numpy()
    log = len(slow) > 0 and slow.max() > 3 * slow.min()
    axes.set_xlabel("latency, ms" + (" (log scale)" if log else "") + "\n" + ", ".join(h for h in how if h))
    axes.set_ylabel(f"{'test' if on == 'test' else 'validation'} top-1, %")
    core = table[table["id"].isin(chosen["id"]) | (table["origin"] == "anchor")]
    if core.empty:
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 100)
        return
    halves = [h for _, net in core.iterrows() if not math.isnan(h := accuracy_half(record, net, on=on))]
    low, high, room = core[f"top1_{on}"].min(), core[f"top1_{on}"].max(), max([0.0, *halves])
    spread = max(high - low, 1.0)
    others = table[f"top1_{on}"][table[f"top1_{on}"] > low - 0.6 * spread].min()
    axes.set_ylim(min(low, others) - room - 0.1 * spread, high + room + 0.12 * spread)
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=STEPS))
    if log:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(
            LogLocator(subs=(1.0, 2.0, 5.0) if slow.max() > 10 * slow.min() else (1.0, 1.5, 2.0, 3.0, 5.0, 7.0))
        )
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlim(slow.min() / 1.18, slow.max() * 1.25)
    else:
        axes.xaxis.set_major_locator(MaxNLocator(6, steps=STEPS))
        edge = max(slow.max() - slow.min(), 0.1 * slow.max())
        axes.set_xlim(max(0.0, slow.min() - 0.12 * edge), slow.max() + 0.15 * edge)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
    budget = record.settings.get("max_latency_ms")
    if budget and axes.get_xlim()[0] < budget < axes.get_xlim()[1]:
        axes.axvline(budget, linestyle=(0, (2, 3)), color=axes.xaxis.label.get_color(), linewidth=1, zorder=1)
        axes.annotate(
            f"budget {budget:g} ms",
            (budget, 1),
            xycoords=("data", "axes fraction"),
            xytext=(-4, -3),
            textcoords="offset points",
            ha="right",
            va="top",
            fontsize=8.5,
            color=axes.xaxis.label.get_color(),
        )


def _legend(figure: Figure, table: pd.DataFrame, numbers: Mapping[str, str], palette: Mapping[str, str], cut: bool) -> None:
    def mark(shape: str, role: str, full: bool, label: str) -> Line2D:
        return Line2D(
            [],
            [],
            linestyle="",
            marker=shape,
            color=palette[role],
            markersize=6,
            markerfacecolor=palette[role] if full else palette["paper"],
            label=label,
        )

    chosen = table["id"].isin(list(numbers))
    found, anchors = ~table["origin"].isin(["anchor", "control"]), table["origin"] == "anchor"
    marks = [mark("o", "found", True, "found, on the front")] if (found & chosen).any() else []
    marks += [mark("o", "found", False, "found, not on it")] if (found & ~chosen).any() else []
    marks += [mark("D", "anchor", True, "anchor")] if anchors.any() else []
    marks += [mark("s", "control", False, "control")] if (table["origin"] == "control").any() else []
    marks += [mark("v", "muted", True, "below the picture")] if cut else []
    if marks:
        columns = 5 if figure.get_figwidth() > 5 else 2
        figure.legend(
            handles=marks,
            loc="upper left",
            ncols=columns,
            labelcolor=palette["ink"],
            fontsize=9,
            handletextpad=0.2,
            columnspacing=1.2,
            borderaxespad=0.3,
        )


def _tip(net: pd.Series, on: str, record: Record) -> str:
    name = record.anchors.get(net["id"]) or net["id"]
    text = f"{name}: {net[f'top1_{on}']:.2f} % {'test' if on == 'test' else 'validation'} top-1 at {net['latency_ms']:.3g} ms"
    if pd.notna(net["latency_low_ms"]):
        text += f" ({net['latency_low_ms']:.3g} to {net['latency_high_ms']:.3g})"
    return text + (f", keeps {100 * net['keep_rate']:.0f} % of its gated blocks" if pd.notna(net["keep_rate"]) else "")

"""The lecture's "MobileNet versions on CPU and GPU": published top-1 against latency measured here, a panel a setting.

    drawing = mobilenets_figure(read_clocks(Path("outputs")), sizes, LIGHT)     # sizes: of study.measuring.lecture.mobilenets()

One marker a version, a line joins one width over its resolutions. A hollow marker's accuracy is that of a TF-slim checkpoint,
for the papers plot these sizes without a table. What was not measured is said, not drawn.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from analysis.clocks import of_net, of_setting, settings
from analysis.labels import place
from analysis.palette import STEPS, STYLE, Drawing, dress
from searchspace.published import MOBILENETS, PUBLISHED

VERSIONS = {"v1": ("V1", "found", "o"), "v2": ("V2", "anchor", "s"), "v3": ("V3", "control", "^"), "v4": ("V4", "ink", "D")}
PANELS = 4  # settings drawn, those with most nets first
KINDS = {"cpu": "CPU", "cuda": "GPU"}
RUN = "python measure.py nets=mobilenets regime=false"


def points_of(clocks: pd.DataFrame, sizes: pd.DataFrame) -> pd.DataFrame:
    """A row each measured net of one setting: net, version, line (what is joined), label, resolution, top1, paper, latency_ms,
    low_ms, high_ms."""
    macs = dict(zip(sizes["net"], sizes["macs_m"]))
    rows = []
    for name in MOBILENETS:
        clock = None if pd.isna(macs.get(name, np.nan)) else of_net(clocks, name, macs[name])
        if clock is None:
            continue
        printed = PUBLISHED[name]
        version, line, label = _told(name)
        rows.append({
            "net": name, "version": version, "line": line, "label": label, "resolution": printed.resolution,
            "top1": printed.top1, "paper": "checkpoint" not in printed.source,
            **{k: clock[k] for k in ("latency_ms", "low_ms", "high_ms", "busy")},
        })  # fmt: skip
    columns = ["net", "version", "line", "label", "resolution", "top1", "paper", "latency_ms", "low_ms", "high_ms", "busy"]
    return pd.DataFrame(rows, columns=columns)


def _told(name: str) -> tuple[str, str, str]:
    """Version, line and label: `mobilenet_v2-0.5-160` -> v2, mobilenet_v2-0.5, 0.5."""
    if name.startswith("timm:mobilenetv4_"):
        return "v4", name, {"small": "conv S", "medium": "conv M"}[name.rsplit("_", 1)[1]]
    base, alpha, _ = name.split("-")
    kind = {"mobilenet_v3_large": "L ", "mobilenet_v3_small": "S "}.get(base, "")
    return base.split("_")[1], f"{base}-{alpha}", f"{kind}{alpha}"


def mobilenets_figure(clocks: pd.DataFrame, sizes: pd.DataFrame, palette: Mapping[str, str], wide: bool = True) -> Drawing:
    """The panels; a kind of device without any says that it was not measured."""
    panels = _panels(clocks, sizes)
    columns = 2 if wide else 1
    rows = -(-len(panels) // columns)
    said = _note(panels, len(MOBILENETS), 118 if wide else 62)
    foot = 0.14 * (said.count("\n") + 1) + 0.1
    top, each = 0.5 if wide else 0.8, 3.55  # of the legend; of a panel with its title and labels
    size = (7.6 if wide else 4.0, top + rows * each + foot)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=size, facecolor="none")
        grid = figure.subplots(rows, columns, sharey=True, squeeze=False)
        figure.subplots_adjust(left=0.55 / size[0], right=1 - 0.1 / size[0], top=1 - (top + 0.22) / size[1],
                               bottom=(foot + 0.6) / size[1], wspace=0.08, hspace=0.9 / (each - 0.9))  # fmt: skip
        every = [p for _, p in panels if len(p)]
        span = pd.concat(every)["top1"] if every else pd.Series([40.0, 80.0])
        for axes, (title, points) in zip(grid.flat, panels):
            dress(axes, palette)
            axes.set_title(title, fontsize=8.5, color=palette["ink"], loc="left")
            axes.set_ylim(span.min() - 2.5, span.max() + 2.5)
            axes.yaxis.set_major_locator(MaxNLocator(8, steps=STEPS))
            _panel(axes, points, palette)
        for axes in grid.flat[len(panels) :]:
            axes.set_visible(False)
        for axes in grid[:, 0]:
            axes.set_ylabel("published ImageNet top-1, %")
        for axes, (_, points) in zip(grid.flat, panels):
            if len(points):
                _names(axes, points, palette)
        _legend(figure, palette, wide)
        figure.text(0.1 / size[0], 0.08 / size[1], said, fontsize=8, color=palette["muted"], va="bottom")
    drawn = "; ".join(
        f"{title.splitlines()[0]}: {len(points)} nets" if len(points) else f"{title}: none" for title, points in panels
    )
    return Drawing(figure, f"Published top-1 of MobileNetV1 to V4 against latency measured here. {drawn}")


def _panels(clocks: pd.DataFrame, sizes: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """(title, points) of the settings to draw, CPUs first; of a kind of device without any an empty one."""
    found = []
    for setting, name in settings(clocks).items():
        points = points_of(of_setting(clocks, setting), sizes)
        if len(points):
            kind = KINDS["cuda" if str(setting[0]).startswith("cuda") else "cpu"]
            found.append((kind, f"{kind}: {name.split(' ', 1)[-1]}", points))
    found = sorted(found, key=lambda f: -len(f[2]))[:PANELS]
    panels = []
    for kind in KINDS.values():
        mine = [(textwrap.fill(title, 46), points) for of, title, points in found if of == kind]
        panels += mine or [(kind, points_of(clocks.iloc[:0], sizes))]
    return panels


def _panel(axes: Axes, points: pd.DataFrame, palette: Mapping[str, str]) -> None:
    if points.empty:
        axes.text(0.5, 0.5, "not measured here", transform=axes.transAxes, ha="center", color=palette["muted"])
        axes.set_xticks([])
        axes.grid(False)
        return
    for _, line in points.groupby("line", sort=False):
        role = VERSIONS[line["version"].iloc[0]][1]
        ordered = line.sort_values("latency_ms")
        axes.plot(ordered["latency_ms"], ordered["top1"], color=palette[role], linewidth=0.9, alpha=0.55, zorder=2)
    for row in points.to_dict("records"):
        _, role, shape = VERSIONS[row["version"]]
        axes.plot([row["low_ms"], row["high_ms"]], [row["top1"]] * 2, color=palette[role], linewidth=1.4, zorder=3)
        face = palette[role if row["paper"] else "paper"]
        axes.plot(row["latency_ms"], row["top1"], shape, color=palette[role], markerfacecolor=face, markersize=5, zorder=4)
    x = points["latency_ms"]
    axes.set_xscale("log")
    axes.set_xlim(x.min() / 1.35, x.max() * 1.5)
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
    axes.set_xlabel("latency, ms (log scale)")


def _names(axes: Axes, points: pd.DataFrame, palette: Mapping[str, str]) -> None:
    """The width beside the largest resolution of each line; the others follow it."""
    ends = points.sort_values("resolution").groupby("line", sort=False).tail(1)
    named = [(r["latency_ms"], r["top1"], r["label"], palette[VERSIONS[r["version"]][1]]) for r in ends.to_dict("records")]
    lines = [line.sort_values("latency_ms")[["latency_ms", "top1"]].to_numpy() for _, line in points.groupby("line")]
    place(axes, named, points[["latency_ms", "top1"]].to_numpy(), [line for line in lines if len(line) > 1], 8)


def _legend(figure: Figure, palette: Mapping[str, str], wide: bool) -> None:
    marks = [
        Line2D([], [], linestyle="", marker=shape, color=palette[role], markersize=5.5, label=f"MobileNet{name}")
        for name, role, shape in VERSIONS.values()
    ]
    hollow: dict[str, Any] = {"color": palette["muted"], "markerfacecolor": palette["paper"], "markersize": 5.5}
    marks.append(Line2D([], [], linestyle="", marker="o", label="top-1 of a TF-slim checkpoint", **hollow))
    figure.legend(handles=marks, loc="upper left", ncols=5 if wide else 2, labelcolor=palette["ink"], fontsize=8.5,
                  handletextpad=0.2, columnspacing=1.2, borderaxespad=0.3)  # fmt: skip


def _note(panels: list[tuple[str, pd.DataFrame]], nets: int, width: int) -> str:
    """What the numbers are, and what was not measured."""
    told = ["A number is the width, a line joins its resolutions, the largest named."]
    for title, points in panels:
        kind = title.split(":")[0]
        if points.empty:
            told.append(f"{kind}: not measured here ({RUN}{' hardware=gpu' if kind == 'GPU' else ''}).")
        elif len(points) < nets:
            left = [n for n in MOBILENETS if n not in set(points["net"])]
            more = f" and {len(left) - 3} more" if len(left) > 3 else ""
            told.append(f"{kind}: {len(points)} of {nets} nets, not {', '.join(left[:3])}{more} ({RUN}).")
        if len(points) and points["busy"].any():
            told.append(f"{kind}: the machine was busy during some of it.")
    return textwrap.fill(" ".join(told), width)

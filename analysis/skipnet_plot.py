"""SkipNet's trade-off as a figure: accuracy against mean mult-adds and against measured latency, a row of panels a data set.

The colour is the stage, the shape says it once more; a line joins the skip_alphas of one net; controls are hollow and hang on
their net by a thin line. Means over seeds, bars are standard deviations.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from analysis.files import write_bytes
from analysis.labels import place
from analysis.lines import folded
from analysis.palette import LIGHT, STEPS, STYLE, Drawing, dress, png
from analysis.skipnet import SWEPT, DataSet, Row, data_sets
from analysis.skipnet_cards import CONTROLS, STAGES, read_trainings

LOOKS = {"none": ("s", "muted"), "supervised": ("^", "control"), "sp": ("P", "anchor"), "hrl": ("o", "found")}
HOLLOW = {"static": "D", "random": "X"}
FLOOR = 2.0  # a control this many spreads of the other nets below them stands at the lower edge
LEAST_SPREAD = 1.0  # points
PANEL, FOOT, LEGEND = 2.55, 0.62, 0.17  # inches: a panel, the labels under one, a line of the legend


def write_skipnet(outputs: Path) -> str:
    """Writes skipnet.png into `outputs` and returns its path. StudyError when there is no gated net."""
    path = outputs / "skipnet.png"
    write_bytes(path, png(skipnet_figure(data_sets(read_trainings(outputs)), LIGHT)))
    return str(path)


def skipnet_figure(sets: Sequence[DataSet], palette: Mapping[str, str], wide: bool = True) -> Drawing:
    """Left (narrow: above) mult-adds, right latency."""
    width = 7.6 if wide else 4.0
    heads = [_head(data, width) for data in sets]
    above = [0.3 + 0.16 * len(lines) for _, lines in heads]
    columns = 6 if wide else 2
    legend = 0.17 + LEGEND * math.ceil(len({r.stage for d in sets for r in d.rows}) / columns)
    rows = 1 if wide else 2
    high = legend + sum(a + rows * (PANEL + FOOT) for a in above)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width, high), facecolor="none")
        top = high - legend
        for data, (title, lines), room in zip(sets, heads, above):
            figure.text(0.1 / width, (top - 0.2) / high, title, color=palette["ink"], fontweight="bold", fontsize=10.5)
            for i, line in enumerate(lines):
                figure.text(0.1 / width, (top - 0.36 - 0.16 * i) / high, line, color=palette["muted"], fontsize=8.5)
            top -= room
            for number, (key, label) in enumerate((("macs_m", "mean mult-adds, millions"), ("latency_ms", "latency, ms"))):
                left, across = (0.66 if not (wide and number) else 0.66 + 3.5), 3.3 if wide else width - 0.78
                bottom = top - PANEL - (0 if wide else number * (PANEL + FOOT))
                axes = figure.add_axes((left / width, bottom / high, across / width, PANEL / high))
                dress(axes, palette)
                _panel(axes, data, key, palette)
                axes.set_xlabel(label + (f"\n{data.setting}" if key == "latency_ms" and data.setting else ""), fontsize=9)
                if wide and number:
                    axes.tick_params(axis="y", labelleft=False)
                else:
                    axes.set_ylabel("test top-1, %", fontsize=9)
            top -= rows * (PANEL + FOOT)
        _legend(figure, sets, palette, columns)
    said = "; ".join(
        f"{r.label} {r.mean('top1'):.2f} % at {r.mean('macs_m'):.3g} M" for d in sets for r in d.rows if r.stage not in CONTROLS
    )
    return Drawing(figure, f"Test top-1 against mean mult-adds and against latency: {said}")


def _head(data: DataSet, width: float) -> tuple[str, list[str]]:
    """The name of a data set, and what is compared in it."""
    epochs: dict[str, set[int]] = {}
    for r in data.rows:
        epochs.setdefault(STAGES[r.stage], set()).update(t.epochs for t in r.trained)
    told = {stage: "+" * (stage == STAGES["hrl"]) + _span(values) for stage, values in epochs.items()}
    same = len(set(told.values())) == 1
    spent = f"{next(iter(told.values()))} epochs each" if same else "epochs: " + ", ".join(f"{s} {e}" for s, e in told.items())
    shares = sorted({r.first.fraction for r in data.rows})
    share = f"{_span(100 * s for s in shares)} % of the training data"
    seeds = _span(r.seeds for r in data.rows)
    bars = "bars: standard deviation" if any(r.seeds > 1 for r in data.rows) else "no spread is known"
    line = f"{spent}; {share}; {seeds} seed{'s' * (seeds != '1')} a point ({bars}); {data.rows[0].first.images:,} test images"
    asked = [r for r in data.rows if r.stage != "random" or not math.isnan(r.mean("latency_ms"))]  # it is not deployed
    if missing := sum(math.isnan(_at(r, "latency_ms", data)[0]) for r in asked):
        line += f"; {missing} of {len(asked)} have no latency with this setting"
    size = f", {data.resolution} px" if data.resolution else ""
    nets = _gated(data)
    only = f": {nets.pop()}" if len(nets) == 1 else ""  # else each point carries its name
    return f"{data.name}{size}{only}", folded(line, width - 0.2, 8.5)


def _span(values: Iterable[float]) -> str:
    """`15`, or `15 to 20`."""
    every = sorted(values)
    low, high = every[0], every[-1]
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"


def _at(row: Row, key: str, data: DataSet) -> tuple[float, float, float]:
    """Where a row stands on the x axis and the ends of its bar; NaN where it was not measured as the others were."""
    value = row.mean(key)
    if key == "latency_ms" and {t.setting for t in row.trained} != {data.setting}:
        return math.nan, math.nan, math.nan
    sd = row.sd(key)
    if not math.isnan(sd):
        return value, value - sd, value + sd
    return (value, *row.interval_ms()) if key == "latency_ms" else (value, math.nan, math.nan)


def _panel(axes: Axes, data: DataSet, key: str, palette: Mapping[str, str]) -> None:
    spots = [(r, *_at(r, key, data)) for r in data.rows]
    spots = [s for s in spots if not math.isnan(s[1])]
    if not spots:
        axes.text(0.5, 0.5, "not measured", transform=axes.transAxes, ha="center", va="center", color=palette["muted"])
        axes.set(xticks=[], yticks=[])
        return
    floor = _limits(axes, data, spots)
    place_of = {id(r): (x, max(r.mean("top1"), floor)) for r, x, _, _ in spots}
    lines = [np.array(line) for line in _swept(data, place_of)]
    for line in lines:
        axes.plot(*line.T, color=palette["found"], linewidth=1.3, alpha=0.6, zorder=2)
    for row, x, low, high in spots:
        y, sd = row.mean("top1"), row.sd("top1")
        head = row.of or row
        colour = palette[LOOKS.get(head.stage, LOOKS["none"])[1]]
        if row.of is not None and id(row.of) in place_of:
            link = np.array([place_of[id(row.of)], (x, max(y, floor))])
            axes.plot(*link.T, color=colour, linewidth=0.7, alpha=0.7, zorder=1.5)
            lines.append(link)
        if y < floor:
            axes.plot(x, floor, "v", color=colour, markerfacecolor=palette["paper"], markersize=6, clip_on=False, zorder=4)
            continue
        if not math.isnan(low):
            axes.plot([low, high], [y, y], color=colour, linewidth=1.1, alpha=0.8, zorder=2.5)
        if not math.isnan(sd):
            axes.plot([x, x], [y - sd, y + sd], color=colour, linewidth=1.1, alpha=0.8, zorder=2.5)
        control = row.stage in CONTROLS
        shape = HOLLOW[row.stage] if control else LOOKS[row.stage][0]
        axes.plot(
            x, y, shape, color=colour, markersize=6.5, markerfacecolor=palette["paper"] if control else colour,
            markeredgewidth=1.1, zorder=3 if control else 4,
        )  # fmt: skip
    names = []
    for row, x, *_ in spots:
        y = row.mean("top1")
        colour = palette[LOOKS.get((row.of or row).stage, LOOKS["none"])[1]]
        if y < floor:
            names.append((x, floor, f"{_whose(data, row)}{STAGES[row.stage]}: {y:.1f} %", colour))
        elif text := _name(data, row):
            names.append((x, y, text, colour))
    others = np.array([place_of[id(r)] for r, *_ in spots])
    place(axes, names, others, lines, 8.5)


def _limits(axes: Axes, data: DataSet, spots: list[tuple[Row, float, float, float]]) -> float:
    """Sets limits and ticks; returns the accuracy under which a control stands at the lower edge."""
    core = [r for r in data.rows if r.stage not in CONTROLS]
    low, high = min(r.mean("top1") for r in core), max(r.mean("top1") for r in data.rows)
    spread = max(high - low, LEAST_SPREAD)
    near = [y for r in data.rows if (y := r.mean("top1")) >= low - FLOOR * spread]
    room = max([0.0, *(sd for r in data.rows if r.mean("top1") in near and not math.isnan(sd := r.sd("top1")))])
    bottom = min(near) - room - 0.14 * spread
    cut = any(r.mean("top1") < bottom for r in data.rows)
    axes.set_ylim(bottom - (0.12 * spread if cut else 0), high + room + 0.2 * spread)
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=STEPS))
    ends = [v for _, x, a, b in spots for v in (x, a, b) if not math.isnan(v)]
    edge = max(max(ends) - min(ends), 0.1 * max(ends))
    axes.set_xlim(max(0.0, min(ends) - 0.16 * edge), max(ends) + 0.2 * edge)
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=STEPS))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
    return float(axes.get_ylim()[0]) if cut else -math.inf


def _swept(data: DataSet, place_of: Mapping[int, tuple[float, float]]) -> list[list[tuple[float, float]]]:
    """A line for each net and stage with several skip_alphas, in their order."""
    lines: dict[tuple, list[Row]] = {}
    for r in data.rows:
        if r.stage in SWEPT and id(r) in place_of:
            lines.setdefault((r.net, r.stage, r.first.fraction, r.first.epochs, r.first.recipe), []).append(r)
    return [[place_of[id(r)] for r in sorted(rows, key=lambda r: r.skip_alpha)] for rows in lines.values() if len(rows) > 1]


def _gated(data: DataSet) -> set[str]:
    return {r.net for r in data.rows if r.stage not in ("none", *CONTROLS)}


def _name(data: DataSet, row: Row) -> str:
    """What stands beside a point: the net where there are several, skip_alpha where it is swept; nothing at a control."""
    if row.stage in CONTROLS:
        return ""
    alphas = {r.skip_alpha for r in data.rows if r.stage == row.stage and r.net == row.net}
    words = [_whose(data, row).strip() or (row.net if row.stage == "none" else "")]
    words += [f"α {row.skip_alpha:g}"] if len(alphas) > 1 else []
    return " ".join(w for w in (*words, row.differs) if w)


def _whose(data: DataSet, row: Row) -> str:
    """The net's short name and a space where the panel holds several gated nets."""
    return f"{row.net.removeprefix('skipnet_')} " if len(_gated(data)) > 1 else ""


def _legend(figure: Figure, sets: Sequence[DataSet], palette: Mapping[str, str], columns: int) -> None:
    there = {r.stage for d in sets for r in d.rows}
    marks = []
    for stage, told in STAGES.items():
        if stage not in there:
            continue
        shape, role = LOOKS.get(stage, (HOLLOW.get(stage, ""), "found"))
        face = palette["paper"] if stage in CONTROLS else palette[role]
        label = "random skipping" if stage == "random" else told
        marks.append(
            Line2D([], [], linestyle="", marker=shape, color=palette[role], markersize=6, markerfacecolor=face, label=label)
        )
    figure.legend(
        handles=marks, loc="upper left", ncols=columns, labelcolor=palette["ink"], fontsize=9, handletextpad=0.2,
        columnspacing=1.2, borderaxespad=0.3,
    )  # fmt: skip

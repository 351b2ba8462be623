"""Table -> figure: accuracy against latency, hypervolume over trials, what each choice does.

    drawing = front_figure(record, LIGHT)          # a Drawing; palette.png(drawing) or palette.svg(drawing, "front")

matplotlib's Figure objects only (no pyplot, no global state). `wide=False` is the same figure for a narrow page: the same
size of letters on less paper. Every axis carries its unit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis.effects import main_effects
from analysis.front_plot import front_figure as front_figure
from analysis.palette import STEPS, STYLE, Drawing, canvas, dress
from analysis.pareto import hypervolume, hypervolume_over
from analysis.records import Record

SHOWN_CHOICES = 6  # of the effects; the table has all
LEAST_NETS = 3  # of a level, to be drawn


def reference(record: Record) -> tuple[tuple[float, float], str]:
    """The reference point of the hypervolume, (top-1 in %, latency in ms), and how it was chosen, in words."""
    budget = record.settings.get("max_latency_ms")
    if budget:
        return (0.0, float(budget)), f"0 % and the latency budget, {budget:g} ms"
    slowest = record.trials.loc[record.trials["state"] == "COMPLETE", "latency_ms"].max()
    slowest = 1.0 if pd.isna(slowest) else float(slowest)
    return (
        0.0,
        slowest,
    ), f"0 % and the slowest trained net, {slowest:.3g} ms (no budget was set: compare within this study only)"


def hypervolume_figure(record: Record, palette: Mapping[str, str], wide: bool = True) -> Drawing:
    """Hypervolume of (validation top-1, latency) over the nets trained, anchors first; a control has its own line."""
    done = record.trials[record.trials["state"] == "COMPLETE"].sort_values("number")
    point, _ = reference(record)
    anchors = done[done["origin"] == "anchor"]
    with matplotlib.rc_context(STYLE):
        figure, axes = canvas(palette, (7.6, 2.9) if wide else (4.0, 3.0), top=0.96, bottom=0.5)
        ends = []
        for origin, role, shape in (("search", "found", "-"), ("control", "control", "--")):
            mine = pd.concat([anchors, done[done["origin"] == origin]])
            if len(mine) == len(anchors) and origin == "control":
                continue
            volumes = hypervolume_over(mine["top1_val"], mine["latency_ms"], point)
            axes.step(np.arange(1, len(mine) + 1), volumes, where="post", color=palette[role], linestyle=shape, linewidth=1.8)
            if len(volumes):
                axes.plot(len(mine), volumes[-1], "o", color=palette[role], markersize=5)
                ends.append((origin, volumes[-1]))
        if len(anchors):
            alone = hypervolume(anchors["top1_val"], anchors["latency_ms"], point)
            axes.axhline(alone, color=palette["anchor"], linestyle=(0, (4, 3)), linewidth=1.2)
            axes.annotate(
                "anchors alone",
                (1, alone),
                xycoords=("axes fraction", "data"),
                xytext=(-2, -4),
                textcoords="offset points",
                color=palette["anchor"],
                fontsize=9,
                va="top",
                ha="right",
            )
            axes.margins(y=0.15)
        axes.set_xlabel("nets trained, anchors first")
        axes.set_ylabel("hypervolume, % × ms")
        axes.xaxis.set_major_locator(MaxNLocator(8 if wide else 5, integer=True, steps=STEPS))
        axes.yaxis.set_major_locator(MaxNLocator(5, steps=STEPS))
    said = "; ".join(f"{origin} ends at {value:.4g}" for origin, value in ends) or "no net is trained yet"
    return Drawing(figure, f"Hypervolume in percent times milliseconds over {len(done)} trained nets: {said}")


def effects_figure(record: Record, palette: Mapping[str, str], wide: bool = True) -> Drawing:
    """Main effects of the largest choices: points of validation top-1, and latency as a factor, with 95 % intervals."""
    table = main_effects(record)
    table = table[table["n"] >= LEAST_NETS]
    shown = [c for c in dict.fromkeys(table["choice"]) if (table["choice"] == c).sum() > 1][:SHOWN_CHOICES]
    rows: list[tuple[str, pd.Series | None]] = []
    for choice in shown:
        rows.append((spoken(choice), None))
        rows += [(f"{level['level']}  (n={level['n']})", level) for _, level in table[table["choice"] == choice].iterrows()]
    with matplotlib.rc_context(STYLE):
        high = 0.9 + 0.2 * len(rows)
        figure = Figure(figsize=(7.6 if wide else 4.0, high), facecolor="none")
        panels = figure.subplots(1, 2, sharey=True)
        figure.subplots_adjust(left=0.27 if wide else 0.4, right=0.95, bottom=0.62 / high, top=1 - 0.08 / high, wspace=0.1)
        unit = ("top-1, points", "latency, factor")
        for axes, key, label in zip(panels, ("top1", "latency"), unit):
            dress(axes, palette)
            axes.axvline(0 if key == "top1" else 1, color=palette["muted"], linewidth=1)
            for y, (_, level) in enumerate(rows):
                if level is not None:
                    _effect(axes, y, level[key], level[f"{key}_half"], key == "latency", palette)
            axes.set_xlabel(label)
            axes.xaxis.set_major_locator(MaxNLocator(5 if wide else 3, steps=STEPS))
            axes.grid(False, axis="y")
            axes.tick_params(axis="y", length=0)
            axes.spines["left"].set_visible(False)
        panels[0].set_ylim(len(rows) - 0.4, -0.8)
        panels[0].set_yticks(range(len(rows)), [text for text, _ in rows])
        for text, (_, level) in zip(panels[0].get_yticklabels(), rows):
            text.set(
                fontsize=9,
                color=palette["muted" if level is not None else "ink"],
                fontweight="normal" if level is not None else "bold",
            )
    return Drawing(figure, f"Main effects of {len(shown)} choices on validation top-1 and on latency, with 95 % intervals")


def spoken(choice: str) -> str:
    """`s1.kernel` -> `stage 2: kernel`, `skip_alpha` -> `skip alpha` (people count from one)."""
    stage, dot, what = choice.partition(".")
    return f"stage {int(stage[1:]) + 1}: {what.replace('_', ' ')}" if dot and stage[1:].isdigit() else choice.replace("_", " ")


def _effect(axes: Axes, y: int, value: float, half: float, factor: bool, palette: Mapping[str, str]) -> None:
    sure = not math.isnan(half) and abs(value) > half  # the interval leaves zero out
    see = math.exp if factor else float
    colour = palette["found"] if sure else palette["muted"]
    if not math.isnan(half):
        axes.plot([see(value - half), see(value + half)], [y, y], color=colour, linewidth=1.3)
    axes.plot(see(value), y, "o", color=colour, markersize=5.5, markerfacecolor=colour if sure else palette["paper"])

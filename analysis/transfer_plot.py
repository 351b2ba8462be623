"""The two matrices of transfer.py as heat maps: how far an order of nets holds, and what choosing by it loses."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Mapping

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from analysis.palette import STYLE, Drawing, dress
from analysis.transfer import Floats, Transfer

STRONGEST = 0.5  # opacity of a cell: ink must stay legible on it, on light and dark paper
ALL_LOST = 0.2  # share of the hypervolume at which a cell is as strong as it gets
WRAP = 25  # letters of a setting's name a line
LEAST_CELL = 0.3  # inches; narrower, and the names give their place to the cells


def transfer_figure(found: Transfer, palette: Mapping[str, str], wide: bool = True) -> Drawing:
    """Left (narrow: above) tau, right regret in percent; rows: chosen by, columns: run on, numbered alike."""
    k, width = len(found.labels), 7.6 if wide else 4.0
    left, names = 2.05, [_wrapped(f"{i}  {label}") for i, label in enumerate(found.labels, 1)]
    room = (width - 0.35) / 2 if wide else width - 0.1  # inches of a panel and, where it has one, its names
    if (room - left / (2 if wide else 1)) / k < LEAST_CELL:  # the table beside has the names under the same numbers
        left, names = 0.35, [[str(i)] for i in range(1, k + 1)]
    across = room - left / (2 if wide else 1)
    cell = 0.18 + 0.17 * max(2, *(len(n) for n in names))  # inches
    across = min(across, 1.15 * k * max(cell, 0.6))  # few settings: cells are no bars
    size = min(10.0, 26 * across / k)  # of letters, in points: four of them fit a cell
    panel = k * cell + 0.5  # with its title and numbers above
    high = panel + 0.1 if wide else 2 * panel + 0.2
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width, high), facecolor="none")
        for number in (0, 1):
            x = left + (across + 0.25) * number if wide else left
            y = 0.08 if wide or number else panel + 0.18
            axes = figure.add_axes((x / width, y / high, across / width, k * cell / high))
            dress(axes, palette)
            _frame(axes, names if not (wide and number) else [[]] * k, palette, pad=left * 72 - 6)
            axes.set_title(("Kendall's tau", "hypervolume lost, %")[number], color=palette["ink"], fontsize=10, pad=4, loc="left")
            if number == 0:
                _cells(axes, found.tau, "{:.2f}".format, lambda tau: max(0.0, tau), palette["found"], palette, size)
            else:
                _cells(axes, found.regret, _percent, lambda r: min(1.0, r / ALL_LOST), palette["anchor"], palette, size)
    said = "; ".join(
        f"{label}: tau {found.tau[0, i]:.2f}, {100 * found.regret[0, i]:.1f} % lost"
        for i, label in enumerate(found.labels) if i
    )  # fmt: skip
    return Drawing(figure, f"How the order of the nets with {found.labels[0]} holds under other settings. {said}")


def _percent(share: float) -> str:
    return f"{100 * share:.1f}" if share < 0.0995 else f"{100 * share:.0f}"


def _wrapped(label: str) -> list[str]:
    """Lines of a setting's name; `2 threads` and `batch 1` stay whole."""
    first, *others = label.split(", ")
    return textwrap.wrap(", ".join([first, *(o.replace(" ", "\u00a0") for o in others)]), WRAP)


def _frame(axes: Axes, names: list[list[str]], palette: Mapping[str, str], pad: float) -> None:
    """Cells (column, row) from (0, 0) at the upper left; numbers of the columns above, names of the rows beside."""
    k = len(names)
    axes.set_xlim(0, k)
    axes.set_ylim(k, 0)
    middles = [i + 0.5 for i in range(k)]
    axes.set_xticks(middles, [str(i) for i in range(1, k + 1)])
    axes.xaxis.tick_top()
    axes.set_yticks(middles, ["\n".join(n) for n in names], ha="left", fontsize=8.5, color=palette["ink"], linespacing=1.15)
    axes.tick_params(length=0)
    axes.tick_params(axis="y", pad=pad)  # flush left: points from the frame
    axes.grid(False)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _cells(
    axes: Axes, values: Floats, told: Callable[[float], str], strength: Callable[[float], float], colour: str,
    palette: Mapping[str, str], size: float,
) -> None:  # fmt: skip
    """`strength`: 0 to 1, how much of its colour a value's cell takes."""
    for row, line in enumerate(values):
        for column, value in enumerate(line):
            same, known = row == column, not math.isnan(value)
            shade = STRONGEST * strength(value) if known and not same else 0.0
            axes.add_patch(Rectangle((column + 0.03, row + 0.04), 0.94, 0.92, facecolor=colour, alpha=shade, linewidth=0))
            axes.add_patch(
                Rectangle((column + 0.03, row + 0.04), 0.94, 0.92, fill=False, edgecolor=palette["grid"], linewidth=0.8)
            )
            text = "–" if same or not known else told(value)
            axes.text(column + 0.5, row + 0.5, text, ha="center", va="center", fontsize=size,
                      color=palette["muted" if same or not known else "ink"])  # fmt: skip

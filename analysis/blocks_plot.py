"""The four blocks of MobileNetV2's Figure 4 (arXiv:1801.04381): NASNet, MobileNet, ShuffleNet, MobileNetV2, each with stride 1
and 2, drawn at one shape, with their mult-adds and the time that `measure.py nets=pieces` measured.

    drawing = blocks_figure(read_pieces(Path("outputs")), counted, LIGHT)   # counted: of study.measuring.pieces.counted_blocks()

Drawn in inches, from the bottom (what comes in) to the top, as in the paper. NASNet's cell is the one with its five pairs; h is
the output of the cell before, p of the one before that.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from analysis.clocks import of_setting, settings
from analysis.document import three
from analysis.palette import STYLE, Drawing
from analysis.pieces import RUN

TITLES = {"nasnet": "(a) NASNet", "mobilenet": "(b) MobileNet", "shufflenet": "(c) ShuffleNet", "mobilenet_v2": "(d) MobileNetV2"}
SETTINGS = 3  # times written under a title
BOX, GAP = 0.3, 0.24  # inches: height of a box, and between two
HEAD = 0.2  # of a line of a title
CELL_HIGH = 1.75  # of a cell below its title


@dataclass(frozen=True)
class Chain:
    """Boxes from the input on; `wide`: channels between them, as factors of what comes in and what goes out; `join`: how the
    shortcut meets them ("" without one), `shortcut`: what stands on it."""

    boxes: tuple[str, ...]
    wide: tuple[tuple[str, float], ...]
    join: str = ""
    shortcut: str = ""


CHAINS: dict[tuple[str, int], Chain] = {
    ("mobilenet", 1): Chain(("dw 3x3, ReLU", "1x1, ReLU"), (("in", 1),)),
    ("mobilenet", 2): Chain(("dw 3x3 /2, ReLU", "1x1, ReLU"), (("in", 1),)),
    ("shufflenet", 1): Chain(("1x1 in groups, ReLU", "shuffle", "dw 3x3", "1x1 in groups"), (("out", 0.25),) * 3, "add, ReLU"),
    ("shufflenet", 2): Chain(("1x1 in groups, ReLU", "shuffle", "dw 3x3 /2", "1x1 in groups"), (("out", 0.25),) * 3,
                             "concat, ReLU", "avg 3x3 /2"),
    ("mobilenet_v2", 1): Chain(("1x1, ReLU6", "dw 3x3, ReLU6", "1x1, linear"), (("in", 6), ("in", 6)), "add"),
    ("mobilenet_v2", 2): Chain(("1x1, ReLU6", "dw 3x3 /2, ReLU6", "1x1, linear"), (("in", 6), ("in", 6))),
}  # fmt: skip
# NASNet-A (arXiv:1707.07012, Figure 4): pairs that are added, and which of them (and inputs) are put together
CELLS: dict[int, tuple[tuple[tuple[str, str], ...], str, int]] = {
    1: ((("sep 5x5 h", "sep 3x3 p"), ("sep 5x5 p", "sep 3x3 p"), ("avg 3x3 h", "p"), ("avg 3x3 p", "avg 3x3 p"),
         ("sep 3x3 h", "h")), "concat p and the five sums", 6),
    2: ((("sep 5x5 /2 h", "sep 7x7 /2 p"), ("max 3x3 /2 h", "sep 7x7 /2 p"), ("avg 3x3 /2 h", "sep 5x5 /2 p"),
         ("avg 3x3 of 1", "sum 2"), ("sep 3x3 of 1", "max 3x3 /2 h")), "concat sums 2 to 5", 4),
}  # fmt: skip


def blocks_figure(pieces: pd.DataFrame, counted: pd.DataFrame, palette: Mapping[str, str], wide: bool = True) -> Drawing:
    """The eight diagrams with what they cost; without measurements the figure says how to make them."""
    mine = pieces[pieces["kind"] == "block"]
    told = dict(list(settings(mine).items())[:SETTINGS]) if len(mine) else {}
    across = 7.6 if wide else 4.0
    rows: list[list[tuple[str, int]]] = [[("nasnet", 1), ("nasnet", 2)]] if wide else [[("nasnet", 1)], [("nasnet", 2)]]
    chains = list(CHAINS)
    rows += [chains] if wide else [chains[:2], chains[2:4], chains[4:]]
    heads = [HEAD * (max(1, len(told)) + (3 if _small(row[0][0], wide) else 2)) for row in rows]
    tall = [head + max(_high(*diagram) for diagram in row) + 0.1 for row, head in zip(rows, heads)]
    notes = _foot(counted, told, wide)
    foot = 0.18 * len(notes) + 0.05
    high = sum(tall) + foot + 0.05
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(across, high), facecolor="none")
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set_xlim(0, across)
        axes.set_ylim(0, high)
        axes.axis("off")
        pen = _Pen(axes, palette)
        top = high - 0.05
        for row, head, inches in zip(rows, heads, tall):
            each = across / len(row)
            for i, (name, stride) in enumerate(row):
                about = counted[(counted["name"] == name) & (counted["stride"] == stride)].iloc[0]
                _title(pen, i * each, top, name, stride, about, mine, told, wide)
                if name == "nasnet":
                    _cell(pen, i * each, top - head, each, stride, about)
                else:
                    _chain(pen, i * each, top - inches, each, CHAINS[name, stride], about)
            top -= inches
        for i, line in enumerate(notes):
            pen.text(0.1, foot - 0.1 - 0.18 * i, line, 8, "muted", "left")
    costs = "; ".join(
        f"{TITLES[r['name']][4:]} stride {r['stride']}: {r['macs_m']:.1f} M mult-adds{_spoken(mine, told, r)}"
        for r in counted.to_dict("records")
    )
    return Drawing(figure, f"Block diagrams of NASNet, MobileNet, ShuffleNet and MobileNetV2 at equal shapes. {costs}")


@dataclass
class _Pen:
    """Draws in inches."""

    axes: Axes
    palette: Mapping[str, str]

    def text(
        self, x: float, y: float, text: str, size: float = 7.5, role: str = "ink", ha: str = "center", bold: bool = False
    ) -> None:
        self.axes.text(x, y, text, fontsize=size, color=self.palette[role], ha=ha, va="center",
                       fontweight="bold" if bold else "normal", linespacing=1.05)  # fmt: skip

    def box(self, x: float, y: float, width: float, text: str, role: str = "found", size: float = 7.5, high: float = BOX) -> None:
        """A box around (x, y)."""
        corner = x - width / 2, y - high / 2
        colours: dict[str, Any] = {"facecolor": self.palette["paper"], "edgecolor": self.palette[role]}
        shape = FancyBboxPatch(corner, width, high, "round,pad=0,rounding_size=0.05", linewidth=1.1, zorder=3, **colours)
        self.axes.add_patch(shape)
        self.axes.text(x, y, text, fontsize=size, color=self.palette["ink"], ha="center", va="center", zorder=4, linespacing=1.0)

    def arrow(self, *points: tuple[float, float]) -> None:
        """A line through the points with a head at the last."""
        xs, ys = zip(*points)
        self.axes.plot(xs[:-1], ys[:-1], color=self.palette["muted"], linewidth=0.9, zorder=1, solid_capstyle="butt")
        self.axes.annotate("", points[-1], points[-2], zorder=2,
                           arrowprops={"arrowstyle": "-|>", "color": self.palette["muted"], "linewidth": 0.9, "mutation_scale": 7,
                                       "shrinkA": 0, "shrinkB": 0})  # fmt: skip


def _title(
    pen: _Pen, x: float, top: float, name: str, stride: int, about: pd.Series, mine: pd.DataFrame,
    told: Mapping[tuple[str, ...], str], wide: bool,
) -> None:  # fmt: skip
    """Name, stride, mult-adds and a time for each setting; small where six stand side by side."""
    lines = [f"{TITLES[name]}, stride {stride}", f"{about['macs_m']:.1f} M mult-adds"]
    if _small(name, wide):
        lines[:1] = [TITLES[name], f"stride {stride}"]
    head = len(lines)
    for i, setting in enumerate(told, 1):
        row = _row(of_setting(mine, setting), about)
        lines.append("not measured" if row is None else _ms(row) + (f" [{i}]" if len(told) > 1 else ""))
    if not told:
        lines.append("not measured yet")
    for i, line in enumerate(lines):
        size = (7 if len(told) > 1 else 7.5) if _small(name, wide) else 8.5
        pen.text(x + 0.1, top - HEAD * (i + 0.5), line, size, "ink" if i < head else "found", "left", i == 0)


def _small(name: str, wide: bool) -> bool:
    """Whether six diagrams stand side by side."""
    return wide and name != "nasnet"


def _high(name: str, stride: int) -> float:
    """Inches of a diagram below its title."""
    if name == "nasnet":
        return CELL_HIGH
    chain = CHAINS[name, stride]
    return (len(chain.boxes) + bool(chain.join)) * (BOX + GAP) + 0.62


def _ms(row: pd.Series) -> str:
    """A time with half of its 95 % interval, to the same digit."""
    shown = three(row["ms"])
    digits = len(shown.partition(".")[2])
    return f"{shown} ± {(row['high_ms'] - row['low_ms']) / 2:.{digits}f} ms"


def _row(rows: pd.DataFrame, about: pd.Series) -> pd.Series | None:
    """The measurement of that block, if it is of the same shape."""
    same = rows[(rows["name"] == about["name"]) & (rows["stride"] == about["stride"])]
    same = same[(same["macs_m"] - about["macs_m"]).abs() < 1e-6 * about["macs_m"]]
    return None if same.empty else same.iloc[-1]


def _spoken(mine: pd.DataFrame, told: Mapping[tuple[str, ...], str], about: dict) -> str:
    rows = [_row(of_setting(mine, setting), pd.Series(about)) for setting in told]
    return "".join(f", {three(r['ms'])} ms" for r in rows if r is not None)


def _chain(pen: _Pen, left: float, floor: float, across: float, chain: Chain, about: pd.Series) -> None:
    """A chain of boxes that stands on `floor`."""
    c_in, c_out = (int(about[k].split("x")[-1]) for k in ("shape_in", "shape_out"))
    aside = 0.34 if chain.join else 0.0  # room for the shortcut
    x = left + (across - aside) / 2
    width = min(1.0, across - aside - 0.16)
    bottom = floor + 0.2
    pen.text(x, bottom, str(c_in), 7.5, "muted")
    y, inside = bottom + 0.1, [*(round({"in": c_in, "out": c_out}[of] * f) for of, f in chain.wide), None]
    for text, channels in zip(chain.boxes, inside):
        pen.arrow((x, y), (x, y + GAP - 0.02))
        y += GAP + BOX / 2
        pen.box(x, y, width, text.replace(", ", "\n") if len(text) > 12 else text)
        y += BOX / 2
        if channels is not None:
            pen.text(x + 0.06, y + GAP / 2, str(channels), 6.5, "muted", "left")
    if chain.join:
        pen.arrow((x, y), (x, y + GAP - 0.02))
        y += GAP + BOX / 2
        pen.box(x, y, width, chain.join.replace(", ", "\n") if len(chain.join) > 11 else chain.join, "anchor")
        side = left + across - 0.16
        pen.arrow((x, bottom + 0.14), (side, bottom + 0.14), (side, y), (x + width / 2, y))
        if chain.shortcut:
            pen.box(side - 0.06, (bottom + y) / 2, 0.36, chain.shortcut.replace(" ", "\n"), "found", 6.5, 0.46)
        y += BOX / 2
    pen.arrow((x, y), (x, y + 0.16))
    pen.text(x, y + 0.24, str(c_out), 7.5, "muted")


def _cell(pen: _Pen, left: float, top: float, across: float, stride: int, about: pd.Series) -> None:
    """The pairs of a NASNet cell below the bar that puts their sums together."""
    pairs, joined, parts = CELLS[stride]
    joined += f": {parts} x {int(about['shape_out'].split('x')[-1]) // parts}"
    each = (across - 0.16) / len(pairs)
    bar, plus = top - 0.32, top - 0.78
    pen.box(left + across / 2, bar, across - 0.24, joined, "anchor", high=0.22)
    pen.arrow((left + across / 2, bar + 0.11), (left + across / 2, top - 0.04))
    for i, pair in enumerate(pairs):
        x = left + 0.08 + each * (i + 0.5)
        if stride == 1 or i > 0:
            pen.arrow((x, plus + 0.09), (x, bar - 0.11))
        pen.text(x + 0.1, plus + 0.13, f"{i + 1}", 7, "muted", "left")
        for side, text in zip((-1, 1), pair):
            y = plus - (0.36 if side < 0 else 0.7)
            at = x + side * each * 0.4
            pen.arrow((at, y), (at, plus), (x + side * 0.08, plus))
            shown = text.replace(" /2 ", "/2 ")
            pen.box(x, y, each - 0.06, shown, "muted" if text in "hp" or text.startswith("sum") else "found", 6.5, 0.25)
        pen.axes.plot(x, plus, "o", color=pen.palette["anchor"], markersize=10, markerfacecolor=pen.palette["paper"], zorder=3)
        pen.text(x, plus - 0.005, "+", 9, "ink")


def _foot(counted: pd.DataFrame, told: Mapping[tuple[str, ...], str], wide: bool) -> Sequence[str]:
    one, two = (counted[counted["stride"] == s].iloc[0] for s in (1, 2))
    notes = [
        f"{one['shape_in']} in; {one['shape_out']} out, with stride 2 {two['shape_out']}",
        *textwrap.wrap(
            "dw: depthwise; sep: ReLU, dw, 1x1, norm, twice; groups: 3; /2: stride 2; h: the cell before, p: the one before "
            "that, here one map",
            124 if wide else 62,
        ),
    ]
    if not told:
        return [*notes, f"Not measured yet; run {RUN}"]
    marks = [f"[{i}] {name}" if len(told) > 1 else name for i, name in enumerate(told.values(), 1)]
    return [*notes, *(line for mark in marks for line in textwrap.wrap(mark, 124 if wide else 62))]

"""Sigmoid and swish with their hard forms (MobileNetV3, arXiv:1905.02244, Figure 6), and what each costs an element here.

drawing = activations_figure(read_pieces(Path("outputs")), LIGHT)
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis.clocks import of_setting, settings
from analysis.document import three
from analysis.palette import STEPS, STYLE, Drawing, dress
from analysis.pieces import RUN

RANGE = (-8.0, 8.0)
SPOKEN = {
    "relu": "ReLU",
    "relu6": "ReLU6",
    "sigmoid": "sigmoid",
    "h_sigmoid": "h-sigmoid",
    "swish": "swish",
    "h_swish": "h-swish",
}
SHAPES = {"o": "circle", "s": "square", "D": "diamond"}  # of settings: so many are drawn


def curves(x: np.ndarray) -> dict[str, np.ndarray]:
    """The four functions of section 5.2: sigmoid, relu6(x + 3) / 6, and x times each."""
    soft, hard = 1 / (1 + np.exp(-x)), np.clip(x + 3, 0, 6) / 6
    return {"sigmoid": soft, "h_sigmoid": hard, "swish": x * soft, "h_swish": x * hard}


def largest_gap(soft: str, hard: str) -> tuple[float, float]:
    """The largest difference of two of `curves`, and at which |x| it lies."""
    x = np.linspace(*RANGE, 16001)
    of = curves(x)
    gap = np.abs(of[soft] - of[hard])
    return float(gap.max()), float(abs(x[gap.argmax()]))


def activations_figure(pieces: pd.DataFrame, palette: Mapping[str, str], wide: bool = True) -> Drawing:
    """Curves on the left (on a narrow page above), nanoseconds an element with 95 % intervals on the right."""
    mine = pieces[pieces["kind"] == "activation"]
    told = dict(list(settings(mine).items())[: len(SHAPES)]) if len(mine) else {}
    marks = [name if len(told) == 1 else f"{SHAPES[s]}: {name}" for s, name in zip(SHAPES, told.values())]
    notes = "\n".join(textwrap.fill(mark, 118 if wide else 60) for mark in marks)
    extra = 0.14 * len(notes.splitlines())
    size = (7.6, 3.3 + extra) if wide else (4.0, 6.2 + extra)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=size, facecolor="none")
        left, right = figure.subplots(1, 2) if wide else figure.subplots(2, 1)
        if wide:
            figure.subplots_adjust(left=0.06, right=0.93, top=0.97, bottom=(0.55 + extra) / size[1], wspace=0.32)
        else:
            figure.subplots_adjust(left=0.19, right=0.87, top=0.98, bottom=(0.55 + extra) / size[1], hspace=0.3)
        figure.text(0.1 / size[0], 0.07 / size[1], notes, fontsize=8, color=palette["muted"], va="bottom")
        _curves(left, palette)
        _costs(right, mine, told, palette)
    gap, at = largest_gap("swish", "h_swish")
    said = f"Sigmoid, swish and their hard forms on -8 to 8; swish and h-swish differ by at most {gap:.3f}, at |x| = {at:.0f}"
    cheapest = "; ".join(_said(of_setting(mine, setting), name) for setting, name in told.items())
    return Drawing(figure, f"{said}. {cheapest or 'Their cost is not measured yet'}")


def _said(rows: pd.DataFrame, name: str) -> str:
    each = ", ".join(f"{SPOKEN.get(r['name'], r['name'])} {three(r['ns_per_element'])}" for r in rows.to_dict("records"))
    return f"ns an element with {name}: {each}"


def _curves(axes: Axes, palette: Mapping[str, str]) -> None:
    dress(axes, palette)
    x = np.linspace(*RANGE, 801)
    at = {
        "sigmoid": (7.8, 1.25, "right"),
        "h_sigmoid": (-7.8, 0.45, "left"),
        "swish": (2.1, 3.6, "right"),
        "h_swish": (7.8, 2.5, "right"),
    }
    for name, y in curves(x).items():
        role, hard = ("found" if name.endswith("sigmoid") else "anchor"), name.startswith("h_")
        axes.plot(x, y, color=palette[role], linestyle=(0, (4, 2)) if hard else "-", linewidth=1.8)
        tx, ty, ha = at[name]
        axes.text(tx, ty, SPOKEN[name], color=palette[role], fontsize=9, ha=ha)
    gaps = [largest_gap(soft, f"h_{soft}") for soft in ("sigmoid", "swish")]
    axes.text(-7.8, 4.9, "dashed: the hard form\nlargest difference\n" + "\n".join(
        f"{soft}: {gap:.3f} at |x| = {at_x:.2g}" for soft, (gap, at_x) in zip(("sigmoid", "swish"), gaps)
    ), color=palette["muted"], fontsize=8.5)  # fmt: skip
    axes.set_xlim(*RANGE)
    axes.set_xlabel("x")
    axes.xaxis.set_major_locator(MaxNLocator(8, steps=STEPS))


def _costs(axes: Axes, mine: pd.DataFrame, told: Mapping[tuple[str, ...], str], palette: Mapping[str, str]) -> None:
    dress(axes, palette)
    if not told:
        axes.text(0.5, 0.5, f"not measured yet; run\n{RUN}", transform=axes.transAxes, ha="center", va="center",
                  color=palette["muted"], fontsize=9)  # fmt: skip
        axes.set_xticks([])
        axes.set_yticks([])
        axes.grid(False)
        return
    names = list(SPOKEN)
    apart = np.linspace(-0.22, 0.22, len(told)) if len(told) > 1 else [0.0]
    for (setting, _), off, shape, role in zip(told.items(), apart, SHAPES, ("found", "anchor", "control")):
        for row in of_setting(mine, setting).to_dict("records"):
            y = names.index(row["name"]) + off
            axes.plot([row["low_ns"], row["high_ns"]], [y, y], color=palette[role], linewidth=1.6)
            axes.plot(row["ns_per_element"], y, shape, color=palette[role], markersize=5.5)
            axes.annotate(three(row["ns_per_element"]), (1.01, y), xycoords=("axes fraction", "data"), color=palette[role],
                          fontsize=8, va="center", annotation_clip=False)  # fmt: skip
    axes.set_yticks(range(len(names)), [SPOKEN[n] for n in names], color=palette["ink"])
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlim(left=0)
    axes.grid(False, axis="y")
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=STEPS))
    axes.set_xlabel("ns an element")

"""Colours for two themes, and a figure as SVG that follows the page it stands in.

Figures are drawn once, in stand-in colours; in the SVG each stand-in becomes a CSS variable (`var(--ink)`), so that one
drawing looks right on a light and on a dark page, and text stays text. PNG is drawn in the light theme on white.
Colours: Okabe and Ito's set, told apart by people with colour-blindness; shape says the same once more.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

ROLES = ("ink", "muted", "grid", "found", "anchor", "control", "paper")
LIGHT = dict(zip(ROLES, ("#1c2127", "#5b6570", "#dfe3e8", "#0072b2", "#c04e00", "#8a4f7d", "#ffffff")))
DARK = dict(zip(ROLES, ("#e8eaed", "#a3acb6", "#33393f", "#56b4e9", "#f0a030", "#d99bc8", "#15181b")))
STAND_IN = {role: f"#0{i}0{i}0{i}" for i, role in enumerate(ROLES, 1)}
STYLE: dict[Any, Any] = {
    "font.size": 10.0,
    "svg.fonttype": "none",
    "svg.hashsalt": "analysis",
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "figure.dpi": 72.0,
}
STEPS = [1, 2, 5, 10]  # of ticks that people like to read


@dataclass
class Drawing:
    """A figure, what it shows in one line (for those who cannot see it), and a text per element that shows on hovering."""

    figure: Figure
    about: str
    tips: dict[str, str] = field(default_factory=dict)


def svg(drawing: Drawing, prefix: str) -> str:
    """The <svg> element, its colours CSS variables named as in ROLES. `prefix` makes its ids unique on the page."""
    buffer = io.StringIO()
    with matplotlib.rc_context(STYLE):
        FigureCanvasSVG(drawing.figure).print_svg(buffer, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :].strip()
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.S)
    text = re.sub(r'\b(id|xlink:href|href)="(#?)', rf'\1="\2{prefix}-', text).replace("url(#", f"url(#{prefix}-")
    text = re.sub(r"font: ([^;\"]*?[\d.]+px) [^;\"]*", r"font: \1 var(--sans)", text)
    for role, colour in STAND_IN.items():
        text = text.replace(colour, f"var(--{role})")
    for gid, tip in drawing.tips.items():
        text = text.replace(f'<g id="{prefix}-{gid}">', f'<g id="{prefix}-{gid}"><title>{escape(tip)}</title>', 1)
    # size comes from the page; the viewBox keeps the shape
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    return text.replace("<svg", f'<svg role="img" aria-label="{escape(drawing.about)}"', 1)


def png(drawing: Drawing, dpi: int = 160) -> bytes:
    """The figure as PNG on white; draw it with the LIGHT palette."""
    buffer = io.BytesIO()
    with matplotlib.rc_context(STYLE):
        drawing.figure.set_facecolor("white")
        FigureCanvasAgg(drawing.figure)
        drawing.figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
    return buffer.getvalue()


def canvas(palette: Mapping[str, str], size: tuple[float, float], top: float, bottom: float = 0.68) -> tuple[Figure, Axes]:
    """A figure of `size` inches with one pair of axes; `bottom` in inches, `top` a share of the height."""
    figure = Figure(figsize=size, facecolor="none")
    axes = figure.subplots()
    figure.subplots_adjust(left=0.62 / size[0], right=1 - 0.12 / size[0], bottom=bottom / size[1], top=top)
    dress(axes, palette)
    return figure, axes


def dress(axes: Axes, palette: Mapping[str, str]) -> None:
    """The quiet look of all figures: a light grid, labels in ink."""
    axes.set_facecolor("none")
    axes.grid(True, color=palette["grid"], linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=palette["muted"], labelsize=9, width=0.8)
    for spine in axes.spines.values():
        spine.set_color(palette["muted"])
    axes.xaxis.label.set_color(palette["ink"])
    axes.yaxis.label.set_color(palette["ink"])

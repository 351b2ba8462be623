"""Sentences in lines that fit a width, measured with the font that draws them."""

from __future__ import annotations

from functools import cache

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties


def folded(text: str, inches: float, size: float, weight: str = "normal") -> list[str]:
    """`text` in lines of at most `inches` at a font size in points; a word that is longer stands alone. Only plain spaces part
    words: a no-break space keeps an interval in one piece."""
    lines: list[str] = []
    for word in text.split(" "):
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and width(longer, size, weight) <= inches:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def width(text: str, size: float, weight: str = "normal") -> float:
    """Inches that a line of text takes."""
    wide, _, _ = _renderer().get_text_width_height_descent(text, FontProperties(size=size, weight=weight), False)
    return float(wide) / 72  # the renderer's pixels are points


@cache
def _renderer():  # type: ignore[no-untyped-def]
    return FigureCanvasAgg(Figure(dpi=72)).get_renderer()

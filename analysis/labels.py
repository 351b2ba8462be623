"""Names beside points that neither collide nor leave the picture.

Greedy: each name tries places around its point, nearest first, and takes the cheapest; overlap with points, names and the
frame costs most, crossing a line a little. Positions are in points (1/72 inch), so that they hold at any resolution.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from itertools import pairwise

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.transforms import Bbox

ANGLES = (45, 135, -45, -135, 0, 180, 90, -90, 20, 160, -20, -160)
DISTANCES = (8, 13, 19, 27, 37, 50, 66, 84)
LEADER_FROM = 15  # farther than this a thin line leads to the point


def place(
    axes: Axes, points: Sequence[tuple[float, float, str, str]], others: np.ndarray, lines: Sequence[np.ndarray], size: float
) -> list:
    """Writes each (x, y, text, colour), in data units. others: (n, 2) further points to keep clear of; lines: polylines
    (k, 2) better not crossed. The layout of the figure must be final. Returns the annotations."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    figure.set_dpi(72)  # one pixel is one point while we measure
    renderer = FigureCanvasAgg(figure).get_renderer()
    frame = axes.get_window_extent(renderer)
    to_pixels = axes.transData.transform
    here = to_pixels(np.array([(x, y) for x, y, *_ in points]).reshape(-1, 2))
    dots = np.vstack([here, to_pixels(others.reshape(-1, 2))])
    strokes = np.vstack([np.zeros((0, 2)), *(_dense(to_pixels(line)) for line in lines if len(line))])
    taken: list[Bbox] = []
    written = []
    for (x, y, text, colour), at in zip(points, here):
        note = axes.annotate(text, (x, y), xytext=(0, 0), textcoords="offset points", color=colour, fontsize=size, zorder=6)
        extent = note.get_window_extent(renderer)
        wide, high = extent.width, extent.height
        far = 2 * max(DISTANCES) + max(wide, high) + 5  # what lies beyond is near no box of this text
        close, crossed = (p[np.abs(p - at).max(axis=1, initial=0) <= far] for p in (dots, strokes))
        strangers = close[np.abs(close - at).max(axis=1) > 0.5]
        cost = partial(_cost, frame=frame, dots=close, strangers=strangers, strokes=crossed, taken=taken)
        best = min(
            (cost(_box(at, wide, high, angle, reach), reach) + reach / 4 + order / 50, angle, reach)
            for reach in DISTANCES
            for order, angle in enumerate(ANGLES)
        )
        box = _box(at, wide, high, best[1], best[2])
        taken.append(box)
        note.set_position((box.x0 - at[0], box.y0 - at[1]))
        note.set_verticalalignment("bottom")
        if best[2] >= LEADER_FROM:
            middle = (np.clip(at[0], box.x0, box.x1), np.clip(at[1], box.y0, box.y1))
            end = axes.transData.inverted().transform(middle)
            axes.plot([x, end[0]], [y, end[1]], color=colour, linewidth=0.6, zorder=2, scalex=False, scaley=False)
        written.append(note)
    return written


def _box(at: np.ndarray, wide: float, high: float, angle: float, reach: float) -> Bbox:
    """Where a text of that size lies when its nearest side is `reach` away in the direction `angle`."""
    dx, dy = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    x0 = at[0] + dx * reach - (0 if dx > 0.3 else wide if dx < -0.3 else wide / 2)
    y0 = at[1] + dy * reach - (0 if dy > 0.3 else high if dy < -0.3 else high / 2)
    return Bbox.from_bounds(x0, y0, wide, high)


def _cost(
    box: Bbox, reach: float, *, frame: Bbox, dots: np.ndarray, strangers: np.ndarray, strokes: np.ndarray, taken: Sequence[Bbox]
) -> float:
    outside = max(0.0, frame.x0 - box.x0, box.x1 - frame.x1, frame.y0 - box.y0, box.y1 - frame.y1)
    cost = 1000 + 10 * outside if outside else 0.0
    cost += 60.0 * int(_inside(dots, box, 5).sum())  # 5: about the radius of a marker
    cost += 3.0 * int(_inside(strokes, box, 1).sum())
    cost += 15.0 * int(_inside(strangers, box, 0.9 * reach).any())  # nearer to another point: whose name is it?
    cost += sum(400.0 for other in taken if box.padded(1).overlaps(other))
    return cost + sum(25.0 for other in taken if box.padded(6).overlaps(other))  # stacked names read as one


def _inside(points: np.ndarray, box: Bbox, margin: float) -> np.ndarray:
    low, high = np.array(box.min) - margin, np.array(box.max) + margin
    return np.all((points > low) & (points < high), axis=1)


def _dense(line: np.ndarray, step: float = 4.0) -> np.ndarray:
    """A polyline as points at most `step` apart."""
    pieces = [line[:1]]
    for a, b in pairwise(line):
        n = max(1, math.ceil(float(np.hypot(*(b - a))) / step))
        pieces.append(a + (b - a) * np.linspace(0, 1, n + 1)[1:, None])
    return np.vstack(pieces)

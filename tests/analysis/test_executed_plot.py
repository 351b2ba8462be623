"""The figure of executed blocks: all nets, nothing outside of the picture, numbers as the tables have them."""

import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from analysis.executed_plot import executed_figure
from analysis.palette import LIGHT, png


def tables(nets):
    """nets: name -> {executed: (images, mean_ms)}; as measure.py writes them."""
    by_blocks, measured = [], []
    for name, counts in nets.items():
        n, gates = sum(i for i, _ in counts.values()), max(counts) + 2
        by_blocks += [
            {"net": name, "executed": k, "gates": gates, "images": i, "share": i / n, "mean_ms": ms, "images_of": "digits"}
            for k, (i, ms) in counts.items()
        ]
        mean = sum(i * ms for i, ms in counts.values()) / n
        measured.append({"net": name, "latency_ms": mean, "p50_ms": mean * 0.98, "p95_ms": mean * 1.2, "runtime": "onnxruntime",
                         "threads": 1, "batch": 1, "precision": "fp32"})  # fmt: skip
    return pd.DataFrame(by_blocks), pd.DataFrame(measured)


FEW = {3: (32, 0.31), 4: (140, 0.38), 5: (64, 0.44), 7: (20, 0.52)}
MANY = {k: (1 + (k % 9) * 3, 2 + 0.11 * k) for k in range(14, 50)}
ONE = {0: (256, 0.2)}


@pytest.mark.parametrize("nets", [{"a": FEW}, {"outputs/demo/nets/a3f2": FEW, "b" * 90: MANY, "c": ONE}])
def test_every_net_is_there_and_all_is_inside(nets):
    drawing = executed_figure(*tables(nets), LIGHT)
    assert len(drawing.figure.axes) == 2 * len(nets)
    renderer = FigureCanvasAgg(drawing.figure).get_renderer()
    drawing.figure.draw_without_rendering()  # lays the labels out
    frame = drawing.figure.bbox
    for axes, counts in zip(drawing.figure.axes[::2], nets.values(), strict=True):
        assert [(round(p.get_y() + p.get_height() / 2), p.get_width()) for p in axes.patches] == [
            (k, pytest.approx(i / sum(n for n, _ in counts.values()))) for k, (i, _) in counts.items()
        ]
    for axes, counts in zip(drawing.figure.axes[1::2], nets.values(), strict=True):
        assert axes.lines[0].get_xdata().tolist() == [ms for _, ms in counts.values()]
    for axes in drawing.figure.axes:
        ticks = [t for t in axes.get_yticklabels() if axes.get_ylim()[0] <= t.get_position()[1] <= axes.get_ylim()[1]]
        assert ticks and all(float(t.get_text()).is_integer() for t in ticks)
        for text in (*axes.texts, *ticks, axes.xaxis.label, axes.yaxis.label):
            box = text.get_window_extent(renderer)
            assert frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1, text
    assert png(drawing).startswith(b"\x89PNG")
    assert all(f"{name}: mean " in drawing.about for name in nets) and "most images execute 4 of 9 gated blocks" in drawing.about

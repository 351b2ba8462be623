"""The figure of measure.py: every net by name, in order, nothing outside of the picture."""

import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from analysis.measured_plot import latest, measured_figure
from analysis.palette import DARK, png

PNG = b"\x89PNG"


def table(*latencies: float, at: str = "2026-01-01") -> pd.DataFrame:
    rows = [
        {"net": f"net_{i}", "latency_ms": x, "low_ms": 0.95 * x, "high_ms": 1.02 * x, "gmac_per_s": 50.0,
         "runtime": "onnxruntime", "threads": 1, "batch": 1, "precision": "fp32", "measured_at": at}
        for i, x in enumerate(latencies)
    ]  # fmt: skip
    return pd.DataFrame(rows)


@pytest.mark.parametrize("latencies", [(0.2,), (3.0, 0.1, 1.0), (1.0, 1.1, 1.2)])
def test_the_fastest_stands_on_top_and_all_is_inside(latencies):
    drawing = measured_figure(table(*latencies), DARK)
    (axes,) = drawing.figure.axes
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names == [f"net_{latencies.index(x)}" for x in sorted(latencies, reverse=True)]
    assert (axes.get_xscale() == "log") == (max(latencies) > 3 * min(latencies))
    renderer = FigureCanvasAgg(drawing.figure).get_renderer()
    drawing.figure.draw_without_rendering()  # lays the labels out
    frame = drawing.figure.bbox
    for text in (*axes.texts, *axes.get_yticklabels(), axes.xaxis.label):
        box = text.get_window_extent(renderer)
        assert frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1, text
    assert png(drawing).startswith(PNG) and f"net_{latencies.index(min(latencies))}" in drawing.about.split(";")[0]


def test_only_the_last_measurement_is_drawn():
    both = pd.concat([table(1.0, 2.0), table(3.0, at="2026-01-02")], ignore_index=True)
    assert latest(both)["latency_ms"].tolist() == [3.0]


def test_beside_a_gated_net_stands_its_p95():
    rows = table(0.4, 0.5).assign(p95_ms=[0.52, float("nan")])
    rows.loc[0, "gmac_per_s"] = float("nan")
    (axes,) = measured_figure(rows, DARK).figure.axes
    assert {t.get_text() for t in axes.texts} == {"0.4 ms, p95 0.52", "0.5 ms, 50 GMAC/s"}
    rows.loc[0, "p95_ms"] = float("nan")  # in batches
    (axes,) = measured_figure(rows, DARK).figure.axes
    assert "0.4 ms" in {t.get_text() for t in axes.texts}

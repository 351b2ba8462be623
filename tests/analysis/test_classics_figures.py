"""The lecture's figures: drawn in both themes and widths, nothing outside of the picture, and what was not measured is said."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from analysis.activations_plot import activations_figure, curves, largest_gap
from analysis.blocks_plot import CHAINS, TITLES, blocks_figure
from analysis.classics_figures import drawings, write_classics
from analysis.clocks import read_clocks
from analysis.mobilenets_plot import mobilenets_figure, points_of
from analysis.palette import DARK, LIGHT, STAND_IN, png, svg
from analysis.pieces import read_pieces
from analysis.records import StudyError
from searchspace.published import MOBILENETS, PUBLISHED
from study.measuring import lecture

SETTING = {"runtime": "onnxruntime", "threads": 1, "batch": 1, "precision": "fp32", "machine": "m1", "options": "", "busy": False,
           "device": "cpu", "chip": "AMD EPYC 7B13 with a long name", "measured_at": "2026-01-01"}  # fmt: skip
GPU = {"device": "cuda", "chip": "NVIDIA H100 80GB HBM3", "runtime": "cuda_graph"}


@pytest.fixture(scope="module")
def facts():
    return lecture.figures()


def measured(outputs, facts, names=MOBILENETS, **changes):
    macs = dict(zip(facts["mobilenets"]["net"], facts["mobilenets"]["macs_m"]))
    rows = []
    for i, name in enumerate(names):
        ms = macs[name] / 100 * (1 + i % 3 / 10)
        rows.append({"net": name, "latency_ms": ms, "low_ms": 0.97 * ms, "high_ms": 1.03 * ms, "macs_m": macs[name], **SETTING,
                     **changes})  # fmt: skip
    outputs.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).to_csv(outputs / "measure.csv", index=False)


def pieces(outputs, facts, **changes):
    rows = [
        {"kind": "block", **{k: r[k] for k in ("name", "stride", "shape_in", "shape_out", "macs_m")}, "ms": r["macs_m"] / 100,
         "low_ms": r["macs_m"] / 110, "high_ms": r["macs_m"] / 90, **SETTING, **changes}
        for r in facts["blocks"].to_dict("records")
    ]  # fmt: skip
    rows += [
        {"kind": "activation", "name": name, "ms": 0.03, "low_ms": 0.02, "high_ms": 0.04, "ns_per_element": 0.125 + i / 10,
         "low_ns": 0.1 + i / 10, "high_ns": 0.15 + i / 10, **SETTING, **changes}
        for i, name in enumerate(("relu", "relu6", "sigmoid", "h_sigmoid", "swish", "h_swish"))
    ]  # fmt: skip
    outputs.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).to_csv(outputs / "pieces.csv", index=False)


def texts(drawing):
    found = [t.get_text() for axes in drawing.figure.axes for t in (*axes.texts, axes.title, axes.xaxis.label)]
    found += [axes.get_title(loc="left") for axes in drawing.figure.axes]
    return "\n".join([*found, *(t.get_text() for t in drawing.figure.texts)])


def inside(drawing):
    renderer = FigureCanvasAgg(drawing.figure).get_renderer()
    drawing.figure.draw_without_rendering()
    frame = drawing.figure.bbox
    for axes in drawing.figure.axes:
        for text in (*axes.texts, axes.xaxis.label, axes.yaxis.label, axes.title, axes._left_title):
            if text.get_text() and text.get_visible() and axes.get_visible():
                box = text.get_window_extent(renderer)
                assert frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1, text
    for text in drawing.figure.texts:
        box = text.get_window_extent(renderer)
        assert frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0, text


@pytest.mark.parametrize("wide", [True, False])
@pytest.mark.parametrize("settings", [0, 1, 2])
def test_all_is_inside_in_both_widths(facts, tmp_path, wide, settings):
    for i in range(settings):
        measured(tmp_path / f"m{i}", facts, **(GPU if i else {}))
        pieces(tmp_path / f"m{i}", facts, **(GPU if i else {}))
    for name, drawing in drawings(facts, tmp_path, DARK, wide).items():
        inside(drawing)
        assert drawing.about, name


def test_colours_follow_the_page(facts, tmp_path):
    measured(tmp_path / "a", facts)
    pieces(tmp_path / "a", facts)
    for name, drawing in drawings(facts, tmp_path, STAND_IN).items():
        text = svg(drawing, name)
        assert "var(--ink)" in text and not any(colour in text for colour in STAND_IN.values())


def test_pngs_are_written(facts, tmp_path):
    written = write_classics(facts, tmp_path).splitlines()
    assert [w.rsplit("/", 1)[1] for w in written] == ["mobilenets.png", "blocks.png", "activations.png"]
    assert all((tmp_path / "classics" / w.rsplit("/", 1)[1]).read_bytes().startswith(b"\x89PNG") for w in written)


def test_what_was_not_measured_is_said(facts, tmp_path):
    made = drawings(facts, tmp_path, LIGHT)
    assert texts(made["mobilenets"]).count("not measured here") == 4  # both panels, and both in the note
    assert "measure.py nets=mobilenets" in texts(made["mobilenets"]).replace("\n", " ")
    for name in ("blocks", "activations"):
        assert "measure.py nets=pieces" in texts(made[name]), name
    assert "354.9 M mult-adds" in texts(made["blocks"])  # what needs no clock is there


def test_mobilenets_published_against_measured(facts, tmp_path):
    measured(tmp_path / "a", facts, MOBILENETS[:20])
    drawing = mobilenets_figure(read_clocks(tmp_path), facts["mobilenets"], LIGHT)
    said = texts(drawing).replace("\n", " ")
    assert "20 of 44 nets" in said and "GPU: not measured here" in said and "CPU: AMD EPYC" in said
    cpu, gpu = drawing.figure.axes
    markers = [line for line in cpu.lines if line.get_marker() not in ("None", "", None) and len(line.get_xdata()) == 1]
    assert sorted(float(m.get_ydata()[0]) for m in markers) == sorted(PUBLISHED[n].top1 for n in MOBILENETS[:20])
    hollow = [m for m in markers if m.get_markerfacecolor() == LIGHT["paper"]]
    assert len(hollow) == sum("checkpoint" in PUBLISHED[n].source for n in MOBILENETS[:20]) and not gpu.lines


def test_a_net_measured_at_another_size_is_no_point(facts, tmp_path):
    measured(tmp_path / "a", facts, MOBILENETS[-1:], macs_m=800.0)  # MobileNetV4-conv-M at 224, its accuracy is of 256
    assert points_of(read_clocks(tmp_path), facts["mobilenets"]).empty


def test_blocks_carry_their_time_only_at_their_shape(facts, tmp_path):
    pieces(tmp_path / "a", facts)
    drawing = blocks_figure(read_pieces(tmp_path), facts["blocks"], LIGHT)
    assert "3.55 ± 0.36 ms" in texts(drawing) and "not measured" not in texts(drawing)
    assert {*TITLES} == {"nasnet", *(name for name, _ in CHAINS)}
    other = facts["blocks"].assign(macs_m=lambda t: t["macs_m"] * 4)
    assert texts(blocks_figure(read_pieces(tmp_path), other, LIGHT)).count("not measured") == 8
    assert png(drawing).startswith(b"\x89PNG")


def test_the_hard_forms():
    """Largest differences of MobileNetV3's hard forms; swish's lies where the hard one's kink is."""
    gap, at = largest_gap("swish", "h_swish")
    assert round(gap, 4) == 0.1423 and at == 3.0
    of = curves(np.array([-8.0, -3.0, 0.0, 3.0, 8.0]))
    assert of["h_swish"].tolist() == [0, 0, 0, 3, 8] and of["h_sigmoid"].tolist() == [0, 0, 0.5, 1, 1]
    assert of["sigmoid"][2] == 0.5 and abs(of["swish"][4] - 8) < 0.01


def test_nanoseconds_of_each_activation(facts, tmp_path):
    pieces(tmp_path / "a", facts, measured_at="2025-01-01", machine="m1")
    pieces(tmp_path / "b", facts)
    table = read_pieces(tmp_path)
    assert len(table) == 14 and (table["measured_at"] == "2026-01-01").all()  # the newest
    drawing = activations_figure(table, LIGHT)
    assert all(f"{0.125 + i / 10:.3f}" in texts(drawing) for i in range(6)) and "h-swish 0.625" in drawing.about


def test_a_file_that_is_no_table_is_named(facts, tmp_path):
    (tmp_path / "x").mkdir()
    (tmp_path / "x/pieces.csv").write_text("a,b\n1,2\n")
    with pytest.raises(StudyError, match=r"x/pieces\.csv is no table"):
        drawings(facts, tmp_path, LIGHT)

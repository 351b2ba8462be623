"""What is told of a gated net's images: the line, the rows of executed.csv, the card."""

import json
from dataclasses import replace

from hardware.meter import Latency
from hardware.spread import Spread
from study.final_session import latency_row
from study.measuring.executed import COLUMNS, lines, table

SPREAD = Spread(0.4123, 0.4, 0.52, (0, 0, 0, 32, 144, 80, 0, 0, 0), (None, None, None, 0.3, 0.41, 0.46, None, None, None))
STATIC = Latency(0.4123, 0.4, 0.42, 9, "onnxruntime", "m1", False, "", None, 1, 1)
GATED = replace(STATIC, keep_rate=0.52, spread=SPREAD)


def row(net, m):
    return {"net": net, "keep_rate": m.keep_rate, "batch": m.batch, "spread": m.spread, "measured_at": "2026-01-01"}


def test_one_line_a_gated_net():
    found = lines([row("a", GATED), row("b", STATIC), row("c", replace(GATED, batch=8, spread=None))], "digits images")
    assert found == [
        "a on 256 digits images: mean 0.412 ms, p50 0.4, p95 0.52; executed blocks of 8: 3 (12 %), 4 (56 %), 5 (31 %)",
        "c: p50, p95 and executed blocks are of single images: measure with hardware.batch=1",
    ]
    one = replace(SPREAD, executed=(255, 1))
    assert lines([row("a", replace(GATED, spread=one))], "x")[0].endswith("executed blocks of 1: 0 (100 %), 1 (<1 %)")
    many = replace(SPREAD, executed=(0, 4, *[6] * 42))  # 256 images on 43 different numbers of blocks
    (line,) = lines([row("a", replace(GATED, spread=many))], "noise")
    assert line.startswith("a on 256 images of noise: ")
    assert line.endswith("executed blocks of 43: 1 to 43, half of the images 12 to 33")


def test_rows_of_the_numbers_that_occur():
    found = table([row("a", GATED), row("b", STATIC)], "digits images")
    assert tuple(found) == COLUMNS and found["executed"].tolist() == [3, 4, 5] and found["images"].tolist() == [32, 144, 80]
    assert found["mean_ms"].tolist() == [0.3, 0.41, 0.46] and found["share"].sum() == 1
    assert set(found["images_of"]) == {"digits"} and set(found["gates"]) == {8}
    assert tuple(table([row("b", STATIC)], "")) == COLUMNS and table([], "").empty


def test_the_card_carries_it():
    written = json.loads(json.dumps(latency_row(GATED)))
    assert (written["p50_ms"], written["p95_ms"], written["executed"]) == (0.4, 0.52, list(SPREAD.executed))
    assert written["ms_by_executed"] == list(SPREAD.ms_by_executed) and written["latency_ms"] == SPREAD.mean_ms
    assert "p50_ms" not in latency_row(STATIC)

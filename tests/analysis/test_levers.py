"""What binds the nets here, and what else the last measurement left: said where it was measured, and only there."""

from dataclasses import replace

from analysis.content import content
from analysis.document import markdown
from analysis.levers import levers


def test_the_regime_is_said_with_its_advice_and_nothing_is_made_up(finished):
    record = finished.read()
    assert levers(record) == [] and "What binds" not in markdown(content(record, "outputs/demo"))
    best = record.finalists.iloc[0]["id"]
    told = {"name": "bandwidth", "of_peak": 0.31, "advice": "width costs in part (twice the width: x2.08 the time)"}
    said = markdown(content(replace(record, regimes={best: told, "gone": told}), "outputs/demo"))
    assert "What binds these nets here" in said and "bandwidth-bound" in said and "(31% of the measured peak)" in said
    assert "Width costs in part" in said and "gone" not in said


def test_predictor_and_int8_in_how_it_was_done(finished):
    record = finished.read()
    before = markdown(content(record, "outputs/demo"))
    assert "Latency predictor" not in before and "int8" not in before
    first, second = record.finalists["id"][:2]
    more = replace(
        record,
        predictor={"n": 40, "error": 0.028, "upper": 0.11, "tau": 0.974},
        int8={first: (90.0, 89.5), second: (80.0, 80.25)},
    )
    said = markdown(content(more, "outputs/demo"))
    assert "learnt from 40 nets measured here" in said and "2.8%" in said and "0.97" in said
    assert "in int8 the 2 nets lose -0.25 to 0.50 points" in said

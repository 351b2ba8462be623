"""The search beside its control: what is told follows from both sides' trials."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from conftest import SPACE, Faker

from analysis.content import content
from analysis.controls import beside, control_figure
from analysis.document import Paragraph, Picture, markdown
from analysis.palette import LIGHT, png, svg
from analysis.pareto import hypervolume


def made(tmp_path, kind, lift):
    faker = Faker(tmp_path, lift=lift, control=kind)
    faker.anchors()
    faker.search(16)
    rng = random.Random(3)
    for _ in range(16):
        faker.trial(SPACE.walk(lambda name, choices: rng.choice(choices)), "control")
    return faker.read()


@pytest.mark.parametrize(("kind", "says"), [("random", "near the anchors, bought"), ("macs", "measuring bought")])
@pytest.mark.parametrize("lift", [6.0, -6.0])
def test_what_was_bought(tmp_path, kind, says, lift):
    record = made(tmp_path, kind, lift)
    found = beside(record)
    point = (0.0, 1.5)  # the budget
    ours = record.trials[(record.trials["state"] == "COMPLETE") & record.trials["origin"].isin(["search", "anchor"])]
    ours = ours[ours["latency_ms"] <= 1.5]
    assert found.volumes[0] == pytest.approx(hypervolume(ours["top1_val"], ours["latency_ms"], point))
    assert (found.volumes[0] > found.volumes[1]) == (lift > 0)
    text = markdown(content(replace(record, starts=8), tmp_path))
    if kind == "random":  # a study that did not begin near anchors does not say so
        assert "near the anchors" not in markdown(content(record, tmp_path)).split("## Beside")[1].split("## ")[0]
    assert says in text and ("bought nothing" in text) == (lift < 0)
    assert ("Kendall's tau" in text.split("## Beside")[1].split("## ")[0]) == (kind == "macs")
    drawing = control_figure(found, LIGHT)
    assert png(drawing)[:4] == b"\x89PNG" and "<svg" in svg(control_figure(found, LIGHT, wide=False), "c")


def test_no_control_no_section(tmp_path):
    faker = Faker(tmp_path)
    faker.anchors()
    faker.search(6)
    record = faker.read()
    assert beside(record) is None
    items = content(record, tmp_path).items
    assert not any(isinstance(i, Picture) and i.name == "control" for i in items)
    assert not any(isinstance(i, Paragraph) and "bought" in i.text and "search by" in i.text for i in items)

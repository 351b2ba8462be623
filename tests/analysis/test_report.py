"""The report says what the numbers say, at every stage of a study, and carries all it needs."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
from conftest import STATE, Faker
from matplotlib.text import Annotation

from analysis import report
from analysis.document import Table, escaped, plain, table_markdown
from analysis.findings import rivals, sentences
from analysis.front import front, nets
from analysis.method import redact
from analysis.palette import LIGHT, STAND_IN, svg
from analysis.plots import effects_figure, front_figure, hypervolume_figure

STAGES = ("empty", "anchors", "searching", "searched", "finalists", "finished")


@pytest.fixture(scope="module")
def written(finished: Faker, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report") / "demo"
    for net in front(finished.read())["id"]:
        (folder / "nets" / net).mkdir(parents=True)
    return report.write(finished.read(), folder).parent


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_has_a_report(at, tmp_path: Path, stage: str) -> None:
    page = report.write(at(stage), tmp_path).read_text()
    assert ("still running" in page) == (stage in ("empty", "anchors", "searching"))
    assert ("still being trained" in page) == (stage in ("searched", "finalists"))
    assert ("test top-1, %" in page) == (stage == "finished")
    assert {"report.html", "report.md", "trials.csv", "front.csv"} <= {p.name for p in tmp_path.iterdir()}


def test_the_page_needs_nothing_else(written: Path) -> None:
    page = (written / "report.html").read_text()
    assert "<script" not in page and "@import" not in page
    assert not re.findall(r'(?:src|href)="(?!#)', page)
    assert not re.search(r"url\((?!#)", page)
    for colour in STAND_IN.values():
        assert colour not in page
    ids = re.findall(r' id="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    for target in re.findall(r'url\(#([^)]+)\)|href="#([^"]+)"', page):
        assert (target[0] or target[1]) in ids


def test_every_front_net_has_its_path_and_line(finished: Faker, written: Path) -> None:
    page, text = (written / "report.html").read_text(), (written / "report.md").read_text()
    for _, net in front(finished.read()).iterrows():
        if net["origin"] != "anchor":
            line = f'searchspace.load("{written.as_posix()}/nets/{net["id"]}")'
            assert line in text and line.replace('"', "&quot;") in page
    for name in re.findall(r"\]\((figures/[^)]+)\)", text):
        assert (written / name).read_bytes().startswith(b"\x89PNG")


def test_the_first_sentence_is_true(finished: Faker) -> None:
    record = finished.read()
    best = max((r for r in rivals(record) if r.net is not None), key=lambda r: r.gain["val"])
    table = nets(record)
    fit = table[(table["origin"] != "anchor") & (table["latency_ms"] <= best.anchor["latency_ms"])]
    assert best.net is not None and best.net["id"] == fit.loc[fit["top1_val"].idxmax(), "id"]
    first = sentences(record)[0]
    gain = best.net["top1_test"] - best.anchor["top1_test"]
    assert best.name in first and best.net["id"] in first and f"{gain:+.1f}".replace("-", "−") in first
    assert "more than noise" in first  # +2 points by construction, noise about 1


def test_nothing_is_claimed_when_nothing_beats_the_anchors(make, tmp_path: Path) -> None:
    record = make("finished", lift=-25.0).read()
    said = sentences(record)
    assert "no net found is more accurate on validation" in said[0]
    assert "more accurate than" not in said[1] and "less accurate than" in said[1]
    assert "No net found reaches" in said[2]
    assert report.write(record, tmp_path).exists()


def test_nets_that_were_trained_and_missed_the_front_are_not_untrained(make) -> None:
    record = make("finished").read()
    anchors = record.finalists[record.finalists["origin"] == "anchor"]
    trained = int(((record.trials["origin"] == "search") & (record.trials["state"] == "COMPLETE")).sum())
    alone = dataclasses.replace(record, finalists=anchors)
    (said,) = sentences(alone)
    assert said == f"None of the {trained} nets that the search trained is on the front: the anchors hold all of it." and trained
    (said,) = sentences(dataclasses.replace(alone, trials=record.trials[record.trials["origin"] == "anchor"]))
    assert said == "No net of the search's own was trained: there are only the anchors."


def test_noise_is_called_noise(make) -> None:
    """Equal by law, then drowned: with 30 test images no difference of a few points can be told."""
    record = make("finished", lift=1.0).read()
    few = record.finalists.assign(test_n=30)
    said = " ".join(sentences(dataclasses.replace(record, finalists=few)))
    assert "more than noise" not in said and ("not distinguishable" in said or "cannot be told" in said)


def test_without_anchors_and_without_nets(make) -> None:
    faker = make("empty", anchors=[])
    assert sentences(faker.read()) == [
        "No net has been trained and measured yet, so there is nothing to report but how it is being done."
    ]
    faker.search(24)
    assert "no anchors" in sentences(faker.read())[1]


def test_outside_text_cannot_become_markup(make, tmp_path: Path) -> None:
    faker = make("searching")
    faker.study.set_user_attr(
        "command", "python search.py name='<script>alert(1)</script>' storage=postgresql://me:secret@host/db"
    )
    faker.trial(next(iter(faker.nets.values()))[0], "search", state=STATE.FAIL, reason="bad <b>`x`</b> | **y**", top1_val=None)
    page = report.write(faker.read(), tmp_path).read_text()
    assert "<script>alert" not in page and "&lt;script&gt;" in page and "<b>" not in page
    assert "secret" not in page and "secret" not in (tmp_path / "report.md").read_text()


def test_markdown_escapes_and_keeps_code() -> None:
    assert escaped("a_b `c_d` **e** <f>") == r"a\_b `c_d` **e** \<f\>"
    assert plain("x`y\n**z") == "x'y * *z"
    assert redact("x postgresql+psycopg://me:p@ss@host/db y") == "x postgresql+psycopg://me:***@host/db y"
    table = Table(("a", "n"), (("p|q", "1"), ("r", "2")), frozenset({1}), frozenset({1}))
    assert table_markdown(table) == "| a | n |\n| --- | --: |\n| p\\|q | 1 |\n| **r** | 2 |"


@pytest.mark.parametrize("wide", [True, False])
def test_names_of_anchors_neither_collide_nor_leave_the_picture(finished: Faker, wide: bool) -> None:
    figure = front_figure(finished.read(), LIGHT, wide).figure
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    boxes = [a.get_window_extent(renderer) for a in figure.axes[0].texts if isinstance(a, Annotation)]
    frame = figure.axes[0].get_window_extent(renderer).padded(1)
    assert len(boxes) >= 3
    for i, box in enumerate(boxes):
        assert frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1
        assert not any(box.overlaps(other) for other in boxes[:i])


@pytest.mark.parametrize("draw", [front_figure, hypervolume_figure, effects_figure])
@pytest.mark.parametrize("stage", STAGES)
def test_figures_are_drawn_at_every_stage_and_twice_alike(at, draw, stage: str) -> None:
    record = at(stage)
    first, second = (svg(draw(record, STAND_IN), "p") for _ in range(2))
    assert first == second
    ElementTree.fromstring(first)
    assert "var(--ink)" in first and 'aria-label="' in first


def test_the_staircase_passes_through_the_front(finished: Faker) -> None:
    record = finished.read()
    chosen, axes = front(record), front_figure(record, LIGHT).figure.axes[0]
    corners = max((line.get_xydata() for line in axes.lines), key=len)
    for _, net in chosen.iterrows():
        assert (np.abs(np.asarray(corners) - [net["latency_ms"], net["top1_test"]]).max(axis=1) < 1e-9).any()


def test_wandb_report_is_built_without_a_server(finished: Faker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")  # nobody listens: any call would fail
    built = report.wandb_report(finished.read(), "someone", "somewhere")
    text = built._to_model().spec.model_dump_json(by_alias=True, exclude_none=True)
    for _, net in front(finished.read()).iterrows():
        assert net["id"] in text or net["origin"] == "anchor"
    assert "Hypervolume over trials" in text and '"name":"group"' in text.replace(" ", "")


def test_the_room_knows_no_torch_and_wandb_only_when_asked() -> None:
    foreign = {"torch", "wandb", "wandb_workspaces", "lightning", "hydra", "matplotlib.pyplot"}
    code = f"import sys, analysis.report; print(sorted({foreign!r} & set(sys.modules)))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    assert out.stdout.strip() == "[]"

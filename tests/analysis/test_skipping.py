"""SkipNet's trainings: what is read from their cards, the table and its sentences, the decisions, the figures."""

import itertools
import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text
from scipy.stats import spearmanr

from analysis.decisions import half, spearman
from analysis.decisions_file import read_decisions
from analysis.decisions_plot import decisions_figure, write_decisions
from analysis.lines import folded, width
from analysis.palette import DARK, LIGHT, png
from analysis.records import StudyError
from analysis.skipnet import data_sets, plain_name
from analysis.skipnet_cards import data_name, read_trainings
from analysis.skipnet_judged import by_parent, by_seed, judged
from analysis.skipnet_plot import skipnet_figure
from analysis.skipnet_table import skipnet_text
from tests.analysis.trainings import CLASSES, family, some_kept, write_decisions_npz, write_training

ROOT = Path(__file__).parents[2]
ALWAYS = np.tile([True, False, True, True], (60, 1))


def one(outputs, stage="hrl"):
    (data,) = data_sets(read_trainings(outputs))
    return data, next(r for r in data.rows if r.stage == stage)


# cards


def test_rows_are_means_over_seeds_and_controls_hang_on_their_net(tmp_path):
    family(tmp_path, seeds=3, alphas=(0.1, 1.0))
    data, row = one(tmp_path)
    assert [(r.stage, r.skip_alpha if r.skip_alpha == r.skip_alpha else None) for r in data.rows] == [
        ("none", None), ("sp", None), ("hrl", 0.1), ("static", 0.1), ("random", 0.1), ("hrl", 1.0)]  # fmt: skip
    assert row.seeds == 3 and row.mean("top1") == pytest.approx(90.4) and row.sd("top1") == pytest.approx(0.2)
    assert row.interval_ms() == pytest.approx((0.27 * 0.98, 0.27 * 1.02))
    assert all(c.of is row for stage in ("static", "random") for c in data.controls(row, stage))
    assert data.plain(row).net == "resnet_20" and data.before(row).stage == "sp"
    assert row.mean("paper_rate") == pytest.approx(100 * (0.5 * 8 + 1) / 9)  # (kept + 1) / (gates + 1)


def test_what_differs_by_more_than_the_seed_is_a_row_of_its_own(tmp_path):
    write_training(tmp_path, "a", "skipnet_20-rnn", "sp", 90.0, skip_alpha=0.1, keep=(0.5,) * 8)
    write_training(tmp_path, "b", "skipnet_20-rnn", "sp", 91.0, skip_alpha=1.0, keep=(0.5,) * 8)  # alpha does not act on SP
    write_training(tmp_path, "c", "skipnet_20-rnn", "sp", 92.0, seed=1, keep=(0.5,) * 8, recipe={"lr": 0.01})
    write_training(tmp_path, "d", "skipnet_20-rnn", "sp", 93.0, seed=1, keep=(0.5,) * 8, fraction=0.1)
    write_training(tmp_path, "e", "mobilenet_v1-0.25", "none", 70.0)  # no twin of a gated net
    write_training(tmp_path, "f", "skipnet_20-rnn", "sp", 60.0, data="cifar10", keep=(0.5,) * 8)
    cifar, fashion = data_sets(read_trainings(tmp_path))
    assert (cifar.name, len(cifar.rows)) == ("cifar10", 1)
    assert {(r.mean("top1"), r.differs) for r in fashion.rows} == {(91.0, "lr=0.1"), (92.0, "lr=0.01"), (93.0, "")}
    assert [Path(f).parts[0] for f in fashion.repeats] == ["a"]


def test_settings_of_another_stage_make_no_row(tmp_path):
    """trainer=skipnet writes both stages' settings into both cards, trainer=skipnet_hrl some that the first did not have."""
    hrl = {"lr": 0.001, "skip_alpha": None, "baseline": "batch", "epochs": 5}
    write_training(tmp_path, "a", "skipnet_20-rnn", "sp", 90.0, 0, recipe={"hrl": hrl}, keep=(0.5,) * 8)
    write_training(tmp_path, "b", "skipnet_20-rnn", "sp", 90.0, 1, keep=(0.5,) * 8)
    for seed, more in enumerate(
        [{"lr": 0.1}, {"lr": 0.05}, {"hrl": {**hrl, "skip_alpha": 0.1}}, {"hrl": {**hrl, "baseline": "none"}}]
    ):
        write_training(tmp_path, f"h{seed}", "skipnet_20-rnn", "hrl", 90.0, seed, keep=(0.5,) * 8, skip_alpha=0.1,
                       recipe={"hrl": hrl, **more})  # fmt: skip
    (data,) = data_sets(read_trainings(tmp_path))
    assert [(r.stage, r.seeds, r.differs) for r in data.rows] == [("sp", 2, ""), ("hrl", 3, "hrl.baseline=batch"),
                                                                  ("hrl", 1, "hrl.baseline=none")]  # fmt: skip
    assert [r.epochs for r in data.rows] == ["15", "+15", "+15"]


@pytest.mark.parametrize(
    "others, says", [(80.0, "its choice suits the image"), (89.9, "that its choice suits the image cannot be told")]
)
def test_the_decisions_of_another_image(tmp_path, others, says):
    write_training(tmp_path, "a", "skipnet_20-rnn", "sp", 90.0, keep=(0.5,) * 8, others=others)
    (data,) = data_sets(read_trainings(tmp_path))
    text = "\n".join(judged(data))
    assert f"By the decisions of another image it reaches {others:.2f} % (its own: +{90 - others:.2f} ±" in text
    assert f"1 seed): {says}. One seed: how far seeds lie apart is not known" in text


@pytest.mark.parametrize(
    "net, plain",
    [("skipnet_20-rnn", "resnet_20"), ("mobilenet_v2-0.5-ff2", "mobilenet_v2-0.5"), ("resnet_110", "resnet_110")],
)
def test_the_twin_without_gates(net, plain):
    assert plain_name(net) == plain


@pytest.mark.parametrize(
    "change, words",
    [
        ({"stage": "hlr"}, "stage 'hlr'"),
        ({"top1_test": None}, "float"),
        ({"recipe": {}}, "has no epochs"),
        (None, "cannot be used"),
    ],
)
def test_a_card_that_cannot_be_used_is_named(tmp_path, change, words):
    path = Path(write_training(tmp_path, "bad", "skipnet_20-rnn", "sp", 90.0)) / "card.json"
    path.write_text("{" if change is None else json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(StudyError, match=r"card\.json") as caught:
        read_trainings(tmp_path)
    assert words in str(caught.value) and "train it again" in str(caught.value) and "\n" not in str(caught.value)


def test_arrays_that_are_cifar10_are_called_so():
    pixels = {"mean": [125.5, 122.8, 114.1], "std": [63.2, 61.9, 66.6]}
    digits = [str(i) for i in range(10)]
    assert data_name({"name": "npz", "classes": digits, **pixels}) == "cifar10"
    assert data_name({"name": "npz", "classes": digits, **pixels, "std": [70.0, 61.9, 66.6]}) == "npz with 10 classes"
    assert data_name({"name": "npz", "classes": digits[:4], "mean": [125.5], "std": [63.2]}) == "npz with 4 classes"
    assert data_name({"name": "fashion_mnist", "classes": digits, **pixels}) == "fashion_mnist"


def test_cards_of_a_search_are_not_looked_at(tmp_path):
    folder = tmp_path / "search" / "nets" / "a1"
    folder.mkdir(parents=True)
    (folder / "card.json").write_text('{"id": "a1"}')
    assert read_trainings(tmp_path) == []
    with pytest.raises(StudyError, match=r"no training of a gated net yet; begin with python train\.py"):
        data_sets([])


# judgement


def test_a_difference_has_the_noise_of_images_and_of_seeds(tmp_path):
    for seed, (sp, hrl) in enumerate([(90.0, 89.0), (90.0, 89.4), (90.0, 88.6)]):
        write_training(tmp_path, f"sp{seed}", "skipnet_20-rnn", "sp", sp, seed, 40.0, keep=(1.0,) * 8)
        write_training(tmp_path, f"hrl{seed}", "skipnet_20-rnn", "hrl", hrl, seed, 30.0, keep=(0.5,) * 8, skip_alpha=0.1)
    write_training(tmp_path, "sp9", "skipnet_20-rnn", "sp", 50.0, 9, 40.0, keep=(1.0,) * 8)  # a seed that HRL has not
    data, row = one(tmp_path)
    found = by_seed(row, data.before(row))
    images = 1.96**2 * (0.9 * 0.1 + 0.89 * 0.11) / 10_000 * 100**2
    seeds = (4.302653 * 0.4 / math.sqrt(3)) ** 2  # t of two degrees of freedom; the three differences have an sd of 0.4
    assert (found.points, found.cost, found.n) == (pytest.approx(-1.0), pytest.approx(0.75), 3)
    assert found.half == pytest.approx(math.sqrt(images + seeds), rel=1e-3)


@pytest.mark.parametrize(
    "numbers, says",
    [
        ({}, "After HRL it computes 33.3 % less than after SP, at 0.20 points lower accuracy"),
        ({}, "within the 0.5 points that the paper counts as the same; 0.270 ms where SP takes 0.380 (faster)"),
        ({"hrl": 89.9}, "not within the 0.5 points"),
        ({"hrl": 89.9}, "lower accuracy: no, not for skipnet_20-rnn after SP+HRL, skip_alpha 0.1."),
        ({}, "lower accuracy: yes, for skipnet_20-rnn after SP+HRL, skip_alpha 0.1."),
        ({"hrl": 91.0}, "at 0.40 points higher accuracy"),
        ({}, "It computes 41.2 % less than resnet_20, which has no gates (−0.60 ±"),
        ({}, "It beats random skipping at the same rate (+4.40 ±"),
        ({"random": 90.5}, "It cannot be told apart from random skipping at the same rate (−0.10 ±"),
        ({"random": 94.0}, "It does not beat, but loses to, random skipping"),
        ({"random": 90.5}, "by more than chance: no, not for"),
        ({"static": 90.3}, "computes 4.3 % more than the twin: deciding for each image shows no gain over it"),
        ({"static": 84.0}, "deciding for each image is worth accuracy here, at more mult-adds"),
        ({"static": 94.0}, "the twin is the better net"),
        ({"seeds": 1}, "points, 1 seed)"),
        ({"seeds": 1}, "one seed says little"),
        ({}, "on 10,000 test images a top-1 of 91.2 % has a standard error of 0.28 points"),
    ],
)
def test_sentences_follow_from_the_rows(tmp_path, numbers, says):
    family(tmp_path, **numbers)
    data, _ = one(tmp_path)
    text = "\n".join(judged(data))
    assert says in text, text
    assert ("one seed says little" in text) == (numbers.get("seeds") == 1)


def test_a_twin_of_one_seed_is_told_beside_that_seed_alone(tmp_path):
    family(tmp_path, seeds=3)
    data, row = one(tmp_path)
    (twin,) = data.controls(row, "static")
    lone = replace(twin, trained=twin.trained[:1])
    data = replace(data, rows=[lone if r is twin else r for r in data.rows])
    (theirs,) = (t for t in row.trained if t.folder == lone.first.control_of)
    assert theirs.top1 != pytest.approx(row.mean("top1"))
    text = "\n".join(judged(data))
    assert f"reaches {lone.first.top1:.2f} %, the gated net {theirs.top1:.2f} % (" in text, text


def test_another_rate_and_constant_gates_are_said(tmp_path):
    mine = write_training(tmp_path, "hrl", "skipnet_20-rnn", "hrl", 90.0, keep=(1.0, 0.0) * 4, skip_alpha=1.0)
    write_training(tmp_path, "random", "skipnet_20-rnn", "random", 85.0, keep=(0.9,) * 8, control_of=f"/elsewhere/{mine}")
    write_training(tmp_path, "lost", "skipnet_20-rnn", "static", 85.0, control_of="outputs/gone/nets/a1")
    data, row = one(tmp_path)
    text = "\n".join(judged(data))
    assert "random skipping at another rate (50% against 90%)" in text.replace(" %", "%")
    assert "Its decisions do not depend on the image: each gate is always open or always closed" in text
    assert "There is no skipnet_20-rnn after SP alone of the same seed" in text
    (lost,) = (r for r in data.rows if r.stage == "static")
    assert lost.of is None and by_parent(row, lost) is None


def test_only_equals_are_compared(tmp_path):
    for seed in (0, 1):
        write_training(tmp_path, f"hrl{seed}", "skipnet_38-rnn", "hrl", 90.0, seed, 30.0, (0.5,) * 17, skip_alpha=0.1)
    write_training(tmp_path, "part", "skipnet_38-rnn", "sp", 80.0, 0, 40.0, (0.9,) * 17, fraction=0.1)
    data, row = one(tmp_path)
    assert data.before(row) is None and "There is no skipnet_38-rnn after SP alone of the same seed" in "\n".join(judged(data))
    write_training(tmp_path, "whole", "skipnet_38-rnn", "sp", 91.0, 1, 40.0, (0.9,) * 17)
    data, row = one(tmp_path)
    assert by_seed(row, data.before(row)).n == 1 and by_seed(row, data.before(row)).points == pytest.approx(-1.0)
    assert "published" not in skipnet_text(tmp_path).split("\n- ")[0]  # the paper's numbers are of CIFAR-10


def test_gates_that_never_close_skip_nothing(tmp_path):
    for stage, keep in (("sp", (1.0,) * 8), ("hrl", (1.0,) * 8)):
        for seed in (0, 1):
            mine = keep if seed == 0 else (0.5,) * 8
            write_training(
                tmp_path, f"{stage}{seed}", "skipnet_20-rnn", stage, 90.0, seed, 40.8, mine, skip_alpha=1.0, others=90.0
            )
    data, _ = one(tmp_path)
    paragraph = next(line for line in judged(data) if line.startswith("skipnet_20-rnn after SP+HRL, skip_alpha 1: "))
    assert "In 1 of 2 seeds its gates are always open: it skips nothing." in paragraph
    assert "After HRL it computes as much as after SP, at 0.00 points higher accuracy" in paragraph
    assert "accuracy: no, not for skipnet_20-rnn" in judged(data)[0]
    assert "By the decisions of another image it reaches 90.00 % (its own: +0.00 ± 0.83 points, 1 seed)" in paragraph


def test_the_table(tmp_path):
    family(tmp_path, "skipnet_38-rnn", seeds=2, data="cifar10")
    family(tmp_path, "skipnet_20-rnn", seeds=1, plain=False)
    write_training(tmp_path, "gpu", "skipnet_20-ff2", "sp", 91.0, keep=(0.5,) * 8, latency={"runtime": "eager"})
    write_training(tmp_path, "quick", "skipnet_20-ff1", "sp", 91.0, keep=(0.5,) * 8, ms=None)
    text = skipnet_text(tmp_path)
    cifar, fashion = text.split("fashion_mnist, 32 px")
    hrl = next(line for line in cifar.splitlines() if line.startswith("skipnet_38-rnn") and "SP+HRL" in line)
    for cell in ("90.40 ± 0.14", "50.0%", "55.6", "24.00", "58.8%", "0.270 [0.265, 0.275]", "92.75 at 70.3 %", "  +20  100%"):
        assert cell in hrl, (cell, hrl)
    assert "not trained here: skipnet_74-rnn (92.77 % at 52.3 %), skipnet_110-rnn (93.30 % at 49.5 %)" in cifar.replace("\n", " ")
    assert "published" not in fashion.split("\n- ")[0] and "58.8%*" in fashion  # of all blocks open: no plain net is there
    assert "0.300 [0.294, 0.306] (a)" in fashion and "(a): eager, 1 thread, batch 1" in fashion and "not measured" in fashion
    assert max(map(len, text.splitlines())) <= 160


# figures


def test_lines_are_as_long_as_they_may_be():
    text = "Harder images run more blocks: 2.15 in the easiest quarter; rank correlation 0.73\u00a0[0.69,\u00a00.77]."
    lines = folded(text, 3.0, 9)
    assert " ".join(lines) == text and len(lines) > 2 and all(width(line, 9) <= 3.0 for line in lines)
    assert all(width(f"{a} {b.split(' ')[0]}", 9) > 3.0 for a, b in itertools.pairwise(lines))
    assert folded("unbreakable", 0.1, 9) == ["unbreakable"] and width("ww", 18) == pytest.approx(2 * width("ww", 9), rel=0.1)


def overlapping(figure):
    """Pairs of texts of a figure that lie on each other, and texts that leave it."""
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw_without_rendering()
    frame, boxes, beyond = figure.bbox, [], set()
    for axis in (axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)):
        low, high = sorted(axis.get_view_interval())
        beyond |= {tick.label1 for tick in axis.get_major_ticks() if not low <= tick.get_loc() <= high}  # never drawn
    for text in figure.findobj(Text):
        if text.get_text().strip() and text.get_visible() and text not in beyond:
            box = text.get_window_extent(renderer)
            inside = frame.x0 - 1 <= box.x0 and box.x1 <= frame.x1 + 1 and frame.y0 - 1 <= box.y0 and box.y1 <= frame.y1 + 1
            if not inside:
                return [("outside", text.get_text())]
            boxes.append((text.get_text(), box.padded(-0.5)))
    return [(a, b) for (a, p), (b, q) in itertools.combinations(boxes, 2) if p.overlaps(q) and a != b]


@pytest.mark.parametrize("wide", [True, False])
@pytest.mark.parametrize("alphas, random", [((0.1,), 89.5), ((0.01, 0.1, 1.0), 40.0)])
def test_the_figure_of_accuracy_against_cost(tmp_path, wide, alphas, random):
    family(tmp_path, seeds=3, alphas=alphas, random=random)
    family(tmp_path, "skipnet_20-ff2", seeds=1, alphas=alphas, hrl=90.2, sp=90.9, random=random, plain=False)
    family(tmp_path, "skipnet_38-rnn", seeds=2, data="cifar10")
    drawing = skipnet_figure(data_sets(read_trainings(tmp_path)), DARK if wide else LIGHT, wide)
    assert len(drawing.figure.axes) == 4 and overlapping(drawing.figure) == []
    words = [t.get_text() for t in drawing.figure.findobj(Text)]
    assert ("20-rnn random: 40.0 %" in words and "20-ff2 random: 40.0 %" in words) == (random == 40.0)
    assert ("20-rnn α 0.01" in words) == (len(alphas) > 1)
    fashion = drawing.figure.axes[2]
    assert any(len(line.get_xdata()) == 3 for line in fashion.lines) == (len(alphas) > 1)  # the sweep
    hollow = [
        m for m in fashion.lines if m.get_marker() in ("D", "X") and m.get_markerfacecolor() == (DARK if wide else LIGHT)["paper"]
    ]
    assert len(hollow) == (2 if random == 40.0 else 4)
    head = " ".join(words)
    assert (
        "no gates 15, SP 15, SP+HRL +20" in head.replace("\n", " ")
        and "100 % of the training data" in head
        and "1 to 3 seeds" in head
    )
    assert png(drawing).startswith(b"\x89PNG") and "skipnet_20-ff2 after SP+HRL" in drawing.about


def test_a_net_measured_otherwise_is_not_drawn_among_the_others(tmp_path):
    family(tmp_path)
    write_training(tmp_path, "gpu", "skipnet_20-ff2", "sp", 91.0, keep=(0.5,) * 8, ms=0.01, latency={"runtime": "cuda_graph"})
    drawing = skipnet_figure(data_sets(read_trainings(tmp_path)), LIGHT)
    left, right = drawing.figure.axes
    assert right.get_xlim()[0] > 0.1 and left.get_xlim()[1] > 30
    assert any("1 of 6 have no latency with this setting" in t.get_text() for t in drawing.figure.texts)


def decisions(tmp_path, kept, **more):
    net = {8: "skipnet_20-rnn", 17: "skipnet_38-rnn", 53: "skipnet_110-rnn"}.get(kept.shape[1], "skipnet_20-rnn")
    write_decisions_npz(write_training(tmp_path, "run", net, "hrl", 90.0), kept, **more)
    (net,) = read_decisions(tmp_path / "run")
    return net


def test_spearman_knows_the_answer():
    rng = np.random.default_rng(3)
    x = rng.integers(0, 6, 500)
    y = x + rng.normal(0, 3, 500)
    rho, low, high = spearman(x, y)
    assert rho == pytest.approx(spearmanr(x, y).statistic, abs=1e-12) and low < rho < high
    assert math.atanh(high) - math.atanh(rho) == pytest.approx(1.96 * math.sqrt((1 + rho**2 / 2) / 497))
    assert spearman([1, 2, 3, 4], [10, 20, 30, 40])[0] == pytest.approx(1) and spearman([4, 3, 2], [1, 2, 3])[0] == pytest.approx(
        -1
    )
    assert all(map(math.isnan, spearman([1, 1, 1, 1], [1, 2, 3, 4])))
    # of independent lists about one interval in twenty leaves 0 out
    out = sum(not (s[1] <= 0 <= s[2]) for s in (spearman(rng.integers(0, 5, 60), rng.normal(size=60)) for _ in range(400)))
    assert 5 <= out <= 40


def test_decisions_that_follow_the_loss(tmp_path):
    kept = some_kept(400)
    net = decisions(tmp_path, kept)
    executed = kept.sum(axis=1)
    order = np.argsort(net.loss, kind="stable")
    assert [len(p) for p in net.by_loss()] == [100] * 4 and net.by_loss()[3].mean() == executed[order[300:]].mean()
    rho, low, _ = net.correlation()
    assert rho == pytest.approx(spearmanr(executed, net.loss).statistic) and low > 0.1
    for name, n, rate, _, right, _ in net.by_class():
        mine = net.label == CLASSES.index(name)
        assert (n, rate) == (mine.sum(), pytest.approx(kept[mine].mean())) and right == (
            net.predicted[mine] == net.label[mine]
        ).mean()
    assert [r[2] for r in net.by_class()] == sorted(r[2] for r in net.by_class())
    assert (net.blocks, net.n_blocks, net.borders) == (tuple(range(1, 9)), 9, (3, 6))  # the first block of group 1 has no gate
    assert "Harder images run more blocks: " in net.findings()[1] and half([1.0, 3.0]) == pytest.approx(1.96)


def test_decisions_that_go_with_nothing_or_against_it(tmp_path):
    assert "Executed blocks do not go with the loss" in decisions(tmp_path / "a", some_kept(), link=0.0).findings()[1]
    assert "Harder images run fewer blocks: " in decisions(tmp_path / "b", some_kept(), link=-1.0).findings()[1]
    slight = decisions(tmp_path / "c", some_kept(20_000), link=0.06)
    assert abs(slight.correlation()[0]) < 0.1 and "Harder images run more blocks, but only slightly" in slight.findings()[1]


def test_decisions_that_do_not_depend_on_the_image_are_not_drawn_as_if_they_did(tmp_path):
    net = decisions(tmp_path / "a", ALWAYS)
    assert net.findings() == ["It runs the same 3 of 4 gated blocks for all 60 images: its decisions do not depend on the image."]
    drawing = decisions_figure(net, LIGHT)
    (axes,) = drawing.figure.axes  # keep rate per block alone
    assert "Keep rate per block" in axes.get_title(loc="left") and "do not depend on the image" in drawing.about
    turns = np.concatenate([ALWAYS, np.roll(ALWAYS, 1, axis=1)])
    net = decisions(tmp_path / "b", turns)
    assert net.findings() == [
        "It always runs 3 of 4 gated blocks, by 2 different paths: how much it computes does not depend on the image."
    ]
    assert len(decisions_figure(net, LIGHT).figure.axes) == 1
    assert "It runs all 4 gated blocks for all 60 images: " in decisions(tmp_path / "d", np.ones((60, 4), bool)).findings()[0]
    almost = np.tile(ALWAYS, (5, 1))
    almost[0] = False
    assert "its decisions hardly depend on the image" in decisions(tmp_path / "c", almost).findings()[0]


@pytest.mark.parametrize("wide", [True, False])
@pytest.mark.parametrize("gates, classes", [(8, 10), (53, 100)])
def test_the_figure_of_decisions(tmp_path, wide, gates, classes):
    net = decisions(tmp_path, some_kept(600, gates), classes=classes)
    drawing = decisions_figure(net, DARK if wide else LIGHT, wide)
    assert overlapping(drawing.figure) == []
    assert len(drawing.figure.axes) == 4 + 2 * (8 if wide else 4)
    bars = [p.get_height() for p in drawing.figure.axes[1].patches][:gates]
    assert bars == pytest.approx(net.kept.mean(axis=0).tolist())
    under = [axes.get_xlabel() for axes in drawing.figure.axes[4:]]
    assert [int(t.split()[-1]) for t in under[: len(under) // 2]] == sorted(net.executed)[: len(under) // 2]
    assert any("✗" in t for t in under) and png(drawing).startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "change, words",
    [
        ({"loss": np.zeros(3, np.float32)}, "loss has 3 rows"),
        ({"label": np.zeros((60, 2), np.int64)}, "label has 2 dimensions"),
        ({"loss": np.full(60, np.nan, np.float32)}, "loss is not finite"),
        ({"easiest_row": np.array([99])}, "easiest_row"),
        ({"label": np.array([{}] * 60, dtype=object)}, "allow_pickle"),
        (None, "cannot be used"),
    ],
)
def test_decisions_that_cannot_be_used_are_named(tmp_path, change, words):
    folder = Path(write_training(tmp_path, "run", "skipnet_20-rnn", "hrl", 90.0))
    write_decisions_npz(folder, ALWAYS, **(change or {}))
    if change is None:
        (folder / "decisions.npz").write_bytes(b"PK")
    with pytest.raises(StudyError, match=r"decisions\.npz") as caught:
        read_decisions(tmp_path / "run")
    assert words in str(caught.value) and "train it again" in str(caught.value)


def test_each_gated_net_has_its_picture_and_controls_none(tmp_path):
    run = tmp_path / "run"
    for net, stage in (("skipnet_20-rnn", "sp"), ("skipnet_20-ff2", "hrl"), ("skipnet_20-ff1", "random")):
        write_decisions_npz(write_training(tmp_path, "run", net, stage, 90.0), some_kept(60))
    paths = [Path(p) for p in write_decisions(run).splitlines()]
    assert len(paths) == 2 and all(p.read_bytes().startswith(b"\x89PNG") and p.parent == run for p in paths)
    assert {n.name for n in read_decisions(run)} == {"skipnet_20-rnn, SP, fashion_mnist", "skipnet_20-ff2, SP+HRL, fashion_mnist"}


def test_a_control_alone_is_drawn_and_called_chance(tmp_path):
    write_decisions_npz(write_training(tmp_path, "run", "skipnet_20-rnn", "random", 90.0, others=80.0), some_kept(60))
    (net,) = read_decisions(tmp_path / "run")
    assert net.name == "skipnet_20-rnn, fashion_mnist" and "Its gates are coins" in " ".join(net.findings())
    assert f"By another image's decisions its top-1 is 80.00 %, by its own {net.top1:.2f} %." in net.findings()[0]


# report.py


def report(cwd, *arguments):
    return subprocess.run(
        [sys.executable, str(ROOT / "report.py"), *arguments], cwd=cwd, capture_output=True, text=True, timeout=120
    )


@pytest.mark.parametrize(
    "arguments, cure",
    [
        (("table=skipnet",), "python train.py net=skipnet_20-rnn"),
        (("figure=skipnet",), "python train.py net=skipnet_20-rnn"),
        (("figure=decisions",), "name=TRAINING"),
        (("figure=decisions", "name=never"), "name=never"),
        (("table=front",), "add name=NAME"),
        (("figure=skipnets",), "must be one of front"),
    ],
)
def test_nothing_to_draw_is_one_line_with_the_cure(tmp_path, arguments, cure):
    done = report(tmp_path, *arguments)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and done.stderr.startswith(f"error: {arguments[0]}: "), (
        done.stderr
    )
    assert cure in done.stderr and list(tmp_path.iterdir()) == []


def test_report_prints_paths_and_the_table(tmp_path):
    family(tmp_path / "outputs", seeds=1)
    (folder,) = (tmp_path / "outputs").glob("hrl-*/nets/*")
    write_decisions_npz(folder, some_kept(100))
    done = report(tmp_path, "figure=skipnet")
    assert done.stdout == "outputs/skipnet.png\n" and (tmp_path / "outputs/skipnet.png").read_bytes().startswith(b"\x89PNG"), (
        done.stderr
    )
    done = report(tmp_path, "figure=decisions", f"name={folder.parts[-3]}")
    assert done.stdout == f"outputs/{folder.parts[-3]}/decisions.png\n" and (tmp_path / done.stdout.strip()).is_file()
    done = report(tmp_path, "table=skipnet")
    assert done.returncode == 0 and "After HRL it computes 33.3 % less than after SP" in done.stdout.replace("\n  ", " ")


def test_a_card_from_before_a_key_is_of_the_same_recipe_as_one_that_has_its_default():
    from analysis.skipnet_cards import _recipe

    old = {"batch_size": 32, "hrl": {"lr": 0.01, "baseline": "batch"}}
    same = {"batch_size": 32, "hrl": {"lr": 0.01, "baseline": "batch", "gate_lr": 1.0}}
    other = {"batch_size": 32, "hrl": {"lr": 0.01, "baseline": "batch", "gate_lr": 10.0}}
    assert _recipe(old, "hrl") == _recipe(same, "hrl") != _recipe(other, "hrl")

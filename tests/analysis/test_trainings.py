"""table=trainings and figure=trainings, from cards and curves whose numbers are known."""

import pytest

from analysis.palette import LIGHT
from analysis.records import StudyError
from analysis.trainings import trainings_figure, trainings_text
from tests.analysis.trainings import write_training


def curve(outputs, name, stage, values):
    rows = "".join(f"{stage},{i},{v}\n" for i, v in enumerate(values, 1))
    (outputs / name / "curve.csv").write_text("stage,epoch,top1_val\n" + rows)


def cells(text):
    return [[c.strip() for c in line.strip("|").split(" | ")] for line in text.splitlines() if line.startswith("| ")][2:]


def test_a_row_a_net_and_stage_with_mean_and_deviation_over_seeds(tmp_path):
    for seed, top1 in ((0, 90.0), (1, 91.0), (2, 92.0)):
        write_training(tmp_path, f"plain{seed}", "mobilenet_v1-0.25", "none", top1, seed, expected_m=None, ms=0.05 + 0.01 * seed)
    (tmp_path / "plain0/command.txt").write_text("python train.py net=mobilenet_v1-0.25\n")
    write_training(tmp_path, "sp", "skipnet_20-rnn", "sp", 92.5, keep=(1.0,) * 8, fraction=0.5)
    write_training(tmp_path, "hrl", "skipnet_20-rnn", "hrl", 92.4, keep=(0.5,) * 8, skip_alpha=0.5, epochs=5, ms=None)
    rows = {(r[1], r[2]): r for r in cells(trainings_text(tmp_path))}
    assert len(rows) == 3
    plain = rows["mobilenet_v1-0.25", "no gates"]
    assert plain[3:8] == ["15", "100%", "3", "91.00 ± 1.00", ""]
    assert plain[8:] == ["40.80", "0.060 [0.049, 0.071]", "`python train.py net=mobilenet_v1-0.25`"]
    assert rows["skipnet_20-rnn", "SP"][4:8] == ["50%", "1", "92.50", "100.0%"]
    hrl = rows["skipnet_20-rnn", "SP+HRL, skip_alpha 0.5"]
    assert hrl[7:] == ["50.0%", "30.00", "", "`?`"]


def test_the_curves_of_each_data_set_have_a_panel(tmp_path):
    write_training(tmp_path, "a", "mobilenet_v1-0.25", "none", 90.0)
    write_training(tmp_path, "b", "mobilenet_v1-0.25", "none", 80.0, data="cifar10")
    curve(tmp_path, "a", "none", [50.0, 88.5])
    with pytest.raises(StudyError, match=r"no training below outputs/ has a curve\.csv"):
        (tmp_path / "a/curve.csv").rename(tmp_path / "a/kept")
        trainings_figure(tmp_path, LIGHT)
    (tmp_path / "a/kept").rename(tmp_path / "a/curve.csv")
    curve(tmp_path, "b", "none", [30.0, 60.0, 70.25])
    drawn = trainings_figure(tmp_path, LIGHT)
    assert [list(axes.lines[0].get_ydata()) for axes in drawn.figure.axes] == [[30.0, 60.0, 70.25], [50.0, 88.5]]
    assert "on cifar10 ends at 70.25" in drawn.about and "on fashion_mnist ends at 88.50" in drawn.about


def test_without_a_training_the_cure_is_said(tmp_path):
    with pytest.raises(StudyError, match=r"there is no training below .*; python train\.py net=mobilenet_v1-0\.25 makes one"):
        trainings_text(tmp_path)

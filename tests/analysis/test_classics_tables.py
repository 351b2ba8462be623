"""report.py table=classics and table=gates: what is counted beside what is printed, trained and measured."""

import json

import pandas as pd
import pytest

from analysis.aligned import aligned, wrapped
from analysis.classics import classics_text
from analysis.clocks import of_net, read_clocks, settings
from analysis.document import Table
from analysis.gates_table import gates_text
from analysis.records import StudyError
from analysis.trained import read_trained
from study.measuring import lecture

ROW = {"net": "mobilenet_v1", "latency_ms": 5.0, "low_ms": 4.9, "high_ms": 5.125, "macs_m": 568.740352, "runtime": "onnxruntime",
       "threads": 1, "batch": 1, "precision": "fp32", "machine": "m1", "measured_at": "2026-01-02", "busy": False,
       "options": "", "device": "cpu", "chip": "Zen"}  # fmt: skip


@pytest.fixture(scope="module")
def facts():
    return lecture.classics()


def measured(folder, *changes):
    folder.mkdir(parents=True, exist_ok=True)
    pd.DataFrame([{**ROW, **c} for c in changes]).to_csv(folder / "measure.csv", index=False)


def card(folder, net="mobilenet_v1-0.5", seed=0, top1=80.0, epochs=15, **more):
    folder.mkdir(parents=True)
    data = {"name": "cifar10", "resolution": 32, "fraction": 1.0}
    recipe = {"name": "supervised", "lr": 0.1, "epochs": epochs}
    held = {"id": "a1", "net": net, "data": data, "top1_test": top1, "test_images": 10000, "seed": seed, "macs_m": 3.0,
            "params_m": 0.8, "recipe": recipe, "latency": None, **more}  # fmt: skip
    (folder / "card.json").write_text(json.dumps(held))


def line(text, start):
    (found,) = [one for one in text.splitlines() if one.startswith(start)]
    return found


def test_the_tables_of_the_lecture(facts, tmp_path):
    text = classics_text(facts, tmp_path)
    body, types, table_8, table_9, nets, trained, latency = text.split("MobileNetV1, Table 1")[1].split("\n\n")[1::2]
    assert " ".join(line(body, "conv / s2").split()) == "conv / s2 3 x 3 x 3 x 32 224 x 224 x 3 10.838"
    assert [one.count("5 x ") for one in body.splitlines()].count(1) == 2  # five times 512 wide, on 14 x 14
    assert "568.740 M" in body and "it is 1" in body
    assert line(types, "conv 3x3").split() == ["conv", "3x3", "10,838,016", "1.91", "1.19", "864", "0.02", "0.02"]
    assert "swapped" in types and "1.906 %" in types and types.count("swapped") == 1
    assert line(table_8, "mobilenet_v1-1.0-224").split()[1:] == ["70.6", "569", "568.7", "4.2", "4.21", "4.23"]
    assert line(table_9, "torchvision:squeezenet1_0").split()[1:4] == ["57.5", "1700", "818.9"]
    assert "832.7 M" in table_9 and "1665 M" in table_9 and "10.9 times less, not 22" in table_9 and "36 %" in table_9
    assert "92.75 @ 70.3 % of blocks (CIFAR-10)" in nets and "arXiv:1704.04861, Table 9" in nets
    assert "two operations a mult-add" in nets and nets.count("not trained") == len(facts["nets"])
    assert "train.py" in trained and "measure.py nets=classics" in latency


def test_what_was_trained(facts, tmp_path):
    card(tmp_path / "a/nets/1", "mobilenet_v1-0.5-160", 0, 80.0)
    card(tmp_path / "b/nets/1", "mobilenet_v1-0.5-160", 1, 82.0)
    card(tmp_path / "c/nets/1", "mobilenet_v1-0.5-160", 0, 70.0, epochs=3)  # another training: never averaged with the others
    card(tmp_path / "d/nets/1", "", 0, 99.0)  # a find of a search
    card(tmp_path / "e/nets/1", "skipnet_38-rnn", 0, 91.0, stage="sp", skip_alpha=0.1, keep_rate=0.9)
    card(tmp_path / "f/nets/1", "skipnet_38-rnn", 0, 91.5, stage="hrl", skip_alpha=0.1, keep_rate=0.5)
    card(tmp_path / "g/nets/1", "skipnet_38-rnn", 0, 60.0, stage="random")  # a control
    table = read_trained(tmp_path)
    assert len(table) == 4 and sorted(table["seeds"]) == [1, 1, 1, 2]
    text = classics_text(facts, tmp_path)
    assert line(text.split("The classics")[1].split("\n[1] ")[0], "mobilenet_v1-0.5-160").endswith(
        "81.00 ± 1.41 (cifar10 32 px); 70.00 (cifar10 32 px)"
    )
    assert "91.00 (cifar10 32 px, SP)" in text and "91.50 (cifar10 32 px, SP+HRL)" in text and "99.00" not in text
    assert "SP+HRL, skip_alpha 0.1" in text and "60.00" not in text


def test_of_two_cards_of_one_seed_the_newer_counts(tmp_path):
    import os

    card(tmp_path / "b/nets/1", seed=0, top1=80.0)
    card(tmp_path / "a/nets/1", seed=0, top1=90.0)
    os.utime(tmp_path / "b/nets/1/card.json", (1, 1))
    (row,) = read_trained(tmp_path).to_dict("records")
    assert (row["top1_test"], row["seeds"], row["net"]) == (90.0, 1, "mobilenet_v1-0.5-224")


def test_latency_of_every_setting_the_newest_row(facts, tmp_path):
    gpu = {"device": "cuda", "chip": "H100", "runtime": "cuda_graph", "latency_ms": 0.25, "low_ms": 0.24, "high_ms": 0.26}
    measured(tmp_path / "a", {"latency_ms": 9.0, "measured_at": "2026-01-01"}, {"batch": 8, "latency_ms": 31.0, "busy": True})
    measured(tmp_path / "b", {"net": "mobilenet_v1-1.0-224"}, gpu, {"macs_m": 200.0, "latency_ms": 1.0, "measured_at": "2027"})
    clocks = read_clocks(tmp_path)
    assert len(settings(clocks)) == 3
    latency = classics_text(facts, tmp_path).split("Latency here")[1]
    cells = line(latency, "mobilenet_v1-1.0-224")
    assert "5.00 (4.90-5.12)" in cells and "0.250 (0.240-0.260)" in cells and "31.0 (4.90-5.12)*" in cells
    assert "9.00" not in latency and "1.00 (" not in latency  # an older row; the same net at another size
    assert "cuda H100, cuda_graph, batch 1, fp32" in latency and "GPU: not measured" not in latency and "* the machine" in latency
    assert line(latency, "alexnet ").split()[1:] == ["not", "measured"] * 3


def test_rows_older_than_the_column_device(tmp_path):
    measured(tmp_path / "a", {"runtime": "onnxruntime"}, {"runtime": "cuda_graph"})
    old = pd.read_csv(tmp_path / "a/measure.csv").drop(columns=["device", "chip", "options"])
    old.to_csv(tmp_path / "a/measure.csv", index=False)
    clocks = read_clocks(tmp_path)
    assert sorted(clocks["device"]) == ["cpu", "cuda"] and of_net(clocks, "mobilenet_v1-1.0-224", 568.740352) is not None
    assert of_net(clocks, "mobilenet_v1", 400.0) is None


@pytest.mark.parametrize("text", ["net,latency_ms\na,1\n", "", "\x00\x01", "net\n"])
def test_a_file_that_is_no_table_is_named(facts, tmp_path, text):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/measure.csv").write_text(text)
    with pytest.raises(StudyError, match=r"mine/measure\.csv is no table of measurements"):
        classics_text(facts, tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", "null", '{"net": "a", "top1_test": 3}'])
def test_a_card_that_is_none_is_named(facts, tmp_path, text):
    (tmp_path / "mine/nets/a").mkdir(parents=True)
    (tmp_path / "mine/nets/a/card.json").write_text(text)
    with pytest.raises(StudyError, match=r"mine/nets/a/card\.json is no card"):
        classics_text(facts, tmp_path)


def test_gates_beside_the_paper():
    text = gates_text(lecture.gates())
    assert line(text, "16 -> 16").split()[-3:] == ["15.63", "12.50", "0.0206"]
    assert line(text, "16 -> 32").split()[-3:-1] == ["20.83", "16.67"]
    assert line(text, "64 -> 64").split()[-1] == "0.0307"
    assert line(text, "FFGate-I   skipnet_38-ff1").split()[-4:] == ["17", "16.10", "15.05", "19"]
    assert line(text, "FFGate-II  skipnet_110-ff2").split()[-4:] == ["53", "12.62", "12.35", "12.5"]
    words = " ".join(text.split("\n\n")[-1].split())
    assert 'the paper says "roughly 19 %"' in words and "they give 15.6 % (20.8 % at a transition" in words
    assert "12.5 % (16.7 % at a transition): the paper's 12.5 % is right" in words and ".021 to .031 %" in words


def test_gates_say_what_is_counted():
    """The words follow the counts: a gate twice as dear is told as such."""
    facts = lecture.gates()
    facts["gates"]["gate_macs"] *= 2
    assert "31.3 %" in gates_text(facts) and "15.6 %" not in gates_text(facts)


def test_aligned():
    text = aligned(Table(("net", "ms"), (("a", "1"), ("longer", "12.5")), frozenset({1})))
    assert text.splitlines() == ["net       ms", "------  ----", "a          1", "longer  12.5"]
    assert max(map(len, wrapped("word " * 100).splitlines())) <= 120 and wrapped("a\nb") == "a\nb"

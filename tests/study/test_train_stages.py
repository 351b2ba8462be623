"""train.py with SkipNet's stages and controls, as a user runs it."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from study.training.decisions import other_images

ROOT = Path(__file__).parent.parent.parent
SMALL = ["data=digits", "data.resolution=12", "logger=none", "hardware.spread_s=0", "epochs=2", "net=skipnet_8-rnn"]
TWO = ["trainer=skipnet", "trainer.hrl.epochs=2", "trainer.hrl.lr=0.01", "trainer.hrl.baseline=batch"]


def train(cwd, *more, code=0):
    command = [sys.executable, str(ROOT / "train.py"), *SMALL, *more]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300)
    assert done.returncode == code, done.stderr
    return done


def card_of(folder):
    return json.loads((folder / "card.json").read_text())


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    cwd = tmp_path_factory.mktemp("stages")
    return cwd, train(cwd, *TWO, "name=both")


def test_both_stages_are_trained_tested_measured_and_saved(both):
    cwd, done = both
    target = Path(done.stdout.splitlines()[-1])
    first, second = card_of(cwd / f"{target}-sp"), card_of(cwd / target)
    assert (first["stage"], second["stage"]) == ("sp", "hrl") and first["id"] == second["id"] == target.name
    assert first["recipe"]["epochs"] == second["recipe"]["epochs"] == 2
    for card in (first, second):
        assert card["latency"]["latency_ms"] > 0 and len(card["keep_by_gate"]) == 2 and card["skip_alpha"] == 0.1
        assert card["keep_rate"] == pytest.approx(np.mean(card["keep_by_gate"]))
        assert card["macs_expected_m"] <= card["macs_m"] + 1e-9
        assert 0 <= card["top1_test_others"] <= 100
    lines = (cwd / "outputs/both/curve.csv").read_text().splitlines()
    assert [line.split(",")[:2] for line in lines[1:]] == [["sp", "1"], ["sp", "2"], ["hrl", "1"], ["hrl", "2"]]
    with np.load(cwd / target / "decisions.npz") as d:
        n = card_of(cwd / target)["test_images"]
        assert d["kept"].shape == (n, 2) and d["loss"].shape == d["label"].shape == (n,)
        ran = d["kept"].sum(1)
        assert ran[d["easiest_row"]].max() <= ran[d["hardest_row"]].min() and d["easiest"].shape == (12, 8, 8, 1)
        assert 100 * (d["label"] == d["predicted"]).mean() == pytest.approx(second["top1_test"])
    again = train(cwd, *TWO, "name=both")
    assert "is trained already" in again.stdout


def test_the_second_stage_alone_and_the_controls(both):
    cwd, done = both
    target = Path(done.stdout.splitlines()[-1])
    more = train(cwd, "trainer=skipnet_hrl", "trainer.hrl.epochs=1", "trainer.hrl.skip_alpha=2", f"net={target}-sp", "name=more",
                 "trainer.hrl.cost=macs")  # fmt: skip
    assert card_of(cwd / more.stdout.splitlines()[-1])["skip_alpha"] == 2
    costs = json.loads((cwd / "outputs/more/.costs.json").read_text())["macs"]
    assert np.mean(costs) == pytest.approx(1)
    random = train(cwd, "control=random", f"net={target}", "name=random", "epochs=1")
    card = card_of(cwd / random.stdout.splitlines()[-1])
    assert (card["stage"], card["control_of"], card["latency"]) == ("random", str(target), None)
    assert card["keep_by_gate"] == pytest.approx(card_of(cwd / target)["keep_by_gate"], abs=0.1)
    assert "trained already" in train(cwd, "control=random", f"net={target}", "name=random", "epochs=1").stdout
    static = train(cwd, "control=static", f"net={target}", "name=static", "epochs=1")
    card = card_of(cwd / static.stdout.splitlines()[-1])
    assert (card["stage"], card["control_of"], card["skip_alpha"]) == ("static", str(target), None)
    assert card["net"] == "skipnet_8-rnn, static twin" and card["latency"]["latency_ms"] > 0


@pytest.mark.parametrize(
    "more, said",
    [
        (["trainer=skipnet", "net=mobilenet_v1-0.25"], "trainer=skipnet: this net has no gates to train"),
        (["trainer=skipnet_hrl"], "trainer=skipnet_hrl: goes on from a trained net"),
        (["trainer=skipnet", "trainer.hrl.baseline=mine"], "trainer.hrl.baseline=mine: must be one of none, batch"),
        (["trainer=skipnet", "trainer.hrl.cost=ms"], "trainer.hrl.cost=ms: must be one of one, macs, time"),
        (["control=static"], "control=static: net=skipnet_8-rnn must be the folder of a trained gated net"),
        (["control=frozen"], "control=frozen: must be static, random or null"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(tmp_path, more, said):
    done = train(tmp_path, *more, code=2)
    assert done.stderr.startswith(f"error: {said}") and len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "outputs").exists()


def test_a_search_refuses_the_trainers_of_train(tmp_path):
    done = subprocess.run([sys.executable, str(ROOT / "search.py"), "trainer=skipnet", "logger=none"], cwd=tmp_path,
                          capture_output=True, text=True, timeout=100)  # fmt: skip
    assert done.returncode == 2 and done.stderr.startswith("error: trainer=skipnet: train.py's;")


def test_decisions_of_others_are_as_many_and_of_nobody_s_own():
    kept = np.arange(24).reshape(8, 3)
    other = other_images(kept)
    assert sorted(map(tuple, other)) == sorted(map(tuple, kept)) and (other != kept).any(1).all()

"""Studies under other settings of the hardware, end to end, and what the last measurement leaves in them."""

import json
from importlib.util import find_spec
from itertools import pairwise

import optuna
import pytest

from tests.study.conftest import Search


def latencies(search):
    finals = optuna.load_study(study_name=f"{search.name}.finalists", storage=f"sqlite:///{search.folder / 'study.db'}")
    return finals.user_attrs["latency"], finals.user_attrs["regime"]


def test_int8_is_measured_in_both_time_and_accuracy(search):
    done = search.run("n_trials=1", "hardware.precision=int8", "searchspace.gates=[none]")
    assert done.returncode == 0, done.stderr + done.stdout
    latency, regime = latencies(search)
    for net_id, row in latency.items():
        assert row["precision"] == "int8" and row["processes"] == 3
        card = json.loads((search.folder / "nets" / net_id / "card.json").read_text())
        assert card["latency"]["top1_val_int8"] == row["top1_val_int8"]
        assert abs(row["top1_val_fp32"] - card["top1_val"]) < 0.5  # the file computes what was trained
        assert abs(row["top1_val_int8"] - row["top1_val_fp32"]) < 10 and row["logits_differ"] > 1e-4
        assert (search.folder / "nets" / net_id / "model.int8.onnx").stat().st_size > 0
    assert 1 <= len(regime) <= 2 and all(r["name"] in ("launch", "bandwidth", "compute") and r["advice"] for r in regime.values())
    assert "int8" in (search.folder / "report.md").read_text()


@pytest.mark.skipif(find_spec("openvino") is None, reason="needs the extra openvino")
def test_openvino_from_search_to_report(search):
    done = search.run("n_trials=1", "hardware.runtime=openvino")
    assert done.returncode == 0, done.stderr + done.stdout
    latency, _ = latencies(search)
    assert all(r["runtime"] == "openvino" and r["engine"].startswith("openvino 2") for r in latency.values())
    assert all(r["logits_differ"] < 1e-3 for r in latency.values())
    assert "openvino" in (search.folder / "report.md").read_text()


def test_wrong_settings_are_one_line(search):
    for given, said in (
        ("hardware.precision=fp8", "hardware.precision=fp8: onnxruntime runs no fp8 on cpu: use precision=fp32 or int8"),
        ("hardware.runtime=tensorrt", "hardware.runtime=tensorrt: TensorRT is not among the runtimes"),
        ("hardware.precision=int8", "int8"),
    ):
        done = search.run("n_trials=1", "searchspace.gates=[none,ff1]", given)
        assert done.returncode == 2 and done.stderr.count("\n") == 1 and said in done.stderr, done.stderr
        assert not search.folder.exists()


def test_two_searches_at_once_measure_in_turns_and_both_end(search, tmp_path):
    """Proved from what each trial keeps: when it held the device."""
    other = Search(tmp_path, "other")
    processes = [s.start("n_trials=3", "workers=2", f"seed={k}") for k, s in enumerate((search, other))]
    for process in processes:
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
    slices = []
    for s in (search, other):
        study = optuna.load_study(study_name=s.name, storage=f"sqlite:///{s.folder / 'study.db'}")
        kept = [tuple(pair) for t in study.get_trials() for pair in t.user_attrs.get("slices", [])]
        assert len(kept) > 4 * 6
        slices += kept
    slices.sort()
    assert all(before[1] <= after[0] for before, after in pairwise(slices))
    assert max(ended - began for began, ended in slices) < 2

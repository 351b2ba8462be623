"""The lecture's blocks at equal shapes and its activations; one short measurement as a user makes it."""

import pandas as pd
import pytest
import torch

from hardware.latency import Latency
from study.measuring.pieces import (
    ACTIVATION_SHAPE,
    ACTIVATIONS,
    BLOCKS,
    IN_A_ROW,
    STRIDES,
    beyond,
    block,
    chained,
    counted_blocks,
    framed,
)
from tests.test_command import run


@pytest.mark.parametrize("name", BLOCKS)
@pytest.mark.parametrize("stride", STRIDES)
def test_equal_shapes(name, stride):
    net = block(name, stride, channels=24).eval()
    with torch.no_grad():
        assert net(torch.randn(2, 24, 8, 8)).shape == (2, 24 * stride, 8 // stride, 8 // stride)


def test_mult_adds_of_the_separable_blocks():
    """Dk^2 M + M N a pixel (arXiv:1704.04861, section 3.1), and the expansion by 6 of MobileNetV2's Table 1."""
    macs = {(r["name"], r["stride"]): r["macs_m"] for r in counted_blocks().to_dict("records")}
    assert macs["mobilenet", 1] == 28 * 28 * (9 * 192 + 192 * 192) / 1e6
    assert macs["mobilenet_v2", 1] == 28 * 28 * (2 * 192 + 9) * 6 * 192 / 1e6
    assert macs["mobilenet_v2", 2] == (28 * 28 * 192 + 14 * 14 * (9 + 384)) * 6 * 192 / 1e6


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_a_chain_is_its_activation_several_times(name):
    x = torch.randint(0, 256, (1, *ACTIVATION_SHAPE)).float()
    expected = (x - 127.5) / 127.5 * 4
    for _ in range(IN_A_ROW):
        expected = ACTIVATIONS[name]()(expected.clone())
    assert torch.allclose(chained(name)(x), expected.mean((2, 3)), atol=1e-5)
    assert sum(isinstance(m, type(ACTIVATIONS[name]())) for m in chained(name).modules()) == IN_A_ROW


def test_a_frame_holds_a_piece():
    assert framed(block("shufflenet", 2))(torch.zeros(1, 3, 28, 28)).shape == (1, 384)
    assert framed()(torch.zeros(1, 3, 28, 28)).shape == (1, 192)


def test_what_a_piece_takes_beyond_its_frame():
    row = lambda ms: Latency(ms, ms, ms, 6, "onnxruntime", "m", False, "", None, 1, 1, visits_ms=(ms,) * 6)  # noqa: E731
    ms, low, high = beyond(row(1.0), row(3.0))
    assert ms == 2.0 and low < 2.0 < high and high - low < 0.1


def test_measured_as_a_user_does_and_again(tmp_path):
    command = ["nets=pieces", "hardware.spread_s=0", "hardware.rounds=1", "max_ms=20"]
    for _ in range(2):
        done = run("measure", *command, cwd=tmp_path)
        assert done.returncode == 0 and done.stdout.rstrip().endswith("outputs/measure-cpu/pieces.csv"), done.stderr
    table = pd.read_csv(tmp_path / "outputs/measure-cpu/pieces.csv")
    assert len(table) == 2 * (len(BLOCKS) * len(STRIDES) + len(ACTIVATIONS)) and (table["device"] == "cpu").all()
    blocks = table[table["kind"] == "block"]
    by_macs = blocks.groupby("name")["ms"].mean()
    assert by_macs["mobilenet_v2"] > by_macs["mobilenet"] > 0  # eleven times the mult-adds
    done = run("measure", "nets=[mobilenet_v1-0.25-32]", "hardware.spread_s=0", "regime=false", cwd=tmp_path)  # beside pieces.csv
    assert done.returncode == 0, done.stderr
    measured = pd.read_csv(tmp_path / "outputs/measure-cpu/measure.csv")
    assert measured["device"].tolist() == ["cpu"] and measured["chip"].notna().all()

"""measure.py as a user meets it: what cannot be measured is a line each, the others are measured all the same."""

import csv
import json
import shutil

import pytest
import torch

from searchspace import build
from searchspace.architecture import Architecture, Block, Head, Stage, Stem
from searchspace.card import save
from tests.test_command import run

SMALL = Architecture(Stem(8), (Stage((Block("residual", 8), Block("residual", 16, stride=2))),), Head(), 16, 5)
HUGE = Architecture(Stem(8), (Stage((Block("residual", 300_000),)),), Head(), 16, 5)
MINE = """
import torch
class Spectral(torch.nn.Module):
    def forward(self, x): return torch.linalg.svdvals(x.mean(1))
def spectral(): return Spectral()
"""


def bad_and_good(folder):
    """A folder with one good net and one of each kind that cannot be measured."""
    save(build(SMALL), folder / "good", {"data": {"name": "digits"}})
    nan = build(SMALL)
    with torch.no_grad():
        nan.head.classifier.classes.weight.fill_(float("nan"))
    save(nan, folder / "nan", {"data": {"name": "digits"}})
    shutil.copytree(folder / "good", folder / "corrupt")
    (folder / "corrupt" / "weights.safetensors").write_bytes(b"\x00" * 40)
    (folder / "huge.json").write_text(json.dumps(HUGE.to_dict()))
    (folder / "mine.py").write_text(MINE)


def test_every_kind_of_bad_net_is_a_line_and_the_good_ones_are_measured(tmp_path):
    bad_and_good(tmp_path)
    nets = "nets=[./good,./nan,./corrupt,huge.json,mobilnet_v1,mine:spectral]"
    done = run("measure", nets, "resolution=16", "hardware.spread_s=0", "regime=false", "blocks=true", cwd=tmp_path)
    lines = done.stderr.splitlines()
    assert done.returncode == 2 and len(lines) == 5, done.stderr
    for name, words in (
        ("./corrupt", "cannot be read"), ("mobilnet_v1", "mobilenet_v1"), ("./nan", "its logits are not finite"),
        ("huge.json", "GiB of memory"), ("mine:spectral", "linalg_svd"),
    ):  # fmt: skip
        (line,) = (line for line in lines if name in line)
        assert line.startswith("error: nets: ") and words in line and line.count(name) == 1, line
    with open(tmp_path / "outputs/measure-cpu/measure.csv") as file:
        assert [r["net"] for r in csv.DictReader(file)] == ["./good"]
    with open(tmp_path / "outputs/measure-cpu/blocks.csv") as file:
        parts = list(csv.DictReader(file))
    assert [p["part"] for p in parts] == ["stem", "stage 1 block 1: residual 8", "stage 1 block 2: residual 16, stride 2", "head"]
    assert abs(sum(float(p["share"]) for p in parts) - 1) < 1e-6 and "where the time goes" in done.stdout


def test_what_cannot_be_exported_is_measured_in_eager_when_asked(tmp_path):
    bad_and_good(tmp_path)
    done = run("measure", "nets=[mine:spectral]", "resolution=16", "hardware.runtime=eager", "hardware.spread_s=0", cwd=tmp_path)
    assert done.returncode == 0 and "mine:spectral" in done.stdout, done.stderr


GATED = Architecture(
    Stem(8), (Stage((Block("residual", 8), Block("residual", 8, gate="ff2"), Block("residual", 8, gate="ff2"))),), Head(), 16, 10,
    in_channels=1, gate_sharing="per_block", skip_alpha=0.1,
)  # fmt: skip


def test_a_gated_net_is_told_image_by_image(tmp_path):
    """With open gates every image executes both blocks; what is written is what is said. A set that is not there is said, too."""
    net = build(GATED)
    with torch.no_grad():
        for gate in net.gates.values():
            gate.decision.weight.zero_()
    save(net, tmp_path / "open", {"data": {"name": "digits"}})
    save(net, tmp_path / "far", {"data": {"name": "npz", "path": "far.npz"}})
    (tmp_path / "plain.json").write_text(json.dumps(GATED.without_gates().to_dict()))
    quick = ("hardware.spread_s=0", "regime=false")
    done = run("measure", "nets=[./open,plain.json]", *quick, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("./open on "))
    assert line.startswith("./open on 256 digits images: mean 0.") and line.endswith("executed blocks of 2: 2 (100 %)")
    with open(tmp_path / "outputs/measure-cpu/measure.csv") as file:
        gated, plain = csv.DictReader(file)
    with open(tmp_path / "outputs/measure-cpu/executed.csv") as file:
        (row,) = csv.DictReader(file)
    assert (row["net"], row["executed"], row["images"], row["share"]) == ("./open", "2", "256", "1.0")
    for key in ("p50_ms", "p95_ms"):  # all images cost the same
        assert float(gated[key]) == pytest.approx(float(gated["latency_ms"])) == pytest.approx(float(row["mean_ms"]))
        assert plain[key] == ""
    assert (tmp_path / "outputs/measure-cpu/measure-executed.png").read_bytes().startswith(b"\x89PNG")
    done = run("measure", "nets=[./far]", *quick, cwd=tmp_path)
    assert "Gated nets decided on noise: the card names npz at far.npz, which is not there" in done.stdout, done.stderr
    assert "./far on 64 images of noise: mean" in done.stdout
    with open(tmp_path / "outputs/measure-cpu/executed.csv") as file:
        assert [(r["net"], r["images_of"]) for r in csv.DictReader(file)] == [("./open", "digits"), ("./far", "noise")]

"""The classics through train.py: each learns under the recipe, and what one of them needs stands in a line."""

import pytest
import torch

import searchspace as ss
from searchspace.inputs import is_normalised
from searchspace.named import does_not_fit
from tests.test_command import run
from trainers.data import load
from trainers.supervised import Recipe, fit


@pytest.fixture(scope="module")
def digits():
    return load("digits", crop=1)


# trainer.lr is 0.05 by default; SqueezeNet has no batch norm
@pytest.mark.parametrize(
    ("name", "size", "lr", "epochs", "least"),
    [("torchvision:squeezenet1_0", 24, 0.01, 7, 20), ("torchvision:shufflenet_v2_x1_0", 16, 0.05, 6, 40),
     ("shufflenet_v1-g3", 16, 0.05, 6, 30), ("mobilenet_v1-0.25", 16, 0.05, 3, 50), ("mobilenet_v2-0.35", 16, 0.05, 4, 50),
     ("mobilenet_v3_small", 16, 0.05, 6, 40)],
)  # fmt: skip
def test_it_learns(digits, name, size, lr, epochs, least):
    """Top-1 on val in percent; chance is 10."""
    torch.manual_seed(0)
    net = ss.resolve(name, size, 10, 1)
    net = net if isinstance(net, torch.nn.Module) else ss.build(net)
    assert fit(net, digits, Recipe(epochs, lr=lr), resolution=size).top1_val > least


def test_too_few_pixels_are_a_line_with_the_cure(tmp_path):
    done = run("train", "net=torchvision:squeezenet1_0", cwd=tmp_path)  # its pools leave nothing of digits' 16 px
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and list(tmp_path.iterdir()) == []
    assert all(word in done.stderr for word in ("torchvision:squeezenet1_0", "1 x 16 x 16", "data.resolution=24"))
    done = run("train", "net=alexnet", cwd=tmp_path)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "data.resolution=67" in done.stderr, done.stderr


def test_a_net_without_batch_norm_is_told_of_its_learning_rate(tmp_path):
    same = ("net=torchvision:squeezenet1_0", "data.resolution=24", "data.fraction=0.2", "epochs=1", "hardware.spread_s=0")
    done = run("train", *same, "logger=none", cwd=tmp_path)
    assert done.returncode == 0 and "has no batch norm" in done.stdout and "trainer.lr=0.01" in done.stdout, done.stderr
    done = run("train", *same, "logger=none", "trainer.lr=0.01", "name=slower", cwd=tmp_path)
    assert done.returncode == 0 and "has no batch norm" not in done.stdout, done.stderr


def test_a_classic_is_trained_at_the_pixels_of_its_name(tmp_path):
    done = run("train", "net=shufflenet_v1-g3-0.25-24", "data.fraction=0.2", "epochs=1", "hardware.spread_s=0", "logger=none",
               cwd=tmp_path)  # fmt: skip
    assert done.returncode == 0, done.stderr
    (card,) = tmp_path.rglob("card.json")
    assert '"resolution": 24' in card.read_text() and '"latency": {' in card.read_text()


@pytest.mark.parametrize(("name", "has"), [("alexnet-67", False), ("torchvision:squeezenet1_1", False), ("nasnet_a-32", True),
                                           ("timm:convnext_atto", True)])  # fmt: skip
def test_who_has_a_norm(name, has):
    with torch.device("meta"):
        assert is_normalised(ss.resolve(name)) == has


def test_no_cure_is_told_where_there_is_none():
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Flatten())  # three channels, whatever the pixels
    assert "data.resolution" not in does_not_fit(net, 1, 16, 10) and "(2, 784)" in does_not_fit(net, 3, 16, 10)

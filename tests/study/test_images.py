"""On which images the gated nets of a measurement decide."""

import numpy as np
import pytest

from searchspace import anchor, build
from searchspace.card import load, save
from study.measuring.images import images_for

GATED = anchor("skipnet_20-rnn", resolution=16, in_channels=1)


@pytest.fixture
def saved(tmp_path):
    def make(data, **more):
        folder = tmp_path / data
        save(build(GATED), folder, {"data": {"name": data, **more}})
        return load(folder)

    return make


def test_those_of_the_set_that_the_cards_name(saved):
    found = images_for([anchor("mobilenet_v1"), saved("digits")])
    assert found.what == "digits images" and found.pixels.shape == (256, 1, 8, 8) and len(found.mean) == 1
    assert found.why == ""


def test_those_at_the_path_of_the_card(saved, tmp_path, monkeypatch):
    """The path as the user gave it, relative to where measure.py is run; as many images as there are."""
    x = np.random.default_rng(0).integers(0, 256, (600, 8, 8, 1), dtype=np.uint8)
    np.savez(tmp_path / "mine.npz", x_train=x, y_train=np.arange(600) % 4, x_test=x[:8], y_test=np.arange(8) % 4)
    net = saved("npz", path="mine.npz", fraction=1.0)
    found = images_for([net])
    assert found.what == "noise" and "npz at mine.npz, which is not there" in found.why
    monkeypatch.chdir(tmp_path)
    found = images_for([net])
    assert found.what == "npz images" and found.pixels.shape == (120, 1, 8, 8) and found.why == ""  # a fifth is held out
    assert images_for([saved("npz", path="mine.npz", fraction=0.5)]).pixels.shape == (64, 1, 8, 8)  # 60 of them, four twice
    (tmp_path / "mine.npz").write_bytes(b"no")
    assert "npz cannot be loaded" in images_for([net]).why


def test_noise_where_there_is_no_such_set_or_several_and_nothing_where_nobody_decides(saved):
    for nets, said in (
        ([saved("npz")], "names npz without a path"),
        ([saved("digits"), GATED], "not every one of them has a card"),
        ([saved("digits"), saved("npz")], "several sets (digits, npz)"),
    ):
        found = images_for(nets)
        assert (found.what, found.pixels) == ("noise", None) and said in found.why
    assert images_for([anchor("mobilenet_v1"), GATED.without_gates()]).what == ""

"""On which images the gated nets of a measurement decide."""

import pytest

from searchspace import anchor, build
from searchspace.card import load, save
from study.images import images_for

GATED = anchor("skipnet_20-rnn", resolution=16, in_channels=1)


@pytest.fixture
def saved(tmp_path):
    def make(data):
        folder = tmp_path / data
        save(build(GATED), folder, {"data": {"name": data}})
        return load(folder)

    return make


def test_those_of_the_set_that_the_cards_name(saved):
    found = images_for([anchor("mobilenet_v1"), saved("digits")])
    assert found.what == "digits images" and found.pixels.shape == (64, 1, 8, 8) and len(found.mean) == 1


def test_noise_where_there_is_no_such_set_or_several_and_nothing_where_nobody_decides(saved):
    assert images_for([saved("npz")]).what == "noise"  # a set that needs a path
    assert images_for([saved("digits"), GATED]).what == "noise"
    assert images_for([saved("digits"), saved("npz")]).what == "noise"
    assert images_for([anchor("mobilenet_v1"), GATED.without_gates()]).what == ""

"""The closed form beside the count of a pass."""

from __future__ import annotations

import random

import pytest

import searchspace as ss
from searchspace.sizes import sizes

NAMES = (
    "mobilenet_v1-0.5",
    "mobilenet_v2",
    "mobilenet_v3_large",
    "mobilenet_v3_small",
    "skipnet_38-rnn",
    "resnet_50",
    "resnet_34",
)


@pytest.mark.parametrize("name", NAMES)
def test_anchors(name):
    net = ss.anchor(name).without_gates()
    counted = ss.count(net)
    assert sizes(net) == (counted.macs, counted.params)


def test_random_nets_of_the_space_gated_ones_as_their_twins():
    space, rng = ss.space("mobile", classes=10, resolutions=(33, 64)), random.Random(0)
    for _ in range(25):
        net = space.walk(lambda name, choices: rng.choice(choices))
        counted = ss.count(net.without_gates())
        assert sizes(net) == (counted.macs, counted.params)


def test_a_family_without_a_formula_is_counted(monkeypatch):
    from searchspace import sizes as module

    net = ss.anchor("mobilenet_v2-0.5")
    module.of_block.cache_clear()
    monkeypatch.delitem(module.PARTS, "inverted")
    counted = ss.count(net)
    assert sizes(net) == (counted.macs, counted.params)
    module.of_block.cache_clear()

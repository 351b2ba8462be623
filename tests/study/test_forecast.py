"""What a search knows of a net beforehand."""

from __future__ import annotations

import math
import random

import numpy as np
import optuna
import pytest

import searchspace as ss
from hardware.predictor import LatencyPredictor
from study.forecast import Forecast

SPACE = ss.space("mobile", classes=10, resolutions=(32,))


def drawn(n, gates=True, seed=0):
    space = SPACE if gates else ss.space("mobile", classes=10, resolutions=(32,), gates=("none",))
    rng = random.Random(seed)
    return [space.walk(lambda name, choices: rng.choice(choices)) for _ in range(n)]


def trial(number, net, ms, **attrs):
    t = optuna.trial.create_trial(values=[1.0, ms], user_attrs={"architecture": net.to_dict(), "latency_ms": ms, **attrs})
    t.number = number
    return t


def params(nets):
    return [SPACE.encode(net) for net in nets]


def test_tells_sizes_exactly_and_speed_at_this_machines_scale():
    known, nets = Forecast(SPACE), drawn(6)
    known.learn([trial(k, net, 5.0) for k, net in enumerate(drawn(3, gates=False, seed=1))], None)
    told = known(params(nets))
    for row, net in zip(told, nets):
        counted = ss.count(net.without_gates())
        assert row[1:] == pytest.approx([counted.macs / 1e6, counted.params / 1e6])
    # the prior's order, scaled so that the three measured ones come out right in the middle
    middle = known(params(drawn(3, gates=False, seed=1)))[:, 0]
    assert np.median(middle / 5.0) == pytest.approx(1.0)


def test_the_predictor_replaces_the_prior_and_the_version_says_so():
    nets = drawn(12, gates=False)
    measured = [(net, 0.5 + ss.count(net).macs / 1e8) for net in nets]
    known, predictor = Forecast(SPACE), LatencyPredictor.fit(measured)
    before = known.version
    known.learn([trial(k, *pair) for k, pair in enumerate(measured)], predictor)
    assert known.version > before
    assert known(params(nets))[:, 0] == pytest.approx([predictor.predict(net) for net in nets])
    same = known.version
    known.learn([], predictor)
    assert known.version == same


def test_a_gated_net_is_taken_to_need_the_share_that_gated_nets_needed():
    gated = next(net for net in drawn(50) if net.gates)
    known = Forecast(SPACE)
    twin, first = known(params([gated.without_gates(), gated]))[:, 0]
    assert first == pytest.approx(0.8 * twin)
    known.learn([trial(0, gated, 3.0, dense_ms=6.0)], None)
    twin, now = known(params([gated.without_gates(), gated]))[:, 0]
    assert now == pytest.approx(0.5 * twin)


def test_over_the_budget_costs_infinity_by_mult_adds_too():
    nets = drawn(40, gates=False)
    free = Forecast(SPACE)(params(nets))
    budget = float(np.median(free[:, 0]))
    for by_macs in (False, True):
        told = Forecast(SPACE, budget, by_macs)(params(nets))
        assert (np.isinf(told[:, 0]) == (free[:, 0] > budget)).all()
        assert told[np.isfinite(told[:, 0]), 0] == pytest.approx(free[free[:, 0] <= budget, 1 if by_macs else 0])


def test_walks_the_space():
    net = drawn(1)[0]
    answers = SPACE.encode(net)
    assert Forecast(SPACE).walk(lambda name, choices: answers[name]) == net
    assert math.isfinite(Forecast(SPACE)([answers])[0, 0])

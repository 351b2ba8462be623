"""A comparison covers the true ratio, sees a difference that is there, and says so when there is none to see."""

import math
import random

import pytest

from hardware import Meter
from hardware.comparison import ALIKE, of_pairs
from searchspace import anchor


def session(ratio: float, rng: random.Random, bias: float = 0.003, drift: float = 0.4) -> list[list[tuple[float, float]]]:
    """Three instances of twelve pairs: each net of an instance keeps a bias, the machine drifts under both, and what
    disturbs a call only adds to it."""
    found = []
    for _ in range(3):
        first, second = ratio * math.exp(rng.gauss(0, bias)), math.exp(rng.gauss(0, bias))
        pairs = []
        for k in range(12):
            slow = 1 + drift * (0.5 + 0.5 * math.sin(k / 3 + rng.random()))
            pairs.append(tuple(x * slow * (1 + rng.expovariate(100)) for x in (first, second)))
        found.append(pairs)
    return found


@pytest.mark.parametrize("ratio", [0.9, 1.0, 1.02])
def test_the_interval_covers_the_true_ratio(ratio):
    rng = random.Random(3)
    covered = 0
    for _ in range(400):
        c = of_pairs(session(ratio, rng))
        assert c.low <= c.ratio <= c.high and c.n == 36
        covered += c.low <= ratio <= c.high
    assert covered >= 0.93 * 400


def test_verdicts():
    rng = random.Random(4)
    alike = [of_pairs(session(1.0, rng)).verdict for _ in range(200)]
    assert alike.count(ALIKE) >= 0.94 * 200
    assert [of_pairs(session(0.9, rng)).verdict for _ in range(50)].count("faster") == 50
    assert [of_pairs(session(1.1, rng)).verdict for _ in range(50)].count("slower") == 50


def test_a_bias_of_the_sessions_is_not_taken_for_a_difference():
    """Without instances: one session's bias of 3 % would be called a difference in nearly every comparison of equals."""
    rng = random.Random(5)
    verdicts = [of_pairs(session(1.0, rng, bias=0.03)) for _ in range(200)]
    assert [c.verdict for c in verdicts].count(ALIKE) >= 0.9 * 200
    fooled = 0
    for _ in range(200):
        pairs = session(1.0, rng, bias=0.03)[0]
        fooled += not 2 <= sum(a < b for a, b in pairs) <= 10  # the sign test within one session
    assert fooled > 0.6 * 200


def test_equal_pairs():
    c = of_pairs([[(1.0, 1.0)] * 3, [(2.0, 2.0)] * 3])
    assert (c.ratio, c.low, c.high, c.p, c.verdict) == (1.0, 1.0, 1.0, 1.0, ALIKE)


def test_a_meter_compares_real_nets():
    small, large = anchor("mobilenet_v1-0.25-32"), anchor("mobilenet_v1-1.0-64")
    with Meter("cpu", spread_s=0) as meter:
        c = meter.compare(small, large)
        assert c.verdict == "faster" and c.high < 0.5 and c.n == 36 and c.p < 1e-6
        assert meter.compare(large, small, rounds=6).verdict == "slower"
        gated = meter.compare(anchor("skipnet_20-rnn"), small, rounds=3)
    assert gated.verdict == "slower" and gated.low > 1 and len(meter.slices) == 3 * (12 + 6 + 3)

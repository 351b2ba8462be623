"""Estimates whose answer is known: closed forms, and coverage over many draws."""

import math

import numpy as np
import pytest

from hardware.estimate import Estimate, end_point, level, of_images, of_one_input, together

BIAS = 0.015


def test_the_level_is_the_mean_of_the_calm_lower_visits():
    ten = [1.0 + 0.001 * i for i in range(10)]
    assert level(ten).log_ms == pytest.approx(np.log(ten[:7]).mean())  # the lowest 70 %
    assert level([1.0, 1.02, 1.2, 1.3, 9.0]).log_ms == pytest.approx(math.log(1.02) / 2)  # three were disturbed
    lucky = [1.0, *[1.3 + 0.001 * i for i in range(23)]]  # one visit of 24: not the others were disturbed, that one was lucky
    assert level(lucky).log_ms == pytest.approx(np.log(lucky[:6]).mean()) and level(lucky).error < 0.3
    assert level([1.0, 3.0]).log_ms == pytest.approx(math.log(3) / 2)  # two at least
    assert level([2.0] * 6).error == 0.0


def test_pace_and_bias_enter_where_they_should():
    e = of_one_input([2.0] * 24, [2.0] * 6, BIAS, pace=0.9)
    assert (e.n, e.slack, e.least_ms) == (24, 0.0, 2.0) and e.ms == pytest.approx(1.8)
    assert e.low_ms == pytest.approx(1.8 * math.exp(-BIAS)) and e.high_ms == pytest.approx(1.8 * math.exp(BIAS))
    assert of_one_input([2.0, 2.2], [2.0], BIAS).ms == pytest.approx(math.sqrt(4.4))  # one visit: its calls
    many = of_images([[2.0] * 4] * 64, BIAS, pace=0.9)
    assert many.ms == pytest.approx(1.8) and many.high_ms == pytest.approx(1.8 * math.exp(BIAS))


def test_the_interval_reaches_down_to_the_end_point():
    wide = [1.0, 1.1, 1.2, *[1.3] * 21]
    e = of_one_input(wide, wide, BIAS)
    r = 1 - 0.05 ** (1 / 5)  # a quarter of 24: six
    assert end_point(wide) == pytest.approx(1 - r / (1 - r) * 0.3) and e.low_ms == min(end_point(wide), e.low_ms) < 0.9
    assert end_point([1.0, 9.0]) == 0.5 and end_point([2.0] * 9) == 2.0


@pytest.mark.parametrize("visits", [6, 16, 24])
def test_the_session_part_covers_the_level_of_many_visits(visits):
    random = np.random.default_rng(5)
    draw = lambda n: np.exp(0.02 * random.standard_gamma(4, n) / 2)  # noqa: E731 skewed, a few percent
    truth = math.exp(level(draw(200_000)).log_ms)
    hits = 0
    for _ in range(400):
        found = level(draw(visits))
        hits += abs(found.log_ms - math.log(truth)) <= found.error
    assert 0.9 <= hits / 400 <= 0.99


def test_mean_over_images_with_the_standard_error_of_images():
    e = of_images([[1.0, 1.0, 1.0], [3.0, 3.0, 3.0]], BIAS)
    sampling = 1.96 * math.sqrt(2.0 / 2) / 2.0  # variance 2 over 2 images, as a share of the mean
    assert (e.ms, e.n, e.slack) == (pytest.approx(2.0), 6, 0.0)
    assert e.high_ms == pytest.approx(2 * math.exp(math.hypot(sampling, BIAS)), rel=1e-4)
    assert e.low_ms == pytest.approx(2 * math.exp(-math.hypot(sampling, BIAS)), rel=1e-4)


def test_interval_over_images_covers_the_mean_of_all_images():
    random = np.random.default_rng(6)
    population = random.gamma(4, 0.25, size=5000) + 1
    hits = 0
    for _ in range(300):
        truth = random.choice(population, 64)
        e = of_images([list(t * (1 + 0.01 * random.exponential(size=6))) for t in truth], BIAS)
        hits += e.low_ms <= population.mean() <= e.high_ms
    assert hits >= 280


def test_several_processes_halve_their_own_error_and_keep_what_they_share():
    def one(ms, common=0.0, end_ms=9.0):
        return Estimate(ms, ms * math.exp(-0.02), ms * math.exp(0.02), 0.01, common, end_ms, 0.95 * ms, 24)

    alone = together([one(2.0)])
    assert (alone.ms, alone.low_ms, alone.high_ms) == tuple(pytest.approx(2 * math.exp(x)) for x in (0, -0.02, 0.02))
    four = together([one(2.0)] * 4)
    assert four.ms == pytest.approx(2.0) and four.high_ms == pytest.approx(2 * math.exp(0.01)) and four.n == 96
    assert four.least_ms == pytest.approx(1.9) and together([one(2.0), one(2.0, end_ms=1.5)]).low_ms == 1.5
    shared = together([one(2.0, common=0.012)] * 4)  # 0.016 of its own, 0.012 of the images
    assert math.log(shared.high_ms / 2) == pytest.approx(math.hypot(0.008, 0.012))
    apart = together([one(2.0), one(2.2), one(2.1)])
    assert math.log(apart.high_ms / apart.ms) == pytest.approx(
        4.3027 * np.std(np.log([2.0, 2.2, 2.1]), ddof=1) / math.sqrt(3), rel=1e-3
    )

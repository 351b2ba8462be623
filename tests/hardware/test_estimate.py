"""Estimates whose answer is known: closed forms, and coverage over many draws."""

import numpy as np
import pytest

from hardware.estimate import Z95, of_images, of_one_input, reach

BIAS = 0.015


def test_lowest_order_statistics_of_the_rounds():
    minima = [1.003, 1.5, 1.001, 9.0]
    e = of_one_input([*minima, 2.0, 3.0], minima, BIAS)
    assert (e.ms, e.n) == (1.001, 6)
    low = 1.001 - reach(3) * 0.499
    assert e.low_ms == pytest.approx(max(low, 0.5 * 1.001) * (1 - BIAS)) and e.high_ms == pytest.approx(1.001 * (1 + BIAS))
    near = [1.0 + 0.001 * i for i in range(24)]
    e = of_one_input(near, near, BIAS)  # a quarter of 24: the six lowest
    assert e.slack == pytest.approx(reach(6) * 0.005) and e.low_ms == pytest.approx((1 - e.slack) * (1 - BIAS))
    assert reach(2) == pytest.approx(19) and reach(3) == pytest.approx(1 / 0.05**0.5 - 1)


def test_a_session_that_is_slow_as_a_whole_reaches_down_by_so_much():
    e = of_one_input([2.0] * 24, [2.0] * 24, BIAS, slow=1.1)
    assert (e.ms, e.slack) == (2.0, 0.0) and e.low_ms == pytest.approx(2 / 1.1 * (1 - BIAS))
    assert of_images([[2.0] * 4] * 64, BIAS, slow=1.1).low_ms == pytest.approx(2 / 1.1 * (1 - BIAS))


def test_one_round_counts_its_calls_and_a_wide_spread_stops_at_half():
    assert of_one_input([2.0, 2.0], [2.0], BIAS).low_ms == pytest.approx(2 * (1 - BIAS))
    assert of_one_input([2.0, 3.0], [2.0], BIAS).low_ms == pytest.approx(1 * (1 - BIAS))


@pytest.mark.parametrize("noise", ["exponential", "uniform"])
def test_the_session_part_covers_the_true_minimum(noise):
    random = np.random.default_rng(5)
    hits = 0
    for _ in range(1000):
        minima = list(1 + 0.05 * getattr(random, noise)(size=24))
        e = of_one_input(minima, minima, BIAS)
        hits += e.ms * (1 - e.slack) <= 1 <= e.ms
    assert 930 <= hits <= 970


def test_mean_over_images_with_the_standard_error_of_images():
    times = [[1.0, 1.0, 5.0], [3.0, 3.0, 3.0]]
    e = of_images(times, BIAS)
    sampling = Z95 * np.sqrt(2.0 / 2)  # variance 2 over 2 images
    assert (e.ms, e.n, e.slack) == (2.0, 6, 0.0)
    assert e.high_ms == pytest.approx((2 + sampling) * (1 + BIAS))
    assert e.low_ms == pytest.approx(max(2 - sampling, 1.0) * (1 - BIAS))


def test_interval_over_images_covers_the_mean_of_all_images():
    random = np.random.default_rng(6)
    population = random.gamma(4, 0.25, size=5000) + 1
    hits = 0
    for _ in range(300):
        truth = random.choice(population, 64)
        e = of_images([list(t * (1 + 0.03 * random.exponential(size=6))) for t in truth], BIAS)
        hits += e.low_ms <= population.mean() <= e.high_ms
    assert hits >= 285

"""Estimates whose answer is known: closed forms, and coverage over many draws."""

import numpy as np
import pytest

from hardware.estimate import Z95, of_images, of_one_input

BIAS = 0.015


def test_two_lowest_order_statistics():
    e = of_one_input([1.003, 1.5, 1.001, 9.0], BIAS)
    assert (e.ms, e.n) == (1.001, 4)
    low = 1.001 - 19 * 0.002
    assert e.low_ms == pytest.approx(low * (1 - BIAS))
    assert e.high_ms == pytest.approx(1.001 * (1 + BIAS))
    assert e.slack == pytest.approx(19 * 0.002 / 1.001)


def test_no_spread_leaves_the_process_bias_and_a_wide_one_stops_at_half():
    assert of_one_input([2.0, 2.0], BIAS).low_ms == pytest.approx(2 * (1 - BIAS))
    assert of_one_input([2.0, 3.0], BIAS).low_ms == pytest.approx(1 * (1 - BIAS))


@pytest.mark.parametrize("noise", ["exponential", "uniform"])
def test_the_session_part_covers_the_true_minimum(noise):
    random = np.random.default_rng(5)
    hits = 0
    for _ in range(1000):
        e = of_one_input(list(1 + 0.05 * getattr(random, noise)(size=24)), BIAS)
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

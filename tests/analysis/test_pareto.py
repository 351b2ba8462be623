"""Closed forms, brute force, and the cases between: copies, NaN, infinity, nothing."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.pareto import contributions, dominates, front_mask, hypervolume, hypervolume_over

# small whole numbers make ties and copies common
POINTS = st.lists(st.tuples(st.integers(0, 6).map(float), st.integers(0, 6).map(float)), max_size=12)
REFERENCE = (0.0, 6.0)


def columns(points: list[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [p[0] for p in points], [p[1] for p in points]


def cells(points: list[tuple[float, float]]) -> int:
    """Area by counting unit squares: exact for whole numbers."""
    return sum(any(top > a and slow <= b for top, slow in points) for a in range(6) for b in range(6))


def test_dominance_table() -> None:
    #                accuracy, latency      better both, better one, equal, worse one, NaN
    here = (90.0, 1.0)
    assert dominates((91.0, 0.5), here) and dominates((90.0, 0.5), here) and dominates((91.0, 1.0), here)
    assert not dominates(here, here)
    assert not dominates((91.0, 1.5), here) and not dominates((89.0, 0.5), here)
    assert not dominates((math.nan, 0.5), here) and not dominates(here, (math.nan, 2.0))


@given(POINTS)
def test_front_is_what_nobody_dominates(points: list[tuple[float, float]]) -> None:
    expected = [not any(dominates(q, p) for q in points) for p in points]
    assert front_mask(*columns(points)).tolist() == expected


@given(POINTS)
def test_hypervolume_counts_the_cells(points: list[tuple[float, float]]) -> None:
    assert hypervolume(*columns(points), REFERENCE) == cells(points)


@given(POINTS)
def test_hypervolume_over_is_the_hypervolume_of_each_beginning(points: list[tuple[float, float]]) -> None:
    assert hypervolume_over(*columns(points), REFERENCE).tolist() == [cells(points[: i + 1]) for i in range(len(points))]


@given(POINTS)
def test_contribution_is_what_is_lost_without(points: list[tuple[float, float]]) -> None:
    expected = [cells(points) - cells(points[:i] + points[i + 1 :]) for i in range(len(points))]
    assert contributions(*columns(points), REFERENCE).tolist() == expected


def test_staircase_in_closed_form() -> None:
    """Points (k/n, k/n) of the diagonal: the area is n(n-1)/2 steps of 1/n^2 (accuracy k/n from latency k/n on)."""
    n = 40
    k = np.arange(1, n + 1) / n
    shuffled = np.random.default_rng(3).permutation(n)
    area = hypervolume(k[shuffled], k[shuffled], (0.0, 1.0))
    assert area == pytest.approx((n - 1) / (2 * n))
    twice = np.concatenate([k, k])
    assert hypervolume(twice, twice, (0.0, 1.0)) == pytest.approx(area)


def test_nan_infinity_and_nothing() -> None:
    assert hypervolume([], [], REFERENCE) == 0.0
    assert front_mask([], []).tolist() == []
    assert hypervolume_over([], [], REFERENCE).tolist() == []
    assert front_mask([math.nan, 3, 3, 5], [0, 1, 1, math.nan]).tolist() == [False, True, True, False]
    assert hypervolume([math.nan, 3, 5], [0, 1, math.nan], REFERENCE) == 15.0
    assert hypervolume([3, 9], [1, math.inf], REFERENCE) == 15.0  # never done in time: adds nothing
    assert hypervolume([math.inf], [1], REFERENCE) == math.inf
    assert hypervolume([0, 5], [1, 6], REFERENCE) == 0.0  # on the reference's own lines
    assert front_mask([-math.inf], [1]).tolist() == [True]


def test_two_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="one length"):
        front_mask([1, 2], [1])

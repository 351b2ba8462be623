"""The closed form beside drawn samples and beside the hypervolume itself."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.pareto import hypervolume
from study.surrogate.ehvi import Known, LogNormal, Staircase

REFERENCE = (10.0, 8.0)
COSTS, ERRORS = np.array([2.0, 4.0, 5.0, 7.0, 3.0, 12.0]), np.array([6.0, 4.0, 4.5, 2.0, 9.0, 0.5])


def volume(costs, errors):
    return hypervolume(-np.asarray(errors), np.asarray(costs), (-REFERENCE[1], REFERENCE[0]))


def gained(cost, error):
    """What a point adds, by the definition."""
    return volume([*COSTS, cost], [*ERRORS, error]) - volume(COSTS, ERRORS)


def test_staircase_is_the_front_inside_the_reference():
    stairs = Staircase.of(COSTS, ERRORS, REFERENCE)
    assert stairs.costs.tolist() == [2.0, 4.0, 7.0] and stairs.errors.tolist() == [6.0, 4.0, 2.0]


@pytest.mark.parametrize("front", [True, False])
def test_known_cost_and_error_add_what_they_add(front):
    stairs = Staircase.of(COSTS if front else COSTS[:0], ERRORS if front else ERRORS[:0], REFERENCE)
    for cost in (0.5, 2.0, 3.3, 6.9, 9.5, 11.0):
        for error in (0.1, 2.5, 5.0, 7.9, 9.0):
            found = stairs.expected_improvement(Known(np.array([cost])), Known(np.array([error])))
            slow = gained(cost, error) if front else volume([cost], [error])
            assert found == pytest.approx([slow], abs=1e-9)


def test_expectation_over_the_error_and_over_both():
    stairs, rng = Staircase.of(COSTS, ERRORS, REFERENCE), np.random.default_rng(0)
    error = LogNormal(0.5, np.array([1.0]), np.array([0.6]))
    drawn_error = 0.5 + np.exp(1.0 + 0.6 * rng.standard_normal(4000))
    sample = [gained(3.0, e) for e in drawn_error]
    off = 4 * np.std(sample) / np.sqrt(len(sample))
    assert stairs.expected_improvement(Known(np.array([3.0])), error)[0] == pytest.approx(np.mean(sample), abs=off)
    cost = LogNormal(0.0, np.array([1.2]), np.array([0.4]))
    sample = [gained(c, e) for c, e in zip(np.exp(1.2 + 0.4 * rng.standard_normal(4000)), drawn_error)]
    off = 4 * np.std(sample) / np.sqrt(len(sample))
    assert stairs.expected_improvement(cost, error)[0] == pytest.approx(np.mean(sample), abs=off)


def test_nothing_is_expected_beyond_the_reference():
    stairs = Staircase.of(COSTS, ERRORS, REFERENCE)
    error = LogNormal(0.0, np.array([0.5, 0.5]), np.array([0.3, 0.3]))
    assert stairs.expected_improvement(Known(np.array([10.0, 15.0])), error).tolist() == [0.0, 0.0]

"""The Gaussian process beside a reference written for reading, and its gradient beside differences."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.optimize import approx_fprime

from study.surrogate.gp import GaussianProcess, Hyper, Inputs, _Pairs, covariance, negative_log_posterior, prior


def some(n, d=5, m=2, seed=0):
    rng = np.random.default_rng(seed)
    codes = rng.integers(-1, 3, (n, d)).astype(np.int16)
    attributes = rng.standard_normal((n, m))
    z = rng.standard_normal(n) + codes[:, 0] + (attributes[:, 0] if m else 0)
    return Inputs(codes, attributes), (z - z.mean()) / z.std()


def reference_kernel(x, y, a, b, h):
    """The formula at the head of gp.py, of two nets."""
    distance = sum(t for t, p, q in zip(h.theta, x, y) if p != q) + sum(f * (p - q) ** 2 for f, p, q in zip(h.phi, a, b))
    same = sum(t for t, p, q in zip(h.theta, x, y) if p == q) / sum(h.theta)
    return h.vp * math.exp(-distance) + h.va * same + h.vl * (1 + sum(p * q for p, q in zip(a, b)))


@pytest.mark.parametrize("m", [0, 2])
def test_covariance_is_the_formula(m):
    x, _ = some(12, m=m)
    h = Hyper.of(prior(5, m)[0] + np.linspace(-1, 1, 5 + m + 4), 5)
    fast = covariance(x, x[:4], h)
    for i in range(12):
        for j in range(4):
            slow = reference_kernel(x.codes[i], x.codes[j], x.attributes[i], x.attributes[j], h)
            assert fast[i, j] == pytest.approx(slow, rel=1e-10)


@pytest.mark.parametrize("m", [0, 2])
def test_gradient_beside_differences(m):
    x, z = some(25, m=m)
    pairs, logs = _Pairs(x), prior(5, m)[0] + np.linspace(-0.7, 0.9, 5 + m + 4)
    _, gradient = negative_log_posterior(logs, pairs, z)
    differences = approx_fprime(logs, lambda at: negative_log_posterior(at, pairs, z)[0], 1e-6)
    assert gradient == pytest.approx(differences, rel=1e-3, abs=1e-3)


def test_posterior_is_that_of_the_joint_normal():
    x, z = some(20)
    gp, new = GaussianProcess.fit(x, z), some(7, seed=1)[0]
    k = covariance(x, x, gp.hyper) + (gp.hyper.vn + 1e-8) * np.eye(20)
    across = covariance(x, new, gp.hyper)
    mean, sd = gp.posterior(new)
    assert mean == pytest.approx(across.T @ np.linalg.solve(k, z))
    variance = np.diag(covariance(new, new, gp.hyper) - across.T @ np.linalg.solve(k, across))
    assert sd == pytest.approx(np.sqrt(variance), rel=1e-5)


def test_learns_which_choice_matters():
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 3, (80, 6)).astype(np.int16)
    z = np.array([-1.0, 0.0, 1.5])[codes[:, 2]] + 0.05 * rng.standard_normal(80)
    gp = GaussianProcess.fit(Inputs(codes, np.zeros((80, 0))), (z - z.mean()) / z.std())
    assert gp.hyper.theta.argmax() == 2
    other = rng.integers(0, 3, (200, 6)).astype(np.int16)
    mean, _ = gp.posterior(Inputs(other, np.zeros((200, 0))))
    assert np.corrcoef(mean, np.array([-1.0, 0.0, 1.5])[other[:, 2]])[0, 1] > 0.99


def test_an_observation_more_narrows_the_posterior_there():
    x, z = some(20)
    gp, new = GaussianProcess.fit(x, z), some(3, seed=4)[0]
    mean, before = gp.posterior(new)
    again, after = gp.given(new, mean).posterior(new)
    assert again == pytest.approx(mean, abs=1e-3) and (after < before).all()

"""A Gaussian process over nets: categorical choices and a few exact attributes (log latency, log mult-adds, ...).

    inputs = Inputs(codes, attributes)                     # (n, d) int, (n, m) float
    gp = GaussianProcess.fit(inputs, z, start=None)        # z (n,), standardised here
    mean, sd = gp.posterior(candidates)                    # (k,), (k,): of the function, without noise

Kernel (Rasmussen & Williams 2006, "R&W", chapters 2, 4 and 5), x the choices, a the attributes:

    k = vp exp(-D) + va sum_i w_i [x_i = x'_i] + vl (1 + a.a') + vn [same observation]
    D = sum_i theta_i [x_i != x'_i] + sum_m phi_m (a_m - a'_m)^2,   w_i = theta_i / sum theta

The product over choices (exp of a weighted Hamming distance; COMBO-like kernels, arXiv:1902.00448, are its relatives) says which
nets resemble each other as a whole, the sum which choices add up, the linear term that error falls with log mult-adds.
Hyperparameters are the mode under log-normal priors, as wide as "nothing is known of this space".
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve, solve_triangular
from scipy.linalg.lapack import dpotrf, dpotri
from scipy.optimize import minimize

Floats = NDArray[np.float64]

BOUND_SD = 4.0  # hyperparameters stay within this many standard deviations of their prior
JITTER = 1e-8
SHORT, LONG = 8, 40  # iterations from the last optimum; from it and from the prior


@dataclass(frozen=True)
class Inputs:
    """codes (n, d) int, attributes (n, m) float, standardised."""

    codes: NDArray[np.int16]
    attributes: Floats

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, rows: NDArray[np.intp] | NDArray[np.bool_] | slice) -> Inputs:
        return Inputs(self.codes[rows], self.attributes[rows])

    def __add__(self, other: Inputs) -> Inputs:
        return Inputs(np.vstack([self.codes, other.codes]), np.vstack([self.attributes, other.attributes]))


@dataclass(frozen=True)
class Hyper:
    """theta (d,), phi (m,), and the variances of the product, the sum, the linear part and the noise."""

    theta: Floats
    phi: Floats
    vp: float
    va: float
    vl: float
    vn: float

    @staticmethod
    def of(logs: Floats, d: int) -> Hyper:
        e = np.exp(logs)
        return Hyper(e[:d], e[d:-4], *map(float, e[-4:]))


def prior(d: int, m: int) -> tuple[Floats, Floats]:
    """Median and standard deviation of the log of theta (d), phi (m), vp, va, vl, vn."""
    medians = np.log(np.concatenate([np.full(d, 1.5 / d), np.full(m, 0.1), [1.0, 0.3, 0.3, 0.02]]))
    return medians, np.concatenate([np.ones(d), np.ones(m), [0.7, 1.0, 1.0, 1.5]])


def covariance(a: Inputs, b: Inputs, h: Hyper) -> Floats:
    """(len(a), len(b)), without noise. Both -D and the sum with the linear term are products of two matrices of one-hot choices
    and attributes: many times faster than comparing choice by choice."""
    levels = max(int(x.codes.max(initial=0)) for x in (a, b)) + 2  # ABSENT is one
    hot_a, hot_b = _one_hot(a.codes, levels), _one_hot(b.codes, levels)
    one_a, one_b = np.ones((len(a), 1)), np.ones((len(b), 1))
    theta, total = np.repeat(h.theta, levels), h.theta.sum()
    p, q = a.attributes * np.sqrt(h.phi), b.attributes * np.sqrt(h.phi)
    far_a, far_b = (p**2).sum(1, keepdims=True) + total, (q**2).sum(1, keepdims=True)
    k = np.hstack([hot_a * theta, 2 * p, -far_a, -one_a]) @ np.hstack([hot_b, q, one_b, far_b]).T
    np.exp(k, out=k)
    k *= h.vp
    k += (
        np.hstack([hot_a * (h.va * theta / total), h.vl * a.attributes, h.vl * one_a]) @ np.hstack([hot_b, b.attributes, one_b]).T
    )
    return np.asarray(k)


def _one_hot(codes: NDArray[np.int16], levels: int) -> Floats:
    """(n, d * levels)."""
    n, d = codes.shape
    hot = np.zeros((n, d * levels))
    hot[np.arange(n)[:, None], np.arange(d) * levels + codes + 1] = 1.0
    return hot


class _Pairs:
    """What the fit needs of all pairs i < j of the observations, computed once: a fit asks some twenty times."""

    def __init__(self, x: Inputs):
        self.n = n = len(x)
        self.i, self.j = i, j = np.triu_indices(n, 1)
        self.below = j * n + i  # where in the lower triangle
        self.differ = np.empty((x.codes.shape[1], len(i)))  # (d, pairs)
        for c, level in enumerate(x.codes.T.copy()):
            np.not_equal(level[i], level[j], out=self.differ[c])
        self.squares = ((x.attributes[i] - x.attributes[j]) ** 2).T.copy()  # (m, pairs)
        linear = 1 + x.attributes @ x.attributes.T
        self.linear, self.own_linear = linear[i, j], linear.diagonal()


def negative_log_posterior(logs: Floats, pairs: _Pairs, z: Floats) -> tuple[float, Floats]:
    """-log p(z | x, h) - log p(h) up to a constant (R&W eq. 5.8) and its gradient (R&W eq. 5.9), in the logs of h."""
    d, m, n = len(pairs.differ), len(pairs.squares), pairs.n
    h = Hyper.of(logs, d)
    total = h.theta.sum()
    w = h.theta / total
    apart = h.theta @ pairs.differ
    product = h.vp * np.exp(-apart - (h.phi @ pairs.squares if m else 0.0))
    same = 1 - apart / total
    k = np.zeros(n * n)  # its lower triangle
    k[pairs.below] = product + h.va * same + h.vl * pairs.linear
    k[:: n + 1] = h.vp + h.va + h.vl * pairs.own_linear + h.vn + JITTER
    medians, sds = prior(d, m)
    off = (logs - medians) / sds
    factor, failed = dpotrf(k.reshape(n, n).T, lower=0, clean=0, overwrite_a=1)  # LAPACK counts by columns: there it is the upper
    if failed:
        return 1e10, off / sds
    alpha = cho_solve((factor, False), z, check_finite=False)
    value = 0.5 * z @ alpha + np.log(factor.diagonal()).sum() + 0.5 * (off**2).sum()
    # dL/dh = -1/2 tr((K^-1 - alpha alpha') dK/dh); a pair stands for both of its entries
    inverse = dpotri(factor, lower=0, overwrite_c=1)[0].T.reshape(-1)
    of_pair, of_own = alpha[pairs.i] * alpha[pairs.j] - inverse[pairs.below], 0.5 * (alpha**2 - inverse[:: n + 1])
    trace = of_own.sum()
    through = of_pair * product
    # dw_j/dlog theta_i = w_i ([i = j] - w_j); on the diagonal the sum is 1 whatever theta is
    of_theta = -h.theta * (pairs.differ @ through) + h.va * w * (of_pair @ (1 - same) - pairs.differ @ of_pair)
    of_phi = -h.phi * (pairs.squares @ through) if m else np.zeros(0)
    of_vp = through.sum() + trace * h.vp
    of_va = h.va * (of_pair @ same + trace)
    of_vl = h.vl * (of_pair @ pairs.linear + of_own @ pairs.own_linear)
    gradient = np.concatenate([of_theta, of_phi, [of_vp, of_va, of_vl, trace * h.vn]])
    return float(value), -gradient + off / sds


class GaussianProcess:
    """Made by `fit`; `logs`: the hyperparameters' logs, to begin the next fit with."""

    def __init__(self, inputs: Inputs, z: Floats, logs: Floats):
        self.inputs, self.logs = inputs, logs
        self.hyper = Hyper.of(logs, inputs.codes.shape[1])
        k = covariance(inputs, inputs, self.hyper)
        k[np.diag_indices(len(k))] += self.hyper.vn + JITTER
        self._factor = cho_factor(k, lower=True, check_finite=False)
        self.z = z
        self._alpha = cho_solve(self._factor, z, check_finite=False)  # R&W algorithm 2.1

    @classmethod
    def fit(cls, inputs: Inputs, z: Floats, start: Floats | None = None, thorough: bool = True) -> GaussianProcess:
        """`start`: logs of an earlier fit; `thorough`: from the prior's median as well, and longer."""
        d, m = inputs.codes.shape[1], inputs.attributes.shape[1]
        medians, sds = prior(d, m)
        begins = [medians] if start is None or len(start) != len(medians) else [start, medians] if thorough else [start]
        pairs = _Pairs(inputs)
        bounds = list(zip(medians - BOUND_SD * sds, medians + BOUND_SD * sds))
        found = [
            minimize(
                negative_log_posterior, begin, (pairs, z), method="L-BFGS-B", jac=True, bounds=bounds,
                options={"maxiter": LONG if thorough or start is None else SHORT},
            )
            for begin in begins
        ]  # fmt: skip
        return cls(inputs, z, min(found, key=lambda r: r.fun).x)

    def given(self, inputs: Inputs, z: Floats) -> GaussianProcess:
        """The same hyperparameters, some observations more."""
        return GaussianProcess(self.inputs + inputs, np.concatenate([self.z, z]), self.logs)

    def mean(self, x: Inputs) -> Floats:
        """Of the function at x (R&W eq. 2.25)."""
        return covariance(self.inputs, x, self.hyper).T @ self._alpha

    def posterior(self, x: Inputs) -> tuple[Floats, Floats]:
        """Mean and standard deviation of the function at x (R&W eq. 2.25 and 2.26)."""
        h = self.hyper
        across = covariance(self.inputs, x, h)
        half = solve_triangular(self._factor[0], across, lower=True, check_finite=False)
        own = h.vp + h.va + h.vl * (1 + (x.attributes**2).sum(1))
        return across.T @ self._alpha, np.sqrt(np.maximum(own - (half**2).sum(0), 1e-12))

"""The hypervolume that a candidate is expected to add to a front of (cost, error), both minimised, in closed form.

Below the staircase of the front the volume that a point (l, e) adds is the sum over the cost segments of the staircase, each at
level F_k: the part of the segment right of l, times how far e lies under F_k. With cost and error independent the expectation of
a product is the product of the expectations (the cells of Emmerich et al. 2011, "Hypervolume-based expected improvement", IEEE
CEC, for two objectives), and with ln(e - f) normal each factor is that of a put option (Black & Scholes 1973, eq. 13):

    g(F) = E max(0, F - e) = F' Phi(u) - exp(mu + sd^2 / 2) Phi(u - sd),    F' = F - f,  u = (ln F' - mu) / sd

A cost that is known needs no expectation: max(0, c - l).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class LogNormal:
    """floor + exp(normal): mu, sd (k,)."""

    floor: float
    mu: Floats
    sd: Floats

    def below(self, levels: Floats) -> Floats:
        """E max(0, level - value): (k, levels)."""
        over = np.maximum(levels - self.floor, 1e-300)[None]
        u = (np.log(over) - self.mu[:, None]) / self.sd[:, None]
        return np.asarray(over * ndtr(u) - np.exp(self.mu + self.sd**2 / 2)[:, None] * ndtr(u - self.sd[:, None]))


@dataclass(frozen=True)
class Known:
    """Values (k,) that need no model."""

    value: Floats

    def below(self, levels: Floats) -> Floats:
        """max(0, level - value): (k, levels)."""
        return np.maximum(levels[None] - self.value[:, None], 0.0)


@dataclass(frozen=True)
class Staircase:
    """The front inside of a reference point: costs ascending, errors descending."""

    costs: Floats
    errors: Floats
    reference: tuple[float, float]  # (cost, error)

    @staticmethod
    def of(costs: Floats, errors: Floats, reference: tuple[float, float]) -> Staircase:
        keep_c, keep_e, best = [], [], reference[1]
        for i in np.lexsort((errors, costs)):
            if costs[i] < reference[0] and errors[i] < best:
                keep_c.append(costs[i])
                keep_e.append(errors[i])
                best = errors[i]
        return Staircase(np.array(keep_c), np.array(keep_e), reference)

    def expected_improvement(self, cost: Known | LogNormal, error: Known | LogNormal) -> Floats:
        """(k,): in cost times error."""
        ends = np.append(self.costs, self.reference[0])  # segment k ends here, the first begins at minus infinity
        levels = np.append(self.reference[1], self.errors)
        widths = np.diff(cost.below(ends), axis=1, prepend=0.0)  # E of the part of each segment that lies right of the cost
        return np.asarray((widths * error.below(levels)).sum(1))

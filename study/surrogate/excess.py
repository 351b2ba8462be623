"""The model of an objective: a Gaussian process on the log of its excess over what can be reached."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from study.surrogate.ehvi import LogNormal
from study.surrogate.gp import Inputs

if TYPE_CHECKING:
    from study.pareto_gp import ParetoGP

Floats = NDArray[np.float64]


class Excess:
    """ln(value - floor), standardised, as a Gaussian process. The floor lies as far under the best value as the median over it:
    what is left to gain shrinks with the best, and so does the scale on which it is looked at."""

    def __init__(self, sampler: ParetoGP, key: str, inputs: Inputs, values: Floats):
        best, middle = float(values.min()), float(np.median(values))
        self.floor = best - max(middle - best, 1e-9 * max(1.0, abs(best)))
        logs = np.log(values - self.floor)
        self.mean, self.sd = float(logs.mean()), max(float(logs.std()), 1e-9)
        self.gp = sampler.fit(key, inputs, (logs - self.mean) / self.sd)

    def at(self, x: Inputs) -> LogNormal:
        mean, sd = self.gp.posterior(x)
        return LogNormal(self.floor, self.mean + self.sd * mean, self.sd * sd)

    def median(self, x: Inputs) -> Floats:
        """(n,): of the value at x."""
        return np.asarray(self.floor + np.exp(self.mean + self.sd * self.gp.mean(x)))

    def fantasise(self, x: Inputs) -> Floats:
        """Takes nets as observed with the value expected of them (the median), which is returned."""
        z, _ = self.gp.posterior(x)
        self.gp = self.gp.given(x, z)
        return np.asarray(self.floor + np.exp(self.mean + self.sd * z))

"""What is known of a net of the space before it is trained: what it will probably cost, its mult-adds, its parameters.

    known = Forecast(space, budget_ms)
    known.learn(trials, predictor)          # what has been measured so far
    known(list of params) -> (n, 3)         # ms (inf: over the budget), millions of mult-adds, millions of parameters
    known.walk(ask)                         # the space's own walk: which choices there are, and which net they make

The latency of a static net is the predictor's, over the nets that the study has measured (hardware/predictor.py); with too few
of them the prior's, at this machine's speed. What a gated net will decide nobody knows before training: it is taken to need the
share of its ungated twin's time that the gated nets so far needed. So a proposal never waits for the clock.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from statistics import median
from typing import Any

import numpy as np
from optuna.trial import FrozenTrial, TrialState

from hardware.predictor import LatencyPredictor, prior_costs
from hardware.work import totals
from searchspace.architecture import Architecture
from searchspace.sizes import sizes
from searchspace.space import Choice, SearchSpace

GATED_SHARE = 0.8  # of the twin's time, until gated nets have been measured
MOST = 50_000  # nets remembered
MOST_LEARNT = 300  # trials of a study that goes on, the newest


class Forecast:
    """`by_macs`: the first column is mult-adds (for a control that searches by them); the budget holds all the same."""

    def __init__(self, space: SearchSpace, budget_ms: float | None = None, by_macs: bool = False):
        self.space, self.budget_ms, self.by_macs = space, budget_ms, by_macs
        self.limit = None if by_macs else budget_ms
        self.version = 0  # another one: what was told before has changed
        self._costs = prior_costs()
        self._share = GATED_SHARE
        self._read: set[int] = set()  # numbers of trials
        self._static: list[tuple[np.ndarray, float]] = []  # what a net does, ms
        self._gated: list[tuple[np.ndarray, float, float | None]] = []  # what the twin does, ms, the twin's ms where measured
        self._nets: dict[frozenset[tuple[str, Choice]], tuple[np.ndarray, bool, float, float]] = {}

    def learn(self, trials: Iterable[FrozenTrial], predictor: LatencyPredictor | None) -> None:
        """From the trials that were measured; a predictor that was fitted to them replaces the prior."""
        new = [t for t in trials if t.number not in self._read and t.state in (TrialState.COMPLETE, TrialState.PRUNED)
               and "architecture" in t.user_attrs and t.user_attrs.get("latency_ms")]  # fmt: skip
        self._read |= {t.number for t in new}
        for t in new[-MOST_LEARNT:]:
            a = t.user_attrs
            net = Architecture.from_dict(a["architecture"])
            row = totals(net)
            if not net.gates:
                self._static.append((row, a["latency_ms"]))
            elif t.state == TrialState.COMPLETE:
                self._gated.append((row, a["latency_ms"], a.get("dense_ms")))
        costs = prior_costs() if predictor is None else predictor.costs
        if predictor is None and self._static:
            costs = costs * median(ms * 1e6 / float(row @ costs) for row, ms in self._static)
        shares = [min(1.0, ms / (dense or float(row @ costs) / 1e6)) for row, ms, dense in self._gated]
        share = median(shares) if shares else GATED_SHARE
        if share != self._share or not np.array_equal(costs, self._costs):
            self._costs, self._share, self.version = costs, share, self.version + 1

    def walk(self, ask: Any) -> Architecture:
        """The net that the answers make."""
        asked: dict[str, Choice] = {}

        def answered(name: str, choices: tuple[Choice, ...]) -> Choice:
            asked[name] = ask(name, choices)
            return asked[name]

        net = self.space.walk(answered)
        self._remember(frozenset(asked.items()), net)
        return net

    def __call__(self, params: list[dict[str, Choice]]) -> np.ndarray:
        if not params:
            return np.zeros((0, 3))
        rows = []
        for p in params:
            key = frozenset(p.items())
            rows.append(self._nets.get(key) or self._remember(key, self.space.decode(p)))
        counted, gated, macs_m, params_m = zip(*rows, strict=True)
        ms = np.stack(counted) @ self._costs / 1e6 * np.where(gated, self._share, 1.0)
        cost = np.array(macs_m) if self.by_macs else ms
        if self.budget_ms is not None:
            cost = np.where(ms > self.budget_ms, math.inf, cost)
        return np.stack([cost, np.array(macs_m), np.array(params_m)], 1)

    def _remember(self, key: frozenset[tuple[str, Choice]], net: Architecture) -> tuple[np.ndarray, bool, float, float]:
        if len(self._nets) >= MOST:
            self._nets.clear()
        macs, params = sizes(net)
        found = totals(net), bool(net.gates), macs / 1e6, params / 1e6
        self._nets[key] = found
        return found

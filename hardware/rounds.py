"""The rounds of the measuring protocol: who is visited when, and when a net has been measured enough.

A round visits every net that is not settled yet and the references, in shuffled order. The first rounds lie
spread over some seconds, because what disturbs a measurement (another process, a change of clocks) lasts
longer than a burst of calls; the further ones, for nets whose interval is still wide, come four times as
close.

A gated net is called on each of its images once a round, in another order every time: what the image before left in the caches
should not stay with one image. A visit calls so many of them as fit into half a slice; the next visit goes on.
"""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from statistics import fmean
from typing import Any

from hardware.estimate import Estimate, of_images, of_one_input
from hardware.history import BIAS
from hardware.runtimes import Runtime

# recorded a visit, after one that is not. The first calls after other nets find cold caches (15 %, 5 %, 3 % slower than the
# visit's best), so a small net, whose calls cost little, gets more of them; VISITS: so many shall fit into max_ms
CALLS, MOST_CALLS, VISIT_MS, VISITS = 4, 40, 4.0, 20
CALLS_AN_IMAGE = 4  # a gated net has at least so many of each image
SLICE_S = 0.1  # after which trainers that share the device get their turn
FEWEST_AT_ONCE = 8  # images of a gated net a visit: the first of a visit still finds cold caches
ENOUGH = 0.005  # half of a session's own part of the interval, as a share of the estimate


@dataclass
class Candidate:
    """A net in the rounds: its runtime, its inputs (several for a gated net) and what was recorded.

    calls: recorded ones a visit and input; keep_rate: None for a static net; parity: see hardware/session.py; decided: of a gated
    net at batch 1 the decisions on each input, a digit a gate; at_once: inputs a visit; bias, pace: see hardware/history.py;
    times: per input, in milliseconds; visits_ms: the least call of each visit (of all inputs once); spent_ms: all its calls in
    rounds, recorded or not; visit_ms, last_ms: of the last visit of all inputs, its duration and the mean over the inputs of
    each input's minimum."""

    runtime: Runtime
    inputs: list[Any]
    calls: int = CALLS
    keep_rate: float | None = None
    parity: float = 0.0
    decided: tuple[str, ...] = ()
    at_once: int = 0
    bias: float = BIAS
    pace: float = 1.0
    pace_error: float = 0.0
    times: list[list[float]] = field(default_factory=list)
    visits_ms: list[float] = field(default_factory=list)
    spent_ms: float = 0.0
    visit_ms: float = 0.0
    last_ms: float = 0.0
    stopped: str = ""
    _least_ms: list[float] = field(default_factory=list)  # of the inputs that this round has visited
    _took_ms: float = 0.0

    def parts(self, order: random.Random) -> list[Sequence[int]]:
        """The inputs of a round's visits, shuffled, at most `at_once` each."""
        n = len(self.inputs)
        if n == 1:
            return [range(1)]
        shuffled, step = order.sample(range(n), n), self.at_once or n
        return [shuffled[i : i + step] for i in range(0, n, step)]

    def visit(self, clock: Callable[[], float], part: Sequence[int] | None = None) -> None:
        """One call to bring code and weights back into the caches, then the recorded ones, of all inputs or of those in
        `part`."""
        part = range(len(self.inputs)) if part is None else part
        start = clock()
        self.runtime.run(self.inputs[part[0]])
        fresh = [[self.runtime.timed_ms(self.inputs[i], clock) for i in part] for _ in range(self.calls)]
        took_ms = (clock() - start) * 1e3
        self.spent_ms += took_ms
        self._took_ms += took_ms
        self.times = self.times or [[] for _ in self.inputs]
        for calls, i in zip(zip(*fresh, strict=True), part, strict=True):
            self.times[i] += calls
            self._least_ms.append(min(calls))
        if len(self._least_ms) == len(self.inputs):
            self.last_ms, self.visit_ms = fmean(self._least_ms), self._took_ms
            self.visits_ms.append(self.last_ms)
            self._least_ms, self._took_ms = [], 0.0

    def forget(self) -> None:
        """As before the first visit: a reference that the next session visits again."""
        self.times, self.visits_ms, self.spent_ms, self.stopped = [], [], 0.0, ""

    def estimate(self) -> Estimate:
        if self.keep_rate is None:
            return of_one_input(self.times[0], self.visits_ms, self.bias, self.pace, self.pace_error)
        return of_images(self.times, self.bias, self.pace, self.pace_error)

    def has_enough(self) -> bool:
        """Whether there are visits enough for an interval: two, or four of each image."""
        return len(self.visits_ms) >= (2 if self.keep_rate is None else CALLS_AN_IMAGE)


@dataclass(frozen=True)
class Schedule:
    """At least `rounds` rounds, spread over `spread_s` seconds, at most `max_rounds` (more only where a net
    would have too few calls for an interval); `seed`: of the order of visits. clock, cpu_clock and sleep
    count in seconds."""

    rounds: int = 6
    max_rounds: int = 24
    spread_s: float = 2.0
    seed: int = 0
    clock: Callable[[], float] = time.perf_counter
    cpu_clock: Callable[[], float] = time.thread_time
    sleep: Callable[[float], None] = time.sleep
    on_round: Callable[[int], None] = lambda done: None

    def run(
        self,
        found: list[Candidate],
        references: list[Candidate],
        max_ms: float | None,
        undisturbed: Callable[[], AbstractContextManager[Any]],
    ) -> list[float]:
        """Rounds until each of `found` has stopped, in slices inside `undisturbed()` that end after 100 ms (or
        one visit). Returns wall over CPU time a round."""
        order = random.Random(self.seed)
        gap_s = self.spread_s / max(1, self.rounds - 1)
        due, ratios = self.clock(), []
        for done in itertools.count(1):
            if (early := due - self.clock()) > 0:
                self.sleep(early)
            visited = [c for c in found if not c.stopped] + references
            visits = [partial(c.visit, self.clock, part) for c in visited for part in c.parts(order)]
            order.shuffle(visits)
            wall = cpu = 0.0
            while visits:
                with undisturbed():
                    began, began_cpu = self.clock(), self.cpu_clock()
                    while visits and self.clock() - began < SLICE_S:
                        visits.pop(0)()
                    wall, cpu = wall + self.clock() - began, cpu + self.cpu_clock() - began_cpu
            ratios.append(wall / cpu if cpu > 0 else 1.0)
            for candidate in found:
                candidate.stopped = candidate.stopped or self._reason_to_stop(candidate, done, max_ms)
            self.on_round(done)
            if all(c.stopped for c in found):
                break
            due = max(due, self.clock() - gap_s) + (gap_s if done < self.rounds else gap_s / 4)
        return ratios

    def _reason_to_stop(self, candidate: Candidate, done: int, max_ms: float | None) -> str:
        if not candidate.has_enough():
            return ""
        if max_ms is not None and candidate.spent_ms + candidate.visit_ms > max_ms:
            return "max_ms"
        if done >= self.rounds and candidate.estimate().slack <= ENOUGH:
            return "within 1 %"
        return f"{done} rounds" if done >= self.max_rounds else ""

"""The measuring protocol: a latency that carries its interval, of any nets, side by side.

    with Meter("cpu") as meter:
        rows = meter.measure([a, b], max_ms=50)       # -> .latency_ms .low_ms .high_ms .n .stopped .busy ...

All nets and three fixed reference nets are visited in short rounds, in shuffled order: one call unrecorded,
four recorded (up to twelve of a small net). At least 6 rounds lie spread over 2 seconds, for what disturbs
(other processes, clocks) lasts longer than a burst of calls; the estimate is the minimum. A slice of a round
holds the device's lock, collects no garbage and, with one thread, sits on one core. docs/results/latency.md
holds this protocol beside timm's and torch's.

A gated net's latency depends on the image: it is the mean over images of each image's minimum, with its own
decisions. Expect 2-4 s a session plus 0.1-0.3 s a net for the export.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from hardware import history
from hardware.comparison import Comparison, of_pairs
from hardware.export import Stats, is_gated, one_line
from hardware.lock import exclusive, lock_name
from hardware.machine import fingerprint, fingerprint_id
from hardware.quiet import quiet
from hardware.references import SHAPE, references
from hardware.rounds import CALLS, MOST_CALLS, VISIT_MS, Candidate, Schedule
from hardware.runtimes import Runtime, make_runtime
from hardware.subject import Subject, pixels_for, subject_of

BUSY_SLOW = 1.03  # references that slow against their own best
BUSY_CPU = 1.05  # wall over CPU time of one thread: somebody else had the core
MIN_IMAGES = 64
INSTANCES = 3  # of each net in a comparison

# the references' best times of this process, by device, runtime, threads, name; settings that it has put into the history
_BEST: dict[tuple[str, str, int, str], float] = {}
_KEPT: set[str] = set()


class MeasureError(RuntimeError):
    """Nets that cannot be measured. `bad`: position in the list -> why; the text, one line, names the
    nets."""

    def __init__(self, bad: dict[int, str]):
        super().__init__("; ".join(bad.values()))
        self.bad = bad


@dataclass(frozen=True)
class Latency:
    """One net's latency a call (of `batch` images), in milliseconds, with its 95 % interval.

    n: recorded calls (on CUDA: blocks of about 5 ms); machine: hardware.machine.fingerprint_id; busy: the
    references or the CPU clock say that the machine was disturbed; stopped: "within 1 %", "24 rounds" or
    "max_ms"; keep_rate: share of gated blocks that ran, None for a static net; precision: fp32 (on CUDA with
    torch's own default for TF32)."""

    latency_ms: float
    low_ms: float
    high_ms: float
    n: int
    runtime: str
    machine: str
    busy: bool
    stopped: str
    keep_rate: float | None
    threads: int
    batch: int
    precision: str = "fp32"


class Meter:
    """Measures on one device ("cpu", "cuda", "cuda:1") with one runtime (default: onnxruntime, on CUDA
    cuda_graph).

    rounds, max_rounds, spread_s: the protocol above; seed: of the order of visits and of the pixels of static
    nets. clock, cpu_clock (seconds) and sleep can be replaced, for tests; on_round is told the number of rounds
    that are done. Raises RuntimeUnavailable."""

    def __init__(
        self,
        device: str = "cpu",
        runtime: str | None = None,
        threads: int = 1,
        batch: int = 1,
        *,
        rounds: int = 6,
        max_rounds: int = 24,
        spread_s: float = 2.0,
        seed: int = 0,
        clock: Callable[[], float] = time.perf_counter,
        cpu_clock: Callable[[], float] = time.thread_time,
        sleep: Callable[[float], None] = time.sleep,
        on_round: Callable[[int], None] = lambda done: None,
    ):
        for name, value in (("threads", threads), ("batch", batch), ("rounds", rounds)):
            if value < 1:
                raise ValueError(f"{name}: {value} is not at least 1")
        self.device, self.threads, self.batch = device, threads, batch
        chosen = make_runtime(device, runtime, threads)
        self.runtime, self.on_cuda = chosen.name, chosen.on_cuda
        self.protocol: dict[str, Any] = {
            "rounds": rounds, "max_rounds": max_rounds, "spread_s": spread_s, "seed": seed,
            "clock": clock, "cpu_clock": cpu_clock, "sleep": sleep, "on_round": on_round,
        }  # fmt: skip
        self.schedule = Schedule(rounds, max(rounds, max_rounds), spread_s, seed, clock, cpu_clock, sleep, on_round)
        self.machine = fingerprint()
        self.slices: list[tuple[float, float]] = []  # when the device was held, monotonic seconds
        self._references: dict[str, Runtime] = {}

    def __enter__(self) -> Meter:
        return self

    def __exit__(self, *exception: object) -> None:
        self._references.clear()  # sessions and graphs, with their memory

    def measure(
        self,
        nets: Sequence[Any],
        input_shape: Sequence[int] | Sequence[Sequence[int]] | None = None,
        max_ms: float | None = None,
        images: Any = None,
        mean: Stats = None,
        std: Stats = None,
    ) -> list[Latency]:
        """Latencies in the order of `nets`: Architectures (built with random weights) or modules; a Network
        knows its input, another module needs `input_shape` (1, C, H, W), one for all or one each. `images`:
        (n >= 64, C, H, W) raw pixels for gated nets to decide on, resized where a net wants another
        resolution; without them it is noise, and so are the decisions. `max_ms`: budget for each net's own
        calls, but never fewer than two (four an image). Raises MeasureError when a net cannot be measured
        (none is then), ValueError for a senseless max_ms."""
        if max_ms is not None and max_ms <= 0:
            raise ValueError(f"max_ms: {max_ms} is not positive")
        found: list[Candidate] = []
        bad: dict[int, str] = {}
        each = input_shape is not None and len(input_shape) > 0 and not isinstance(input_shape[0], (int, np.integer))
        shapes: list[Any] = list(input_shape or ()) if each else [input_shape] * len(nets)
        if len(shapes) != len(nets):
            raise ValueError(f"input_shape: {len(shapes)} shapes for {len(nets)} nets")
        for i, net in enumerate(nets):
            subject = None
            try:
                subject = subject_of(net, shapes[i], self.batch)
                found.append(self._candidate(subject, images, mean, std, max_ms))
            except Exception as error:  # a foreign net may raise anything; it is named, with its reason
                bad[i] = f"{subject.name if subject else f'net {i}'}: {one_line(error)}"
        if bad:
            raise MeasureError(bad)
        if not found:
            return []
        beside = {name: Candidate(made, [made.load(_pixels(SHAPE))]) for name, made in self._reference_runtimes().items()}
        setting = "/".join((fingerprint_id(self.machine), self.device, self.runtime, str(self.threads)))
        earlier = history.sessions(setting)
        for candidate in found:
            candidate.bias = history.bias(earlier)
        with ExitStack() as ready:
            for runtime in {c.runtime.name: c.runtime for c in found}.values():
                ready.enter_context(runtime.ready())
            cpu_ratios = self.schedule.run(found, list(beside.values()), max_ms, self._undisturbed)
        round_minima = {name: c.round_minima for name, c in beside.items()}
        slow = history.slowdown({name: min(minima) for name, minima in round_minima.items()}, earlier)
        for candidate in found:
            candidate.slow = slow
        busy = self._is_busy(round_minima, cpu_ratios, earlier)
        if setting not in _KEPT:  # one session a process: what differs between processes is what is asked of them
            _KEPT.add(setting)
            history.add(setting, {name: min(minima) for name, minima in round_minima.items()})
        return [self._latency(candidate, busy) for candidate in found]

    def compare(
        self, first: Any, second: Any, input_shape: Sequence[int] | None = None, images: Any = None, mean: Stats = None,
        std: Stats = None, rounds: int = 12,
    ) -> Comparison:  # fmt: skip
        """Whether `first` is faster than `second`, in interleaved pairs; arguments as of `measure`. Raises MeasureError."""
        pairs: list[list[Candidate]] = []
        for _ in range(INSTANCES):
            pair, bad = [], {}
            for i, net in enumerate((first, second)):
                try:
                    pair.append(self._candidate(subject_of(net, input_shape, self.batch), images, mean, std, None))
                except Exception as error:  # as in measure
                    bad[i] = f"net {i}: {one_line(error)}"
            if bad:
                raise MeasureError(bad)
            pairs.append(pair)
        seen: list[list[tuple[float, float]]] = [[] for _ in pairs]
        order, schedule = random.Random(self.schedule.seed), self.schedule
        with ExitStack() as ready:
            for runtime in {c.runtime.name: c.runtime for pair in pairs for c in pair}.values():
                ready.enter_context(runtime.ready())
            for done in range(rounds):
                for i in order.sample(range(len(pairs)), len(pairs)):
                    with self._undisturbed():
                        for side in order.sample((0, 1), 2):
                            pairs[i][side].visit(schedule.clock)
                    seen[i].append((pairs[i][0].last_ms, pairs[i][1].last_ms))
                if done + 1 < rounds:
                    schedule.sleep(schedule.spread_s / max(1, rounds - 1))
        return of_pairs(seen)

    def _candidate(self, subject: Subject, images: Any, mean: Stats, std: Stats, max_ms: float | None) -> Candidate:
        shape = subject.shape
        gated = is_gated(subject.module)
        runtime = make_runtime(self.device, self.runtime, self.threads)
        if gated and self.on_cuda and not runtime.skips:
            runtime = make_runtime(self.device, "eager", self.threads)  # a CUDA graph has no branches; the result says so
        if gated and images is None:
            images = _noise(shape, max(MIN_IMAGES, self.batch))
        if gated and len(images) < (least := max(MIN_IMAGES, self.batch)):
            raise ValueError(f"a gated net's latency depends on the image: give images=, at least {least}, not {len(images)}")
        runtime.prepare(subject.module, shape, mean, std)
        if gated:
            pixels = pixels_for(images, shape)
            inputs = [runtime.load(pixels[i : i + self.batch]) for i in range(0, len(pixels) - self.batch + 1, self.batch)]
        else:
            inputs = [runtime.load(_pixels(shape, self.schedule.seed))]
        kept = []
        with runtime.ready():
            for x in inputs:
                logits, decisions = runtime.read(runtime.run(x))
                if not np.isfinite(logits).all():
                    raise ValueError("its logits are not finite (NaN or infinite weights?)")
                kept.append(0.0 if decisions is None else float(decisions.mean()))
            second_ms = runtime.timed_ms(inputs[0], self.schedule.clock)  # the first call of a session allocates
        candidate = Candidate(runtime, inputs, keep_rate=float(np.mean(kept)) if gated else None)
        if gated:
            candidate.calls = 1  # the images are cycled; the rounds bring the calls an image
        else:
            second_ms = max(second_ms, 1e-6)
            candidate.calls = min(MOST_CALLS, max(CALLS, round(VISIT_MS / second_ms)))
            if max_ms is not None:  # rounds before calls: what they are spread over is what counts
                candidate.calls = max(1, min(candidate.calls, int(max_ms / self.schedule.max_rounds / second_ms) - 1))
        return candidate

    def _reference_runtimes(self) -> dict[str, Runtime]:
        if not self._references:
            for name, net in references().items():
                made = make_runtime(self.device, self.runtime, self.threads)
                made.prepare(net, SHAPE)
                self._references[name] = made
        return self._references

    @contextmanager
    def _undisturbed(self) -> Iterator[None]:
        """A slice: the device's lock, no garbage collection, one core."""
        with exclusive(lock_name(self.device)), quiet(pin=self.threads == 1 and not self.on_cuda):
            began = time.monotonic()
            try:
                yield
            finally:
                self.slices.append((began, time.monotonic()))

    def _is_busy(self, round_minima: dict[str, list[float]], cpu_ratios: list[float], earlier: list[history.Session]) -> bool:
        """Not even the best quarter of rounds brings the references back to what they usually take here, or to
        their own best time of this process (the estimate is a minimum: a few calm rounds are all it needs); or
        in the median round the one thread did not have its core to itself."""
        slow, usual = [], history.usual(earlier)
        for name, minima in round_minima.items():
            key = (self.device, self.runtime, self.threads, name)
            _BEST[key] = min(_BEST.get(key, math.inf), *minima)
            slow.append(float(np.quantile(minima, 0.25)) / min(_BEST[key], usual.get(name, math.inf)))
        alone = self.threads > 1 or self.on_cuda or float(np.median(cpu_ratios)) <= BUSY_CPU
        return not alone or float(np.median(slow)) > BUSY_SLOW

    def _latency(self, candidate: Candidate, busy: bool) -> Latency:
        e = candidate.estimate()
        return Latency(
            latency_ms=e.ms,
            low_ms=e.low_ms,
            high_ms=e.high_ms,
            n=e.n,
            runtime=candidate.runtime.name,
            machine=fingerprint_id(self.machine),
            busy=busy,
            stopped=candidate.stopped,
            keep_rate=candidate.keep_rate,
            threads=self.threads,
            batch=self.batch,
        )


def _noise(shape: Sequence[int], n: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, *shape[1:]), dtype=np.uint8)


def _pixels(shape: Sequence[int], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, tuple(shape), dtype=np.uint8)

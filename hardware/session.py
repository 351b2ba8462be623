"""The measuring itself, in whatever process it is done: prepare, prove that the same is computed, visit in rounds.

Knows a net only as a Job, and the outside only as three clocks; hardware/server.py runs it in a process of its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

import numpy as np

from hardware import history
from hardware.estimate import level
from hardware.job import Job
from hardware.lock import exclusive, lock_name, shared
from hardware.quiet import quiet
from hardware.references import SHAPE, reference_files, references
from hardware.rounds import CALLS, FEWEST_AT_ONCE, MOST_CALLS, SLICE_S, VISIT_MS, VISITS, Candidate, Schedule
from hardware.runtimes import Runtime, make_runtime, runtime_class
from hardware.setting import Setting

BUSY_SLOW = 1.03  # references that slow against a quiet session
BUSY_CPU = 1.05  # wall over CPU time of one thread: somebody else had the core
# largest difference of fp32 logits from torch's, as a share of the largest: what is wrong differs by about 1, what is right by
# 1e-6, and where random weights amplify rounding by up to 3e-3 (seen among 60 nets)
SAME, SAME_ON_CUDA = 2e-2, 1e-1  # there in TF32, as torch has it
PATIENCE = 2  # waits of half the spread each, before measuring on a busy machine
LOOKS = 100  # visits of each reference on the first day
SAME_DECISIONS = 0.9  # share of images on which the gates may be asked to agree: a probability near 1/2 falls either way


class NotTheSame(ValueError):
    """A runtime does not compute what torch computes."""


@dataclass(frozen=True)
class Protocol:
    """At least `rounds` rounds spread over `spread_s` seconds, at most `max_rounds`; `seed`: of the order of visits."""

    rounds: int = 6
    max_rounds: int = 24
    spread_s: float = 2.0
    seed: int = 0


@dataclass
class Clocks:
    """Seconds. `cpu`: of the thread that calls, or of the whole process where nothing else runs in it."""

    wall: Callable[[], float] = time.perf_counter
    cpu: Callable[[], float] = time.thread_time
    sleep: Callable[[float], None] = time.sleep


@dataclass
class Session:
    """Measures with one setting. `slices`: when the device was held, monotonic seconds."""

    setting: Setting
    machine: str
    protocol: Protocol = field(default_factory=Protocol)
    clocks: Clocks = field(default_factory=Clocks)
    on_round: Callable[[int], None] = lambda done: None
    slices: list[tuple[float, float]] = field(default_factory=list)
    files: dict[str, bytes] | None = None  # of the references, where they are run from files and this process has no torch
    references: dict[str, Candidate] = field(default_factory=dict)
    kept: bool = False  # in the history: one session a process, for what differs between processes is what is asked of them

    def prepare(self, job: Job, max_ms: float | None = None) -> Candidate:
        """Ready to be visited, and proven to compute what torch computes; raises whatever a foreign net raises, NotTheSame."""
        with shared(lock_name(self.setting.device)):  # beside trainers and others that prepare, never beside a slice
            return self._prepared(job, max_ms)

    def _prepared(self, job: Job, max_ms: float | None) -> Candidate:
        runtime = self._runtime(job)
        batch, pixels = job.shape[0], job.pixels
        inputs = [runtime.load(pixels[i : i + batch]) for i in range(0, len(pixels) - batch + 1, batch)]
        rates, logits, kept = [], [], []
        with runtime.ready():
            for x in inputs:
                found, decisions = runtime.read(runtime.run(x))
                if not np.isfinite(found).all():
                    raise NotTheSame(f"its logits are not finite in {runtime.name}, though torch's are")
                rates.append(0.0 if decisions is None else float(decisions.mean()))
                logits.append(found)
                kept.append(decisions)
            if not job.gated:
                inputs = inputs[:1]  # the others were for the proof alone
            began = self.clocks.wall()
            runtime.timed_ms(inputs[0], self.clocks.wall)  # on CUDA a block of calls
            call_ms = max((self.clocks.wall() - began) * 1e3, 1e-6)
        parity = _parity(job, logits, kept, self.setting)
        candidate = Candidate(runtime, inputs, keep_rate=float(np.mean(rates)) if job.gated else None, parity=parity)
        if job.gated:
            candidate.calls = 1  # the rounds bring the calls an image
            candidate.at_once = max(FEWEST_AT_ONCE, int(SLICE_S * 1e3 / 2 / call_ms))
            if batch == 1:
                candidate.decided = tuple("".join("01"[int(k > 0.5)] for k in d.ravel()) for d in kept if d is not None)
        else:
            visit_ms = VISIT_MS if max_ms is None else max_ms / VISITS
            candidate.calls = min(MOST_CALLS, max(CALLS, int(visit_ms / call_ms) - 1))
            if max_ms is not None:  # two visits at least, for an interval
                candidate.calls = max(1, min(candidate.calls, int(max_ms / 2 / call_ms) - 1))
        return candidate

    def _runtime(self, job: Job) -> Runtime:
        setting = self.setting
        if job.gated and setting.on_cuda and not runtime_class(setting).skips:
            setting = setting.with_runtime("eager")  # a CUDA graph has no branches; the result says so
        runtime = make_runtime(setting)
        if job.onnx is not None:
            runtime.open(job.onnx)
            return runtime
        module = job.module
        if module is None:
            from hardware.subject import module_of

            module = module_of(job)
        runtime.prepare(module, job.shape, job.mean, job.std, job.pixels)
        return runtime

    def measure(self, found: list[Candidate], max_ms: float | None) -> tuple[bool, int]:
        """Visits until each has stopped; each then knows its pace and bias. Returns whether the machine was busy, and the GPU's
        clock in MHz (0 without)."""
        beside = self._references()
        key = "/".join([self.machine, self.setting.key, runtime_class(self.setting).version(), lock_name(self.setting.device)])
        if not (earlier := history.sessions(key)):
            earlier = [self._first_look(beside)]
            history.add(key, earlier[0])
        for candidate in found:
            candidate.bias = history.bias(earlier)
        self._back_off(beside, earlier)
        schedule = Schedule(**vars(self.protocol), **_named(self.clocks), on_round=self.on_round)
        with self._ready([*found, *beside.values()]):
            cpu_ratios = schedule.run(found, list(beside.values()), max_ms, self._undisturbed)
            clock_mhz = _gpu_clock_mhz(self.setting)
            now = _session_of(beside)
            busy = self._is_busy(now, earlier, cpu_ratios)
        pace = history.pace(now, earlier)
        for candidate in found:
            candidate.pace, candidate.pace_error = pace.factor, pace.error
        if not self.kept:
            self.kept = True
            history.add(key, now)
        return busy, clock_mhz

    def _back_off(self, beside: dict[str, Candidate], earlier: list[history.Session]) -> None:
        """Waits, a few times, for as long as the references run slower than in quiet; then it is measured all the same, and
        flagged if they still do."""
        for tries in range(PATIENCE + 1):
            for candidate in beside.values():
                candidate.forget()
            with self._ready(list(beside.values())), self._undisturbed():
                for _ in range(2):  # of two visits, as one may lie badly
                    for candidate in beside.values():
                        candidate.visit(self.clocks.wall)
            now = _session_of(beside)
            for candidate in beside.values():
                candidate.forget()
            if tries == PATIENCE or history.slower(now, earlier) <= BUSY_SLOW:
                return
            self.clocks.sleep(self.protocol.spread_s / 2)

    def _first_look(self, beside: dict[str, Candidate]) -> history.Session:
        """The references alone, for as long as finds their best pace: once a machine and setting, 4 s."""
        with self._ready(list(beside.values())):
            for _ in range(LOOKS // 10 if self.setting.on_cuda else LOOKS):  # there a recorded call is a block of 5 ms
                for candidate in beside.values():
                    with self._undisturbed():
                        candidate.visit(self.clocks.wall)
                self.clocks.sleep(self.protocol.spread_s / LOOKS)
        return _session_of(beside)

    def paired(self, instances: Sequence[tuple[Candidate, Candidate]], rounds: int) -> list[list[tuple[float, float]]]:
        """Visits both sides of each instance, one after the other in one slice; milliseconds of each visit."""
        seen: list[list[tuple[float, float]]] = [[] for _ in instances]
        order = Random(self.protocol.seed)
        with self._ready([side for pair in instances for side in pair]):
            for done in range(rounds):
                for i in order.sample(range(len(instances)), len(instances)):
                    with self._undisturbed():
                        for side in order.sample((0, 1), 2):
                            instances[i][side].visit(self.clocks.wall)
                    seen[i].append((instances[i][0].last_ms, instances[i][1].last_ms))
                self.on_round(done + 1)
                if done + 1 < rounds:
                    self.clocks.sleep(self.protocol.spread_s / max(1, rounds - 1))
        return seen

    def _references(self) -> dict[str, Candidate]:
        if not self.references:
            setting = replace(self.setting, batch=1)
            from_file = runtime_class(setting).from_file
            nets: dict[str, Any] = (self.files or reference_files()) if from_file else references()
            for name, net in nets.items():
                runtime = make_runtime(replace(setting, precision="fp32") if from_file else setting)
                if from_file:
                    runtime.open(net)
                else:
                    runtime.prepare(net, SHAPE)
                x = runtime.load(np.random.default_rng(0).integers(0, 256, SHAPE, dtype=np.uint8))
                self.references[name] = Candidate(runtime, [x], calls=CALLS if self.setting.on_cuda else MOST_CALLS // 2)
        return self.references

    @contextmanager
    def _ready(self, candidates: Sequence[Candidate]) -> Iterator[None]:
        with ExitStack() as stack:
            for runtime in {c.runtime.name: c.runtime for c in candidates}.values():
                stack.enter_context(runtime.ready())
            yield

    @contextmanager
    def _undisturbed(self) -> Iterator[None]:
        """A slice: the device's lock, no garbage collection, one core."""
        with exclusive(lock_name(self.setting.device)), quiet(pin=self.setting.threads == 1 and not self.setting.on_cuda):
            began = time.monotonic()
            try:
                yield
            finally:
                self.slices.append((began, time.monotonic()))

    def _is_busy(self, now: history.Session, earlier: list[history.Session], cpu_ratios: list[float]) -> bool:
        """The references are slower than in a quiet session here; or in the median round the one thread did not have its core to
        itself."""
        alone = self.setting.threads > 1 or self.setting.on_cuda or float(np.median(cpu_ratios)) <= BUSY_CPU
        return not alone or history.slower(now, earlier) > BUSY_SLOW


def _session_of(beside: dict[str, Candidate]) -> history.Session:
    least = {name: min(c.visits_ms) for name, c in beside.items()}
    return history.Session(least, {name: float(np.exp(level(c.visits_ms).log_ms)) for name, c in beside.items()})


def _named(clocks: Clocks) -> dict[str, Any]:
    return {"clock": clocks.wall, "cpu_clock": clocks.cpu, "sleep": clocks.sleep}


def _parity(job: Job, logits: list[np.ndarray], kept: list[np.ndarray | None], setting: Setting) -> float:
    """Largest difference from torch's logits as a share of the largest; of a gated net on the images with the same decisions."""
    n = len(job.logits)
    ours, theirs = np.concatenate(logits)[:n], job.logits
    if job.gated and job.kept is not None:
        decisions = np.concatenate([k for k in kept if k is not None])[:n]
        same = (decisions == job.kept).all(axis=1)
        if same.mean() < SAME_DECISIONS and setting.precision == "fp32" and not setting.on_cuda:
            raise NotTheSame(f"its gates decide otherwise than torch's on {1 - same.mean():.0%} of the images: not timed")
        ours, theirs = ours[same], theirs[same]
    if not len(ours):
        return float("nan")
    difference = float(np.abs(ours - theirs).max() / max(float(np.abs(theirs).max()), 1e-12))
    if setting.precision == "fp32" and not difference <= (SAME_ON_CUDA if setting.on_cuda else SAME):
        raise NotTheSame(f"its logits differ from torch's by {difference:.1e} of the largest: not timed")
    return difference


def _gpu_clock_mhz(setting: Setting) -> int:
    """Read, never set."""
    if not setting.on_cuda:
        return 0
    from hardware.machine import gpu_clock_mhz

    return gpu_clock_mhz(setting.device)

"""The measuring protocol: a latency that carries its interval, of any nets, side by side.

    with Meter("cpu") as meter:
        rows = meter.measure([a, b], max_ms=50)       # -> .latency_ms .low_ms .high_ms .n .stopped .busy ...

It is done in a process of its own (hardware/client.py), which is begun with the Meter and holds nothing but the nets. All nets
and three fixed reference nets are visited in short rounds, in shuffled order: one call unrecorded, four recorded (up to forty of
a small net). At least 6 rounds lie spread over 2 seconds, for what disturbs (other processes, clocks) lasts longer than a burst
of calls; hardware/estimate.py makes a value and its interval from the visits. A slice of a round holds the device's lock,
collects no garbage and, with one thread, sits on one core. docs/results/latency.md holds this protocol beside timm's and
torch's.

A gated net's latency depends on the image: it is the mean over images of each image's own, with its own decisions; at batch 1
hardware/spread.py says how it spreads (p50, p95, executed blocks). Expect 2-4 s a session plus 0.1-0.3 s a net for the export.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from hardware.client import Client, Died
from hardware.comparison import Comparison, of_pairs
from hardware.errors import MeasureError as MeasureError
from hardware.errors import one_line
from hardware.estimate import Estimate, together
from hardware.export import Stats
from hardware.job import Job
from hardware.latency import Latency as Latency
from hardware.lock import lock_name, shared
from hardware.machine import fingerprint, fingerprint_id
from hardware.memory import refuse_too_large
from hardware.references import reference_files
from hardware.rounds import Candidate
from hardware.runtimes import DEFAULTS, make_runtime, setting_of
from hardware.server import row_of
from hardware.session import Clocks, Protocol, Session
from hardware.setting import Setting
from hardware.spread import spread_of
from hardware.subject import job_of, subject_of, travels

INSTANCES = 3  # of each net in a comparison


class Meter:
    """Measures on one device ("cpu", "cuda", "cuda:1") with one runtime (default: onnxruntime, on CUDA
    cuda_graph); hardware/setting.py says what threads, batch and `more` (precision, channels_last, flush_l2) mean.

    rounds, max_rounds, spread_s: the protocol above; seed: of the order of visits and of the pixels of static
    nets. clock, cpu_clock (seconds) and sleep can be replaced, for tests: then this process measures; on_round is told the
    number of rounds that are done. Raises RuntimeUnavailable, ValueError."""

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
        **more: Any,
    ):
        if rounds < 1:
            raise ValueError(f"rounds: {rounds} is not at least 1")
        runtime = runtime or DEFAULTS.get(device.partition(":")[0], "")
        self.setting = Setting(device, runtime, threads, batch, **more)
        made = make_runtime(self.setting)
        self.device, self.threads, self.batch, self.runtime, self.on_cuda = device, threads, batch, made.name, made.on_cuda
        self.engine, self._from_file = made.version(), made.from_file
        self.protocol: dict[str, Any] = {
            "rounds": rounds,
            "max_rounds": max(rounds, max_rounds),
            "spread_s": spread_s,
            "seed": seed,
        }
        self.on_round = on_round
        self.machine = fingerprint()
        self.slices: list[tuple[float, float]] = []  # when the device was held, monotonic seconds
        self._clocks = Clocks(clock, cpu_clock, sleep)
        self._here: Session | None = None
        self._client: Client | None = None
        self._made_up = clock is not time.perf_counter
        if not self._made_up:
            self._client = self._begin()  # before the caller's threads train

    @classmethod
    def of(cls, hardware: Mapping[str, Any], **more: Any) -> Meter:
        """For the group `hardware` of a configuration; `more`: as above."""
        protocol = {k: hardware[k] for k in ("rounds", "spread_s") if k in hardware}
        return cls(**{**setting_of(hardware).to_dict(), **protocol, **more})

    def __enter__(self) -> Meter:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the measuring process."""
        if self._client is not None:
            self._client.close()
        self._client, self._here = None, None

    def measure(
        self,
        nets: Sequence[Any],
        input_shape: Sequence[int] | Sequence[Sequence[int]] | None = None,
        max_ms: float | None = None,
        images: Any = None,
        mean: Stats = None,
        std: Stats = None,
        processes: int = 1,
        calibration: Any = None,
    ) -> list[Latency]:
        """Latencies in the order of `nets`: Architectures (built with random weights), names (as measure.py takes them) or
        modules; a Network knows its input, another module needs `input_shape` (1, C, H, W), one for all or one each. `images`:
        (n >= 64, C, H, W) raw pixels for gated nets to decide on and for the proof that the runtime computes what torch
        computes, resized where a net wants another resolution; without them they are noise, and so are decisions. `max_ms`:
        budget for each net's own calls, but never fewer than two (four an image). `processes`: so many fresh ones measure,
        their slices in turns. `calibration`: as images, for int8 (training images; without them `images`). Raises MeasureError
        when a net cannot be measured (none is then), ValueError for a senseless max_ms."""
        if max_ms is not None and max_ms <= 0:
            raise ValueError(f"max_ms: {max_ms} is not positive")
        jobs = self._jobs(nets, input_shape, images, mean, std, calibration)
        if not jobs:
            return []
        if self._made_up or not all(travels(job) for job in jobs):
            return self._latencies([self._measured_here(jobs, max_ms)], "caller")
        if processes == 1:
            return self._latencies([self._measured(jobs, max_ms)], "own")
        return self._latencies(self._measured_afresh(jobs, max_ms, processes), "own")

    def compare(
        self, first: Any, second: Any, input_shape: Sequence[int] | None = None, images: Any = None, mean: Stats = None,
        std: Stats = None, rounds: int = 12,
    ) -> Comparison:  # fmt: skip
        """Whether `first` is faster than `second`, in interleaved pairs; arguments as of `measure`. Raises MeasureError."""
        jobs = self._jobs([first, second], input_shape, images, mean, std) * INSTANCES
        if self._made_up or not all(travels(job) for job in jobs):
            session = self._session()
            made = self._prepared(session, jobs, None)
            pairs = session.paired(list(zip(made[::2], made[1::2], strict=True)), rounds)
            self._take_slices(session)
        else:
            told = self._asked(lambda client: client.pairs(jobs, rounds, self.on_round), jobs)
            pairs = [[(a, b) for a, b in instance] for instance in told["pairs"]]
        return of_pairs(pairs)

    def _jobs(
        self, nets: Sequence[Any], input_shape: Any, images: Any, mean: Stats, std: Stats, calibration: Any = None
    ) -> list[Job]:
        each = input_shape is not None and len(input_shape) > 0 and not isinstance(input_shape[0], (int, np.integer))
        shapes: list[Any] = list(input_shape or ()) if each else [input_shape] * len(nets)
        if len(shapes) != len(nets):
            raise ValueError(f"input_shape: {len(shapes)} shapes for {len(nets)} nets")
        found: list[Job] = []
        bad: dict[int, str] = {}
        for i, net in enumerate(nets):
            subject = None
            try:
                refuse_too_large(net, shapes[i], self.batch)
                with shared(lock_name(self.device)):  # exporting takes all cores: never beside another's slice
                    subject = subject_of(net, shapes[i], self.batch)
                    if isinstance(net, str):
                        refuse_too_large(subject.module, subject.shape, self.batch)
                    found.append(job_of(subject, self.setting, self._from_file, images, mean, std, calibration))
            except Exception as error:  # a foreign net may raise anything; it is named, with its reason
                name = subject.name if subject else getattr(net, "id", None) or (net if isinstance(net, str) else f"net {i}")
                bad[i] = f"{name}: {one_line(error)}"
        if bad:
            raise MeasureError(bad)
        return found

    def _begin(self) -> Client:
        files = reference_files() if self._from_file else {}
        return Client(self.setting, Protocol(**self.protocol), fingerprint_id(self.machine), files)

    def _session(self) -> Session:
        if self._here is None:
            protocol = Protocol(**self.protocol)
            self._here = Session(self.setting, fingerprint_id(self.machine), protocol, self._clocks, self.on_round)
        return self._here

    def _measured_here(self, jobs: list[Job], max_ms: float | None) -> dict[str, Any]:
        session = self._session()
        found = self._prepared(session, jobs, max_ms)
        busy, clock_mhz = session.measure(found, max_ms)
        self._take_slices(session)
        return {"rows": [row_of(c) for c in found], "busy": busy, "clock_mhz": clock_mhz}

    def _take_slices(self, session: Session) -> None:
        self.slices += session.slices
        session.slices.clear()

    def _prepared(self, session: Session, jobs: list[Job], max_ms: float | None) -> list[Candidate]:
        found, bad = [], {}
        for i, job in enumerate(jobs):
            try:
                found.append(session.prepare(job, max_ms))
            except Exception as error:  # as in _jobs
                bad[i] = f"{job.name}: {one_line(error)}"
        if bad:
            raise MeasureError(bad)
        return found

    def _measured(self, jobs: list[Job], max_ms: float | None) -> dict[str, Any]:
        return self._asked(lambda client: client.measure(jobs, max_ms, self.on_round), jobs)

    def _measured_afresh(self, jobs: list[Job], max_ms: float | None, processes: int) -> list[dict[str, Any]]:
        """In fresh processes at once: the device's lock interleaves their slices."""
        fresh = [self._begin() for _ in range(processes)]
        for job in jobs:
            fresh[0].pack(job)
        tell = [self.on_round, *[lambda done: None] * (processes - 1)]
        with ThreadPoolExecutor(processes) as pool:
            try:
                asked = [pool.submit(c.measure, jobs, max_ms, on_round) for c, on_round in zip(fresh, tell, strict=True)]
                return [self._told(future.result(), jobs) for future in asked]
            except Died as death:
                raise MeasureError(_blame(death, jobs)) from None
            finally:
                for client in fresh:
                    client.close()  # before the pool waits for its threads: who is stopped (Ctrl-C) should not wait

    def _asked(self, ask: Callable[[Client], dict[str, Any]], jobs: list[Job]) -> dict[str, Any]:
        if self._client is None:
            self._client = self._begin()
        try:
            return self._told(ask(self._client), jobs)
        except Died as death:
            self._client = None  # the next measurement begins another
            raise MeasureError(_blame(death, jobs)) from None
        except MeasureError:  # a whole answer
            raise
        except BaseException:  # Ctrl-C in the middle of an answer: nobody would know what the next one belongs to
            if self._client is not None:
                self._client.close()
            self._client = None
            raise

    def _told(self, told: dict[str, Any], jobs: list[Job]) -> dict[str, Any]:
        self.slices += [(began, ended) for began, ended in told.get("slices", [])]
        if told["bad"]:
            raise MeasureError({i: f"{jobs[i].name}: {why}" for i, why in told["bad"].items()})
        return told

    def _latencies(self, told: list[dict[str, Any]], process: str) -> list[Latency]:
        found = []
        for rows in zip(*(one["rows"] for one in told), strict=True):
            e = together([Estimate(**{k: row[k] for k in Estimate.__dataclass_fields__}) for row in rows])
            first = rows[0]
            found.append(
                Latency(
                    latency_ms=e.ms,
                    low_ms=e.low_ms,
                    high_ms=e.high_ms,
                    n=e.n,
                    runtime=first["runtime"],
                    machine=fingerprint_id(self.machine),
                    busy=any(one["busy"] for one in told),
                    stopped=first["stopped"],
                    keep_rate=first["keep_rate"],
                    threads=self.threads,
                    batch=self.batch,
                    precision=self.setting.precision,
                    least_ms=e.least_ms,
                    pace=first["pace"],
                    parity=max(row["parity"] for row in rows),
                    engine=self.engine,
                    process=process,
                    processes=len(told),
                    clock_mhz=told[0]["clock_mhz"],
                    visits_ms=tuple(first["visits_ms"]),
                    spread=spread_of(first["decided"], [r["images_ms"] for r in rows], e.ms) if "decided" in first else None,
                )
            )
        return found


def _blame(death: Died, jobs: Sequence[Job]) -> dict[int, str]:
    """The net that it was preparing; while it measured, nobody can tell which, and all of them are named."""
    at = range(len(jobs)) if death.at is None else [death.at]
    return {i: f"{jobs[i].name}: {death}" for i in at}

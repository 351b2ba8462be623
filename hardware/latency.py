"""What a measurement says of one net."""

from __future__ import annotations

from dataclasses import dataclass

from hardware.spread import Spread


@dataclass(frozen=True)
class Latency:
    """One net's latency a call (of `batch` images), in milliseconds, with its 95 % interval.

    n: recorded calls (on CUDA: blocks of about 5 ms); machine: hardware.machine.fingerprint_id; busy: the
    references or the CPU clock say that the machine was disturbed; stopped: "within 1 %", "24 rounds" or
    "max_ms"; keep_rate: share of gated blocks that ran, None for a static net; precision: fp32 (on CUDA with
    torch's own default for TF32); least_ms: the least that was seen; pace: the factor by which the reference nets
    brought the value to the machine's best pace (hardware/history.py); parity: largest difference from torch's logits as
    a share of the largest; process: "own", or "caller" for a module that no other process can make; processes: in how many
    it was measured; clock_mhz: of a GPU, after; visits_ms: the least call of each visit of (the first) process; spread: over
    images, of a gated net at batch 1."""

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
    least_ms: float = 0.0
    pace: float = 1.0
    parity: float = 0.0
    engine: str = ""
    process: str = "own"
    processes: int = 1
    clock_mhz: int = 0
    visits_ms: tuple[float, ...] = ()
    spread: Spread | None = None

"""One trial: a net -> Measurements. Latency first: a static net over the budget is not trained.

    build -> parameters, mult-adds -> latency -> over budget? stop -> train -> val top-1
          -> gated nets: latency and keep rate on validation images, after training -> Measurements

Trainers and hardware meet here. The test images are not within reach: the data was loaded without them.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from hardware.lock import lock_name, shared
from hardware.meter import Latency, Meter
from hardware.predictor import LatencyPredictor
from hardware.subject import settled
from searchspace.architecture import Architecture
from searchspace.complexity import count
from searchspace.inputs import own_resolution
from searchspace.named import resolve
from searchspace.network import Network, build, closed
from study.known import known_latency, known_top1, new_latency, new_top1
from study.reuse import Reuse
from study.settings import Settings
from trainers.data import ImageData
from trainers.objectives import Objective
from trainers.recipe import Fit, Recipe

LEAST_KEPT = 0.25  # share of gated blocks; a net that keeps less is a shallower net at the price of training a deep one
CALIBRATION = 128  # training images for int8
IMAGES = 64  # validation images that a gated net's latency is the mean of in the search
DEPLOYED = 256  # of a net that is kept: a p95 of 64 images would hang on three of them
Report = Callable[[str, Any], None]  # called with a key and a value as soon as it is known


class OverBudget(Exception):
    """A net slower than `max_latency_ms`; `ms`: what says so, measured or predicted."""

    def __init__(self, why: str, ms: float):
        super().__init__(why)
        self.ms = ms


@dataclass(frozen=True)
class Candidate:
    """A net to try: an architecture, or the name of a module that is none (timm:..., your own function)."""

    architecture: Architecture | None = None
    net: str = ""

    @property
    def id(self) -> str:
        if self.architecture is not None:
            return self.architecture.id
        return "m" + hashlib.sha256(self.net.encode()).hexdigest()[:10]

    @property
    def gated(self) -> bool:
        return self.architecture is not None and bool(self.architecture.gates)


@dataclass(frozen=True)
class Measurements:
    """What a trial found. Top-1 in percent, latency in milliseconds with its 95 % interval and number of calls."""

    top1_val: float
    latency_ms: float
    latency_low_ms: float
    latency_high_ms: float
    latency_n: int
    latency_busy: bool
    runtime: str
    keep_rate: float | None
    macs_m: float
    params_m: float
    epochs: int
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


class Bench:
    """What trials of one process share: settings, data, the meter. `predictor`: of what was measured so far, once there is
    enough of it; `reuse`: what other studies know; `until`: the epoch after
    which a trial of the search is judged (study/halving.py), None: the last; `checkpoints`: their folder, None: none are kept."""

    predictor: LatencyPredictor | None = None
    reuse: Reuse | None = None
    until: int | None = None
    checkpoints: Path | None = None

    def __init__(self, settings: Settings, data: ImageData, meter: Meter):
        self.settings, self.data, self.meter = settings, data, meter
        self.space = settings.space(len(data.classes), data.channels)
        self._pixels: dict[str, int | None] = {}  # name of a module -> what it says itself

    def candidate(self, name: str) -> Candidate:
        """The candidate of an anchor's name, fitted to the data."""
        net = resolve(name, self.settings.data["resolution"], len(self.data.classes), self.data.channels, self.space.min_map)
        if isinstance(net, Network):
            net = net.architecture
        return Candidate(net, name) if isinstance(net, Architecture) else Candidate(None, name)

    def make(self, candidate: Candidate, seed: int) -> nn.Module:
        """The net with fresh weights of that seed."""
        torch.manual_seed(seed)
        if candidate.architecture is not None:
            return build(candidate.architecture)
        return self._made(candidate.net)

    def _made(self, name: str) -> nn.Module:
        made = resolve(name, self.settings.data["resolution"], len(self.data.classes), self.data.channels)
        assert isinstance(made, nn.Module)
        self._pixels[name] = own_resolution(made)
        return made

    def resolution(self, candidate: Candidate) -> int:
        """Pixels: the net's own, else the data's."""
        if candidate.architecture:
            return candidate.architecture.resolution
        if candidate.net and candidate.net not in self._pixels:
            with torch.random.fork_rng(devices=[]):
                self._made(candidate.net)
        return self._pixels.get(candidate.net) or int(self.settings.data["resolution"])

    def input_shape(self, candidate: Candidate) -> tuple[int, int, int, int]:
        """(batch, channels, height, width) of a measurement."""
        size = self.resolution(candidate)
        return self.settings.hardware["batch"], self.data.channels, size, size

    def recipe(self, epochs: int, seed: int) -> Recipe:
        """The recipe of all nets of this study."""
        t, device = self.settings.trainer, self.settings.hardware["device"]
        precision = t["precision"]
        if precision == "auto":
            precision = "bf16-mixed" if device == "cuda" else "32-true"
        return Recipe(
            epochs=epochs,
            lr=t["lr"],
            momentum=t["momentum"],
            weight_decay=t["weight_decay"],
            warmup_epochs=t["warmup_epochs"],
            label_smoothing=t["label_smoothing"],
            batch_size=t["batch_size"],
            seed=seed,
            precision=precision,
            channels_last=t["channels_last"],
            threads=t["threads"],
            device=device,
        )

    def fit(
        self, candidate: Candidate, net: nn.Module, recipe: Recipe, on_epoch: Callable[[int, float], None],
        data: ImageData | None = None, checkpoint: Path | None = None, objective: Objective | None = None,
        until: int | None = None,
    ) -> Fit:  # fmt: skip
        """Trains in place, on the device that it shares with whoever measures: a meter gets its turn between two steps."""
        from trainers.supervised import fit  # with Lightning, three seconds that a parent does without

        with shared(lock_name(recipe.device)) as breathe:
            return fit(
                net, data or self.data, recipe, on_epoch, checkpoint, self.resolution(candidate), breathe, objective, until
            )  # fmt: skip

    def checkpoint(self, candidate: Candidate, seed: int) -> Path | None:
        """Where a training that may go on later is kept."""
        if self.checkpoints is None:
            return None
        self.checkpoints.mkdir(parents=True, exist_ok=True)
        return self.checkpoints / f"{candidate.id}-s{seed}.ckpt"

    def latency(self, candidate: Candidate, net: nn.Module, deployed: bool = False) -> Latency:
        """On this study's hardware. On validation images a runtime proves that it computes what torch does, and a gated net
        makes its own decisions; `deployed`: on more of them, of a net that is kept."""
        # before training a value is measured, not these weights: the meter settles them, for the activations of a net that
        # was never trained shrink layer by layer into denormal numbers, which are slow
        subject = net if candidate.gated or candidate.architecture is None else candidate.architecture
        return self.meter.measure(
            [subject], input_shape=self.input_shape(candidate), images=self.images(deployed), mean=self.data.mean,
            std=self.data.std, calibration=self.calibration(),
        )[0]  # fmt: skip

    def bounds(self, architecture: Architecture) -> tuple[Latency, Latency]:
        """A gated net with all gates closed, and without gates."""
        size = architecture.resolution
        shape = (self.settings.hardware["batch"], self.data.channels, size, size)
        least, dense = self.meter.measure(
            [closed(cast(Network, settled(architecture))), architecture.without_gates()],
            input_shape=shape, images=self.images(), mean=self.data.mean, std=self.data.std,
        )  # fmt: skip
        return least, dense

    def images(self, deployed: bool = False) -> np.ndarray:
        """Validation images that gated nets decide on; as many as a batch at least."""
        batch = self.settings.hardware["batch"]
        return deployed_sample(self.data, batch) if deployed else self.data.sample(max(IMAGES, batch))

    def calibration(self) -> np.ndarray | None:
        """Training images, where int8 needs its ranges."""
        return self.data.sample(CALIBRATION, train=True) if self.settings.hardware.get("precision") == "int8" else None


def deployed_sample(data: ImageData, least: int = 1) -> np.ndarray:
    """(n, C, H, W): 256 validation images, fewer where there are fewer, for the latency of a gated net that is kept."""
    return data.sample(max(IMAGES, least, min(DEPLOYED, data.val_images)))


def run_trial(
    candidate: Candidate, bench: Bench, seed: int, report: Report, on_epoch: Callable[[int, float], None]
) -> Measurements:
    """Raises OverBudget, and whatever building, exporting, measuring or training raises."""
    begun = time.monotonic()
    settings = bench.settings
    net = bench.make(candidate, seed)
    counted = count(net, bench.input_shape(candidate))
    report("macs_m", counted.macs / 1e6)
    report("params_m", counted.params / 1e6)
    latency: Latency | None = None
    budget = settings.max_latency_ms
    recipe, until = bench.recipe(settings.epochs, seed), bench.until
    report("doing", "measuring")
    if not candidate.gated:
        latency = known_latency(candidate, bench, recipe, report)
        if budget is not None and latency is None:
            _refuse_by_prediction(candidate, bench.predictor, budget, report)
        latency = latency or new_latency(candidate, bench, net, recipe)
        _tell(report, latency, bench.meter)
        if budget is not None and latency.latency_ms > budget:
            raise OverBudget(f"{latency.latency_ms:.3g} ms is over max_latency_ms={budget:g}: not trained", latency.latency_ms)
    elif budget is not None and candidate.architecture is not None:
        # what it will decide is not known before training, but what it would have to decide is
        least, dense = bench.bounds(candidate.architecture)
        if dense.runtime == least.runtime:
            report("dense_ms", dense.latency_ms)  # the predictor learns of it
        if least.low_ms > budget:
            _tell(report, least, bench.meter)
            why = f"with all gates closed {least.latency_ms:.3g} ms is over max_latency_ms={budget:g}: not trained"
            raise OverBudget(why, least.latency_ms)
        most = least.latency_ms + LEAST_KEPT * (dense.low_ms - least.latency_ms)
        if dense.low_ms > budget and dense.runtime == least.runtime and most > budget:
            _tell(report, dense, bench.meter)
            raise OverBudget(
                f"without gates {dense.latency_ms:.3g} ms: max_latency_ms={budget:g} allows it to keep less than "
                f"{LEAST_KEPT:.0%} of its gated blocks: not trained",
                dense.latency_ms,
            )
    report("doing", "training")
    if (top1 := known_top1(candidate, bench, recipe, report, until)) is None:
        top1 = new_top1(candidate, bench, net, recipe, report, on_epoch, until)
    elif latency is None:
        latency = known_latency(candidate, bench, recipe, report, until)
        assert latency is not None  # known_top1 has seen it
        _tell(report, latency, bench.meter)
    if latency is None:
        report("doing", "measuring")
        latency = new_latency(candidate, bench, net, recipe, until)
        _tell(report, latency, bench.meter)
    return Measurements(
        top1_val=top1, latency_ms=latency.latency_ms, latency_low_ms=latency.low_ms, latency_high_ms=latency.high_ms,
        latency_n=latency.n, latency_busy=latency.busy, runtime=latency.runtime, keep_rate=latency.keep_rate,
        macs_m=counted.macs / 1e6, params_m=counted.params / 1e6, epochs=until or settings.epochs,
        seconds=time.monotonic() - begun,
    )  # fmt: skip


def _refuse_by_prediction(candidate: Candidate, predictor: LatencyPredictor | None, budget: float, report: Report) -> None:
    """A found net that is over the budget by more than the predictor errs in 95 % of cases; anchors, which the report shows, are
    measured."""
    if predictor is None or candidate.architecture is None or candidate.net:
        return
    if predictor.clearly_over(candidate.architecture, budget):
        ms = predictor.predict(candidate.architecture)
        report("predicted_ms", ms)
        raise OverBudget(
            f"predicted {ms:.3g} ms (from {predictor.n} nets measured here; 95 % are predicted within {predictor.upper:.0%}) is "
            f"over max_latency_ms={budget:g}: neither measured nor trained",
            ms,
        )


def _tell(report: Report, latency: Latency, meter: Meter) -> None:
    report("slices", [(round(began, 6), round(ended, 6)) for began, ended in meter.slices])  # when the device was held
    meter.slices.clear()
    for key in ("machine", "engine", "precision", "threads", "batch", "pace", "least_ms"):
        report(key, getattr(latency, key))
    report("latency_ms", latency.latency_ms)
    report("latency_low_ms", latency.low_ms)
    report("latency_high_ms", latency.high_ms)
    report("latency_n", latency.n)
    report("keep_rate", latency.keep_rate)

"""A training or a latency: from the ledger where it is known, else made here and written down for others (study/reuse.py)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from hardware.latency import Latency
from study.reuse import SAME_TOP1, digest_of, load_weights
from trainers.data import ImageData
from trainers.judged import evaluate
from trainers.recipe import CheckpointUnusable, Recipe

if TYPE_CHECKING:
    from study.trial import Bench, Candidate

Report = Callable[[str, Any], None]
OnEpoch = Callable[[int, float], None]


def known_latency(candidate: Candidate, bench: Bench, recipe: Recipe, report: Report, until: int | None = None) -> Latency | None:
    """From the ledger; tells `latency_from`, the study that measured it."""
    found = bench.reuse.latency(candidate, recipe, until) if bench.reuse else None
    if found is None:
        return None
    report("latency_from", found[1])
    return found[0]


def new_latency(candidate: Candidate, bench: Bench, net: nn.Module, recipe: Recipe, until: int | None = None) -> Latency:
    """Measured now, and kept."""
    latency = bench.latency(candidate, net)
    if bench.reuse:
        bench.reuse.keep_latency(candidate, latency, recipe, until)
    return latency


def known_top1(candidate: Candidate, bench: Bench, recipe: Recipe, report: Report, until: int | None = None) -> float | None:
    """Val top-1 in percent from the ledger; tells `reused_from`, the study that trained it. A gated net is known only with the
    latency of its decisions: without its weights they cannot be measured."""
    if bench.reuse is None or (found := bench.reuse.accuracy(candidate, recipe, until)) is None:
        return None
    if candidate.gated and bench.reuse.latency(candidate, recipe, until) is None:
        return None
    report("reused_from", found[2])
    return found[0]


def new_top1(candidate: Candidate, bench: Bench, net: nn.Module, recipe: Recipe, report: Report, on_epoch: OnEpoch,
             until: int | None = None) -> float:  # fmt: skip
    """Trains, and keeps val top-1 (percent) after each epoch. Where trials may go on later, goes on from the checkpoint; without
    one that can be used from the seed. Tells `epochs_run`, the epochs that this trial really cost, as they are run."""
    curve: dict[int, float] = {}

    def each(epoch: int, top1: float) -> None:
        curve[epoch] = top1
        report("epochs_run", len(curve))
        on_epoch(epoch, top1)

    checkpoint = bench.checkpoint(candidate, recipe.seed) if bench.checkpoints else None
    more: dict[str, Any] = {} if until is None and checkpoint is None else {"checkpoint": checkpoint, "until": until}
    try:
        trained = bench.fit(candidate, net, recipe, each, **more)
    except CheckpointUnusable as error:
        report("checkpoint_unusable", str(error)[:300])
        assert checkpoint is not None
        checkpoint.unlink(missing_ok=True)
        trained = bench.fit(candidate, net, recipe, each, **more)
    curve.setdefault(trained.epochs, trained.top1_val)  # of a checkpoint that was that far already
    if bench.reuse:
        whole = trained.epochs == recipe.epochs  # what a part of the schedule kept says nothing of the whole
        more_of_it = {"keep_rate": trained.keep_rate, "seconds": trained.seconds} if whole else {}
        bench.reuse.keep_accuracy(candidate, recipe, curve, **more_of_it)
    return trained.top1_val


def known_finalist(
    candidate: Candidate, bench: Bench, recipe: Recipe, data: ImageData, test: Callable[[], tuple[Tensor, Tensor]], report: Report
) -> tuple[nn.Module, dict[str, Any] | None]:
    """A finalist that another study trained and tested by the same recipe, on the same test images: the net, and its top1_val,
    top1_test and keep_rate. Of seed 0, whose weights this study keeps too, they are loaded and must give the recorded test
    accuracy; where none do it tells `trained_again`. None, and a fresh net: it has to be trained."""
    net = bench.make(candidate, recipe.seed)
    found = bench.reuse.accuracy(candidate, recipe) if bench.reuse else None
    if found is None or "top1_test" not in found[1] or found[1]["test"] != digest_of(test()):
        return net, None
    top1, value, study = found
    why = "" if recipe.seed else f"{study} did not come to save its weights"
    for folder in value.get("weights", {}).values() if recipe.seed == 0 else ():
        if not (why := load_weights(net, folder)):
            net.to(recipe.device)
            top1_test, _ = evaluate(net, *test(), data, bench.resolution(candidate), device=recipe.device)
            if abs(top1_test - value["top1_test"]) <= SAME_TOP1:
                break
            why = f"{folder} gives {top1_test:.2f} % on the test images where {study} had {value['top1_test']:.2f} %"
    if why:
        report("trained_again", why)
        return bench.make(candidate, recipe.seed), None
    report("reused_from", study)
    return net, {"top1_val": top1, "top1_test": value["top1_test"], "keep_rate": value["keep_rate"]}


def keep_finalist(candidate: Candidate, bench: Bench, recipe: Recipe, found: dict[str, Any], curve: dict[int, float],
                  test: tuple[Tensor, Tensor], weights: Path | None) -> None:  # fmt: skip
    """Writes a finalist down. `curve`: empty of one that was not trained here; `weights`: its folder nets/<id>."""
    if bench.reuse is None:
        return
    more: dict[str, Any] = {"weights": {bench.settings.name: str(weights.resolve())}} if weights else {}
    if curve:
        more |= {"top1_test": found["top1_test"], "test": digest_of(test), "keep_rate": found["keep_rate"],
                 "seconds": found["seconds"]}  # fmt: skip
    bench.reuse.keep_accuracy(candidate, recipe, curve, **more)

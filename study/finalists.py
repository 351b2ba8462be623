"""The finalists: the front nets and the anchors, all by the full recipe and the same seeds, tested once, then measured side
by side in three fresh processes.

They are trials of a second study, `<name>.finalists`, so that workers share them and a killed one is tried again. Only
here is the data loaded with its test images; they are opened once per net and seed.
"""

from __future__ import annotations

import time
from functools import cache
from pathlib import Path
from typing import Any

import optuna
import torch
from optuna.trial import TrialState

from analysis.pareto import front_mask
from hardware.export import parity, to_onnx
from hardware.machine import fingerprint
from hardware.subject import pixels_for
from searchspace import card
from searchspace.architecture import Architecture
from searchspace.complexity import count
from study.halving import in_full
from study.known import keep_finalist, known_finalist
from study.rungs import Plan
from study.storing.failure import recorded
from study.storing.storage import FINALISTS, HALVING, is_row, mine, open_study
from study.storing.taking import take
from study.tracking import Tracker
from study.trial import IMAGES, Bench, Candidate
from trainers.data import ImageData, load
from trainers.judged import evaluate

WAIT_S = 0.5


def queue_finalists(study: optuna.Study, storage: optuna.storages.BaseStorage, bench: Bench, lead: bool) -> optuna.Study:
    """The study of finalists, filled by a leading worker: every net's first seed before any net's second."""
    finals = open_study(storage, study.study_name + FINALISTS, ["maximize"])
    wanted = bench.settings.n_trials
    if not lead:
        while finals.user_attrs.get("queued_for", 0) < wanted:
            time.sleep(WAIT_S)
        return finals
    there = {(t.user_attrs["id"], t.user_attrs["seed"]) for t in finals.get_trials(deepcopy=False) if is_row(t)}
    halved = Plan.of(bench.settings) is not None
    promotions = open_study(storage, study.study_name + HALVING, ["maximize"]) if halved else None
    for seed in range(bench.settings.finalists["seeds"]):
        for attrs in chosen(study, bench.settings.max_latency_ms, promotions):
            if (attrs["id"], seed) not in there:
                finals.enqueue_trial({}, user_attrs={**attrs, "seed": seed})
    finals.set_user_attr("queued_for", wanted)
    return finals


def chosen(study: optuna.Study, max_latency_ms: float | None, promotions: optuna.Study | None = None) -> list[dict[str, Any]]:
    """Anchors that trained and nets on the front of val top-1 against latency, within the budget; each once. With `promotions`
    (study/halving.py) the front is that of the nets trained in full, by the mean of their seeds."""
    done = {t.number: t.user_attrs for t in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)) if is_row(t)}
    full = [(n, a["top1_val"], a["latency_ms"]) for n, a in done.items()] if promotions is None else in_full(study, promotions)
    within = [(n, top1, ms) for n, top1, ms in full if max_latency_ms is None or ms <= max_latency_ms]
    front = front_mask([top1 for _, top1, _ in within], [ms for _, _, ms in within])
    on_front = {n for (n, _, _), is_on in zip(within, front) if is_on}
    nets = [a for n, a in done.items() if a["origin"] == "anchor" or n in on_front]
    return [{k: a[k] for k in ("id", "net", "origin", "architecture") if k in a} for a in nets]


def train_finalists(finals: optuna.Study, bench: Bench, folder: Path, tracking: Tracker) -> None:
    """Takes finalists until all of them are done."""
    d = bench.settings.data
    data: ImageData | None = None

    def objective(trial: optuna.Trial) -> float:
        nonlocal data
        data = data or load(d["name"], path=d["path"], fraction=d["fraction"], crop=d["crop"], flip=d["flip"], with_test=True)
        trial.set_user_attr("runner", mine())
        with recorded(trial):
            return _train(trial, bench, data, folder)

    while True:
        states = [t.state for t in finals.get_trials(deepcopy=False)]
        if TrialState.WAITING in states:
            take(finals, objective)
        elif TrialState.RUNNING in states:
            time.sleep(WAIT_S)
        else:
            return


def _train(trial: optuna.Trial, bench: Bench, data: ImageData, folder: Path) -> float:
    attrs = trial.user_attrs
    if "id" not in attrs:  # every finalist is queued; two workers that reach for the last one leave one empty-handed
        trial.set_user_attr("withdrawn", True)
        raise optuna.TrialPruned
    if any(  # two leading workers may both have queued it
        t.number < trial.number and t.state in (TrialState.COMPLETE, TrialState.RUNNING)
        and (t.user_attrs.get("id"), t.user_attrs.get("seed")) == (attrs["id"], attrs["seed"])
        for t in trial.study.get_trials(deepcopy=False) if is_row(t)
    ):  # fmt: skip
        trial.set_user_attr("withdrawn", True)
        raise optuna.TrialPruned
    begun = time.monotonic()
    seed = int(attrs["seed"])
    candidate = candidate_of(attrs)
    size = bench.resolution(candidate)
    recipe = bench.recipe(bench.settings.finalists["epochs"], seed)
    curve: dict[int, float] = {}

    def on_epoch(epoch: int, top1: float) -> None:
        curve[epoch] = top1
        trial.set_user_attr("epoch", epoch)
        trial.set_user_attr("top1_now", top1)

    @cache
    def test() -> tuple[torch.Tensor, torch.Tensor]:
        return data.open_test(candidate.id, seed, size)

    net, known = known_finalist(candidate, bench, recipe, data, test, trial.set_user_attr)
    if known is None:
        trained = bench.fit(candidate, net, recipe, on_epoch, data)
        top1_test, _ = evaluate(net, *test(), data, size, device=recipe.device)
        known = {"top1_val": trained.top1_val, "top1_test": top1_test, "keep_rate": trained.keep_rate}
    found: dict[str, Any] = {**known, "test_n": len(test()[1]), "epochs": recipe.epochs, "seconds": time.monotonic() - begun}
    saved = folder / "nets" / candidate.id if seed == 0 else None
    if saved is not None:
        found["parity"] = save(candidate, net, bench, folder, found)
    keep_finalist(candidate, bench, recipe, found, curve, test(), saved)
    for key, value in found.items():
        trial.set_user_attr(key, value)
    return float(found["top1_test"])


def candidate_of(attrs: dict[str, Any]) -> Candidate:
    """The net of a finalist's record."""
    architecture = Architecture.from_dict(attrs["architecture"]) if "architecture" in attrs else None
    return Candidate(architecture, attrs.get("net", ""))


def save(candidate: Candidate, net: torch.nn.Module, bench: Bench, folder: Path, found: dict[str, Any], seed: int = 0,
         more: dict[str, Any] | None = None, suffix: str = "", exported: bool = True) -> float | None:  # fmt: skip
    """Writes nets/<id><suffix>/, `more` into its card, and returns the ONNX file's parity with torch: largest difference of
    logits over largest logit (None where `exported` is off: a net that is no net without its coins)."""
    data, s = bench.data, bench.settings
    net = net.to("cpu", memory_format=torch.contiguous_format).eval()  # type: ignore[call-overload]
    shape = (1, *bench.input_shape(candidate)[1:])
    onnx, difference = None, None
    if exported:
        onnx = to_onnx(net, shape, data.mean, data.std)
        difference = parity(net, onnx, pixels_for(data.sample(IMAGES), shape), data.mean, data.std)
    counted = count(net, shape)
    card.save(
        net,
        folder / "nets" / f"{candidate.id}{suffix}",
        {
            "id": candidate.id,
            "net": candidate.net,
            "data": {
                "name": data.name,
                "path": s.data["path"],  # as the user gave it; measure.py finds the images there
                "classes": list(data.classes),
                "mean": list(data.mean),
                "std": list(data.std),
                "resolution": bench.resolution(candidate),
                "fraction": s.data["fraction"],
                "train_images": data.train_images,
            },
            "top1_val": found["top1_val"],
            "top1_test": found["top1_test"],
            "test_images": found["test_n"],
            "seed": seed,
            "macs_m": counted.macs / 1e6,
            "params_m": counted.params / 1e6,
            "recipe": {**s.trainer, "epochs": found["epochs"]},
            "init": s.init,
            "onnx_parity": difference,
            "latency": None,
            "machine": fingerprint(),
            **(more or {}),
        },
        onnx,
    )
    return difference

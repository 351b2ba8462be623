"""What a study will cost, before its first trial: a few training steps of the nets that come first, timed.

These are the anchors and, where the sampler starts from edits of them, the edits themselves; else a few nets drawn at random
within the budget. What comes later costs about as much as the mean of them.
"""

from __future__ import annotations

import contextlib
import random
import time
from statistics import mean
from typing import Any

import optuna
import torch
from optuna.trial import TrialState

from searchspace.architecture import Architecture
from study.rungs import Plan
from study.starts import drawn
from study.trial import Bench, Candidate

STEPS = 2  # timed, after one that is not
DRAWN = 6  # nets, where nothing is queued but the anchors
# validation, Lightning's loop and a neighbour on the other core, over the bare steps of an idle machine (docs/results/
# fashion_mnist/README.md: estimate beside what it took)
OVERHEAD = 1.35
TRIAL_S = 2.0  # building, exporting, opening and ending a run


def estimate(bench: Bench, study: optuna.Study) -> dict[str, Any]:
    """Seconds of the search and of the finalists' stage with this study's workers, None where nothing could be timed, and from
    how many nets. A net that cannot be timed is left out: its trial will say why."""
    s = bench.settings
    queued = [t.user_attrs for t in study.get_trials(deepcopy=False, states=(TrialState.WAITING,))]
    architectures = [Architecture.from_dict(a["architecture"]) for a in queued if "net" not in a and "architecture" in a]
    architectures = architectures or drawn(bench.space, DRAWN, random.Random(s.seed))
    fixed = _epochs_s(bench, [bench.candidate(a["net"]) for a in queued if a.get("net")])
    searched = _epochs_s(bench, [Candidate(a) for a in _within(bench, architectures)])
    of_a_net = mean(searched or fixed) if searched or fixed else None
    found: dict[str, Any] = {"nets_timed": len(fixed) + len(searched), "train_images": bench.data.train_images}
    if of_a_net is None:
        return {**found, "search_s": None, "finalists_s": None}
    nets = (2 if s.control else 1) * s.n_trials
    plan = Plan.of(s)
    epochs = s.epochs if plan is None or plan.seeds > 1 else plan.expected_epochs()  # what is saved goes into second seeds
    search = epochs * (nets * of_a_net + sum(fixed)) * OVERHEAD + (s.hardware["spread_s"] + TRIAL_S) * (nets + len(fixed))
    # how long the front will be is not known: as many nets again as there are anchors, at least three
    front = max(3, len(fixed))
    finalists = s.finalists["epochs"] * s.finalists["seeds"] * (front * of_a_net + sum(fixed)) * OVERHEAD
    workers = s.workers if s.worker is None else 1
    return {**found, "search_s": search / workers, "finalists_s": finalists / workers}


def _within(bench: Bench, architectures: list[Architecture]) -> list[Architecture]:
    """Those not over the latency budget, told by their ungated twins."""
    if (budget := bench.settings.max_latency_ms) is None:
        return architectures
    try:
        measured = bench.meter.measure([a.without_gates() for a in architectures])
    except Exception:  # whatever a net may raise: its trial will say it
        return architectures
    return [a for a, m in zip(architectures, measured, strict=True) if m.latency_ms <= budget]


def _epochs_s(bench: Bench, candidates: list[Candidate]) -> list[float]:
    """Seconds an epoch of those that can be timed."""
    found = []
    for candidate in candidates:
        with contextlib.suppress(Exception):  # as above; out of memory, say
            found.append(bench.data.train_images / images_per_s(bench, candidate))
    return found


def images_per_s(bench: Bench, candidate: Candidate) -> float:
    """Training images a second of one net: forward, backward, step, on a batch of noise."""
    recipe = bench.recipe(1, 0)
    net = bench.make(candidate, 0).to(recipe.device)
    if recipe.channels_last:
        net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if recipe.device == "cpu":
        torch.set_num_threads(recipe.threads)
    size = bench.resolution(candidate)
    x = torch.randn(recipe.batch_size, bench.data.channels, size, size, device=recipe.device)
    if recipe.channels_last:
        x = x.to(memory_format=torch.channels_last)
    optimiser = torch.optim.SGD(net.parameters(), lr=1e-4)
    begun = 0.0
    for step in range(STEPS + 1):
        if step == 1:
            begun = _now(recipe.device)
        optimiser.zero_grad()
        net.train()(x).square().mean().backward()
        optimiser.step()
    return STEPS * recipe.batch_size / (_now(recipe.device) - begun)


def _now(device: str) -> float:
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()

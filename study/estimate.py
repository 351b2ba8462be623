"""What a study will cost, before its first trial: a few training steps of the nets that come first, timed.

These are the anchors and, where the sampler starts from edits of them, the edits themselves; else a few nets drawn at random
within the budget. What comes later costs about as much as the mean of them.
"""

from __future__ import annotations

import random
import time
from statistics import mean
from typing import Any

import optuna
import torch
from optuna.trial import TrialState

from searchspace.architecture import Architecture
from study.starts import drawn
from study.trial import Bench, Candidate

STEPS = 2  # timed, after one that is not
DRAWN = 6  # nets, where nothing is queued but the anchors
# validation, Lightning's loop and a neighbour on the other core, over the bare steps of an idle machine (README, "What a search
# does": estimate beside what it took)
OVERHEAD = 1.35
TRIAL_S = 2.0  # building, exporting, opening and ending a run


def estimate(bench: Bench, study: optuna.Study) -> dict[str, Any]:
    """Seconds of the search and of the finalists' stage with this study's workers, and the speeds they come from."""
    s = bench.settings
    queued = [t.user_attrs for t in study.get_trials(deepcopy=False, states=(TrialState.WAITING,))]
    anchors = [bench.candidate(a["net"]) for a in queued if a.get("net")]
    first = [Candidate(Architecture.from_dict(a["architecture"])) for a in queued if "net" not in a and "architecture" in a]
    images = bench.data.train_images
    fixed = [_epoch_s(bench, c, images) for c in anchors]
    searched = [_epoch_s(bench, c, images) for c in first or _within(bench)] or fixed or [0.0]
    budgets = 2 if s.control else 1
    search = s.epochs * (budgets * s.n_trials * mean(searched) + sum(fixed)) * OVERHEAD
    search += (s.hardware["spread_s"] + TRIAL_S) * (budgets * s.n_trials + len(fixed))
    # how long the front will be is not known: as many nets again as there are anchors, at least three
    front = max(3, len(fixed))
    finalists = s.finalists["epochs"] * s.finalists["seeds"] * (front * mean(searched) + sum(fixed)) * OVERHEAD
    return {
        "search_s": search / s.workers,
        "finalists_s": finalists / s.workers,
        "nets_timed": len(fixed) + len(first or searched),
        "train_images": images,
    }


def _within(bench: Bench) -> list[Candidate]:
    """Nets drawn at random, those over the latency budget left out (told by their ungated twins)."""
    nets = drawn(bench.space, DRAWN, random.Random(bench.settings.seed))
    if (budget := bench.settings.max_latency_ms) is None:
        return [Candidate(a) for a in nets]
    measured = bench.meter.measure([a.without_gates() for a in nets])
    return [Candidate(a) for a, m in zip(nets, measured, strict=True) if m.latency_ms <= budget]


def _epoch_s(bench: Bench, candidate: Candidate, images: int) -> float:
    return images / images_per_s(bench, candidate)


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

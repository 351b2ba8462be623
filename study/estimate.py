"""What a study will cost, before its first trial: a few training steps of each anchor, timed.

Searched nets cost about what the anchors cost; the estimate takes the median anchor for them and says so.
"""

from __future__ import annotations

import time
from statistics import median
from typing import Any

import torch

from study.trial import Bench

STEPS = 2  # timed, after one that is not


def estimate(bench: Bench) -> dict[str, Any]:
    """Seconds of the search and of the finalists' stage with this study's workers, and the speed they come from."""
    s = bench.settings
    speeds = {net: images_per_s(bench, net) for net in s.anchors or ("mobilenet_v1-0.25",)}
    images = bench.data.train_images
    seconds = {net: images / speed for net, speed in speeds.items()}  # an epoch
    middle = median(seconds.values())
    budgets = 2 if s.control else 1
    search = s.epochs * (budgets * s.n_trials * middle + sum(seconds.values()))
    # how long the front will be is not known: as many nets again as there are anchors, at least three
    front = max(3, len(s.anchors))
    finalists = s.finalists["epochs"] * s.finalists["seeds"] * (front * middle + sum(seconds.values()))
    overhead = s.hardware["spread_s"] * (budgets * s.n_trials + len(s.anchors))
    return {
        "search_s": (search + overhead) / s.workers,
        "finalists_s": finalists / s.workers,
        "images_per_s": speeds,
        "train_images": images,
    }


def images_per_s(bench: Bench, name: str) -> float:
    """Training images a second of one net: forward, backward, step, on a batch of noise."""
    recipe = bench.recipe(1, 0)
    candidate = bench.candidate(name)
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

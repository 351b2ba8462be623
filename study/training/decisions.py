"""What a trained gated net decides for the test images: decisions.npz beside its card, and the card's own figures of it."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from searchspace.complexity import count
from searchspace.network import Network
from study.folder import put
from trainers.judged import Judged

SHOWN = 12  # images of each end that are kept for the figure
SEED = 0


def told(net: Network, judged: Judged, gates_run: bool = True) -> dict[str, Any]:
    """For the card: keep rate over all gates and of each on the test images, and the mean mult-adds of an image in millions,
    gates included where they run."""
    counted = count(net.architecture)
    gates = 0 if gates_run else sum(g.macs for g in counted.gates.values())
    return {
        "keep_rate": judged.keep_rate,
        "keep_by_gate": judged.keep_by_gate,
        "macs_expected_m": (counted.expected_macs(judged.keep_by_gate) - gates) / 1e6,
    }


def other_images(kept: np.ndarray) -> np.ndarray:
    """(n, gates) decisions, each image's handed to another, drawn: as many blocks, and each as often, but not for this image."""
    order = np.random.default_rng(SEED).permutation(len(kept))
    return kept[np.roll(order, 1)[np.argsort(order)]]


def write_decisions(folder: Path, judged: Judged, x: Tensor) -> None:
    """x: (n, H, W, C) uint8. The easiest images are those for which the fewest blocks ran, ties by the lower loss; the hardest
    the other end."""
    ran = judged.kept.sum(1)
    order = np.lexsort((judged.loss, ran))
    easiest, hardest = order[:SHOWN], order[::-1][:SHOWN].copy()
    out = io.BytesIO()
    np.savez_compressed(
        out, kept=judged.kept, loss=judged.loss.astype(np.float32), label=judged.label.astype(np.int64),
        predicted=judged.predicted.astype(np.int64), easiest=x[easiest].numpy(), hardest=x[hardest].numpy(),
        easiest_row=easiest, hardest_row=hardest,
    )  # fmt: skip
    put(folder / "decisions.npz", out.getvalue())

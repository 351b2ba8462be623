"""Trainings as train.py leaves them: card.json and decisions.npz. Nothing is trained; the numbers are given by the tests."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from searchspace.anchors import anchor

CLASSES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
MACHINE = {"runtime": "onnxruntime", "threads": 1, "batch": 1, "precision": "fp32", "machine": "m91ede302"}


def write_training(
    outputs: Path, name: str, net: str, stage: str, top1: float, seed: int = 0, expected_m: float | None = 30.0,
    keep: tuple[float, ...] = (), ms: float | None = 0.3, control_of: str | None = None, skip_alpha: float | None = None,
    epochs: int = 15, fraction: float = 1.0, data: str = "fashion_mnist", latency: dict | None = None, recipe: dict | None = None,
    images: int = 10_000, macs_m: float = 40.8, others: float | None = None,
) -> str:  # fmt: skip
    """Writes outputs/NAME/nets/ID/card.json (and architecture.json where the net is an anchor); returns that folder."""
    architecture = anchor(net, resolution=32, classes=10, in_channels=3 if data == "cifar10" else 1) if "_" in net else None
    net_id = architecture.id if architecture else "a0123456789"
    folder = outputs / name / "nets" / net_id
    folder.mkdir(parents=True)
    if architecture:
        (folder / "architecture.json").write_text(json.dumps(architecture.to_dict()))
    card = {
        "id": net_id,
        "net": net,
        "stage": stage,
        "control_of": control_of,
        "skip_alpha": skip_alpha,
        "seed": seed,
        "data": {"name": data, "classes": list(CLASSES), "resolution": 32, "fraction": fraction, "train_images": 54_000},
        "recipe": {"name": "supervised", "lr": 0.1, "batch_size": 128, "epochs": epochs, **(recipe or {})},
        "top1_val": top1 + 0.3,
        "top1_test": top1,
        "top1_test_others": others,
        "test_images": images,
        "macs_m": macs_m,
        "macs_expected_m": expected_m,
        "keep_rate": float(np.mean(keep)) if keep else None,
        "keep_by_gate": list(keep) or None,
        "latency": ms and {"latency_ms": ms, "low_ms": 0.98 * ms, "high_ms": 1.02 * ms, **MACHINE, **(latency or {})},
    }
    (folder / "card.json").write_text(json.dumps(card))
    return str(folder)


def write_decisions_npz(folder: str | Path, kept: np.ndarray, seed: int = 0, k: int = 8, classes: int = 10, link: float = 1.0,
                        images: np.ndarray | None = None, **changed: np.ndarray) -> None:  # fmt: skip
    """`link`: how strongly the loss goes with the executed blocks; `images` (n, H, W, C), else noise."""
    rng = np.random.default_rng(seed)
    n, executed = len(kept), kept.sum(axis=1)
    loss = np.exp(link * (executed - executed.mean()) / 2 + rng.normal(0, 1, n) - 2).astype(np.float32)
    label = rng.integers(0, classes, n)
    predicted = np.where(loss > 0.7, (label + 1) % classes, label)
    order = np.lexsort((loss, executed))
    pictures = rng.integers(0, 256, (n, 32, 32, 1), dtype=np.uint8) if images is None else images
    found = {
        "kept": kept, "loss": loss, "label": label, "predicted": predicted, "easiest": pictures[order[:k]],
        "hardest": pictures[order[::-1][:k]], "easiest_row": order[:k], "hardest_row": order[::-1][:k],
    }  # fmt: skip
    np.savez_compressed(Path(folder) / "decisions.npz", **{**found, **changed})


def some_kept(n: int = 400, gates: int = 8, seed: int = 1) -> np.ndarray:
    """Decisions that differ between images: an image's own difficulty moves all its gates."""
    rng = np.random.default_rng(seed)
    lean = np.linspace(1.6, -1.2, gates)
    return lean + rng.normal(0, 1, (n, 1)) + rng.normal(0, 0.6, (n, gates)) > 0


def family(
    outputs: Path, net: str = "skipnet_20-rnn", seeds: int = 3, alphas: tuple[float, ...] = (0.1,), sp: float = 90.6,
    hrl: float = 90.4, random: float = 86.0, static: float = 90.3, data: str = "fashion_mnist", plain: bool = True,
) -> None:  # fmt: skip
    """A net in all its stages, with a plain twin and both controls of the first alpha. Seeds lie 0.2 points apart."""
    varied, mark = (0.9, 0.1, 0.5, 0.5, 0.5, 0.5, 0.9, 0.1), f"{data}-{net}"
    for seed in range(seeds):

        def write(name: str, net: str, stage: str, top1: float, *more, seed: int = seed, **about) -> str:
            off = 0.2 * (seed - (seeds - 1) / 2)
            return write_training(outputs, f"{name}-{mark}-s{seed}", net, stage, top1 + off, seed, *more, data=data, **about)

        if plain:
            write("plain", net.replace("skipnet", "resnet").split("-")[0], "none", 91.0, None, ms=0.4)
        write("sp", net, "sp", sp, 36.0, (0.9,) * 8, 0.38)
        for i, alpha in enumerate(alphas):
            cost, ms = 24.0 - 4 * i, 0.27 - 0.03 * i
            mine = write(f"hrl-a{alpha}", net, "hrl", hrl - 0.8 * i, cost, varied, ms, skip_alpha=alpha, epochs=20)
            if i == 0:
                write("random", net, "random", random, 24.1, (0.5,) * 8, 0.26, control_of=mine)
                write("static", net, "static", static, 23.0, (), 0.26, control_of=mine)

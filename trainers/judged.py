"""A trained net before images it has not seen: accuracy, and of a gated net what it decided for each of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainers.data import ImageData
from trainers.objectives import Objective
from trainers.pixels import normalised, resized


@dataclass(frozen=True)
class Judged:
    """kept: (n, gates) bool, a gated block that ran; loss: (n,) cross-entropy; label, predicted: (n,) classes."""

    kept: np.ndarray
    loss: np.ndarray
    label: np.ndarray
    predicted: np.ndarray

    @property
    def top1(self) -> float:
        """Percent."""
        return 100 * float((self.label == self.predicted).sum()) / len(self.label)

    @property
    def keep_rate(self) -> float | None:
        """Mean share of gated blocks that ran; None without gates."""
        return float(self.kept.sum()) / self.kept.size if self.kept.shape[1] else None

    @property
    def keep_by_gate(self) -> list[float]:
        """Share of the images that kept each gated block."""
        return [float(v) for v in self.kept.mean(0)]


def judge(
    net: nn.Module, x: Tensor, y: Tensor, data: ImageData, resolution: int, batch_size: int = 512, device: str = "cpu",
    objective: Objective | None = None, force: np.ndarray | None = None,
) -> Judged:  # fmt: skip
    """Images x: (n, H, W, C) uint8, y: (n,). `force`: (n, gates) bool, decisions in the gates' place."""
    objective = objective or Objective()
    net = net.to(device).eval()
    mean, std = (torch.tensor(v, device=device).view(1, -1, 1, 1) for v in (data.mean, data.std))
    objective.begin()
    kept, loss, predicted = [], [], []
    with torch.inference_mode():
        for i in range(0, len(y), batch_size):
            a = normalised(resized(x[i : i + batch_size], resolution).to(device), mean, std)
            if force is None:
                logits, ran = objective.run(net, a)
            else:
                logits, ran = net.run(a, force=torch.from_numpy(force[i : i + batch_size]))  # type: ignore[operator]
            loss.append(F.cross_entropy(logits, y[i : i + batch_size].to(device), reduction="none").float().cpu().numpy())
            predicted.append(logits.argmax(1).cpu().numpy())
            kept.append(ran.cpu().numpy().astype(bool))
    return Judged(np.concatenate(kept), np.concatenate(loss), y.numpy(), np.concatenate(predicted))


def evaluate(
    net: nn.Module, x: Tensor, y: Tensor, data: ImageData, resolution: int, batch_size: int = 512, device: str = "cpu"
) -> tuple[float, float | None]:
    """Top-1 in percent and keep rate."""
    judged = judge(net, x, y, data, resolution, batch_size, device)
    return judged.top1, judged.keep_rate

"""What a training minimises, and how its net decides when it is judged. The recipe (optimiser, schedule, data) is the same for
all of them: trainers/supervised.py. Those of SkipNet's two stages are in trainers/skipnet.py."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from searchspace.network import Network


class Objective:
    """Cross-entropy; for gated nets, less the skip reward through straight-through gates:

        CE - skip_alpha / N * sum_i (1 - g_i), the mean over the batch (SkipNet, arXiv:1711.09485, eq. 6 with C_i = 1)

    the search's own way, one stage, where the paper has two. The subclasses are the paper's."""

    name = "supervised"
    gate_lr = 1.0  # learning rate of the gates over that of the rest

    def begin(self) -> None:
        """Before images are judged: what is drawn there begins anew."""

    def loss(self, net: nn.Module, x: Tensor, y: Tensor, label_smoothing: float) -> Tensor:
        """x: (N, C, H, W) as the net takes it, y: (N,) -> a scalar to minimise; net in training mode."""
        loss = F.cross_entropy(net(x), y, label_smoothing=label_smoothing)
        if isinstance(net, Network) and net.last_kept is not None and net.architecture.skip_alpha is not None:
            loss = loss - net.architecture.skip_alpha * (1 - net.last_kept).mean()
        return loss

    def run(self, net: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
        """Inference: logits (N, classes) and what was kept (N, gates) bool; net in eval mode."""
        if isinstance(net, Network):
            return net.run(x)
        return net(x), torch.zeros(len(x), 0, dtype=torch.bool, device=x.device)

    def told(self) -> dict[str, Any]:
        """What a checkpoint must agree in, beside net, data and recipe."""
        return {}

"""Three small fixed nets that are timed beside every net: when they are slow, the machine is busy, not the
net.

One leans on dense convolutions, one on depthwise and 1x1 convolutions, one on moving weights; 32 px, batch 1,
about 0.2 ms each in ONNX Runtime. They must never change: their times are compared over sessions. Importing this imports no
torch: a process that runs ONNX files is given them as files.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn as modules

SHAPE = (1, 3, 32, 32)


def references() -> dict[str, modules.Module]:
    """name -> net in eval mode; the same weights in every process, and torch's random state is left alone."""
    import torch
    from torch import nn

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(20240501)
        nets = {"dense": _dense(nn), "depthwise": _depthwise(nn), "weights": _weights(nn)}
    return {name: net.eval() for name, net in nets.items()}


@cache
def reference_files() -> dict[str, bytes]:
    """name -> ONNX file."""
    from hardware.export import to_onnx

    return {name: to_onnx(net, SHAPE) for name, net in references().items()}


def _dense(nn: Any) -> modules.Module:
    layers = [nn.Conv2d(3, 48, 3, 2, 1), nn.ReLU()]
    for _ in range(4):
        layers += [nn.Conv2d(48, 48, 3, 1, 1), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(48, 10))  # type: ignore[no-any-return]


def _depthwise(nn: Any) -> modules.Module:
    layers = [nn.Conv2d(3, 96, 3, 2, 1), nn.ReLU()]
    for _ in range(6):
        layers += [nn.Conv2d(96, 96, 3, 1, 1, groups=96), nn.ReLU(), nn.Conv2d(96, 96, 1), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(96, 10))  # type: ignore[no-any-return]


def _weights(nn: Any) -> modules.Module:
    layers = [nn.AvgPool2d(4), nn.Flatten(), nn.Linear(192, 1024), nn.ReLU()]
    for _ in range(3):
        layers += [nn.Linear(1024, 1024), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(1024, 10))  # type: ignore[no-any-return]

"""What is measured: from whatever a caller names (an Architecture, a Network, any module) to a module with an
input shape."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from searchspace.architecture import Architecture
from searchspace.network import build


@dataclass(frozen=True)
class Subject:
    """shape: (batch, C, H, W); name: for messages."""

    name: str
    module: nn.Module
    shape: tuple[int, int, int, int]


def subject_of(net: Any, input_shape: Sequence[int] | None, batch: int) -> Subject:
    """`input_shape`: (1 or batch, C, H, W), needed where the net does not say it itself. Raises
    ValueError."""
    architecture = net if isinstance(net, Architecture) else getattr(net, "architecture", None)
    name = type(net).__name__
    if isinstance(architecture, Architecture):
        size = architecture.resolution
        shape = (batch, architecture.in_channels, size, size)
        return Subject(architecture.id, _settled(architecture) if net is architecture else net, shape)
    if not isinstance(net, nn.Module):
        raise ValueError(f"{name} is neither an Architecture nor a torch module")
    if input_shape is None or len(input_shape) != 4:
        raise ValueError(f"{name} does not say what its input is: give input_shape=(1, C, H, W)")
    first, channels, height, width = (int(n) for n in input_shape)
    if first not in (1, batch):
        raise ValueError(f"input_shape {tuple(input_shape)} says batch {first}, the meter {batch}")
    return Subject(name, net, (batch, channels, height, width))


def _settled(architecture: Architecture) -> nn.Module:
    """Random weights, and batch norms that have seen two images: without, activations shrink layer by layer
    at initialisation, and arithmetic on denormal numbers is many times slower than on any trained net. The
    caller's random state is left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = build(architecture)
        for m in net.modules():
            if isinstance(m, nn.BatchNorm2d):
                m.momentum = None  # the plain average of what was seen
        with torch.no_grad():
            net.train()(torch.randn(2, architecture.in_channels, architecture.resolution, architecture.resolution))
    return net.eval()


def pixels_for(images: Any, shape: Sequence[int]) -> np.ndarray:
    """`images` (n, C, H, W), raw pixels, at the size that `shape` (N, C, H, W) wants: bilinear with
    antialiasing."""
    pixels = torch.as_tensor(images).float().cpu()
    if pixels.dim() != 4 or pixels.shape[1] != shape[1]:
        raise ValueError(f"images of shape {tuple(pixels.shape)} are not (n, {shape[1]}, H, W)")
    if tuple(pixels.shape[2:]) != tuple(shape[2:]):
        size = (int(shape[2]), int(shape[3]))
        pixels = nn.functional.interpolate(pixels, size=size, mode="bilinear", antialias=True, align_corners=False)
    return pixels.numpy()

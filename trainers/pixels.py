"""Pixels on their way to a net: resized, augmented, normalised."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def resized(x: Tensor, resolution: int) -> Tensor:
    """(N, H, W, C) uint8 -> (N, C, r, r) uint8: bilinear, antialiased when it shrinks."""
    x = x.permute(0, 3, 1, 2)
    if x.shape[2:] == (resolution, resolution):
        return x.contiguous()
    parts = [
        F.interpolate(p.float(), (resolution, resolution), mode="bilinear", antialias=True, align_corners=False)
        for p in x.split(4096)
    ]
    return torch.cat([p.round().clamp(0, 255).to(torch.uint8) for p in parts])


def augmented(x: Tensor, crop: int, flip: bool, generator: torch.Generator) -> Tensor:
    """(N, C, H, W): each image shifted by up to `crop` pixels both ways (zeros come in) and mirrored half of the time."""
    n, _, h, w = x.shape
    if crop:
        dy, dx = torch.randint(0, 2 * crop + 1, (2, n), generator=generator, device=generator.device).to(x.device)
        rows = dy[:, None] + torch.arange(h, device=x.device)  # (N, H)
        columns = dx[:, None] + torch.arange(w, device=x.device)  # (N, W)
        padded = F.pad(x, (crop, crop, crop, crop)).permute(0, 2, 3, 1)
        x = padded[torch.arange(n, device=x.device)[:, None, None], rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
    if flip:
        mirrored = (torch.rand(n, generator=generator, device=generator.device) < 0.5).to(x.device)
        x = torch.where(mirrored[:, None, None, None], x.flip(3), x)
    return x


def normalised(x: Tensor, mean: Tensor, std: Tensor, channels_last: bool = True) -> Tensor:
    """(N, C, H, W) raw pixels -> what a net takes; mean and std: (1, C, 1, 1)."""
    x = (x.float() - mean) / std
    return x.contiguous(memory_format=torch.channels_last) if channels_last else x

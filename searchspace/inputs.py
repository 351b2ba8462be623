"""What images a net takes. An Architecture and a Network say it, and so does any module with an attribute `resolution`, the
pixels that it is made for; the channels of a module are those of its first convolution."""

from __future__ import annotations

from typing import Any

from torch import nn

from searchspace.architecture import Architecture


def own_resolution(net: Any) -> int | None:
    """Pixels, where the net says them."""
    found = getattr(getattr(net, "architecture", net), "resolution", None)
    return found if isinstance(found, int) and not isinstance(found, bool) else None


def input_of(net: Any, resolution: int | None = None) -> tuple[int, int, int, int] | None:
    """(1, C, H, W) of what the net takes: its own resolution before the one that is given; None without either."""
    size = own_resolution(net) or resolution
    if size is None:
        return None
    said = getattr(net, "architecture", net)
    if isinstance(said, Architecture):
        return 1, said.in_channels, size, size
    return 1, next((m.in_channels for m in net.modules() if isinstance(m, nn.Conv2d)), 3), size, size


def is_normalised(net: nn.Module) -> bool:
    """Whether any layer normalises its activations over batch, channels or groups. Those before 2015 have none (AlexNet, VGG),
    nor has SqueezeNet; they ask for a smaller learning rate."""
    kinds = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm)
    return any(isinstance(m, kinds) for m in net.modules())

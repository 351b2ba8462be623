"""How the classics' weights are drawn: He et al., arXiv:1502.01852, eq. 10, so that no activation vanishes in nets of any depth.
(torch's own start shrinks them layer by layer: an untrained deep net would be measured on denormal numbers.)"""

from __future__ import annotations

from typing import TypeVar

from torch import nn

Part = TypeVar("Part", bound=nn.Module)


def he_normal(part: Part, after_relu: bool = True) -> Part:
    """Draws the weights of all convolutions and linear layers in `part`: variance 2 / inputs behind a ReLU, 1 / inputs
    elsewhere; biases become 0. Returns `part`."""
    for m in part.modules():
        if isinstance(m, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(m.weight, nonlinearity="relu" if after_relu else "linear")
            if m.bias is not None:
                nn.init.zeros_(m.bias)
    return part

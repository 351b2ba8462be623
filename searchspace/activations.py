"""Activations by name: name -> a fresh module. The names are checked where architectures are (architecture.ACTIVATIONS).

swish: Ramachandran et al. 2017, x * sigmoid(x). h_swish: MobileNetV3, section 5.2, x * relu6(x + 3) / 6.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

ACTIVATION_MODULES: dict[str, Callable[[], nn.Module]] = {
    "relu": lambda: nn.ReLU(inplace=True),
    "relu6": lambda: nn.ReLU6(inplace=True),
    "swish": lambda: nn.SiLU(inplace=True),
    "h_swish": lambda: nn.Hardswish(inplace=True),
}


def activation(name: str) -> nn.Module:
    """A new module of that name."""
    return ACTIVATION_MODULES[name]()

"""A net layer by layer, in the order in which it runs: what MobileNetV1's Table 1 prints of its body.

    for layer in layers(anchor("mobilenet_v1")): print(layer.type, layer.stride, layer.filter, layer.size_in, layer.macs)

Counted layers only (convolutions and linear ones), on the meta device, as searchspace/complexity.py counts them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from searchspace.architecture import Architecture
from searchspace.complexity import layer_type
from searchspace.network import build


@dataclass(frozen=True)
class Layer:
    """type: as of complexity.TYPES; `filter`: (height, width, channels a group, channels out), of linear layers (in, out);
    size_in: (height, width, channels) of the map that comes in, of linear layers (1, 1, in)."""

    type: str
    stride: int
    filter: tuple[int, ...]
    size_in: tuple[int, int, int]
    macs: int
    weights: int


def layers(architecture: Architecture) -> list[Layer]:
    """The counted layers of a net without gates, all of them once."""
    found: list[Layer] = []

    def book(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        assert isinstance(module, (nn.Conv2d, nn.Linear))
        weight, x = module.weight, inputs[0]
        macs = output.numel() * weight[0].numel()
        if isinstance(module, nn.Linear):
            size, kernel, stride = (1, 1, x.shape[1]), (weight.shape[1], weight.shape[0]), 1
        else:
            size, stride = (x.shape[2], x.shape[3], x.shape[1]), module.stride[0]
            kernel = (*weight.shape[2:], weight.shape[1], weight.shape[0])
        found.append(Layer(layer_type(module), stride, tuple(int(n) for n in kernel), size, macs, weight.numel()))

    with torch.device("meta"), torch.no_grad():
        net = build(architecture.without_gates()).eval()
        hooks = [m.register_forward_hook(book) for m in net.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
        net(torch.zeros(1, architecture.in_channels, architecture.resolution, architecture.resolution))
    for hook in hooks:
        hook.remove()
    return found

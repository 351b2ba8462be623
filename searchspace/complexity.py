"""Parameters and mult-adds, per layer type and per block; expected mult-adds under keep rates.

One mult-add (MAC) is one multiplication with its addition, as the MobileNet papers count; convolutions and linear layers
count, normalisation, activations, pooling and additions do not. Counted by a forward pass on the meta device: no memory,
no arithmetic. `weights` counts as the papers do (no batch norm, no bias), `params` counts everything.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from searchspace.architecture import Architecture
from searchspace.inputs import input_of
from searchspace.network import Network, build

TYPES = ("conv1x1", "depthwise", "conv", "linear")


@dataclass
class Share:
    """Mult-adds and weights of one part."""

    macs: int = 0
    weights: int = 0


@dataclass
class Count:
    """What a net costs on paper. `by_block[i]` is block i whole, `gates[i]` its gate, `shortcuts[i]` what a skip leaves."""

    macs: int = 0
    params: int = 0
    weights: int = 0
    by_type: dict[str, Share] = field(default_factory=lambda: {t: Share() for t in TYPES})
    by_block: list[Share] = field(default_factory=list)
    gates: dict[int, Share] = field(default_factory=dict)
    shortcuts: dict[int, int] = field(default_factory=dict)

    def expected_macs(self, keep: Sequence[float]) -> float:
        """Mean mult-adds of an image when gate k keeps its block with rate keep[k]; gates and shortcuts always run."""
        if len(keep) != len(self.gates):
            raise ValueError(f"{len(keep)} keep rates for {len(self.gates)} gates")
        saved = sum((1 - rate) * (self.by_block[i].macs - self.shortcuts[i]) for i, rate in zip(self.gates, keep, strict=True))
        return self.macs - saved


def layer_type(module: _ConvNd | nn.Linear) -> str:
    """conv1x1 (ungrouped), depthwise (a group a channel), conv (the rest) or linear."""
    if isinstance(module, nn.Linear):
        return "linear"
    if module.groups == module.in_channels > 1:
        return "depthwise"
    return "conv1x1" if set(module.kernel_size) == {1} and module.groups == 1 else "conv"


def count(net: Architecture | nn.Module, input_shape: tuple[int, ...] | None = None) -> Count:
    """Counts a net, gates included and all of them open. A module that does not say its input (searchspace/inputs.py)
    needs `input_shape` (N, C, H, W); figures are per image."""
    with torch.device("meta"):
        module = build(net) if isinstance(net, Architecture) else net
    input_shape = input_shape or input_of(module)
    if input_shape is None:
        raise ValueError("count: a module needs input_shape=(1, channels, height, width)")
    device = next((p.device for p in module.parameters()), torch.device("cpu"))
    x = torch.zeros(1, *input_shape[1:], device=device)
    flags = [(m, m.training) for m in module.modules()]
    module.eval()
    try:
        with _Tally(module) as tally, torch.no_grad():
            if isinstance(module, Network):
                _by_piece(module, x, tally)
            else:
                module(x)
    finally:
        for m, flag in flags:
            m.training = flag
    return tally.total


def _by_piece(net: Network, x: Tensor, tally: _Tally) -> None:
    total = tally.total
    x = net.stem(x)
    state: tuple[Tensor, ...] | None = None
    for i, (block, gate) in enumerate(net.steps()):
        if gate is not None:
            tally.part = total.gates[i] = Share()
            start = gate.start(x)  # type: ignore[operator]
            _, *new = gate(x, *((state or start) if start else ()))
            state = tuple(new) if start else state
            tally.part, tally.apart = Share(), True
            block.shortcut(x)
            total.shortcuts[i], tally.apart = tally.part.macs, False
        tally.part = Share()
        total.by_block.append(tally.part)
        x = block(x)
    tally.part = Share()
    net.head(x)


class _Tally:
    """Hooks on every counted layer. `part`: where the present piece is booked; `apart`: not in the total."""

    def __init__(self, module: nn.Module):
        self.total = Count(params=sum(p.numel() for p in module.parameters()))
        self.part, self.apart = Share(), False
        self._weighed: set[int] = set()
        self._layers = [m for m in module.modules() if isinstance(m, (_ConvNd, nn.Linear))]

    def __enter__(self) -> _Tally:
        self._hooks = [layer.register_forward_hook(self._book) for layer in self._layers]
        return self

    def __exit__(self, *_: object) -> None:
        for hook in self._hooks:
            hook.remove()

    def _book(self, layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        assert isinstance(layer, (_ConvNd, nn.Linear))
        # an output sums over weight[0]; of a transposed convolution it is an input that is multiplied by weight[0]
        elements = inputs[0] if isinstance(layer, _ConvTransposeNd) else output
        macs = elements.numel() // elements.shape[0] * layer.weight[0].numel()
        weights = 0 if id(layer) in self._weighed else layer.weight.numel()  # a shared gate weighs once
        self.part.macs += macs
        self.part.weights += weights
        if self.apart:
            return
        self._weighed.add(id(layer))
        kind = self.total.by_type[layer_type(layer)]
        kind.macs, kind.weights = kind.macs + macs, kind.weights + weights
        self.total.macs += macs
        self.total.weights += weights

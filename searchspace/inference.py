"""A net for inference alone, in eager torch: normalisations folded into the convolutions, and little Python in between.

    quick = ss.folded(net)            # a copy in eval mode; quick.run(x) as before, logits to about 1e-6 of the largest

gamma (W x - mean) / sqrt(var + eps) + beta is a convolution with the weights W gamma / sqrt(var + eps) and the bias
beta - mean gamma / sqrt(var + eps) (Jacob et al., arXiv:1712.05877, section 3.2). Deployed engines do so by themselves; eager
torch does not, and calls a module for each piece. What that costs is the same for one image as for eight, so that a block which
runs on few of them gains more by it (docs/results/skipping.md).
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from searchspace.blocks import ConvBlock
from searchspace.network import Network

Step = Callable[[Tensor], Tensor]
FACE = ("forward", "body", "shortcut", "join", "hands_back")  # of a block


class _Convolution:
    """x: (N, C, H, W) -> (N, C', H', W'), bias and activation in it. No module: what a module looks up costs microseconds, and
    here that is a tenth of the convolution."""

    __slots__ = ("act", "bias", "how", "weight")

    def __init__(self, whole: nn.Conv2d, act: nn.Module | None):
        self.weight, self.bias = whole.weight, whole.bias
        self.how = (whole.stride, whole.padding, whole.dilation, whole.groups)
        self.act = None if act is None else _step(act)

    def __call__(self, x: Tensor) -> Tensor:
        y = torch.conv2d(x, self.weight, self.bias, *self.how)  # type: ignore[arg-type]
        return y if self.act is None else self.act(y)


class FoldedConv(nn.Module):
    """The module around it, which owns the weights and so moves them."""

    def __init__(self, convolution: nn.Conv2d, norm: nn.BatchNorm2d, act: nn.Module | None):
        super().__init__()
        whole = fuse_conv_bn_eval(convolution, norm)
        self.weight, self.bias, self.act = whole.weight, whole.bias, act
        self.step = _Convolution(whole, act)

    def forward(self, x: Tensor) -> Tensor:
        return self.step(x)


class FoldedBlock(ConvBlock):
    """A block that says what its body, its shortcut and the end of it run through, as lists of steps."""

    def __init__(self, block: ConvBlock):
        nn.Module.__init__(self)
        self.spec, self.has_shortcut, self.block = block.spec, block.has_shortcut, block
        self.body_steps, self.way_steps, self.after_steps = (_steps(block, n) for n in (block.chain, block.way, block.after))
        self.fresh = isinstance(self.body_steps[-1], _Convolution)  # then what the body gives is nobody else's

    def body(self, x: Tensor) -> Tensor:
        for step in self.body_steps:
            x = step(x)
        return x

    def shortcut(self, x: Tensor) -> Tensor:
        for step in self.way_steps:
            x = step(x)
        return x

    def hands_back(self, image: Tensor) -> bool:
        return not self.way_steps

    def join(self, y: Tensor, s: Tensor) -> Tensor:
        y = y.add_(s) if self.fresh else y + s
        for step in self.after_steps:
            y = step(y)
        return y


def folded(net: Network) -> Network:
    """A copy of the net for inference: eval mode, no gradient; `net` itself stays as it is. A block that writes its own body,
    shortcut, join or forward keeps it, with the convolutions in it folded. Weights are loaded before, not afterwards."""
    quick = private_copy(net).eval().requires_grad_(False)
    assert isinstance(quick, Network)
    _fold(quick)
    for i, block in enumerate(quick.blocks):
        own = type(block)
        if own.chain and all(getattr(own, name) is getattr(ConvBlock, name) for name in FACE):  # type: ignore[attr-defined]
            quick.blocks[i] = FoldedBlock(block)  # type: ignore[arg-type]
    return quick


def private_copy(module: nn.Module) -> nn.Module:
    """A deep copy; tensors of an autograd graph that hang on a module (the decisions of the last training step) cannot be copied
    deeply and come along detached."""
    memo: dict[int, Any] = {}
    for m in module.modules():
        for value in vars(m).values():
            if isinstance(value, Tensor) and not value.is_leaf:
                memo[id(value)] = value.detach()
    return copy.deepcopy(module, memo)


def _fold(module: nn.Module) -> None:
    for name, child in module.named_children():
        pieces = list(child) if type(child) is nn.Sequential else []
        plain = [type(piece) for piece in pieces[:2]] == [nn.Conv2d, nn.BatchNorm2d] and pieces[0].padding_mode == "zeros"
        if plain:
            one = FoldedConv(pieces[0], pieces[1], pieces[2] if len(pieces) > 2 else None)  # type: ignore[arg-type]
            setattr(module, name, nn.Sequential(one, *pieces[3:]) if len(pieces) > 3 else one)
        else:
            _fold(child)


def _steps(block: nn.Module, names: tuple[str, ...]) -> list[Step]:
    pieces = [getattr(block, name) for name in names]
    return [_step(piece) for piece in pieces if not isinstance(piece, nn.Identity)]


def _step(piece: nn.Module) -> Step:
    if isinstance(piece, FoldedConv):
        return piece.step
    if isinstance(piece, nn.ReLU) and piece.inplace:
        return torch.relu_
    return piece.forward

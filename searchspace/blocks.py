"""The block families, one small class each, behind one face: body, shortcut, join.

    y = block(x) = block.join(block.body(x), block.shortcut(x))     x: (N, C_in, H, W) -> (N, C_out, H', W')

A skipped block is its shortcut alone. Every piece is plain and free of control flow, so that each can be exported alone.
To add a family: subclass `ConvBlock`, register it here or in a file of your own (README, "Add a block").
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor, nn

from searchspace.activations import activation
from searchspace.architecture import Block, Family, register_family


def conv_norm(channels_in: int, out: int, kernel: int = 1, stride: int = 1, groups: int = 1, act: str = "") -> nn.Sequential:
    """Convolution with "same" padding, no bias -> batch normalisation [-> activation]."""
    layers: list[nn.Module] = [
        nn.Conv2d(channels_in, out, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(out),
    ]
    if act:
        layers.append(activation(act))
    return nn.Sequential(*layers)


class SqueezeExcite(nn.Module):
    """Squeeze-and-excitation with a hard sigmoid (MobileNetV3, section 5.3): x * h_sigmoid(W2 relu(W1 mean(x)))."""

    def __init__(self, channels: int, bottleneck: int):
        super().__init__()
        self.reduce = nn.Conv2d(channels, bottleneck, 1)
        self.expand = nn.Conv2d(bottleneck, channels, 1)
        self.gate = nn.Hardsigmoid()

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean((2, 3), keepdim=True)
        return x * self.gate(self.expand(torch.relu(self.reduce(mean))))


class ConvBlock(nn.Module):
    """A block with the face above. `has_shortcut`: whether it can be skipped. A family says which of its modules the body runs
    through (`chain`), which the shortcut (`way`) and which come after the addition (`after`), by name, or writes body, shortcut
    and join itself; no module may have one of these three names. An nn.Identity among them stands for a piece that a net does
    without."""

    chain: ClassVar[tuple[str, ...]] = ()
    way: ClassVar[tuple[str, ...]] = ()
    after: ClassVar[tuple[str, ...]] = ()

    def __init__(self, channels_in: int, spec: Block):
        super().__init__()
        self.spec = spec
        self.has_shortcut = spec.has_shortcut(channels_in)

    def body(self, x: Tensor) -> Tensor:
        """F(x): what a skip saves."""
        if not self.chain:
            raise TypeError(f"{type(self).__name__} defines no body")
        for name in self.chain:
            x = getattr(self, name)(x)
        return x

    def shortcut(self, x: Tensor) -> Tensor:
        """What remains of a skipped block: (N, C_in, H, W) -> (N, C_out, H', W')."""
        for name in self.way:
            x = getattr(self, name)(x)
        return x

    def hands_back(self, image: Tensor) -> bool:
        """Whether the shortcut is the identity: then the skipped images stay where they are. Asked of one of them, (1, C, H, W),
        and run on it only where the shapes allow it."""
        same = self.spec.stride == 1 and self.spec.out == image.shape[1]
        return same and self.shortcut(image) is image

    def join(self, y: Tensor, s: Tensor) -> Tensor:
        """Body and shortcut together."""
        y = y + s
        for name in self.after:
            y = getattr(self, name)(y)
        return y

    def forward(self, x: Tensor) -> Tensor:
        return self.join(self.body(x), self.shortcut(x)) if self.has_shortcut else self.body(x)


class Separable(ConvBlock):
    """MobileNetV1 (arXiv:1704.04861, Figure 3): depthwise -> norm, act [-> SE] -> 1x1 -> norm, act. No shortcut."""

    chain = ("depthwise", "excite", "pointwise")

    def __init__(self, channels_in: int, spec: Block):
        super().__init__(channels_in, spec)
        self.depthwise = conv_norm(channels_in, channels_in, spec.kernel, spec.stride, channels_in, spec.activation)
        self.excite = SqueezeExcite(channels_in, spec.se) if spec.se else nn.Identity()
        self.pointwise = conv_norm(channels_in, spec.out, act=spec.activation)


class InvertedResidual(ConvBlock):
    """MobileNetV2 (arXiv:1801.04381, section 3.3) and V3: 1x1 expansion -> depthwise [-> SE] -> linear 1x1; x is added where
    shapes agree. Without expansion (hidden == channels in) the first layer is left out."""

    chain = ("expand", "depthwise", "excite", "project")

    def __init__(self, channels_in: int, spec: Block):
        super().__init__(channels_in, spec)
        wide = spec.hidden
        self.expand = conv_norm(channels_in, wide, act=spec.activation) if wide != channels_in else nn.Identity()
        self.depthwise = conv_norm(wide, wide, spec.kernel, spec.stride, wide, spec.activation)
        self.excite = SqueezeExcite(wide, spec.se) if spec.se else nn.Identity()
        self.project = conv_norm(wide, spec.out)


class Residual(ConvBlock):
    """ResNet's basic block (arXiv:1512.03385): two convolutions, the last activation after the addition; where shapes
    differ the shortcut is a 1x1 convolution with normalisation, as in SkipNet's code. A skipped block is that shortcut
    without the last activation (arXiv:1711.09485, eq. 1: x_{i+1} = G F(x) + (1 - G) x with F the whole block)."""

    chain, way, after = ("first", "second", "excite"), ("project",), ("last",)

    def __init__(self, channels_in: int, spec: Block):
        super().__init__(channels_in, spec)
        self.first = conv_norm(channels_in, spec.out, spec.kernel, spec.stride, act=spec.activation)
        self.second = conv_norm(spec.out, spec.out, spec.kernel)
        self.excite = SqueezeExcite(spec.out, spec.se) if spec.se else nn.Identity()
        same = spec.stride == 1 and spec.out == channels_in
        self.project = nn.Identity() if same else conv_norm(channels_in, spec.out, stride=spec.stride)
        self.last = activation(spec.activation)


class Bottleneck(ConvBlock):
    """ResNet's block for 50 layers and more (arXiv:1512.03385, Figure 5): 1x1 to `hidden` channels, 3x3 (which strides, as in
    torchvision and SkipNet's code), 1x1; shortcut, last activation and what a skip leaves as in `Residual`."""

    chain, way, after = ("reduce", "middle", "expand", "excite"), ("project",), ("last",)

    def __init__(self, channels_in: int, spec: Block):
        super().__init__(channels_in, spec)
        self.reduce = conv_norm(channels_in, spec.hidden, act=spec.activation)
        self.middle = conv_norm(spec.hidden, spec.hidden, spec.kernel, spec.stride, act=spec.activation)
        self.expand = conv_norm(spec.hidden, spec.out)
        self.excite = SqueezeExcite(spec.out, spec.se) if spec.se else nn.Identity()
        same = spec.stride == 1 and spec.out == channels_in
        self.project = nn.Identity() if same else conv_norm(channels_in, spec.out, stride=spec.stride)
        self.last = activation(spec.activation)


class Projection(ConvBlock):
    """What a strided residual block leaves when it is skipped, as a block of its own: 1x1 convolution and normalisation. For
    static twins (searchspace/twins.py); no space offers it."""

    chain = ("project",)

    def __init__(self, channels_in: int, spec: Block):
        super().__init__(channels_in, spec)
        self.project = conv_norm(channels_in, spec.out, spec.kernel, spec.stride)


BLOCKS: dict[str, Callable[[int, Block], ConvBlock]] = {
    "separable": Separable,
    "inverted": InvertedResidual,
    "residual": Residual,
    "bottleneck": Bottleneck,
    "projection": Projection,
}


def register(family: Family, make: Callable[[int, Block], ConvBlock]) -> None:
    """Make a family of your own known to values and builder alike: make(channels_in, spec) -> ConvBlock."""
    register_family(family)
    BLOCKS[family.name] = make

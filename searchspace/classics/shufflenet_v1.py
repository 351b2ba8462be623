"""ShuffleNet (V1; Zhang et al., arXiv:1707.01083), Table 1 and Figure 2: grouped 1x1 convolutions with a channel shuffle between.

Top-1 error at scale 1 (Table 2): 33.6, 32.7, 32.6, 32.8, 32.4 % for g = 1, 2, 3, 4, 8. Mult-adds 143.08, 140.84, 137.46,
134.34, 138.37 M, where the paper prints 143, 140, 137, 133, 137. The channels of stage 2 grow with g so that the cost stays.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from searchspace.blocks import conv_norm
from searchspace.classics.weights import he_normal

CHANNELS = {1: 144, 2: 200, 3: 240, 4: 272, 8: 384}  # groups -> channels out of stage 2 at scale 1; each next stage doubles
UNITS = (4, 8, 4)  # of stages 2 to 4, the strided one included


def nearest(channels: float, groups: int) -> int:
    """The multiple of `groups` next to it, halves up."""
    return max(groups, int(channels / groups + 0.5) * groups)


class Unit(nn.Module):
    """(N, channels_in, H, W) -> (N, out, H / stride, W / stride). Figure 2 b: the branch is added; c, stride 2: it gives the
    channels that the average-pooled input lacks. No activation follows the depthwise convolution."""

    def __init__(self, channels_in: int, out: int, stride: int, groups: int, first_groups: int):
        super().__init__()
        self.groups, self.stride = groups, stride
        middle = nearest(out / 4, groups)
        self.reduce = he_normal(conv_norm(channels_in, middle, groups=first_groups, act="relu"))
        self.depthwise = he_normal(conv_norm(middle, middle, 3, stride, groups=middle))
        self.expand = he_normal(conv_norm(middle, out if stride == 1 else out - channels_in, groups=groups), after_relu=False)
        self.pool = nn.AvgPool2d(3, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.expand(self.depthwise(shuffled(self.reduce(x), self.groups)))
        return torch.relu(x + y if self.stride == 1 else torch.cat((self.pool(x), y), 1))


def shuffled(x: Tensor, groups: int) -> Tensor:
    """Channel i of group j becomes channel j of group i (section 3.1): x (N, C, H, W), C a multiple of `groups`."""
    if groups == 1:
        return x
    n, channels, height, width = (int(size) for size in x.shape)  # as numbers: traced ones would be nodes of the file
    return x.reshape(n, groups, channels // groups, height, width).transpose(1, 2).reshape(n, channels, height, width)


class ShuffleNetV1(nn.Module):
    """x: (N, in_channels, H, W) -> (N, classes). `groups`: 1, 2, 3, 4 or 8; `scale`: of the channels of stages 2 to 4. The stem
    has 24, halved up to scale 0.5 and doubled from 2 on, as its authors' code and the printed costs have it. Where a scaled width
    is no multiple of the groups, the nearest one is taken."""

    def __init__(
        self, classes: int = 1000, in_channels: int = 3, groups: int = 3, scale: float = 1.0, resolution: int = 224
    ):  # fmt: skip
        super().__init__()
        if groups not in CHANNELS:
            raise ValueError(f"groups: {groups} is not one of {', '.join(map(str, CHANNELS))}")
        if not 0 < scale <= 4:
            raise ValueError(f"scale: {scale:g} is not in (0, 4]")
        self.resolution = resolution
        stem = 12 if scale <= 0.5 else 24 if scale < 2 else 48
        channels = -(-stem // groups) * groups  # what is left to the branch must be a multiple, too: 12 becomes 16 with g = 8
        self.stem = he_normal(nn.Sequential(conv_norm(in_channels, channels, 3, 2, act="relu"), nn.MaxPool2d(3, 2, 1)))
        out = nearest(CHANNELS[groups] * scale, groups)
        units: list[nn.Module] = []
        for depth in UNITS:
            for i in range(depth):
                # the first pointwise layer of stage 2 has no groups: its input is too narrow (section 3.2)
                units.append(Unit(channels, out, 2 if i == 0 else 1, groups, groups if units else 1))
                channels = out
            out *= 2
        self.units = nn.Sequential(*units)
        self.classifier = nn.Linear(channels, classes)
        nn.init.normal_(self.classifier.weight, std=0.01)  # no norm stands before it, and the sums of the units are large

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.units(self.stem(x)).mean((2, 3)))

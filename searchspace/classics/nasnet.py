"""NASNet-A 4 @ 1056, the mobile one (Zoph et al., arXiv:1707.07012, Figure 4 and appendix A): 74.0 % top-1 as printed there,
563.639 M mult-adds and 5,289,978 parameters at 224 pixels, both as in the authors' code.

A found cell stands four times in each of three stages, reduction cells between them. Every cell reads the outputs of the two
cells before it. To be counted, measured and trained plainly: no drop path, no auxiliary head. TensorFlow's "same" padding of
strided layers is uneven; here it is even, which changes no size and no count.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from searchspace.blocks import conv_norm
from searchspace.classics.weights import he_normal

STEM = 32


def separable(channels_in: int, out: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """ReLU, depthwise, pointwise, norm; and the same again. The stride is the first one's."""
    layers: list[nn.Module] = []
    for channels, step in ((channels_in, stride), (out, 1)):
        depthwise = nn.Conv2d(channels, channels, kernel, step, kernel // 2, groups=channels, bias=False)
        layers += [nn.ReLU(), he_normal(depthwise), *he_normal(conv_norm(channels, out), after_relu=False)]
    return nn.Sequential(*layers)


def fitted(channels_in: int, out: int) -> nn.Sequential:
    """ReLU, 1x1 convolution, norm: how a cell takes an input of its own size."""
    return nn.Sequential(nn.ReLU(), *he_normal(conv_norm(channels_in, out)))


class Halved(nn.Module):
    """How a cell takes the output of the cell before a reduction: (N, C, H, W) -> (N, out, H / 2, W / 2), half of the channels
    from the even pixels, half from the odd ones (the code's "factorized reduction")."""

    def __init__(self, channels_in: int, out: int):
        super().__init__()
        # a norm for each half is the norm of both, and folds into its convolution
        self.even = he_normal(conv_norm(channels_in, out // 2, stride=2))
        self.odd = he_normal(conv_norm(channels_in, out - out // 2))

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(x)
        rows, columns = int(x.shape[2]) % 2, int(x.shape[3]) % 2
        shifted = F.pad(x, (0, columns, 0, rows)) if rows or columns else x
        return torch.cat((self.even(x), self.odd(shifted[:, :, 1::2, 1::2])), 1)


class NormalCell(nn.Module):
    """h: (N, C, H, W), p: the cell's output before -> (N, 6 F, H, W). `halves`: whether p has twice the size of h."""

    def __init__(self, channels: int, before: int, width: int, halves: bool):
        super().__init__()
        self.take_h = fitted(channels, width)
        self.take_p = Halved(before, width) if halves else fitted(before, width)
        self.sep5_h, self.sep3_p = separable(width, width, 5), separable(width, width, 3)
        self.sep5_p, self.sep3_p2 = separable(width, width, 5), separable(width, width, 3)
        self.sep3_h = separable(width, width, 3)
        self.average = nn.AvgPool2d(3, 1, 1, count_include_pad=False)

    def forward(self, h: Tensor, p: Tensor) -> Tensor:
        h, p = self.take_h(h), self.take_p(p)
        mean = self.average(p)
        return torch.cat(
            (
                p,
                self.sep5_h(h) + self.sep3_p(p),
                self.sep5_p(p) + self.sep3_p2(p),
                self.average(h) + p,
                mean + mean,  # the search found this pair
                self.sep3_h(h) + h,
            ),
            1,
        )


class ReductionCell(nn.Module):
    """h: (N, C, H, W), p: the cell's output before -> (N, 4 F, H / 2, W / 2). `raw`: p is the stem and is taken as it is."""

    def __init__(self, channels: int, before: int, width: int, halves: bool = False, raw: bool = False):
        super().__init__()
        self.take_h = fitted(channels, width)
        self.take_p = nn.Identity() if raw else Halved(before, width) if halves else fitted(before, width)
        of_p = before if raw else width
        self.sep5_h, self.sep7_p = separable(width, width, 5, 2), separable(of_p, width, 7, 2)
        self.sep7_p2, self.sep5_p = separable(of_p, width, 7, 2), separable(of_p, width, 5, 2)
        self.sep3 = separable(width, width, 3)
        self.largest = nn.MaxPool2d(3, 2, 1)
        self.halve = nn.AvgPool2d(3, 2, 1, count_include_pad=False)
        self.average = nn.AvgPool2d(3, 1, 1, count_include_pad=False)

    def forward(self, h: Tensor, p: Tensor) -> Tensor:
        h, p = self.take_h(h), self.take_p(p)
        largest = self.largest(h)
        x1 = self.sep5_h(h) + self.sep7_p(p)
        x2 = largest + self.sep7_p2(p)
        x3 = self.halve(h) + self.sep5_p(p)
        x4 = x2 + self.average(x1)
        x5 = self.sep3(x1) + largest
        return torch.cat((x2, x3, x4, x5), 1)


class NASNetA(nn.Module):
    """x: (N, in_channels, H, W) -> (N, classes). `cells`: normal ones a stage; `width`: F of the first stage, 24 F channels
    reach the classifier (1,056)."""

    def __init__(self, classes: int = 1000, in_channels: int = 3, cells: int = 4, width: int = 44, resolution: int = 224):
        super().__init__()
        self.resolution = resolution
        stem = nn.Conv2d(in_channels, STEM, 3, 2, bias=False)  # without padding
        self.stem = nn.Sequential(he_normal(stem, after_relu=False), nn.BatchNorm2d(STEM))
        # the first reduction has no cell before its input: it takes the stem as both, as p unfitted (this fixes the count)
        made: list[nn.Module] = [ReductionCell(STEM, STEM, width // 4, raw=True)]
        channels, before, halves = 4 * (width // 4), STEM, True
        made.append(ReductionCell(channels, before, width // 2, halves))
        channels, before = 4 * (width // 2), channels
        for stage in range(3):
            f = width * 2**stage
            if stage:
                made.append(ReductionCell(channels, before, f))
                channels, before = 4 * f, channels
            for i in range(cells):
                made.append(NormalCell(channels, before, f, halves=i == 0))
                channels, before = 6 * f, channels
        self.cells = nn.ModuleList(made)
        self.classifier = he_normal(nn.Linear(channels, classes), after_relu=False)

    def forward(self, x: Tensor) -> Tensor:
        h = p = self.stem(x)
        for cell in self.cells:
            h, p = cell(h, p), h
        return self.classifier(torch.relu(h).mean((2, 3)))

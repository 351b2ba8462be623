"""AlexNet as printed in 2012 (Krizhevsky, Sutskever, Hinton: "ImageNet Classification with Deep Convolutional Neural Networks",
section 3 and Figure 2), 57.2 % top-1 as the MobileNet paper cites it. torchvision's AlexNet is the later one-tower net.

The two groups stand for the two GPUs: convolutions 2, 4 and 5 see the maps of their own group alone, 3 sees all. 724.41 M
mult-adds and 60.97 M parameters at 227 pixels; `groups=1`: 1,135.26 M and 62.38 M.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from searchspace.classics.weights import he_normal


class LocalNorm(nn.Module):
    """Local response normalisation (section 3.3), x: (N, C, H, W): x / (2 + 1e-4 * sum of squares of 5 neighbouring maps)^0.75.

    In slices and square roots: torch's own layer leaves an `If` in the file, which no int8 allows. Of AlexNet's 13.5 ms in ONNX
    Runtime (one thread of a Zen 5 EPYC) both layers are 1.2; with a power 2.5, as ONNX's own LRN node 9.2."""

    def forward(self, x: Tensor) -> Tensor:
        maps = int(x.shape[1])
        squares = F.pad(x * x, (0, 0, 0, 0, 2, 2))
        around = squares[:, :maps]
        for i in range(1, 5):
            around = around + squares[:, i : i + maps]
        root = (2.0 + 1e-4 * around).sqrt()
        return x / (root * root.sqrt())


class AlexNet(nn.Module):
    """x: (N, in_channels, H, W) -> (N, classes), H = W = `resolution` (at least 67): the first linear layer has its size from it.
    The paper says 224, its map sizes ask for 227."""

    def __init__(self, classes: int = 1000, in_channels: int = 3, groups: int = 2, resolution: int = 227):
        super().__init__()
        self.resolution = resolution
        pool = lambda: nn.MaxPool2d(3, 2)  # noqa: E731 - overlapping, section 3.4
        self.features = nn.Sequential(
            nn.Conv2d(in_channels, 96, 11, 4), nn.ReLU(), LocalNorm(), pool(),
            nn.Conv2d(96, 256, 5, padding=2, groups=groups), nn.ReLU(), LocalNorm(), pool(),
            nn.Conv2d(256, 384, 3, padding=1), nn.ReLU(),
            nn.Conv2d(384, 384, 3, padding=1, groups=groups), nn.ReLU(),
            nn.Conv2d(384, 256, 3, padding=1, groups=groups), nn.ReLU(), pool(),
        )  # fmt: skip
        size = (resolution - 11) // 4 + 1
        for _ in range(3):
            size = (size - 3) // 2 + 1
        self.classifier = nn.Sequential(
            nn.Dropout(0.5), nn.Linear(256 * size * size, 4096), nn.ReLU(),
            nn.Dropout(0.5), nn.Linear(4096, 4096), nn.ReLU(),
            nn.Linear(4096, classes),
        )  # fmt: skip
        he_normal(self)  # the paper draws from N(0, 0.01^2), with which a net without batch norm is slow to begin

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).flatten(1))

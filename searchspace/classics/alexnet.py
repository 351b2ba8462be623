"""AlexNet as printed in 2012 (Krizhevsky, Sutskever, Hinton: "ImageNet Classification with Deep Convolutional Neural Networks",
section 3 and Figure 2), 57.2 % top-1 as the MobileNet paper cites it. torchvision's AlexNet is the later one-tower net.

The two groups stand for the two GPUs: convolutions 2, 4 and 5 see the maps of their own group alone, 3 sees all. 724.41 M
mult-adds and 60.97 M parameters at 227 pixels; `groups=1`: 1,135.26 M and 62.38 M.
"""

from __future__ import annotations

from torch import Tensor, nn

from searchspace.classics.weights import he_normal


def _norm() -> nn.Module:
    """Local response normalisation, section 3.3: n 5, k 2, alpha 1e-4, beta 0.75. torch divides alpha by n, the paper not."""
    return nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0)


class AlexNet(nn.Module):
    """x: (N, in_channels, H, W) -> (N, classes), H = W = `resolution` (at least 67): the first linear layer has its size from it.
    The paper says 224, its map sizes ask for 227."""

    def __init__(self, classes: int = 1000, in_channels: int = 3, groups: int = 2, resolution: int = 227):
        super().__init__()
        self.resolution = resolution
        pool = lambda: nn.MaxPool2d(3, 2)  # noqa: E731 - overlapping, section 3.4
        self.features = nn.Sequential(
            nn.Conv2d(in_channels, 96, 11, 4), nn.ReLU(), _norm(), pool(),
            nn.Conv2d(96, 256, 5, padding=2, groups=groups), nn.ReLU(), _norm(), pool(),
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

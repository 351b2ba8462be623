"""The skeletons: what fixes stem, stage widths and strides, and head. Standard library only.

mobilenet_v1  arXiv:1704.04861, Table 1. The table prints stride 2 for the last depthwise layer, which its own sizes
              contradict (7x7 in, 7x7 out): it is 1.
mobilenet_v2  arXiv:1801.04381, Table 2.
resnet        arXiv:1512.03385, section 4.2 (CIFAR): 16/32/64 channels, depth 6n+2. SkipNet (arXiv:1711.09485) gates it;
              like its code we take 1x1 convolutions as shortcuts where shapes differ.

Each stage also names what the paper itself puts there, the default where a search space asks for nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass

from searchspace.architecture import ArchitectureError


@dataclass(frozen=True)
class StagePlan:
    """Width at alpha 1 and stride, and the paper's own choice of blocks."""

    width: int
    stride: int
    depth: int
    family: str
    expansion: int = 1


@dataclass(frozen=True)
class Skeleton:
    """Stem, stages and head at alpha 1."""

    name: str
    stem: int
    stem_stride: int
    stages: tuple[StagePlan, ...]
    head_conv: int = 0
    activation: str = "relu"

    def widths(self, alpha: float) -> tuple[int, tuple[int, ...], int]:
        """Channels of stem, stages and head at a width multiplier. The head never gets thinner than at alpha 1
        (MobileNetV2, section 6.1: "for multipliers less than one, we apply width multiplier to all layers except the
        very last convolutional layer")."""
        head = divisible(self.head_conv * max(1.0, alpha)) if self.head_conv else 0
        return divisible(self.stem * alpha), tuple(divisible(s.width * alpha) for s in self.stages), head


def _v1(width: int, stride: int, depth: int) -> StagePlan:
    return StagePlan(width, stride, depth, "separable")


def _v2(width: int, stride: int, depth: int, expansion: int = 6) -> StagePlan:
    return StagePlan(width, stride, depth, "inverted", expansion)


SKELETONS: dict[str, Skeleton] = {
    s.name: s
    for s in (
        Skeleton("mobilenet_v1", 32, 2, (_v1(64, 1, 1), _v1(128, 2, 2), _v1(256, 2, 2), _v1(512, 2, 6), _v1(1024, 2, 2))),
        Skeleton("mobilenet_v2", 32, 2,
                 (_v2(16, 1, 1, 1), _v2(24, 2, 2), _v2(32, 2, 3), _v2(64, 2, 4), _v2(96, 1, 3), _v2(160, 2, 3), _v2(320, 1, 1)),
                 head_conv=1280, activation="relu6"),
        Skeleton("resnet", 16, 1, tuple(StagePlan(w, s, 3, "residual") for w, s in ((16, 1), (32, 2), (64, 2)))),
    )
}  # fmt: skip


def divisible(channels: float, by: int = 8) -> int:
    """The nearest multiple of 8 that loses at most a tenth (the MobileNets' own rule, `_make_divisible`)."""
    rounded = max(by, int(channels + by / 2) // by * by)
    return rounded + by if rounded < 0.9 * channels else rounded


def squeeze(channels: int) -> int:
    """Channels of a squeeze-and-excitation bottleneck: a quarter (MobileNetV3, arXiv:1905.02244, section 5.3)."""
    return divisible(channels / 4)


def fitting_strides(strides: list[int], resolution: int, min_map: int) -> list[int]:
    """Strides (stem first) with as many dropped from the front as a small image needs: the last map stays at least
    `min_map` pixels wide. A stride-2 layer with "same" padding makes ceil(size / 2)."""
    if resolution < min_map:
        raise ArchitectureError("resolution", f"{resolution} px is less than the last map's least width, min_map={min_map}")
    kept = list(strides)
    for i in range(len(kept)):
        size = resolution
        for stride in kept:
            size = -(-size // stride)
        if size >= min_map:
            break
        kept[i] = 1
    return kept

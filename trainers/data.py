"""The images of a study: train and val for the search, test sealed until the finalists.

    data = load("digits")                                  # no test image can be reached from here
    data.train, data.val                                   # (x: (N, H, W, C) uint8, y: (N,) int64) tensors
    data = load("digits", with_test=True)
    x, y = data.open_test(net_id, seed)                    # once per net and seed

The split is stratified and fixed: it does not follow the study's seed, so that two seeds differ by training alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trainers.sources import SPLIT_SEED, DataError, Source, open_source, stratified

__all__ = ["DataError", "ImageData", "TestSealed", "load", "look"]

VAL_SHARE = 0.2
Pair = tuple[Tensor, Tensor]


class TestSealed(RuntimeError):
    """Somebody reached for the test images before the finalists' stage, or twice for one net and seed."""

    __test__ = False  # its name begins like a test's


@dataclass
class ImageData:
    """Images in memory. `mean`, `std` per channel on the 0..255 scale, of the train part; `crop` (pixels) and `flip` are the
    augmentation; `fraction` of the train and val images is used, never of test."""

    name: str
    classes: tuple[str, ...]
    channels: int
    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    crop: int
    flip: bool
    train: Pair
    val: Pair
    source: Source | None = field(default=None, repr=False)
    with_test: bool = False
    _opened: set[tuple[str, int]] = field(default_factory=set, repr=False)

    @property
    def train_images(self) -> int:
        """Number of images of an epoch."""
        return len(self.train[1])

    @property
    def val_images(self) -> int:
        """Number of validation images."""
        return len(self.val[1])

    def sample(self, n: int, train: bool = False) -> np.ndarray:
        """(n, C, H, W) uint8: the first validation images (or training ones) of a fixed shuffle, for measuring and for parity.
        Sets with fewer images repeat them."""
        x, y = self.train if train else self.val
        order = np.random.default_rng(SPLIT_SEED).permutation(len(y))
        return x[torch.from_numpy(np.resize(order, n))].permute(0, 3, 1, 2).contiguous().numpy()

    def open_test(self, net_id: str, seed: int, resolution: int | None = None) -> Pair:
        """All test images. Raises TestSealed before the finalists' stage and on a second call for one net and seed.
        `resolution` counts where images stream (trainers/folders.py); these stay at their own size."""
        if not self.with_test or self.source is None:
            raise TestSealed("the test images are out of reach before the finalists' stage")
        if (net_id, seed) in self._opened:
            raise TestSealed(f"the test images were opened for net {net_id}, seed {seed} already: once is all they are good for")
        self._opened.add((net_id, seed))
        return _tensors(*self.source.test())


def look(name: str, path: str | None = None) -> tuple[int, int]:
    """Number of classes and of channels, reading as little as can be. Raises DataError."""
    if name == "imagefolder":
        from trainers.folders import look_at_folder

        return look_at_folder(path)
    source = open_source(name, path)
    return len(source.classes), source.channels


def load(
    name: str, path: str | None = None, fraction: float = 1.0, crop: int = 0, flip: bool = False, with_test: bool = False
) -> Any:
    """The data set of that name, split; an ImageData, for imagefolder the streaming FolderData of the same face."""
    if name == "imagefolder":
        from trainers.folders import load_folder

        return load_folder(path, fraction, crop, flip, with_test)
    source = open_source(name, path)
    x, y = source.train()
    if fraction < 1:
        part = stratified(y, fraction, SPLIT_SEED + 1)
        x, y = x[part], y[part]
    held = stratified(y, VAL_SHARE)
    if held.all():
        raise DataError(
            "data.fraction", f"{fraction} leaves {len(y)} images: too few for {len(source.classes)} classes; use a larger share"
        )
    train, val = _tensors(x[~held], y[~held]), _tensors(x[held], y[held])
    mean, std = _statistics(train[0])
    return ImageData(
        name,
        source.classes,
        source.channels,
        x.shape[1],
        mean,
        std,
        crop,
        flip,
        train,
        val,
        source,
        with_test,
    )


def _statistics(x: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation (at least 1) per channel of (N, H, W, C) uint8, from whole-number sums: exact, and without
    the gigabyte that CIFAR-10 takes as doubles."""
    n, channels = x[..., 0].numel(), range(x.shape[3])
    total, squares = [0] * len(channels), [0] * len(channels)
    for part in x.split(1024):
        wide = part.flatten(0, 2).long()
        for c, (s, q) in enumerate(zip(wide.sum(0).tolist(), wide.square().sum(0).tolist(), strict=True)):
            total[c] += s
            squares[c] += q
    variance = [(n * squares[c] - total[c] ** 2) / (n * max(1, n - 1)) for c in channels]
    return tuple(total[c] / n for c in channels), tuple(max(1.0, math.sqrt(v)) for v in variance)


def _tensors(x: np.ndarray, y: np.ndarray) -> Pair:
    return torch.from_numpy(np.array(x)), torch.from_numpy(np.array(y)).long()  # copies: a file's buffer is not ours to write

"""`data=imagefolder`: your own folders, streamed from disk: train/CLASS/*, and val/CLASS/*, test/CLASS/* where you have them.

Without val or test, a fixed stratified fifth of train is held out for each that is missing. Statistics for the
normalisation come from 512 training images. Only file names are read before an image is needed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning import LightningDataModule
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, RandomSampler
from torchvision.datasets.folder import IMG_EXTENSIONS
from torchvision.transforms import v2

from trainers.data import Pair, TestSealed
from trainers.loaders import epoch_seed
from trainers.sources import SPLIT_SEED, DataError, stratified

Files = tuple[list[Path], np.ndarray]
STATISTICS = 512  # images that mean and std come from


class _Images(Dataset):
    def __init__(self, files: Files, transform: v2.Transform):
        self.files, self.transform = files, transform

    def __len__(self) -> int:
        return len(self.files[1])

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        path = self.files[0][i]
        try:
            with Image.open(path) as image:
                return self.transform(image.convert("RGB")), int(self.files[1][i])
        except (OSError, UnidentifiedImageError) as error:
            raise DataError("data.path", f"{path} cannot be read as an image ({error})") from None


def _centred(resolution: int) -> v2.Transform:
    return v2.Compose([v2.Resize(resolution, antialias=True), v2.CenterCrop(resolution), v2.PILToTensor()])


class FolderModule(LightningDataModule):
    """Streams batches (x uint8 (N, 3, r, r), y)."""

    def __init__(self, data: FolderData, resolution: int, recipe: Any):
        super().__init__()
        self.data, self.resolution, self.recipe = data, resolution, recipe
        self.generator = torch.Generator()  # of the order; crops and mirrors draw from torch's own

    def begin_epoch(self, epoch: int) -> None:
        """As trainers.loaders.DataModule's."""
        self.generator.manual_seed(epoch_seed(self.recipe.seed, epoch))

    def train_dataloader(self) -> DataLoader:
        cropped: list[v2.Transform] = [v2.RandomResizedCrop(self.resolution, (0.35, 1.0), antialias=True)]
        if self.data.flip:
            cropped.append(v2.RandomHorizontalFlip())
        images = _Images(self.data.train_files, v2.Compose([*cropped, v2.PILToTensor()]))
        size = min(self.recipe.batch_size, len(images))
        # a loader draws once from its own generator whenever it begins, for the first epoch before begin_epoch and then after
        # it: the order must not share that one, else a resumed training sees another order
        order = RandomSampler(images, generator=self.generator)
        return DataLoader(images, size, sampler=order, drop_last=True, generator=torch.Generator())

    def val_dataloader(self) -> DataLoader:
        return DataLoader(_Images(self.data.val_files, _centred(self.resolution)), 128, generator=torch.Generator())


@dataclass
class FolderData:
    """The face of trainers.data.ImageData over files."""

    name: str
    classes: tuple[str, ...]
    channels: int
    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    crop: int
    flip: bool
    train_files: Files = field(repr=False)
    val_files: Files = field(repr=False)
    test_files: Files | None = field(default=None, repr=False)
    _opened: set[tuple[str, int]] = field(default_factory=set, repr=False)

    @property
    def train_images(self) -> int:
        return len(self.train_files[1])

    @property
    def val_images(self) -> int:
        return len(self.val_files[1])

    def module(self, resolution: int, recipe: Any) -> FolderModule:
        """The Lightning data module of one net."""
        return FolderModule(self, resolution, recipe)

    def sample(self, n: int, train: bool = False) -> np.ndarray:
        """(n, 3, size, size) uint8: validation images (or training ones) of a fixed shuffle."""
        files = self.train_files if train else self.val_files
        order = np.resize(np.random.default_rng(SPLIT_SEED).permutation(len(files[1])), n)
        images = _Images(files, _centred(self.size))
        return torch.stack([images[int(i)][0] for i in order]).numpy()

    def open_test(self, net_id: str, seed: int, resolution: int | None = None) -> Pair:
        """All test images at `resolution` (else at `size`, which is coarse for a net that takes more), once per net and seed
        (see ImageData.open_test)."""
        if self.test_files is None:
            raise TestSealed("the test images are out of reach before the finalists' stage")
        if (net_id, seed) in self._opened:
            raise TestSealed(f"the test images were opened for net {net_id}, seed {seed} already: once is all they are good for")
        self._opened.add((net_id, seed))
        images = _Images(self.test_files, _centred(resolution or self.size))
        x = torch.stack([images[i][0] for i in range(len(images))]).permute(0, 2, 3, 1).contiguous()
        return x, torch.from_numpy(self.test_files[1])


def look_at_folder(path: str | None) -> tuple[int, int]:
    """Number of classes and channels. Raises DataError, also for what val/ and test/ lack: not hours later. Names alone are
    read here."""
    root = _root(path)
    classes = _classes(root / "train")
    for split in ("train", "val", "test"):
        if split == "train" or (root / split).is_dir():
            _check(root / split, classes)
    return len(classes), 3


def load_folder(path: str | None, fraction: float, crop: int, flip: bool, with_test: bool, size: int = 128) -> FolderData:
    """Raises DataError."""
    root = _root(path)
    classes = _classes(root / "train")
    train = _list(root / "train", classes)
    if (root / "test").is_dir():
        _check(root / "test", classes)
        test = _list(root / "test", classes) if with_test else None
    else:
        train, held = _held_out(train, 0.2, SPLIT_SEED)
        test = held if with_test else None
    if (root / "val").is_dir():
        val = _list(root / "val", classes)
    else:
        train, val = _held_out(train, 0.2, SPLIT_SEED + 1)
    if fraction < 1:
        train, val = (_held_out(files, fraction, SPLIT_SEED + 2)[1] for files in (train, val))
    if not len(train[1]):
        raise DataError("data.path", f"{root} has too few images: none is left to train on beside validation and test; add some")
    pixels = _statistics(train, size)
    return FolderData(
        "imagefolder",
        classes,
        3,
        size,
        tuple(pixels.mean((0, 2, 3)).tolist()),
        tuple(pixels.std((0, 2, 3)).clamp_min(1).tolist()),
        crop,
        flip,
        train,
        val,
        test,
    )


def _root(path: str | None) -> Path:
    if not path:
        raise DataError("data.path", "data=imagefolder needs a folder, as in data.path=my_images")
    if not (Path(path) / "train").is_dir():
        raise DataError("data.path", f"{path} holds no folder train/ with a folder of images for each class")
    return Path(path)


def _classes(folder: Path) -> tuple[str, ...]:
    names = tuple(sorted(p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".")))
    if len(names) < 2:
        raise DataError("data.path", f"{folder} holds {len(names)} class folders; it needs at least two")
    return names


def _images_in(folder: Path) -> Iterator[Path]:
    return (p for p in folder.rglob("*") if p.suffix.lower() in IMG_EXTENSIONS)


def _check(folder: Path, classes: tuple[str, ...]) -> None:
    """DataError unless the folder holds images of each class, and no class that train/ has not."""
    for name in classes:
        if next(_images_in(folder / name), None) is None:
            raise DataError("data.path", f"{folder / name} holds no images ({', '.join(IMG_EXTENSIONS)}); add some")
    if strange := sorted(set(_classes(folder)) - set(classes)):
        raise DataError("data.path", f"{folder} has classes that train/ has not ({', '.join(strange)}); remove them")


def _list(folder: Path, classes: tuple[str, ...]) -> Files:
    _check(folder, classes)
    files, labels = [], []
    for label, name in enumerate(classes):
        found = sorted(_images_in(folder / name))
        files += found
        labels += [label] * len(found)
    return files, np.asarray(labels, np.int64)


def _held_out(files: Files, share: float, seed: int) -> tuple[Files, Files]:
    held = stratified(files[1], share, seed)
    return ([f for f, h in zip(files[0], held, strict=True) if not h], files[1][~held]), (
        [f for f, h in zip(files[0], held, strict=True) if h],
        files[1][held],
    )


def _statistics(files: Files, size: int) -> Tensor:
    rows = np.random.default_rng(SPLIT_SEED).permutation(len(files[1]))[:STATISTICS]
    images = _Images(files, _centred(size))
    return torch.stack([images[int(i)][0] for i in rows]).double()

"""Where images come from: name -> Source, whose arrays are read when they are asked for, train and test apart.

digits         scikit-learn's 1,797 grey images of 8x8 pixels, shipped in its wheel; a fixed stratified fifth is the test set
fashion_mnist  IDX files of Debian's dataset-fashion-mnist, or of `path`, otherwise torchvision's download
cifar10/100    torchvision, downloaded into `path` or the user's cache
npz            `path`: x_train, y_train, x_test, y_test; uint8 (N, H, W, C), labels 0..classes-1. Nothing is unpickled, and
               of the test images only the header is read here.
"""

from __future__ import annotations

import gzip
import os
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

Arrays = tuple[np.ndarray, np.ndarray]  # (N, H, W, C) uint8, (N,) int64
DEBIAN = Path("/usr/share/datasets/fashion-mnist")
FASHION = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
KEYS = ("x_train", "y_train", "x_test", "y_test")
SPLIT_SEED = 20240229  # of every fixed split: never the study's seed


class DataError(ValueError):
    """Data that cannot be used: one line with the field, what is wrong and the cure."""

    def __init__(self, field: str, problem: str):
        super().__init__(f"{field}: {problem}")
        self.field = field


@dataclass(frozen=True)
class Source:
    """A data set that has been looked at, not read."""

    name: str
    classes: tuple[str, ...]
    channels: int
    train: Callable[[], Arrays]
    test: Callable[[], Arrays]


def open_source(name: str, path: str | None = None) -> Source:
    """The source of that name (all but imagefolder, which streams: trainers/folders.py). Raises DataError."""
    if name not in SOURCES:
        raise DataError("data", f"{name!r} is not one of {', '.join([*SOURCES, 'imagefolder'])}")
    return SOURCES[name](path)


def _digits(path: str | None) -> Source:
    from sklearn.datasets import load_digits

    def read() -> Arrays:
        bunch = load_digits()
        return np.rint(bunch.images * (255 / 16)).astype(np.uint8)[..., None], bunch.target.astype(np.int64)

    def part(test: bool) -> Arrays:
        x, y = read()
        held = stratified(y, 0.2)
        return (x[held], y[held]) if test else (x[~held], y[~held])

    return Source("digits", tuple("0123456789"), 1, lambda: part(False), lambda: part(True))


def _fashion_mnist(path: str | None) -> Source:
    folder = Path(path) if path else DEBIAN
    if not path and not folder.is_dir():
        return _torchvision("FashionMNIST", "fashion_mnist", FASHION, 1, None)

    def read(split: str) -> Arrays:
        found = []
        for kind, dims in ((f"{split}-images-idx3-ubyte", 3), (f"{split}-labels-idx1-ubyte", 1)):
            file = next((folder / (kind + end) for end in (".gz", "") if (folder / (kind + end)).is_file()), None)
            if file is None:
                raise DataError("data.path", f"{folder} holds no {kind}[.gz]")
            found.append(_idx(file, dims))
        return found[0][..., None], found[1].astype(np.int64)

    if not any(folder.glob("train-images-idx3-ubyte*")):
        raise DataError("data.path", f"{folder} holds no train-images-idx3-ubyte[.gz]; name the folder with the four IDX files")
    return Source("fashion_mnist", FASHION, 1, lambda: read("train"), lambda: read("t10k"))


def _idx(file: Path, dims: int) -> np.ndarray:
    """The IDX format of MNIST: two zero bytes, type 8 (uint8), number of dimensions, sizes as big-endian int32, the bytes."""
    try:
        data = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
    except (OSError, EOFError) as error:
        raise DataError("data.path", f"{file} cannot be read ({error})") from None
    head = 4 + 4 * dims
    if len(data) < head or data[:4] != bytes([0, 0, 8, dims]):
        raise DataError("data.path", f"{file} is not an IDX file of bytes with {dims} dimensions")
    shape = np.frombuffer(data, ">i4", dims, 4)
    if len(data) - head != int(np.prod(shape)):
        raise DataError("data.path", f"{file} is truncated: {len(data) - head} bytes of {int(np.prod(shape))}")
    return np.frombuffer(data, np.uint8, offset=head).reshape(shape)


def _torchvision(kind: str, name: str, classes: tuple[str, ...] | None, channels: int, path: str | None) -> Source:
    import torchvision

    root = path or os.path.join(os.environ.get("XDG_CACHE_HOME", os.path.expanduser("~/.cache")), "lean-convnet-search")
    make = getattr(torchvision.datasets, kind)

    def dataset(train: bool) -> Any:
        try:
            return make(root, train=train, download=True)
        except Exception as error:  # urllib, socket, hash: whatever a download can end in
            raise DataError(
                "data.path", f"{name} is not in {root} and could not be downloaded ({' '.join(str(error).split())[:150]})"
            ) from None

    def read(train: bool) -> Arrays:
        found = dataset(train)
        x = np.asarray(found.data)
        return (x if x.ndim == 4 else x[..., None]), np.asarray(found.targets, np.int64)

    return Source(name, classes or tuple(dataset(True).classes), channels, lambda: read(True), lambda: read(False))


def _npz(path: str | None) -> Source:
    if not path:
        raise DataError("data.path", "data=npz needs a file, as in data.path=mine.npz")
    file = Path(path)
    if not file.is_file():
        raise DataError("data.path", f"{file}: there is no such file")
    shapes = _npz_headers(file)
    for split in ("train", "test"):
        (x, x_type), (y, y_type) = shapes[f"x_{split}"], shapes[f"y_{split}"]
        if len(x) != 4 or x_type != np.uint8 or x[3] not in (1, 3) or 0 in x:
            raise DataError("data.path", f"{file}: x_{split} is {x_type} of shape {x}; it must be uint8 (N, H, W, 1 or 3)")
        if len(y) != 1 or y_type.kind not in "iu" or y[0] != x[0]:
            raise DataError("data.path", f"{file}: y_{split} is {y_type} of shape {y}; it must hold {x[0]} whole numbers")
    if shapes["x_train"][0][1:] != shapes["x_test"][0][1:]:
        raise DataError(
            "data.path", f"{file}: x_train has images of {shapes['x_train'][0][1:]}, x_test of {shapes['x_test'][0][1:]}"
        )
    labels = _npz_read(file, "y_train")
    classes = int(labels.max()) + 1
    if labels.min() < 0 or len(np.unique(labels)) != classes or classes < 2:
        raise DataError(
            "data.path",
            f"{file}: y_train holds {len(np.unique(labels))} labels from {labels.min()} to {labels.max()}; "
            "they must be 0..classes-1",
        )

    of_test = _npz_read(file, "y_test")  # labels are no pixels: what is wrong with them is said before a search, not after it
    if of_test.min() < 0 or of_test.max() >= classes:
        raise DataError("data.path", f"{file}: y_test holds labels outside of 0..{classes - 1}, which y_train has; correct them")

    def read(split: str) -> Arrays:
        return _npz_read(file, f"x_{split}"), _npz_read(file, f"y_{split}").astype(np.int64)

    return Source("npz", tuple(map(str, range(classes))), shapes["x_train"][0][3], lambda: read("train"), lambda: read("test"))


def _npz_headers(file: Path) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
    """Shape and type of the four arrays, without their contents."""
    found = {}
    try:
        with zipfile.ZipFile(file) as archive:
            names = archive.namelist()
            for key in KEYS:
                if f"{key}.npy" not in names:
                    has = ", ".join(n.removesuffix(".npy") for n in names) or "nothing"
                    raise DataError("data.path", f"{file} has no {key}; it holds {has} and must hold {', '.join(KEYS)}")
                with archive.open(f"{key}.npy") as member:
                    version = np.lib.format.read_magic(member)
                    header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
                    shape, _, dtype = header(member)
                    found[key] = (shape, dtype)
    except (zipfile.BadZipFile, OSError) as error:
        raise DataError("data.path", f"{file} is no npz file ({error})") from None
    except ValueError as error:
        if isinstance(error, DataError):
            raise
        raise DataError("data.path", f"{file} holds an array that cannot be read ({error})") from None
    return found


def _npz_read(file: Path, key: str) -> np.ndarray:
    try:
        with np.load(file, allow_pickle=False) as archive:
            array: np.ndarray = archive[key]
            return array
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise DataError("data.path", f"{file}: {key} cannot be read ({error})") from None


def stratified(y: np.ndarray, share: float, seed: int = SPLIT_SEED) -> np.ndarray:
    """(N,) bool: a random share of each class, at least one image of it. The same for the same labels, everywhere."""
    rng = np.random.default_rng(seed)
    chosen = np.zeros(len(y), bool)
    for label in np.unique(y):
        members = rng.permutation(np.flatnonzero(y == label))
        chosen[members[: max(1, round(share * len(members)))]] = True
    return chosen


SOURCES: dict[str, Callable[[str | None], Source]] = {
    "digits": _digits,
    "fashion_mnist": _fashion_mnist,
    "cifar10": lambda path: _torchvision("CIFAR10", "cifar10", None, 3, path),
    "cifar100": lambda path: _torchvision("CIFAR100", "cifar100", None, 3, path),
    "npz": _npz,
}

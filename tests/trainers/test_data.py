"""Data: fixed stratified splits, a sealed test set, and one line for whatever cannot be used."""

import gzip
import shutil
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from trainers.data import DataError, TestSealed, load, look
from trainers.loaders import DataModule
from trainers.pixels import augmented, resized
from trainers.sources import stratified


def arrays(n_train=60, n_test=12, size=6, channels=3, classes=3):
    rng = np.random.default_rng(0)
    return {
        "x_train": rng.integers(0, 256, (n_train, size, size, channels), np.uint8),
        "y_train": np.arange(n_train) % classes,
        "x_test": rng.integers(0, 256, (n_test, size, size, channels), np.uint8),
        "y_test": np.arange(n_test) % classes,
    }


def npz(path, **changes):
    found = {**arrays(), **changes}
    np.savez(path, **{k: v for k, v in found.items() if v is not None})
    return str(path)


def test_digits_are_split_stratified_and_disjoint():
    a, b = load("digits", with_test=True), load("digits", with_test=True)
    x, y = a.open_test("net", 0)
    assert len(a.train[1]) + len(a.val[1]) + len(y) == 1797
    parts = [a.train[0], a.val[0], x]
    keys = [{t.numpy().tobytes() for t in part} for part in parts]
    assert not keys[0] & keys[1] and not keys[1] & keys[2] and not keys[0] & keys[2]
    for _, labels in (a.train, a.val, (x, y)):
        share = torch.bincount(labels).float() / len(labels)
        assert (share - 0.1).abs().max() < 0.02
    assert torch.equal(a.train[0], b.train[0]) and torch.equal(a.val[1], b.val[1])
    assert a.train[0].dtype == torch.uint8 and a.train[0].max() == 255


def test_fraction_takes_of_train_and_val_but_never_of_test(tmp_path):
    path = npz(tmp_path / "a.npz", **arrays(600, 30))
    whole, half = load("npz", path, with_test=True), load("npz", path, fraction=0.5, with_test=True)
    assert (len(half.train[1]), len(half.val[1])) == (len(whole.train[1]) // 2, len(whole.val[1]) // 2)
    assert len(half.open_test("n", 0)[1]) == len(whole.open_test("n", 0)[1]) == 30


def test_statistics_are_those_of_the_train_part():
    data = load("digits")
    pixels = data.train[0].double()
    assert data.mean[0] == pytest.approx(pixels.mean().item()) and data.std[0] == pytest.approx(pixels.std().item())


def test_statistics_are_exact_for_each_channel(tmp_path):
    data = load("npz", npz(tmp_path / "a.npz", **arrays(1500, channels=3)))  # more than one part of 1024
    pixels = data.train[0].numpy().reshape(-1, 3).astype(np.float64)
    assert data.mean == pytest.approx(tuple(pixels.mean(0)), rel=1e-12)
    assert data.std == pytest.approx(tuple(pixels.std(0, ddof=1)), rel=1e-12)


def test_the_test_images_are_out_of_reach_in_the_search():
    data = load("digits")
    with pytest.raises(TestSealed, match="before the finalists"):
        data.open_test("net", 0)


def test_test_is_opened_once_per_net_and_seed():
    data = load("digits", with_test=True)
    data.open_test("a", 0), data.open_test("a", 1), data.open_test("b", 0)
    with pytest.raises(TestSealed, match="net a, seed 1"):
        data.open_test("a", 1)


def test_the_search_does_not_read_a_pixel_of_the_test_set(tmp_path):
    """x_test is poison: its bytes are broken, so that reading it fails. Everything but the finalists' stage works."""
    path = npz(tmp_path / "a.npz", **arrays(n_test=1200))  # larger than what is read ahead
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo("x_test.npy")
    data = bytearray((tmp_path / "a.npz").read_bytes())
    data[info.header_offset + 100_000] ^= 0xFF  # behind the header, among the pixels: the checksum breaks
    (tmp_path / "a.npz").write_bytes(data)
    assert look("npz", path) == (3, 3)
    found = load("npz", path, with_test=True)
    assert len(found.train[1]) == 48
    found.sample(70)
    with pytest.raises(DataError, match="x_test"):
        found.open_test("n", 0)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"x_test": None}, "has no x_test"),
        ({"x_train": np.zeros((60, 6, 6, 3), np.float32)}, "x_train is float32"),
        ({"x_train": np.zeros((60, 6, 6), np.uint8)}, "x_train is uint8 of shape"),
        ({"x_train": np.zeros((60, 6, 6, 4), np.uint8)}, "x_train"),
        ({"y_train": np.arange(59) % 3}, "y_train"),
        ({"y_train": np.arange(60) % 3 / 2}, "y_train"),
        ({"y_train": np.arange(60) % 3 + 1}, "0..classes-1"),
        ({"y_train": np.zeros(60, int)}, "labels"),
        ({"y_test": np.arange(12) % 3 + 9}, "y_test holds labels outside of 0..2"),  # before the search, not after it
        ({"x_test": np.zeros((12, 7, 7, 3), np.uint8)}, "x_test of"),
        ({"x_train": np.array([None] * 60)}, "x_train"),
    ],
)
def test_every_npz_error_is_one_line_with_the_field(tmp_path, changes, said):
    path = npz(tmp_path / "a.npz", **changes)
    with pytest.raises(DataError) as error:
        look("npz", path)
    assert said in str(error.value) and str(error.value).startswith("data.path: ") and "\n" not in str(error.value)


def test_other_errors(tmp_path):
    (tmp_path / "text.npz").write_text("no zip")
    cases = [
        ("npz", None),
        ("npz", str(tmp_path / "no.npz")),
        ("npz", str(tmp_path / "text.npz")),
        ("fashion_mnist", str(tmp_path)),
        ("imagefolder", str(tmp_path)),
        ("imagefolder", None),
        ("mnist9", None),
    ]
    for name, path in cases:
        with pytest.raises(DataError) as error:
            look(name, path)
        assert "\n" not in str(error.value)


def idx(array):
    return bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">i4").tobytes() + array.tobytes()


def test_fashion_mnist_reads_idx_files(tmp_path):
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (100, 28, 28), np.uint8), (np.arange(100) % 10).astype(np.uint8)
    for split in ("train", "t10k"):
        (tmp_path / f"{split}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(images)))
        (tmp_path / f"{split}-labels-idx1-ubyte").write_bytes(idx(labels))
    data = load("fashion_mnist", str(tmp_path), with_test=True)
    x, y = data.open_test("n", 0)
    assert np.array_equal(x[..., 0].numpy(), images) and np.array_equal(y.numpy(), labels) and data.classes[9] == "Ankle boot"
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(images)[:-5]))
    with pytest.raises(DataError, match="truncated"):
        load("fashion_mnist", str(tmp_path))


def test_stratified_takes_the_share_of_each_class():
    y = np.repeat([0, 1, 2], [100, 50, 3])
    chosen = stratified(y, 0.2)
    assert [chosen[y == c].sum() for c in range(3)] == [20, 10, 1]


def test_augmentation_shifts_and_mirrors_within_bounds():
    x = torch.zeros(200, 1, 9, 9, dtype=torch.uint8)
    x[:, 0, 4, 6] = 255  # two right of the middle: mirrored it stands two left
    out = augmented(x, 2, True, torch.Generator().manual_seed(0))
    assert out.shape == x.shape and out.dtype == torch.uint8 and (out.flatten(1) > 0).sum(1).eq(1).all()
    rows, columns = out.flatten(1).argmax(1) // 9, out.flatten(1).argmax(1) % 9
    assert set(rows.tolist()) == {2, 3, 4, 5, 6} and set(columns.tolist()) == {0, 1, 2, 3, 4, 5, 6, 7, 8}
    assert torch.equal(augmented(x, 0, False, torch.Generator()), x)


def test_batches_are_an_epoch_once_each_and_repeatable():
    data = load("digits")

    def epoch(seed, number):
        batches = DataModule(data, 8, 32, seed)
        batches.begin_epoch(number)
        return list(batches.train_dataloader())

    first = [epoch(1, 0), epoch(1, 0), epoch(2, 0), epoch(1, 1)]
    images = torch.cat([x for x, _ in first[0]])
    assert len({i.numpy().tobytes() for i in images}) == len(images) == 35 * 32
    assert torch.equal(images, torch.cat([x for x, _ in first[1]]))
    assert not any(torch.equal(images, torch.cat([x for x, _ in other])) for other in first[2:])
    assert sum(len(y) for _, y in DataModule(data, 8, 32, 1).val_dataloader()) == data.val_images


def test_resizing_keeps_flat_images_flat():
    x = torch.full((3, 8, 8, 1), 77, dtype=torch.uint8)
    for size in (5, 8, 13):
        assert resized(x, size).shape == (3, 1, size, size) and resized(x, size).unique().tolist() == [77]


def folders(root, splits=("train",), classes=("cat", "dog"), n=10):
    rng = np.random.default_rng(0)
    for split in splits:
        for i, name in enumerate(classes):
            (root / split / name).mkdir(parents=True)
            for j in range(n):
                image = np.full((20, 24, 3), 80 * (i + 1), np.uint8) + rng.integers(0, 20, (20, 24, 3), np.uint8)
                Image.fromarray(image).save(root / split / name / f"{j}.png")
    return str(root)


@pytest.mark.parametrize("splits", [("train",), ("train", "val"), ("train", "test"), ("train", "val", "test")])
def test_imagefolder_streams(tmp_path, splits):
    path = folders(tmp_path, splits)
    assert look("imagefolder", path) == (2, 3)
    data = load("imagefolder", path, with_test=True)
    paths = [set(map(str, files[0])) for files in (data.train_files, data.val_files, data.test_files)]
    assert not paths[0] & paths[1] and not paths[1] & paths[2] and not paths[0] & paths[2]
    assert sum(map(len, paths)) == 20 * len(splits)
    x, y = data.open_test("n", 0)
    assert x.dtype == torch.uint8 and len(x) == len(y) and set(y.tolist()) == {0, 1}
    with pytest.raises(TestSealed):
        data.open_test("n", 0)
    with pytest.raises(TestSealed):
        load("imagefolder", path).open_test("n", 0)
    assert data.sample(70).shape == (70, 3, data.size, data.size)
    (tmp_path / "train" / "cat" / "0.png").write_text("no image")
    with pytest.raises(DataError, match=r"0\.png"):
        load("imagefolder", path)


@pytest.mark.parametrize(
    ("split", "change", "said"),
    [
        ("train", "empty", "train/dog holds no images"),
        ("val", "gone", "val/dog holds no images"),
        ("test", "gone", "test/dog holds no images"),
        ("test", "strange", "classes that train/ has not (bird)"),
    ],
)
def test_a_folder_that_cannot_be_used_is_told_before_the_search(tmp_path, split, change, said):
    """Also what is wrong with test/, whose images stay unread: else a search of hours ends on it."""
    path = folders(tmp_path, ("train", "val", "test"))
    dog = tmp_path / split / "dog"
    if change == "strange":
        shutil.copytree(dog, dog.with_name("bird"))
    else:
        shutil.rmtree(dog)
        if change == "empty":
            dog.mkdir()
    for ask in (look, load):
        with pytest.raises(DataError) as error:
            ask("imagefolder", path)
        assert said in str(error.value) and str(error.value).startswith("data.path: ") and "\n" not in str(error.value)


@pytest.mark.parametrize("n", [1, 2])
def test_so_few_images_that_none_is_left_to_train_on(tmp_path, n):
    with pytest.raises(DataError, match=r"data\.path: .* too few images"):
        load("imagefolder", folders(tmp_path, n=n))


def test_hidden_folders_are_no_classes(tmp_path):
    path = folders(tmp_path)
    (tmp_path / "train" / ".ipynb_checkpoints").mkdir()
    assert look("imagefolder", path) == (2, 3) and load("imagefolder", path).classes == ("cat", "dog")


def test_streamed_test_images_come_at_the_resolution_asked_for(tmp_path):
    """A checkerboard of single pixels at 160: through 128 it blurs to grey, at 160 it stays black and white."""
    path = folders(tmp_path)
    board = np.indices((160, 160)).sum(0)[..., None].repeat(3, 2).astype(np.uint8) % 2 * 255
    for split in ("train", "test"):
        for name in ("cat", "dog"):
            (tmp_path / split / name).mkdir(parents=True, exist_ok=True)
            Image.fromarray(board).save(tmp_path / split / name / "board.png")
    data = load("imagefolder", path, with_test=True)
    sharp, coarse = data.open_test("n", 0, 160)[0], data.open_test("n", 1)[0]
    assert sharp.shape == (2, 160, 160, 3) and sharp.unique().tolist() == [0, 255]
    assert coarse.shape == (2, 128, 128, 3) and 0 < coarse.float().std() < 100 < sharp.float().std()


def test_a_download_that_fails_is_one_line(monkeypatch, tmp_path):
    def refuse(root, train, download):
        raise OSError("the network\nis unreachable")

    monkeypatch.setattr("torchvision.datasets.CIFAR100", refuse)
    with pytest.raises(DataError) as error:
        look("cifar100", str(tmp_path))
    assert str(tmp_path) in str(error.value) and "network is unreachable" in str(error.value)
    assert str(error.value).startswith("data.path: cifar100") and "\n" not in str(error.value)

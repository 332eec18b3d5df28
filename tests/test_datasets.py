"""Data sets: IDX files that are sound, and the many that are not; folders, names and the dataset classes."""

import gzip
import os
import random
import struct
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from ddpnet import datasets
from ddpnet.datasets import KMNIST, MNIST, FashionMNIST, read_idx
from ddpnet.errors import InputError
from ddpnet.utils.data import DataLoader, Subset, default_collate

CODES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}


def idx(array: np.ndarray) -> bytes:
    code = CODES[array.dtype.str[1:]]
    header = struct.pack(f">HBB{array.ndim}I", 0, code, array.ndim, *array.shape)
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


def write(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def images(count: int, size: int = 3) -> np.ndarray:
    return np.arange(count * size * size, dtype=np.uint8).reshape(count, size, size)


def labels(count: int) -> np.ndarray:
    return np.arange(count, dtype=np.uint8) % 10


def fill(folder: Path, pattern: str = "{part}-{kind}-idx{rank}-ubyte", test: str = "t10k", compressed: bool = False):
    """The four files of a set with 20 training and 10 test images."""
    for part, count in (("train", 20), (test, 10)):
        for kind, array in (("images", images(count)), ("labels", labels(count))):
            data = gzip.compress(idx(array)) if compressed else idx(array)
            write(folder / pattern.format(part=part, kind=kind, rank=array.ndim), data)
    return folder


# IDX files


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("kind", CODES)
def test_every_type_and_rank(tmp_path, kind, compressed):
    for shape in ((5,), (2, 3), (2, 3, 4), (1, 2, 3, 4), (0, 28, 28)):
        array = np.random.default_rng(0).integers(-100, 100, shape).astype(kind)
        path = write(tmp_path / "x", gzip.compress(idx(array)) if compressed else idx(array))
        result = read_idx(path)
        assert result.dtype == array.dtype
        assert result.dtype.isnative
        assert result.flags.writeable
        np.testing.assert_array_equal(result, array, strict=True)


SOUND = idx(images(4))


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not an IDX file.*got nothing"),
        (b"\0\0", "not an IDX file"),
        (b"<html>", "expected it to begin with 00 00 TYPE RANK, got 3c 68"),
        (b"\x89PNG\r\n", "not an IDX file"),
        (b"\0\0\x07\x01" + SOUND[4:], "unknown element type 0x07"),
        (b"\0\0\x08\x00", "rank 0"),
        (b"\0\0\x08\x05" + bytes(20), "rank 1 to 4, got rank 5"),
        (SOUND[:7], "truncated in its header"),
        (SOUND[:-1], "truncated: its header announces 4 x 3 x 3 elements of type uint8, 36 bytes, 35 follow"),
        (SOUND + b"\0", r"36 bytes, but (more|1 more) follow"),
    ],
)
def test_unsound_content(tmp_path, data, message, compressed):
    path = write(tmp_path / "file", gzip.compress(data) if compressed else data)
    with pytest.raises(InputError, match=rf"file: .*{message}"):
        read_idx(path)


@contextmanager
def at_most(limit: int) -> Iterator[None]:
    """Fail if more than `limit` bytes are allocated at any time; NumPy reports its arrays to tracemalloc."""
    tracemalloc.start()
    try:
        yield
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak <= limit


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("extents", [(2**20, 2**20), (2**31 - 1,), (2**32 - 1,) * 4])
def test_announced_sizes_take_no_memory(tmp_path, extents, compressed):
    header = struct.pack(f">HBB{len(extents)}I", 0, 0x08, len(extents), *extents)
    path = write(tmp_path / "x", gzip.compress(header) if compressed else header)
    with pytest.raises(InputError, match=r"truncated|at most"), at_most(2**22):
        read_idx(path)


def test_gzip_bomb_is_read_no_further_than_announced(tmp_path):
    path = write(tmp_path / "x", gzip.compress(SOUND + bytes(2**28), compresslevel=1))
    with pytest.raises(InputError, match="more follow"), at_most(2**22):
        read_idx(path)


def test_damaged_gzip(tmp_path):
    draw = random.Random(1)
    sound = gzip.compress(idx(images(50)), mtime=0)
    for _ in range(300):
        damaged = bytearray(sound)
        damaged[draw.randrange(10, len(sound))] ^= 1 << draw.randrange(8)  # the header's time and name do not matter
        with pytest.raises(InputError):
            read_idx(write(tmp_path / "x", bytes(damaged)))
    for length in range(2, len(sound)):
        with pytest.raises(InputError):
            read_idx(write(tmp_path / "x", sound[:length]))


def test_missing_files_folders_and_pipes(tmp_path):
    with pytest.raises(InputError, match="No such file"):
        read_idx(tmp_path / "nowhere")
    with pytest.raises(InputError, match="regular file"):
        read_idx(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="regular file"):
        read_idx(tmp_path / "pipe")


# Folders and names


def test_the_shipped_set():
    mnist = datasets.load("mnist")
    assert mnist.train_images.shape == (60000, 28, 28)
    assert mnist.test_images.shape == (10000, 28, 28)
    assert mnist.train_images.dtype == mnist.train_labels.dtype == np.uint8
    assert np.bincount(mnist.test_labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert mnist.classes == 10
    assert mnist.train_labels[:5].tolist() == [5, 0, 4, 1, 9]


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("separator", "-.")
@pytest.mark.parametrize("test", ["t10k", "test"])
@pytest.mark.parametrize("place", [".", "raw", "MNIST/raw", "KMNIST/raw"])
def test_folders_of_the_same_format(tmp_path, place, test, separator, compressed):
    pattern = f"{{part}}-{{kind}}{separator}idx{{rank}}-ubyte{'.gz' if compressed else ''}"
    fill(tmp_path / place, pattern, test, compressed)
    loaded = datasets.load(tmp_path)
    np.testing.assert_array_equal(loaded.train_images, images(20))
    np.testing.assert_array_equal(loaded.test_labels, labels(10))
    assert loaded.classes == 10


def test_unknown_names(tmp_path):
    with pytest.raises(InputError, match=r"unknown data set 'mnits' \(did you mean 'mnist'\?\)"):
        datasets.load("mnits")
    with pytest.raises(InputError, match="unknown data set 'imagenet'; expected mnist, or a folder"):
        datasets.load("imagenet")
    for path in (tmp_path / "nowhere", str(tmp_path / "nowhere"), write(tmp_path / "file", b"")):
        with pytest.raises(InputError, match="no such folder"):
            datasets.load(path)


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("train-labels-idx1-ubyte", labels(19), "20 images, but 19 labels"),
        ("train-labels-idx1-ubyte", images(20), "labels as uint8 of rank 1, got uint8 of rank 3"),
        ("train-images-idx3-ubyte", labels(20), "images as uint8 of rank 3, got uint8 of rank 1"),
        ("train-images-idx3-ubyte", images(20).astype("f4"), "images as uint8 of rank 3, got float32"),
        ("t10k-images-idx3-ubyte", images(10, 4), "training images are 3 x 3, test images 4 x 4"),
        ("t10k-labels-idx1-ubyte", labels(10) + 1, r"test labels\[9\]: expected a label from 0 to 9, got 10"),
    ],
)
def test_files_that_do_not_fit(tmp_path, name, array, message):
    write(fill(tmp_path) / name, idx(array))
    with pytest.raises(InputError, match=message):
        datasets.load_folder(tmp_path)


def test_incomplete_and_ambiguous_folders(tmp_path):
    with pytest.raises(InputError, match=r"expected train-images-idx3-ubyte\[.gz\] and train-labels"):
        datasets.load_folder(tmp_path)
    with pytest.raises(InputError, match="no such folder"):
        datasets.load_folder(tmp_path / "nowhere")
    fill(tmp_path / "MNIST" / "raw")
    fill(tmp_path / "FashionMNIST" / "raw")
    with pytest.raises(InputError, match=r"holds several image sets .*MNIST.*FashionMNIST"):
        datasets.load_folder(tmp_path)
    assert len(FashionMNIST(tmp_path)) == len(MNIST(tmp_path)) == 20
    (tmp_path / "MNIST" / "raw" / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(InputError, match="file with the labels is missing"):
        datasets.load(tmp_path / "MNIST")
    for part in ("images-idx3", "labels-idx1"):
        write(tmp_path / "none" / f"train-{part}-ubyte", idx(np.zeros((0, 3, 3) if "3" in part else 0, np.uint8)))
    with pytest.raises(InputError, match="holds no images"):
        datasets.load(tmp_path / "none")


def test_check_labels():
    datasets.check_labels(np.array([0, 9, 3]), 10, "labels")
    with pytest.raises(InputError, match=r"^labels\[1\]: expected a label from 0 to 9, got 10 \(2 of 4"):
        datasets.check_labels(np.array([0, 10, -1, 9]), 10, "labels")


# Dataset classes


def test_mnist():
    test = MNIST(train=False)
    assert len(test) == 10000
    assert (test.data.shape, str(test.data.dtype)) == ((10000, 28, 28), "torch.uint8")
    assert (test.targets.shape, str(test.targets.dtype)) == ((10000,), "torch.int64")
    assert test.classes[7] == "7 - seven"
    assert test.class_to_idx["0 - zero"] == 0
    image, label = test[0]
    assert (image.shape, str(image.dtype)) == ((1, 28, 28), "torch.float32")
    np.testing.assert_array_equal(image.numpy()[0], test.data.numpy()[0].astype(np.float32) / 255)
    assert label == 7
    assert type(label) is int
    assert image.numpy().max() <= 1
    assert "Split: Test" in repr(test)


def test_transforms():
    test = MNIST(train=False, transform=lambda image: float(image.sum()), target_transform=str)
    image = MNIST(train=False, transform=lambda image: image)[0][0]
    assert (type(image), image.dtype, image.shape) == (np.ndarray, np.uint8, (28, 28))
    assert test[0][1] == "7"
    sums, texts = next(iter(DataLoader(test, batch_size=2)))
    assert sums.shape == (2,)
    assert list(texts) == ["7", "2"]


@pytest.mark.parametrize("subset", [False, True])
def test_batches_are_the_collated_samples(tmp_path, subset):
    dataset = MNIST(fill(tmp_path))
    dataset = Subset(dataset, [3, 1, 19]) if subset else dataset
    batches = list(DataLoader(dataset, batch_size=2))
    for number, (x, y) in enumerate(batches):
        samples = [dataset[i] for i in range(2 * number, min(2 * number + 2, len(dataset)))]
        expected_x, expected_y = default_collate(samples)
        np.testing.assert_array_equal(x.numpy(), expected_x.numpy(), strict=True)
        np.testing.assert_array_equal(y.numpy(), expected_y.numpy(), strict=True)
    assert len(batches) == (2 if subset else 10)


def test_nothing_is_downloaded(tmp_path):
    with pytest.raises(InputError, match=r"FashionMNIST: expected root="):
        FashionMNIST()
    with pytest.raises(InputError, match=r"KMNIST\(download=True\): ddpnet downloads nothing; put the files there"):
        KMNIST(tmp_path / "k", download=True)
    assert len(KMNIST(fill(tmp_path / "k"), train=False, download=True)) == 10
    assert len(MNIST(tmp_path / "m", train=False, download=True)) == 10_000  # it has shipped
    assert not (tmp_path / "m").exists()
    assert len(MNIST(fill(tmp_path / "m"), train=False, download=True)) == 10


def test_labels_beyond_the_classes(tmp_path):
    write(fill(tmp_path) / "train-labels-idx1-ubyte", idx(labels(20) + 1))
    with pytest.raises(InputError, match=r"labels\[9\]: expected a label from 0 to 9, got 10"):
        MNIST(tmp_path)

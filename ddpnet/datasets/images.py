"""Sets of labelled images in MNIST's format: shipped ones by name, others by folder."""

from __future__ import annotations

import difflib
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ddpnet.datasets.idx import read_idx
from ddpnet.errors import InputError

DATASETS = ("mnist",)
"""The sets that are usable by name: those that ship with the package."""

_SHIPPED = Path(__file__).parent
_SHA256 = {
    "mnist/train-images-idx3-ubyte.gz": "0b367032e93c5d0cea0925647cfdb18614af8ee15f83e6f2fc2ad904a6835971",
    "mnist/train-labels-idx1-ubyte.gz": "1787548bbe0bff1ec2ecdc0ef292b02df999e2d1a6002d27500982c652b17203",
    "mnist/t10k-images-idx3-ubyte.gz": "1a1a05eab793c14bb050b398624a11b0ffd1a2953baed553b1b9bd079e2a20be",
    "mnist/t10k-labels-idx1-ubyte.gz": "b91679a0acfe4ba0e50a2437a903084cba1f5f92592b016a25a7dfd00455798b",
}

_FAMILY = ("MNIST", "FashionMNIST", "KMNIST")
"""Folders that torchvision makes under its root; the files lie in their folder `raw`."""
_PARTS = {True: ("train",), False: ("t10k", "test")}


@dataclass(frozen=True)
class Images:
    """Training and test images (N, H, W) uint8 with their labels (N,) uint8, smaller than `classes`."""

    name: str
    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    classes: int


def load(name_or_folder: str | os.PathLike[str]) -> Images:
    """Load a shipped set by its name, or a folder in MNIST's format; InputError if it is neither."""
    if name_or_folder in DATASETS:
        return _load(shipped_folder(str(name_or_folder)), str(name_or_folder))
    if not os.path.exists(name_or_folder) and os.sep not in str(name_or_folder):
        raise InputError(_unknown(str(name_or_folder)))
    return load_folder(name_or_folder)


def load_folder(folder: str | os.PathLike[str]) -> Images:
    """Load the four files of a folder in MNIST's format, named and laid out as `find_files` says.

    InputError if files are missing, damaged or of another kind, or do not fit each other.
    """
    return _load(Path(folder), str(folder))


def _load(folder: Path, name: str) -> Images:
    train_images, train_labels = load_split(folder, train=True)
    test_images, test_labels = load_split(folder, train=False)
    if train_images.shape[1:] != test_images.shape[1:]:
        raise InputError(
            f"{folder}: training images are {_size(train_images)}, test images {_size(test_images)}; "
            "expected files of one set"
        )
    classes = int(train_labels.max()) + 1
    check_labels(test_labels, classes, f"{folder}: test labels")
    return Images(name, train_images, train_labels, test_images, test_labels, classes)


def load_split(
    folder: str | os.PathLike[str], *, train: bool, family: str | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The training or test images (N, H, W) uint8 and labels (N,) uint8; InputError as `load_folder`."""
    image_file, label_file = find_files(folder, train=train, family=family)
    images, labels = read_idx(image_file), read_idx(label_file)
    for path, array, rank, what in ((image_file, images, 3, "images"), (label_file, labels, 1, "labels")):
        if array.dtype != np.uint8 or array.ndim != rank:
            raise InputError(f"{path}: expected {what} as uint8 of rank {rank}, got {array.dtype} of rank {array.ndim}")
    if len(images) != len(labels):
        raise InputError(
            f"{image_file}: {len(images)} images, but {len(labels)} labels in {label_file.name}; "
            "expected files of one set"
        )
    if images.size == 0:
        raise InputError(f"{image_file}: holds no images")
    return images, labels


def find_files(folder: str | os.PathLike[str], *, train: bool, family: str | None = None) -> tuple[Path, Path]:
    """The image and the label file of one split: `train-images-idx3-ubyte`, `t10k-labels.idx1-ubyte.gz`, ...

    They lie in the folder itself, in its `raw`, or, as torchvision lays them out, in `MNIST/raw`
    (`FashionMNIST/raw`, `KMNIST/raw`); `family` names which of these is meant. InputError if they are missing
    or the choice is open.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; expected one with the files of an image set in MNIST's format")
    families = _FAMILY if family is None else (family,)
    places = [folder, folder / "raw", *(folder / name / "raw" for name in families)]
    found = [pair for place in places if (pair := _find_pair(place, train)) is not None]
    if not found:
        example = " and ".join(f"{_PARTS[train][0]}-{kind}-ubyte[.gz]" for kind in ("images-idx3", "labels-idx1"))
        raise InputError(f"{folder}: expected {example} in it or in its folder {families[0]}/raw, found neither")
    if len(found) > 1:
        choices = ", ".join(str(images.parent) for images, _ in found)
        raise InputError(f"{folder}: holds several image sets ({choices}); name one of these folders")
    return found[0]


def _find_pair(folder: Path, train: bool) -> tuple[Path, Path] | None:
    for part in _PARTS[train]:
        images, labels = (_find(folder, part, kind) for kind in ("images?idx3", "labels?idx1"))
        if images is not None and labels is not None:
            return images, labels
        if images is not None or labels is not None:
            missing = "labels" if labels is None else "images"
            raise InputError(f"{images or labels}: the file with the {missing} is missing beside it")
    return None


def _find(folder: Path, part: str, kind: str) -> Path | None:
    names = (f"{part}-{kind.replace('?', mark)}-ubyte{end}" for end in ("", ".gz") for mark in "-.")
    return next((folder / name for name in names if (folder / name).is_file()), None)


def shipped_folder(name: str) -> Path:
    """The folder of a shipped set, its files checked against their SHA-256; InputError if one differs."""
    for file, expected in _SHA256.items():
        path = _SHIPPED / file
        if file.startswith(f"{name}/") and _sha256(path) != expected:
            raise InputError(f"{path}: not the file that was shipped; install ddpnet again")
    return _SHIPPED / name


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return "absent"


def check_labels(labels: np.ndarray, classes: int, name: str) -> None:
    """InputError naming the first of the `labels` (N,) that is not in [0, classes)."""
    wrong = np.flatnonzero((labels < 0) | (labels >= classes))
    if wrong.size:
        first = int(wrong[0])
        raise InputError(
            f"{name}[{first}]: expected a label from 0 to {classes - 1}, got {labels[first]} "
            f"({wrong.size} of {labels.size} are out of range); the data has other classes than the model"
        )


def _unknown(name: str) -> str:
    near = difflib.get_close_matches(name.lower(), DATASETS, n=1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    return f"unknown data set {name!r}{hint}; expected {' or '.join(DATASETS)}, or a folder in MNIST's format"


def _size(images: np.ndarray) -> str:
    return " x ".join(map(str, images.shape[1:]))

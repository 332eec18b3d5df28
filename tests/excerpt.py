"""The first images of MNIST, in files that `ddpnet train --data` reads: a rank has them at once."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

from ddpnet import datasets

SIZES = {"train": 4000, "t10k": 500}


def write_excerpt(folder: Path) -> Path:
    """Write 4,000 training and 500 test images into a new folder, and return it."""
    images = datasets.load("mnist")
    folder.mkdir()
    parts = {"train": (images.train_images, images.train_labels), "t10k": (images.test_images, images.test_labels)}
    for part, (pixels, labels) in parts.items():
        _write(folder / f"{part}-images-idx3-ubyte", pixels[: SIZES[part]])
        _write(folder / f"{part}-labels-idx1-ubyte", labels[: SIZES[part]])
    return folder


def _write(path: Path, array: np.ndarray) -> None:
    path.write_bytes(
        struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()
    )

"""A small set of images in files of MNIST's format, easy to learn; and runs with it, on threads in place of ranks."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ddpnet.distributed.transport.threads import run_threads
from ddpnet.training import Report, Settings, preflight, train


class Notes(Report):
    """Keeps what a run tells."""

    def __init__(self) -> None:
        self.digest = ""
        self.losses: list[float] = []
        self.checkpoints: list[Path] = []
        self.notes: list[str] = []

    def step(self, step: int, loss: float) -> None:
        self.losses.append(loss)

    def checkpoint(self, path: Path) -> None:
        self.checkpoints.append(path)

    def note(self, text: str) -> None:
        self.notes.append(text)

    def end(self, digest: str, test_loss: float, test_accuracy: float, seconds: float) -> None:
        self.digest = digest
        self.test = test_loss, test_accuracy


def run(settings: Settings, ranks: int, given: frozenset[str] = frozenset()) -> Notes:
    """What a run told; `given` are the settings that a user typed."""
    notes = Notes()
    ready = preflight(settings, given)
    run_threads(ranks, lambda comm: train(ready, comm, notes), timeout=60)
    return notes


def write_digits(folder: Path) -> Path:
    """200 training and 60 test images of 28 x 28, each with a bar at the height of its label."""
    rng = np.random.default_rng(0)
    for part, count in (("train", 200), ("t10k", 60)):
        labels = rng.integers(0, 10, count).astype(np.uint8)
        images = (rng.random((count, 28, 28)) * 60).astype(np.uint8)
        for image, label in zip(images, labels, strict=True):
            image[2 * label : 2 * label + 6, 4:24] = 255
        write(folder / f"{part}-images-idx3-ubyte", images)
        write(folder / f"{part}-labels-idx1-ubyte", labels)
    return folder


def write(path: Path, array: np.ndarray) -> None:
    """A file of unsigned bytes."""
    header = bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
    path.write_bytes(header + array.tobytes())

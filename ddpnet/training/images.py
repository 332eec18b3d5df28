"""From stored bytes to what a model sees."""

from __future__ import annotations

import numpy as np

from ddpnet.backend import Device, move
from ddpnet.tensor import Tensor


class Split:
    """Images (N, H, W) uint8 with labels (N,); kept as bytes, and made a batch when one is asked for."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, extent: tuple[int, int], device: Device) -> None:
        self._images, self._labels, self._device = images, labels.astype(np.int64), device
        height, width = images.shape[1:]
        top, left = (extent[0] - height) // 2, (extent[1] - width) // 2
        self._extent = extent
        self._inner = (slice(None), 0, slice(top, top + height), slice(left, left + width))

    def __len__(self) -> int:
        return len(self._labels)

    def batch(self, rows: np.ndarray | slice) -> tuple[Tensor, Tensor]:
        """Images (n, 1, H, W) float32 from 0 to 1, padded with zeros to the model's extent, and labels (n,) int64."""
        labels = self._labels[rows]
        images = np.zeros((len(labels), 1, *self._extent), np.float32)
        np.divide(self._images[rows], np.float32(255), out=images[self._inner])
        return Tensor(move(images, self._device)), Tensor(move(labels, self._device))

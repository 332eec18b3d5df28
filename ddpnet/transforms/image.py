"""What an image is: a tensor (..., C, H, W), or a NumPy array (H, W) or (H, W, C) where torchvision has a PIL image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ddpnet.tensor import Tensor

Image = Any
"""A Tensor or a NumPy array."""
Extent = int | Sequence[int]


def on_channels(image: Image, change: Callable[[np.ndarray], np.ndarray]) -> Image:
    """`change` applied to the image as an array (..., H, W); the result in the image's own kind."""
    if isinstance(image, Tensor):
        if image.ndim < 2:
            raise TypeError(f"Tensor is not a torch image: expected (..., H, W), got shape {tuple(image.shape)}")
        return Tensor(np.ascontiguousarray(change(image.array)))
    array = checked(image)
    if array.ndim == 2:
        return np.ascontiguousarray(change(array))
    return np.ascontiguousarray(np.moveaxis(change(np.moveaxis(array, -1, 0)), 0, -1))


def checked(image: Image) -> np.ndarray:
    """An image that is an array; TypeError for other kinds, ValueError for other ranks."""
    if not isinstance(image, np.ndarray):
        raise TypeError(f"expected an image as a Tensor or a NumPy array, got {type(image).__name__}")
    if image.ndim not in (2, 3):
        raise ValueError(f"pic should be 2/3 dimensional. Got {image.ndim} dimensions.")
    return image


def get_dimensions(img: Image) -> list[int]:
    """Channels, height and width."""
    if isinstance(img, Tensor):
        return [1 if img.ndim == 2 else int(img.shape[-3]), *map(int, img.shape[-2:])]
    array = checked(img)
    return [1 if array.ndim == 2 else array.shape[2], *array.shape[:2]]


def get_image_size(img: Image) -> list[int]:
    """Width and height."""
    _, height, width = get_dimensions(img)
    return [width, height]

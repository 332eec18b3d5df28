"""Images between their pixels: other sizes and angles."""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import Enum

import numpy as np

from ddpnet import dtypes
from ddpnet.transforms.image import Extent, Image, get_dimensions, on_channels


class InterpolationMode(Enum):
    """How values between pixels are found. Those of PIL's that are not listed are not supported."""

    NEAREST = "nearest"
    NEAREST_EXACT = "nearest-exact"
    BILINEAR = "bilinear"


def resize(
    img: Image,
    size: Extent,
    interpolation: InterpolationMode = InterpolationMode.BILINEAR,
    max_size: int | None = None,
    antialias: bool | None = True,
) -> Image:
    """The image in another size: (height, width), or of which the shorter side is `size` and no side over `max_size`.

    "bilinear", with `antialias` over as many pixels as come to lie on one, or "nearest". Bytes are rounded.
    """
    interpolation = InterpolationMode(interpolation)
    _, rows, columns = get_dimensions(img)
    height, width = _resized(rows, columns, size, max_size)
    if (height, width) == (rows, columns):
        return img
    if interpolation is not InterpolationMode.BILINEAR:
        shift = 0.5 if interpolation is InterpolationMode.NEAREST_EXACT else 0.0
        down, across = (
            np.minimum((np.arange(to) + shift) * (of / to), of - 1).astype(np.int64)
            for of, to in ((rows, height), (columns, width))
        )
        return on_channels(img, lambda x: x[..., down[:, None], across])
    vertical, horizontal = (
        _weights(rows, height, antialias is not False),
        _weights(columns, width, antialias is not False),
    )

    def weigh(x: np.ndarray) -> np.ndarray:
        kind = np.float64 if x.dtype == np.float64 else np.float32
        result = (vertical.astype(kind) @ (x.astype(kind) @ horizontal.T.astype(kind))).astype(kind)
        if dtypes.category(x.dtype) == 1:
            info = np.iinfo(x.dtype)
            result = np.clip(np.rint(result), info.min, info.max)
        return result.astype(x.dtype)

    return on_channels(img, weigh)


def _resized(rows: int, columns: int, size: Extent, max_size: int | None) -> tuple[int, int]:
    values = [size] if isinstance(size, int) else list(size)
    if len(values) == 2:
        if max_size is not None:
            raise ValueError("max_size should only be passed if size specifies the length of the smaller edge")
        return values[0], values[1]
    if len(values) != 1:
        raise ValueError("If size is a sequence, it should have 1 or 2 values")
    short, long = sorted((rows, columns))
    new_short, new_long = values[0], int(values[0] * long / short)
    if max_size is not None:
        if max_size <= values[0]:
            raise ValueError(
                f"max_size = {max_size} must be strictly greater than the requested size for the smaller edge"
            )
        if new_long > max_size:
            new_short, new_long = int(max_size * new_short / new_long), max_size
    return (new_short, new_long) if rows <= columns else (new_long, new_short)


def _weights(of: int, to: int, antialias: bool) -> np.ndarray:
    """How much each of `of` pixels counts in each of `to`: a triangle, float64 (to, of)."""
    scale = of / to
    spread = max(scale, 1.0) if antialias else 1.0
    centres = (np.arange(to) + 0.5) * scale - 0.5
    if not antialias:
        centres = centres.clip(0, of - 1)
    weights = np.maximum(1 - np.abs(np.arange(of) - centres[:, None]) / spread, 0)
    return weights / weights.sum(1, keepdims=True)


def rotate(
    img: Image,
    angle: float,
    interpolation: InterpolationMode = InterpolationMode.NEAREST,
    expand: bool = False,
    center: Sequence[int] | None = None,
    fill: float | None = None,
) -> Image:
    """The image turned by `angle` degrees against the clock around its middle, or around `center` (x, y).

    What lies outside is `fill`, zero by default. `expand` is not supported: NotImplementedError.
    """
    if expand:
        raise NotImplementedError("rotate: expand=True is not supported")
    interpolation = InterpolationMode(interpolation)
    _, rows, columns = get_dimensions(img)
    middle = ((columns - 1) / 2, (rows - 1) / 2) if center is None else (center[0] - 0.5, center[1] - 0.5)
    cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    y, x = np.mgrid[:rows, :columns].astype(np.float64)
    y, x = y - middle[1], x - middle[0]
    from_x, from_y = cosine * x - sine * y + middle[0], sine * x + cosine * y + middle[1]

    def look_up(image: np.ndarray, row: np.ndarray, column: np.ndarray) -> np.ndarray:
        inside = (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
        values = image[..., row.clip(0, rows - 1), column.clip(0, columns - 1)]
        return np.where(inside, values, np.asarray(fill or 0, image.dtype))

    def turn(image: np.ndarray) -> np.ndarray:
        if interpolation is not InterpolationMode.BILINEAR:
            return look_up(image, np.rint(from_y.round(9)).astype(np.int64), np.rint(from_x.round(9)).astype(np.int64))
        top, left = np.floor(from_y).astype(np.int64), np.floor(from_x).astype(np.int64)
        down, right = from_y - top, from_x - left
        result = sum(
            look_up(image, top + i, left + j) * (down if i else 1 - down) * (right if j else 1 - right)
            for i in (0, 1)
            for j in (0, 1)
        )
        return np.asarray(np.rint(result) if dtypes.category(image.dtype) == 1 else result).astype(image.dtype)

    return on_channels(img, turn)

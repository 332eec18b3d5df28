"""Changes of one image (`torchvision.transforms.functional`).

An image is a tensor (..., C, H, W), or a NumPy array (H, W) or (H, W, C), where torchvision has a PIL image; the result
is of the same kind.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ddpnet import dtypes
from ddpnet.dtypes import DType
from ddpnet.ops.creation import as_tensor
from ddpnet.tensor import Tensor
from ddpnet.transforms.image import Extent, Image, checked, get_dimensions, get_image_size, on_channels
from ddpnet.transforms.resampling import InterpolationMode, resize, rotate

__all__ = [
    "InterpolationMode",
    "center_crop",
    "convert_image_dtype",
    "crop",
    "erase",
    "get_dimensions",
    "get_image_size",
    "hflip",
    "normalize",
    "pad",
    "pil_to_tensor",
    "resize",
    "resized_crop",
    "rgb_to_grayscale",
    "rotate",
    "to_grayscale",
    "to_tensor",
    "vflip",
]

_MODES = ("constant", "edge", "reflect", "symmetric")


def to_tensor(pic: Image) -> Tensor:
    """An array (H, W) or (H, W, C) as a tensor (C, H, W): bytes become float32 from 0 to 1."""
    if not isinstance(pic, np.ndarray):
        raise TypeError(f"pic should be PIL Image or ndarray. Got {type(pic)}")
    tensor = pil_to_tensor(pic)
    return Tensor(tensor.array.astype(np.float32) / np.float32(255)) if pic.dtype == np.uint8 else tensor


def pil_to_tensor(pic: Image) -> Tensor:
    """An array (H, W) or (H, W, C) as a tensor (C, H, W) of the same values."""
    array = checked(pic)
    return as_tensor(np.ascontiguousarray(array[None] if array.ndim == 2 else np.moveaxis(array, -1, 0)))


def normalize(tensor: Tensor, mean: Sequence[float], std: Sequence[float], inplace: bool = False) -> Tensor:
    """(x - mean) / std in each channel of a floating-point tensor (..., C, H, W); ValueError for a zero `std`."""
    if not isinstance(tensor, Tensor):
        raise TypeError(f"img should be Tensor Image. Got {type(tensor)}")
    if not tensor.is_floating_point():
        raise TypeError(f"Input tensor should be a float tensor. Got {tensor.dtype}.")
    if tensor.ndim < 3:
        raise ValueError(f"Expected tensor to be a tensor image of size (..., C, H, W). Got {tuple(tensor.shape)}")
    centre, spread = (np.asarray(as_tensor(values).numpy(), tensor.array.dtype) for values in (mean, std))
    if not spread.all():
        raise ValueError(f"std evaluated to zero after conversion to {tensor.dtype}, leading to division by zero.")
    centre, spread = (values.reshape(-1, 1, 1) if values.ndim == 1 else values for values in (centre, spread))
    if inplace:
        return tensor.sub_(Tensor(centre)).div_(Tensor(spread))
    return (tensor - Tensor(centre)) / Tensor(spread)


def convert_image_dtype(image: Tensor, dtype: DType = dtypes.float32) -> Tensor:
    """The image in another dtype and its range: 0 to 1 for floating point, 0 to the largest value for integers."""
    here = image.dtype
    if here is dtype:
        return image
    if here.is_floating_point:
        if dtype.is_floating_point or dtype is dtypes.bool_:
            return image.to(dtype)
        if (here, dtype) in ((dtypes.float32, dtypes.int32), (dtypes.float32, dtypes.int64)) or (
            here is dtypes.float64 and dtype is dtypes.int64
        ):
            raise RuntimeError(f"The cast from {here} to {dtype} cannot be performed safely.")
        return (image * (_largest(dtype) + 1 - 1e-3)).to(dtype)
    if dtype.is_floating_point:
        return image.to(dtype) / _largest(here)
    ours, theirs = _largest(here), _largest(dtype)
    if ours > theirs:
        return Tensor((image.array // ((ours + 1) // (theirs + 1))).astype(dtype.numpy))
    return Tensor(image.array.astype(dtype.numpy) * ((theirs + 1) // (ours + 1)))


def _largest(dtype: DType) -> int:
    return 1 if dtype is dtypes.bool_ else int(np.iinfo(dtype.numpy).max)


def hflip(img: Image) -> Image:
    """Left and right exchanged."""
    return on_channels(img, lambda x: x[..., ::-1])


def vflip(img: Image) -> Image:
    """Top and bottom exchanged."""
    return on_channels(img, lambda x: x[..., ::-1, :])


def crop(img: Image, top: int, left: int, height: int, width: int) -> Image:
    """A part of the image; what lies outside it is zero."""

    def cut(x: np.ndarray) -> np.ndarray:
        rows, columns = x.shape[-2:]
        inside = x[..., max(top, 0) : max(top + height, 0), max(left, 0) : max(left + width, 0)]
        above, before = min(max(-top, 0), height), min(max(-left, 0), width)
        missing = [(above, height - above - inside.shape[-2]), (before, width - before - inside.shape[-1])]
        if top >= 0 and left >= 0 and top + height <= rows and left + width <= columns:
            return inside
        return np.pad(inside, [(0, 0)] * (x.ndim - 2) + missing)

    return on_channels(img, cut)


def center_crop(img: Image, output_size: Extent) -> Image:
    """The middle of the image, with zeros around it where the image is smaller."""
    height, width = pair(output_size)
    _, rows, columns = get_dimensions(img)
    if rows < height or columns < width:
        left, top = max((width - columns) // 2, 0), max((height - rows) // 2, 0)
        right, bottom = max((width - columns + 1) // 2, 0), max((height - rows + 1) // 2, 0)
        img = pad(img, [left, top, right, bottom])
        _, rows, columns = get_dimensions(img)
    return crop(img, round((rows - height) / 2.0), round((columns - width) / 2.0), height, width)


def pad(img: Image, padding: Extent, fill: float = 0, padding_mode: str = "constant") -> Image:
    """`padding` pixels all around, or for left/right and top/bottom, or for left, top, right, bottom.

    They have the value `fill`, or with `padding_mode` "edge", "reflect" or "symmetric" those of the image.
    """
    if padding_mode not in _MODES:
        raise ValueError("Padding mode should be either constant, edge, reflect or symmetric")
    left, top, right, bottom = borders(padding)
    if padding_mode == "constant":

        def widen(x: np.ndarray) -> np.ndarray:
            return np.pad(x, [(0, 0)] * (x.ndim - 2) + [(top, bottom), (left, right)], constant_values=fill)
    else:

        def widen(x: np.ndarray) -> np.ndarray:
            return np.pad(x, [(0, 0)] * (x.ndim - 2) + [(top, bottom), (left, right)], padding_mode)  # type: ignore[call-overload]

    if min(left, top, right, bottom) < 0:
        raise ValueError(f"padding: expected numbers from 0 on, got {padding}")
    return on_channels(img, widen)


def borders(padding: Extent) -> tuple[int, int, int, int]:
    """Left, top, right and bottom, from one, two or four numbers; ValueError for others."""
    values = [padding] if isinstance(padding, int) else list(padding)
    if len(values) not in (1, 2, 4):
        raise ValueError(f"Padding must be an int or a 1, 2, or 4 element tuple, not a {len(values)} element tuple")
    values = values * (4 // len(values))
    return values[0], values[1], values[2], values[3]


def pair(size: Extent) -> tuple[int, int]:
    """Height and width, from one or two numbers; ValueError for others."""
    values = [size] if isinstance(size, int) else list(size)
    if len(values) not in (1, 2):
        raise ValueError("Please provide only two dimensions (h, w) for size.")
    return values[0], values[-1]


def resized_crop(
    img: Image,
    top: int,
    left: int,
    height: int,
    width: int,
    size: Extent,
    interpolation: InterpolationMode = InterpolationMode.BILINEAR,
    antialias: bool | None = True,
) -> Image:
    """A part of the image in another size."""
    return resize(crop(img, top, left, height, width), size, interpolation, antialias=antialias)


def erase(img: Tensor, i: int, j: int, h: int, w: int, v: Tensor, inplace: bool = False) -> Tensor:
    """The tensor (..., C, H, W) with `v` in `h` rows from `i` on and `w` columns from `j` on."""
    if not isinstance(img, Tensor):
        raise TypeError(f"img should be Tensor Image. Got {type(img)}")
    result = img if inplace else img.clone()
    result[..., i : i + h, j : j + w] = v
    return result


def rgb_to_grayscale(img: Image, num_output_channels: int = 1) -> Image:
    """The brightness of a colour image, in one or three equal channels."""
    if num_output_channels not in (1, 3):
        raise ValueError("num_output_channels should be either 1 or 3")
    channels, *_ = get_dimensions(img)
    if channels not in (1, 3):
        raise TypeError(f"Input image tensor permitted channel values are 1 or 3, but found {channels}")

    def weigh(x: np.ndarray) -> np.ndarray:
        x = x[None] if x.ndim == 2 else x
        if channels == 3:
            r, g, b = (x[..., c : c + 1, :, :].astype(np.float32) for c in range(3))
            x = (np.float32(0.2989) * r + np.float32(0.587) * g + np.float32(0.114) * b).astype(x.dtype)
        return np.repeat(x, num_output_channels, axis=-3) if num_output_channels == 3 else x

    if isinstance(img, np.ndarray):
        grey = weigh(img if img.ndim == 2 else np.moveaxis(img, -1, 0))
        return np.ascontiguousarray(grey[0] if num_output_channels == 1 else np.moveaxis(grey, 0, -1))
    return on_channels(img, weigh)


to_grayscale = rgb_to_grayscale

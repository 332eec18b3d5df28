"""The largest elements of windows, and the way back to where they were."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np

from ddpnet.backend import Array, array_module
from ddpnet.dtypes import category
from ddpnet.kernels import kernels_for
from ddpnet.kernels.geometry import halves, pooled_extent
from ddpnet.ops.autocasting import autocasts
from ddpnet.ops.extents import Extents, extents_of
from ddpnet.ops.op import Op
from ddpnet.ops.presence import present
from ddpnet.tensor import Tensor

__all__ = [
    "max_pool1d",
    "max_pool1d_with_indices",
    "max_pool2d",
    "max_pool3d",
]


class MaxPool2d(Op):
    """Over the last `dims` (1 or 2) dimensions, with the options for 2; the second output has places in the plane."""

    graph_name = "MaxPool2DWithIndicesBackward0"
    differentiable = (True, False)

    def is_by_row(self, most, x, dims, **options):
        return x.ndim > dims + 1

    def forward(self, x, dims, kernel, stride, padding, dilation, ceil_mode, of_relu=False):
        """`of_relu`: of `relu(x)`, which is not computed for that."""
        self.shape, self.dims = x.shape, dims
        self.halved = dims == 2 and halves(kernel, stride, padding, dilation, ceil_mode)
        wide = x.astype(np.int64) if category(x.dtype) == 1 else x
        given = wide if (x.ndim, dims) == (4, 2) else planes(wide, dims)
        pool = kernels_for(x).relu_max_pool2d_forward if of_relu else kernels_for(x).max_pool2d_forward
        y, places = pool(given, kernel, stride, padding, dilation, ceil_mode)
        if given is not wide:
            shape = (*x.shape[: x.ndim - dims], *y.shape[4 - dims :])
            y, places = y.reshape(shape), places.reshape(shape)
        self.save(places)
        return y if y.dtype == x.dtype else y.astype(x.dtype), places

    def backward(self, g, _):
        (places,) = self.saved
        if self.halved:
            if g.ndim == 4:
                return kernels_for(g).max_pool2d_backward(g, places, self.shape, True)
            images = planes(g, 2), planes(places, 2), (1, math.prod(self.shape[:-2]), *self.shape[-2:])
            return kernels_for(g).max_pool2d_backward(*images, True).reshape(self.shape)
        return scattered(g, places, self.shape, self.dims)

    def differentiable_backward(self, g, _):
        (places,) = self.saved
        return present(self, PlaneScatter.apply(g, places=places.array, shape=self.shape, dims=self.dims))


class PlaneScatter(Op):
    """Values added up at their places in planes of zeros, the last `dims` dimensions of `shape`; none at place -1."""

    graph_name = "MaxPool2DWithIndicesBackwardBackward0"

    def forward(self, values, places, shape, dims):
        self.places, self.dims = places, dims
        return scattered(values, places, shape, dims)

    def backward(self, g):
        return gathered(g, self.places, self.dims)

    def differentiable_backward(self, g):
        return PlaneGather.apply(g, places=self.places, dims=self.dims)


class PlaneGather(Op):
    """The values at places in planes, the last `dims` dimensions; 0 at place -1."""

    graph_name = "GatherBackward0"

    def forward(self, x, places, dims):
        self.places, self.shape, self.dims = places, x.shape, dims
        return gathered(x, places, dims)

    def backward(self, g):
        return scattered(g, self.places, self.shape, self.dims)

    def differentiable_backward(self, g):
        return PlaneScatter.apply(g, places=self.places, shape=self.shape, dims=self.dims)


def planes(x: Array, dims: int) -> Array:
    """(..., H, W) or (..., W) as (1, P, H, W)."""
    lead = x.shape[: x.ndim - dims]
    return x.reshape(1, math.prod(lead), *(1,) * (2 - dims), *x.shape[x.ndim - dims :])


def scattered(values: Array, places: Array, shape: tuple[int, ...], dims: int) -> Array:
    """Zeros of `shape` with values added at their places in the planes."""
    lead = len(shape) - dims
    count, inside = math.prod(shape[:lead]), math.prod(shape[lead:])
    outputs = math.prod(places.shape[lead:])
    flat = 1, count, 1, outputs
    dx = kernels_for(values).max_pool2d_backward(values.reshape(flat), places.reshape(flat), (1, count, 1, inside))
    return dx.reshape(shape)


def gathered(x: Array, places: Array, dims: int) -> Array:
    """The values at the places in the planes."""
    xp, lead = array_module(x), x.ndim - dims
    count = math.prod(x.shape[:lead])
    flat = places.reshape(count, math.prod(places.shape[lead:]))
    values = xp.take_along_axis(x.reshape(count, math.prod(x.shape[lead:])), flat.clip(0).astype(np.int64), 1)
    return xp.where(flat < 0, x.dtype.type(0), values).reshape(places.shape)


def max_pool1d(
    input: Tensor,
    kernel_size: Extents,
    stride: Extents | None = None,
    padding: Extents = 0,
    dilation: Extents = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """The largest element of each window of input (N, C, L) or (C, L); with `return_indices` also its index."""
    options = window(input.array.shape, kernel_size, stride, padding, dilation, ceil_mode, 1, "max_pool1d")
    kernel, step, zeros, gap = ((fill, *value) for fill, value in zip((1, 1, 0, 1), options, strict=True))
    return _max_pool(input, 1, (kernel, step, zeros, gap), ceil_mode, return_indices)


def max_pool1d_with_indices(
    input: Tensor,
    kernel_size: Extents,
    stride: Extents | None = None,
    padding: Extents = 0,
    dilation: Extents = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """`max_pool1d` with `return_indices`, whatever it says here."""
    return max_pool1d(input, kernel_size, stride, padding, dilation, ceil_mode, return_indices=True)


def max_pool2d(
    input: Tensor,
    kernel_size: Extents,
    stride: Extents | None = None,
    padding: Extents = 0,
    dilation: Extents = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """The largest element of each window of input (N, C, H, W) or (C, H, W); `stride` is the window's size by default.

    With `return_indices` also int64 indices of the maxima in the flattened (H, W) plane.
    """
    options: Any = window(input.shape, kernel_size, stride, padding, dilation, ceil_mode, 2, "max_pool2d")
    kernel, step, zeros, gap = options
    pending = input.pending
    takes_relu = halves(kernel, step, zeros, gap, ceil_mode) and not return_indices
    if takes_relu and pending is not None and pending.is_for(input):
        input = pending.unrectified(input)
        return _max_pool(input, 2, options, ceil_mode, False, of_relu=True)
    return _max_pool(input, 2, options, ceil_mode, return_indices)


@autocasts("float32", "cpu")
def max_pool3d(
    input: Tensor,
    kernel_size: Extents,
    stride: Extents | None = None,
    padding: Extents = 0,
    dilation: Extents = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """The largest element of each window of input (N, C, D, H, W) or (C, D, H, W), first in planes, then over depth."""
    options = window(input.array.shape, kernel_size, stride, padding, dilation, ceil_mode, 3, "max_pool3d")
    height, width = input.shape[-2:]
    inner, where = _max_pool(input, 2, tuple(value[1:] for value in options), ceil_mode, True)
    rows, cols = inner.shape[-2:]
    fills = (1, 1, 0, 1)
    outer = tuple((value[0], fill) for value, fill in zip(options, fills, strict=True))
    values, depth = _max_pool(inner.reshape(*inner.shape[:-2], rows * cols), 2, outer, ceil_mode, True)
    values = values.reshape(*values.shape[:-1], rows, cols)
    if not return_indices:
        return values
    inside = gathered(where.array, depth.array, 3)
    indices = depth.array // (rows * cols) * (height * width) + inside
    return values, Tensor(indices.reshape(values.shape))


def max_pool2d_with_indices(
    input: Tensor,
    kernel_size: Extents,
    stride: Extents | None = None,
    padding: Extents = 0,
    dilation: Extents = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """`max_pool2d` with `return_indices`, whatever it says here."""
    return max_pool2d(input, kernel_size, stride, padding, dilation, ceil_mode, return_indices=True)


def max_pool3d_with_indices(
    input: Tensor,
    kernel_size: Extents,
    stride: Extents | None = None,
    padding: Extents = 0,
    dilation: Extents = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """`max_pool3d` with `return_indices`, whatever it says here."""
    return max_pool3d(input, kernel_size, stride, padding, dilation, ceil_mode, return_indices=True)


def _max_pool(input: Tensor, dims: int, options: Any, ceil_mode: bool, return_indices: bool, **more: Any) -> Any:
    if category(input.array.dtype) == 0:
        raise NotImplementedError("\"max_pool2d\" not implemented for 'Bool'")
    kernel, step, zeros, gap = options
    values, places = MaxPool2d.apply(
        input, dims=dims, kernel=kernel, stride=step, padding=zeros, dilation=gap, ceil_mode=ceil_mode, **more
    )
    return (values, Tensor(places.array.astype(np.int64))) if return_indices else values


def window(
    shape: tuple[int, ...],
    kernel_size: Extents,
    stride: Extents | None,
    padding: Extents,
    dilation: Extents,
    ceil_mode: bool,
    dims: int,
    name: str,
) -> tuple[tuple[int, ...], ...]:
    """(kernel, stride, padding, dilation), checked against the input's shape; RuntimeError where they do not fit."""
    kernel, zeros = extents_of(kernel_size, dims, "kernel_size"), extents_of(padding, dims, "padding")
    unset = stride is None or (isinstance(stride, list | tuple) and not stride)
    step = kernel if unset else extents_of(stride, dims, "stride")
    gaps = extents_of(dilation, dims, "dilation")
    _check_window(shape, kernel, step, zeros, gaps, ceil_mode, dims, name)
    return kernel, step, zeros, gaps


@lru_cache(1024)  # the shapes of a step are those of the step before
def _check_window(
    shape: tuple[int, ...],
    kernel: tuple[int, ...],
    step: tuple[int, ...],
    zeros: tuple[int, ...],
    gaps: tuple[int, ...],
    ceil_mode: bool,
    dims: int,
    name: str,
) -> None:
    for value, what in ((kernel, "kernel_size"), (step, "stride"), (gaps, "dilation")):
        if min(value) < 1:
            raise RuntimeError(f"{name}: {what} must be greater than zero, but got {min(value)}")
    if min(zeros) < 0:
        raise RuntimeError(f"pad must be non-negative, but got pad: {min(zeros)}")
    if any(zero > ((k - 1) * gap + 1) // 2 for zero, k, gap in zip(zeros, kernel, gaps, strict=True)):
        raise RuntimeError(
            f"pad should be at most half of effective kernel size, but got pad={zeros}, kernel_size={kernel} and "
            f"dilation={gaps}"
        )
    if len(shape) not in (dims + 1, dims + 2) or 0 in shape[len(shape) - dims - 1 :]:
        raise RuntimeError(
            f"{name}: Expected {dims + 1}D or {dims + 2}D (batch mode) tensor with optional 0 dim batch size for input"
            f", but got: {list(shape)}"
        )
    along = zip(shape[len(shape) - dims :], kernel, step, zeros, gaps, strict=True)
    if any(pooled_extent(*one, ceil_mode) < 1 for one in along):
        raise RuntimeError(f"{name}: Given input size {list(shape)} and kernel {kernel}: Output size is too small")

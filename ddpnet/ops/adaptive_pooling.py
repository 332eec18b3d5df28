"""Pooling to an output of a given size: windows of nearly equal extents."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from ddpnet.backend import Array, array_module
from ddpnet.dtypes import category
from ddpnet.kernels.precision import is_half
from ddpnet.ops.autocasting import autocasts
from ddpnet.ops.op import Op
from ddpnet.ops.pooling import PlaneScatter, scattered
from ddpnet.ops.precision import in_float32
from ddpnet.ops.presence import present
from ddpnet.tensor import Tensor

__all__ = [
    "adaptive_avg_pool1d",
    "adaptive_max_pool1d",
]


@in_float32
class AdaptiveAverage(Op):
    """The means over windows that divide the last dimensions into `sizes`."""

    graph_name = "AdaptiveAvgPool2DBackward0"

    def forward(self, x, sizes):
        self.extents, self.sizes = x.shape[x.ndim - len(sizes) :], sizes
        return averaged(x, sizes)

    def backward(self, g):
        return divided(g, self.extents)

    def differentiable_backward(self, g):
        return present(self, AdaptiveSpread.apply(g, extents=self.extents))


@in_float32
class AdaptiveSpread(Op):
    """The gradient of AdaptiveAverage."""

    graph_name = "AdaptiveAvgPool2DBackwardBackward0"

    def forward(self, g, extents):
        self.sizes = g.shape[g.ndim - len(extents) :]
        return divided(g, extents)

    def backward(self, u):
        return averaged(u, self.sizes)

    def differentiable_backward(self, u):
        return AdaptiveAverage.apply(u, sizes=self.sizes)


class AdaptiveMax(Op):
    """The maxima of windows that divide the last dimensions into `sizes`, and their places there."""

    graph_name = "AdaptiveMaxPool2DBackward0"
    differentiable = (True, False)

    def forward(self, x, sizes):
        self.shape, self.dims = x.shape, len(sizes)
        dims = self.dims
        xp, lead, extents = array_module(x), x.shape[: x.ndim - dims], x.shape[x.ndim - dims :]
        wide = x.astype(np.float32) if is_half(x) else x
        y, places = xp.empty((*lead, *sizes), x.dtype), xp.empty((*lead, *sizes), np.int64)
        numbers = xp.arange(int(np.prod(extents))).reshape(extents)
        along = (bounds(extent, size) for extent, size in zip(extents, sizes, strict=True))
        for key in itertools.product(*(list(enumerate(one)) for one in along)):
            out = (..., *(number for number, _ in key))
            part = (..., *(slice(*ends) for _, ends in key))
            flat = wide[part].reshape(*lead, -1)
            best = flat.argmax(axis=-1)
            y[out] = xp.take_along_axis(flat, best[..., None], -1)[..., 0]
            places[out] = numbers[part].reshape(-1)[best]
        self.save(places)
        return y, places

    def backward(self, g, _):
        (places,) = self.saved
        return scattered(g, places, self.shape, self.dims)

    def differentiable_backward(self, g, _):
        (places,) = self.saved
        return present(self, PlaneScatter.apply(g, places=places.array, shape=self.shape, dims=self.dims))


def bounds(extent: int, size: int) -> list[tuple[int, int]]:
    """The first and the end of each of `size` windows over `extent` places."""
    return [(i * extent // size, -(-(i + 1) * extent // size)) for i in range(size)]


def averaged(x: Array, sizes: tuple[int, ...]) -> Array:
    """The means over windows of the last dimensions."""
    xp, result = array_module(x), x
    first = x.ndim - len(sizes)
    if set(sizes) == {1}:
        return x.mean(axis=tuple(range(first, x.ndim)), keepdims=True)
    for axis, size in enumerate(sizes, first):
        extent = result.shape[axis]
        if extent == size:
            continue
        if size and extent % size == 0:
            shape = (*result.shape[:axis], size, extent // size, *result.shape[axis + 1 :])
            result = result.reshape(shape).mean(axis=axis + 1)
        else:
            y = xp.empty((*result.shape[:axis], size, *result.shape[axis + 1 :]), x.dtype)
            before = (slice(None),) * axis
            for i, (start, stop) in enumerate(bounds(extent, size)):
                y[(*before, i)] = result[(*before, slice(start, stop))].mean(axis=axis)
            result = y
    return result.copy() if result is x else result


def divided(g: Array, extents: tuple[int, ...]) -> Array:
    """The elements of g divided evenly over the windows of the last dimensions."""
    xp, result = array_module(g), g
    for axis, extent in enumerate(extents, g.ndim - len(extents)):
        size = result.shape[axis]
        if extent == size:
            continue
        if size and extent % size == 0:
            result = (result * g.dtype.type(size / extent)).repeat(extent // size, axis=axis)
        else:
            dx = xp.zeros((*result.shape[:axis], extent, *result.shape[axis + 1 :]), g.dtype)
            before = (slice(None),) * axis
            for i, (start, stop) in enumerate(bounds(extent, size)):
                dx[(*before, slice(start, stop))] += result[(*before, slice(i, i + 1))] * g.dtype.type(
                    1 / (stop - start)
                )
            result = dx
    return result.copy() if result is g else result


def adaptive_avg_pool1d(input: Tensor, output_size: Any) -> Tensor:
    """The means over windows that divide the length of input (N, C, L) or (C, L) into `output_size`."""
    return _average(input, output_size, 1)


def adaptive_avg_pool2d(input: Tensor, output_size: Any) -> Tensor:
    """The means over windows that divide input (N, C, H, W) or (C, H, W) into `output_size`: a number, or (rows,
    columns), where None keeps the input's."""
    return _average(input, output_size, 2)


@autocasts("float32", "cpu")
def adaptive_avg_pool3d(input: Tensor, output_size: Any) -> Tensor:
    """The means over windows that divide input (N, C, D, H, W) or (C, D, H, W) into `output_size`."""
    return _average(input, output_size, 3)


def adaptive_max_pool1d(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    """The maxima of windows that divide the length of input (N, C, L) or (C, L) into `output_size`."""
    return _maximum(input, output_size, return_indices, 1)


def adaptive_max_pool2d(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    """The maxima of windows that divide input (N, C, H, W) or (C, H, W) into `output_size`.

    With `return_indices` also int64 indices in the flattened (H, W) plane.
    """
    return _maximum(input, output_size, return_indices, 2)


@autocasts("float32", "cpu")
def adaptive_max_pool3d(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    """The maxima of windows that divide input (N, C, D, H, W) or (C, D, H, W) into `output_size`."""
    return _maximum(input, output_size, return_indices, 3)


def _average(input: Tensor, output_size: Any, dims: int) -> Tensor:
    sizes = _sizes(input, output_size, dims, "adaptive_avg_pool")
    if set(sizes) == {1} and dims < 3:
        return input.mean(tuple(range(-dims, 0)), keepdim=True)
    return AdaptiveAverage.apply(input, sizes=sizes)


def _maximum(input: Tensor, output_size: Any, return_indices: bool, dims: int) -> Any:
    sizes = _sizes(input, output_size, dims, "adaptive_max_pool")
    values, places = AdaptiveMax.apply(input, sizes=sizes)
    return (values, places) if return_indices else values


def _sizes(input: Tensor, output_size: Any, dims: int, name: str) -> tuple[int, ...]:
    """The output's extents; None keeps the input's. ValueError for too few dimensions, else RuntimeError."""
    shape = input.array.shape
    if dims > 1 and len(shape) <= dims:
        raise ValueError(f"Input dimension should be at least {dims + 1}")
    wanted = list(output_size) if isinstance(output_size, list | tuple) else [output_size] * dims
    if len(wanted) != dims:
        raise RuntimeError(f"{name}{dims}d: output_size must be {dims} numbers, got {len(wanted)}")
    sizes = tuple(extent if size is None else int(size) for extent, size in zip(shape[-dims:], wanted, strict=True))
    if min(sizes) < 0:
        raise RuntimeError(f"{name}{dims}d: elements of output_size must be greater than or equal to 0, got {sizes}")
    if len(shape) not in (dims + 1, dims + 2) or 0 in shape[len(shape) - dims - (name == "adaptive_max_pool") :]:
        raise RuntimeError(
            f"{name}{dims}d(): Expected {dims + 1}D or {dims + 2}D tensor with non-zero size for non-batch dimensions, "
            f"but got input with sizes {list(shape)}"
        )
    if category(input.array.dtype) < 2:
        raise NotImplementedError(f'"{name}{dims}d" not implemented for {input.dtype.scalar_name!r}')
    return sizes

"""The values of max pooling, back where they were."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ddpnet.backend import array_module
from ddpnet.kernels.precision import is_half
from ddpnet.ops.autocasting import autocasts
from ddpnet.ops.extents import Extents, extents_of
from ddpnet.ops.op import Op
from ddpnet.ops.pooling import PlaneGather, gathered
from ddpnet.tensor import Tensor

__all__: list[str] = []


class Unpool(Op):
    """Values written at their places in planes of zeros, the last `dims` dimensions of `shape`."""

    graph_name = "MaxUnpool2DBackward0"

    def forward(self, values, places, shape, dims):
        self.places, self.dims = places, dims
        xp, lead = array_module(values), len(shape) - dims
        count, inside = math.prod(shape[:lead]), math.prod(shape[lead:])
        y = xp.zeros((count, inside), np.float32 if is_half(values) else values.dtype)
        flat = places.reshape(count, math.prod(places.shape[lead:]))
        y[xp.arange(count)[:, None], flat] = values.reshape(flat.shape)
        return y.reshape(shape).astype(values.dtype)

    def backward(self, g):
        return gathered(g, self.places, self.dims)

    def differentiable_backward(self, g):
        return PlaneGather.apply(g, places=self.places, dims=self.dims)


def max_unpool1d(
    input: Tensor,
    indices: Tensor,
    kernel_size: Extents,
    stride: Extents | None = None,
    padding: Extents = 0,
    output_size: Any = None,
) -> Tensor:
    """The values of `max_pool1d` at the places where they were, among zeros."""
    return _unpool(input, indices, kernel_size, stride, padding, output_size, 1)


@autocasts("float32", "cpu")
def max_unpool2d(
    input: Tensor,
    indices: Tensor,
    kernel_size: Extents,
    stride: Extents | None = None,
    padding: Extents = 0,
    output_size: Any = None,
) -> Tensor:
    """The values of `max_pool2d` at the places where they were, among zeros."""
    return _unpool(input, indices, kernel_size, stride, padding, output_size, 2)


@autocasts("float32", "cpu")
def max_unpool3d(
    input: Tensor,
    indices: Tensor,
    kernel_size: Extents,
    stride: Extents | None = None,
    padding: Extents = 0,
    output_size: Any = None,
) -> Tensor:
    """The values of `max_pool3d` at the places where they were, among zeros."""
    return _unpool(input, indices, kernel_size, stride, padding, output_size, 3)


def _unpool(
    input: Tensor,
    indices: Tensor,
    kernel_size: Extents,
    stride: Extents | None,
    padding: Extents,
    output_size: Any,
    dims: int,
) -> Tensor:
    kernel, zeros = extents_of(kernel_size, dims, "kernel_size"), extents_of(padding, dims, "padding")
    step = kernel if stride is None else extents_of(stride, dims, "stride")
    if input.ndim not in (dims + 1, dims + 2) or 0 in input.array.shape[input.ndim - dims - 1 :]:
        raise RuntimeError(
            f"max_unpool{dims}d: expected a {dims + 1}D or {dims + 2}D input with non-zero dimensions, but got "
            f"{list(input.shape)}"
        )
    if indices.dtype.name != "int64":
        raise RuntimeError(f"elements in indices should be type int64 but got: {indices.dtype.name}")
    if indices.array.shape != input.array.shape:
        raise RuntimeError(
            f"Expected shape of indices to be same as that of the input tensor ({list(input.shape)}) but got indices "
            f"tensor with shape: {list(indices.shape)}"
        )
    if min(step) < 1:
        raise RuntimeError(f"strides should be greater than zero, but got stride: {step}")
    along = zip(input.shape[input.ndim - dims :], kernel, step, zeros, strict=True)
    least = [(n - 1) * s + k - 2 * p for n, k, s, p in along]
    size = least if output_size is None else list(output_size)
    if len(size) == dims + 2:
        size = size[2:]
    if len(size) != dims:
        raise ValueError(f"output_size should be a sequence containing {dims} or {dims + 2} elements, got {len(size)}")
    if any(not low - s < extent < low + s for low, s, extent in zip(least, step, size, strict=True)):
        raise ValueError(f"invalid output_size {size} (each within a stride of {least})")
    places, inside = indices.array, math.prod(size)
    if places.size and not (int(places.min()) >= 0 and int(places.max()) < inside):
        raise RuntimeError(f"Found an invalid max index: {int(places.max())} (output volumes are of size {size})")
    shape = (*input.array.shape[: input.ndim - dims], *size)
    return Unpool.apply(input, places=places, shape=shape, dims=dims)

"""Max pooling over windows of which random numbers say where they begin (Graham, 2014)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ddpnet.backend import Array, array_module
from ddpnet.dtypes import category
from ddpnet.kernels.precision import is_half
from ddpnet.ops.autocasting import autocasts
from ddpnet.ops.drawing import rand
from ddpnet.ops.extents import Extents, extents_of
from ddpnet.ops.op import Op
from ddpnet.ops.pooling import PlaneScatter, scattered
from ddpnet.ops.presence import present
from ddpnet.tensor import Tensor

__all__: list[str] = []


class FractionalMaxPool(Op):
    """x (N, C, ...) and samples (N, C, dims) from [0, 1), for images the width's first, to (N, C, *sizes)."""

    graph_name = "FractionalMaxPool2DBackward0"
    differentiable = (True, False)

    def forward(self, x, samples, kernel, sizes):
        self.shape, self.dims = x.shape, len(sizes)
        xp, dims, extents = array_module(x), len(sizes), x.shape[2:]
        order = range(dims) if dims == 3 else range(dims - 1, -1, -1)
        flat: Any = 0
        for axis, (number, extent, k, size) in enumerate(zip(order, extents, kernel, sizes, strict=True)):
            begin = starts(samples[..., number], extent, k, size)
            shape = [1] * (2 * dims)
            shape[axis], shape[dims + axis] = size, k
            place = (begin[..., None] + xp.arange(k)).reshape(*x.shape[:2], *shape)
            flat = flat * extent + place
        count = math.prod(x.shape[:2])
        flat = flat.reshape(count, math.prod(sizes), math.prod(kernel))
        wide = (x.astype(np.float32) if is_half(x) else x).reshape(count, 1, math.prod(extents))
        best = xp.take_along_axis(wide, flat, 2).argmax(axis=2)[..., None]
        places = xp.take_along_axis(flat, best, 2)
        values = xp.take_along_axis(x.reshape(wide.shape), places, 2)
        places = places.reshape(*x.shape[:2], *sizes)
        self.save(places)
        return values.reshape(places.shape), places

    def backward(self, g, _):
        (places,) = self.saved
        return scattered(g, places, self.shape, self.dims), None

    def differentiable_backward(self, g, _):
        (places,) = self.saved
        return present(self, PlaneScatter.apply(g, places=places.array, shape=self.shape, dims=self.dims)), None


def starts(sample: Array, extent: int, kernel: int, size: int) -> Array:
    """Where `size` windows begin, in increasing order, from one random number for each plane."""
    xp = array_module(sample)
    begin = xp.full((*sample.shape, size), extent - kernel, np.int64)
    if size > 1:
        step = sample.dtype.type((extent - kernel) / (size - 1))
        steps = xp.arange(size - 1).astype(sample.dtype)
        first = (sample * step).astype(np.int64)[..., None]
        begin[..., :-1] = ((steps + sample[..., None]) * step).astype(np.int64) - first
    return begin


@autocasts("float32", "cpu")
def fractional_max_pool2d(
    input: Tensor,
    kernel_size: Extents,
    output_size: Any = None,
    output_ratio: Any = None,
    return_indices: bool = False,
    _random_samples: Tensor | None = None,
) -> Any:
    """The maxima of windows of input (N, C, H, W) or (C, H, W) at random places; `output_ratio` scales the size."""
    return _pooled(input, kernel_size, output_size, output_ratio, return_indices, _random_samples, 2)


@autocasts("float32", "cpu")
def fractional_max_pool3d(
    input: Tensor,
    kernel_size: Extents,
    output_size: Any = None,
    output_ratio: Any = None,
    return_indices: bool = False,
    _random_samples: Tensor | None = None,
) -> Any:
    """The maxima of windows of input (N, C, D, H, W) or (C, D, H, W) at random places."""
    return _pooled(input, kernel_size, output_size, output_ratio, return_indices, _random_samples, 3)


def _pooled(
    input: Tensor,
    kernel_size: Extents,
    output_size: Any,
    output_ratio: Any,
    return_indices: bool,
    samples: Tensor | None,
    dims: int,
) -> Any:
    name = f"fractional_max_pool{dims}d"
    if input.ndim not in (dims + 1, dims + 2) or 0 in input.array.shape[input.ndim - dims - 1 :]:
        raise RuntimeError(f"{name}(): Expected {dims + 1}D or {dims + 2}D tensor, but got: {list(input.shape)}")
    if category(input.array.dtype) < 2:
        raise NotImplementedError(f'"{name}" not implemented for {input.dtype.scalar_name!r}')
    kernel = extents_of(kernel_size, dims, "kernel_size")
    extents = input.array.shape[-dims:]
    if output_size is None:
        if output_ratio is None:
            raise ValueError(f"{name} requires specifying either an output_size or an output_ratio")
        ratios = output_ratio if isinstance(output_ratio, list | tuple) else (output_ratio,) * dims
        output_size = [int(extent * ratio) for extent, ratio in zip(extents, ratios, strict=True)]
    sizes = extents_of(output_size, dims, "output_size")
    if any(size + k - 1 > extent or size < 1 for size, k, extent in zip(sizes, kernel, extents, strict=True)):
        raise RuntimeError(f"{name}(): pool {kernel} too large relative to input {extents} and output {sizes}")
    batched = input if input.ndim == dims + 2 else input.unsqueeze(0)
    if samples is None:
        samples = rand(*batched.shape[:2], dims, dtype=input.dtype, device=input.device)
    if samples.ndim != 3 or samples.shape[0] < batched.shape[0] or samples.shape[1:] != (batched.shape[1], dims):
        raise RuntimeError(
            f"{name}(): expected _random_samples of shape {(*batched.shape[:2], dims)}, got {tuple(samples.shape)}"
        )
    samples = samples.detach()[: batched.shape[0]]
    values, places = FractionalMaxPool.apply(batched, samples, kernel=kernel, sizes=sizes)
    if input.ndim == dims + 1:
        values, places = values.squeeze(0), places.squeeze(0)
    return (values, places) if return_indices else values

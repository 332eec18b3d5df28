"""The means and norms of windows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ddpnet.backend import array_module
from ddpnet.dtypes import category
from ddpnet.kernels import kernels_for
from ddpnet.kernels.geometry import pooled_extent
from ddpnet.kernels.precision import is_half
from ddpnet.ops.autocasting import autocasts
from ddpnet.ops.conversion import cast
from ddpnet.ops.extents import Extents
from ddpnet.ops.op import Op
from ddpnet.ops.pooling import planes, window
from ddpnet.ops.presence import present
from ddpnet.tensor import Tensor

__all__ = [
    "avg_pool1d",
]


class AvgPool2d(Op):
    """Over the last `dims` (1 or 2) dimensions, with the options for 2."""

    graph_name = "AvgPool2DBackward0"

    def forward(self, x, dims, **options):
        self.shape, self.dims, self.options = x.shape, dims, options
        y = kernels_for(x).avg_pool2d_forward(planes(x, dims), *options.values())
        return y.reshape(*x.shape[: x.ndim - dims], *y.shape[4 - dims :])

    def backward(self, g):
        return spread(g, self.shape, self.dims, self.options)

    def differentiable_backward(self, g):
        return present(self, Spread.apply(g, shape=self.shape, dims=self.dims, options=self.options))


class Spread(Op):
    """The elements of g divided evenly over the windows of an input of `shape`."""

    graph_name = "AvgPool2DBackwardBackward0"

    def forward(self, g, shape, dims, options):
        self.dims, self.options = dims, options
        return spread(g, shape, dims, options)

    def backward(self, u):
        return AvgPool2d().forward(u, self.dims, **self.options)

    def differentiable_backward(self, u):
        return AvgPool2d.apply(u, dims=self.dims, **self.options)


def spread(g: Any, shape: tuple[int, ...], dims: int, options: dict[str, Any]) -> Any:
    """The gradient of the means of windows, for arrays."""
    lead = math.prod(shape[: len(shape) - dims])
    plane = (1, lead, *(1,) * (2 - dims), *shape[len(shape) - dims :])
    return kernels_for(g).avg_pool2d_backward(planes(g, dims), plane, *options.values()).reshape(shape)


def avg_pool1d(
    input: Tensor,
    kernel_size: Extents,
    stride: Extents | None = None,
    padding: Extents = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:
    """The mean of each window of input (N, C, L) or (C, L); `stride` is the window's size by default."""
    kernel, step, zeros = _checked(input, kernel_size, stride, padding, ceil_mode, 1)
    return _avg_pool(input, 1, ((1, *kernel), (1, *step), (0, *zeros)), ceil_mode, count_include_pad, None)


def avg_pool2d(
    input: Tensor,
    kernel_size: Extents,
    stride: Extents | None = None,
    padding: Extents = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """The mean of each window of input (N, C, H, W) or (C, H, W); `stride` is the window's size by default."""
    if divisor_override == 0:
        raise RuntimeError("divisor must be not zero")
    options = _checked(input, kernel_size, stride, padding, ceil_mode, 2)
    return _avg_pool(input, 2, options, ceil_mode, count_include_pad, divisor_override)


@autocasts("float32", "cpu")
def avg_pool3d(
    input: Tensor,
    kernel_size: Extents,
    stride: Extents | None = None,
    padding: Extents = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """The mean of each window of input (N, C, D, H, W) or (C, D, H, W): sums in planes, then over depth."""
    if divisor_override == 0:
        raise RuntimeError("divisor must be not zero")
    options = _checked(input, kernel_size, stride, padding, ceil_mode, 3)
    x = cast(input, np.dtype(np.float32)) if is_half(input.array) else input
    sums = _avg_pool(x, 2, [value[1:] for value in options], ceil_mode, True, 1)
    rows, cols = sums.shape[-2:]
    outer = [(value[0], fill) for value, fill in zip(options, (1, 1, 0), strict=True)]
    sums = _avg_pool(sums.reshape(*sums.shape[:-2], rows * cols), 2, outer, ceil_mode, True, 1)
    sums = sums.reshape(*sums.shape[:-1], rows, cols)
    if divisor_override is not None:
        means = sums / divisor_override
    else:
        extents = input.shape[-3:]
        along = zip(extents, *options, strict=True)
        counts = [_counts(one, ceil_mode, count_include_pad) for one in along]
        sizes = counts[0][:, None, None] * counts[1][:, None] * counts[2]
        means = sums / Tensor(array_module(sums.array).asarray(sizes.astype(sums.array.dtype)))
    return cast(means, input.array.dtype)


def _counts(along: tuple[int, ...], ceil_mode: bool, whole: bool) -> np.ndarray:
    """The elements of each window along a dimension: with its padding if `whole`, else those inside."""
    extent, kernel, stride, padding = along
    start = np.arange(pooled_extent(extent, kernel, stride, padding, 1, ceil_mode)) * stride - padding
    stop = np.minimum(start + kernel, extent + padding)
    return stop - start if whole else np.minimum(stop, extent) - np.maximum(start, 0)


def _checked(
    input: Tensor, kernel_size: Extents, stride: Extents | None, padding: Extents, ceil_mode: bool, dims: int
) -> tuple[tuple[int, ...], ...]:
    if category(input.array.dtype) < 2 and input.dtype.name != "int64":
        raise NotImplementedError(f'"avg_pool{dims}d" not implemented for {input.dtype.scalar_name!r}')
    return window(input.array.shape, kernel_size, stride, padding, 1, ceil_mode, dims, f"avg_pool{dims}d")[:3]


def _avg_pool(
    input: Tensor,
    dims: int,
    window: Sequence[tuple[int, ...]],
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: int | None,
) -> Tensor:
    kernel, stride, padding = window
    return AvgPool2d.apply(
        input,
        dims=dims,
        kernel=kernel,
        stride=stride,
        padding=padding,
        ceil_mode=ceil_mode,
        count_include_pad=count_include_pad,
        divisor_override=divisor_override,
    )


def lp_pool1d(
    input: Tensor, norm_type: float, kernel_size: int, stride: Extents | None = None, ceil_mode: bool = False
) -> Tensor:
    """The `norm_type`-norm of each window of input (N, C, L) or (C, L)."""
    means = avg_pool1d(input.pow(norm_type), kernel_size, stride, 0, ceil_mode)
    return _rooted(means, math.prod(_listed(kernel_size, 1)), norm_type)


def lp_pool2d(
    input: Tensor, norm_type: float, kernel_size: Extents, stride: Extents | None = None, ceil_mode: bool = False
) -> Tensor:
    """The `norm_type`-norm of each window of input (N, C, H, W) or (C, H, W)."""
    means = avg_pool2d(input.pow(norm_type), kernel_size, stride, 0, ceil_mode)
    return _rooted(means, math.prod(_listed(kernel_size, 2)), norm_type)


def lp_pool3d(
    input: Tensor, norm_type: float, kernel_size: Extents, stride: Extents | None = None, ceil_mode: bool = False
) -> Tensor:
    """The `norm_type`-norm of each window of input (N, C, D, H, W) or (C, D, H, W)."""
    means = avg_pool3d(input.pow(norm_type), kernel_size, stride, 0, ceil_mode)
    return _rooted(means, math.prod(_listed(kernel_size, 3)), norm_type)


def _listed(kernel_size: Extents, dims: int) -> tuple[int, ...]:
    return (kernel_size,) * dims if isinstance(kernel_size, int) else tuple(kernel_size)


def _rooted(means: Tensor, count: int, norm_type: float) -> Tensor:
    """The norms from the means of powers; a negative mean has its root inside the positive part, as in PyTorch."""
    positive = means.sign() * means.abs().relu()
    return (positive * count).pow(1.0 / norm_type)

"""Pooling over windows of images (N, C, H, W)."""

from __future__ import annotations

from typing import Any

import cupy

from ddpnet.kernels.cuda.elementwise import relu_forward
from ddpnet.kernels.cuda.source import launch
from ddpnet.kernels.geometry import Pair, pooled_extent
from ddpnet.kernels.precision import through_float32

Array = Any


@through_float32
def max_pool2d_forward(
    x: Array, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair, ceil_mode: bool
) -> tuple[Array, Array]:
    """The maxima (N, C, OH, OW), and their places in the flattened (H, W) plane as int32: the first of equals, the last
    NaN before all, -1 where a window has nothing but padding."""
    x = cupy.ascontiguousarray(x)
    n, c, h, w = x.shape
    size = [pooled_extent(*along, ceil_mode) for along in zip((h, w), kernel, stride, padding, dilation, strict=True)]
    y = cupy.empty((n, c, *size), x.dtype)
    places = cupy.empty(y.shape, cupy.int32)
    window = (*kernel, *stride, *padding, *dilation)
    launch("pooling", "max_pool2d_forward", x.dtype, y.size, x, y, places, y.size, h, w, *size, *window)
    return y, places


def relu_max_pool2d_forward(
    x: Array, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair, ceil_mode: bool
) -> tuple[Array, Array]:
    """`max_pool2d_forward` of `relu_forward`."""
    result: tuple[Array, Array] = max_pool2d_forward(relu_forward(x), kernel, stride, padding, dilation, ceil_mode)
    return result


@through_float32
def max_pool2d_backward(g: Array, indices: Array, shape: tuple[int, ...], halved: bool = False) -> Array:
    """The gradient (N, C, OH, OW) added at the places of the maxima of an input of `shape`, except at -1.

    `halved`, which helps the kernel of the CPU, changes nothing here.
    """
    n, c, h, w = shape
    dx = cupy.zeros(shape, g.dtype)
    outputs = g.shape[2] * g.shape[3]
    arrays = cupy.ascontiguousarray(g), cupy.ascontiguousarray(indices), dx
    launch("pooling", "max_pool2d_backward", g.dtype, n * c, *arrays, n * c, outputs, h * w)
    return dx


@through_float32
def avg_pool2d_forward(
    x: Array,
    kernel: Pair,
    stride: Pair,
    padding: Pair,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: int | None,
) -> Array:
    """The means (N, C, OH, OW) of windows: sums divided by all their elements, by those inside without
    `count_include_pad`, or by `divisor_override`."""
    x = cupy.ascontiguousarray(x)
    n, c, h, w = x.shape
    size = [pooled_extent(*along, 1, ceil_mode) for along in zip((h, w), kernel, stride, padding, strict=True)]
    y = cupy.empty((n, c, *size), x.dtype)
    window = (*kernel, *stride, *padding, int(count_include_pad), divisor_override or 0)
    launch("pooling", "avg_pool2d_forward", x.dtype, y.size, x, y, y.size, h, w, *size, *window)
    return y


@through_float32
def avg_pool2d_backward(
    g: Array,
    shape: tuple[int, ...],
    kernel: Pair,
    stride: Pair,
    padding: Pair,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: int | None,
) -> Array:
    """The gradient (N, C, OH, OW) spread evenly over the windows of an input of `shape`."""
    g = cupy.ascontiguousarray(g)
    dx = cupy.empty(shape, g.dtype)
    window = (*kernel, *stride, *padding, int(count_include_pad), divisor_override or 0)
    size = (*shape[2:], *g.shape[2:])
    launch("pooling", "avg_pool2d_backward", g.dtype, dx.size, g, dx, dx.size, *size, *window)
    return dx

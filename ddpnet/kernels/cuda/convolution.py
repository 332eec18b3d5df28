"""Two-dimensional convolution as one matrix product over the unfolded images."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import cupy

from ddpnet.kernels.cuda.source import launch
from ddpnet.kernels.geometry import Pair, convolved_extent
from ddpnet.kernels.precision import through_float32

Array = Any


def goes_image_by_image(
    x: Array, w: Array, stride: Pair, padding: Pair, dilation: Pair, groups: int, gradient: bool
) -> bool:
    """False: nothing is known of how the library divides the products."""
    return False


@through_float32
def conv2d_forward(
    x: Array, w: Array, b: Array | None, stride: Pair, padding: Pair, dilation: Pair, groups: int
) -> Array:
    """x (N, C, H, W), w (O, C / groups, KH, KW), b (O,) or None to y (N, O, OH, OW)."""
    size = _size(x.shape, w.shape, stride, padding, dilation)
    window = (*size, *w.shape[2:], *stride, *padding, *dilation)
    y = cupy.empty((len(x), len(w), size[0] * size[1]), x.dtype)
    for inputs, outputs in _groups(x.shape[1], len(w), groups):
        weights = w[outputs].reshape(outputs.stop - outputs.start, -1)
        y[:, outputs] = weights @ _unfold(x[:, inputs], window)
    if b is not None:
        y += b[:, None]
    return y.reshape(len(x), len(w), *size)


@through_float32
def conv2d_backward(
    g: Array,
    x: Array,
    w: Array,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    groups: int,
    needs: tuple[bool, bool, bool],
) -> tuple[Array | None, Array | None, Array | None]:
    """From the gradient g (N, O, OH, OW) to those of x, w and b; None for what is not needed."""
    window = (*g.shape[2:], *w.shape[2:], *stride, *padding, *dilation)
    rows = g.reshape(len(g), len(w), math.prod(g.shape[2:]))  # not -1, which an empty batch leaves open
    dx = cupy.empty(x.shape, x.dtype) if needs[0] else None
    dw = cupy.empty(w.shape, w.dtype) if needs[1] else None
    for inputs, outputs in _groups(x.shape[1], len(w), groups):
        weights = w[outputs].reshape(outputs.stop - outputs.start, -1)
        if dw is not None:
            products = rows[:, outputs] @ _unfold(x[:, inputs], window).transpose(0, 2, 1)
            dw[outputs] = products.sum(axis=0).reshape(dw[outputs].shape)
        if dx is not None:
            dx[:, inputs] = _fold(weights.T @ rows[:, outputs], x[:, inputs].shape, window)
    return dx, dw, g.sum(axis=(0, 2, 3)) if needs[2] else None


def _size(x: tuple[int, ...], w: tuple[int, ...], stride: Pair, padding: Pair, dilation: Pair) -> Pair:
    height, width = (convolved_extent(*along) for along in zip(x[2:], w[2:], stride, padding, dilation, strict=True))
    return height, width


def _groups(channels: int, outputs: int, groups: int) -> Iterator[tuple[slice, slice]]:
    """The input and the output channels of each group."""
    c, o = channels // groups, outputs // groups
    for group in range(groups):
        yield slice(group * c, group * c + c), slice(group * o, group * o + o)


def _unfold(x: Array, window: tuple[int, ...]) -> Array:
    """(N, C * KH * KW, OH * OW): for each weight, the samples that it meets."""
    x = cupy.ascontiguousarray(x)
    rows, cols, kh, kw = window[:4]
    unfolded = cupy.empty((len(x), x.shape[1] * kh * kw, rows * cols), x.dtype)
    launch("convolution", "unfold", x.dtype, unfolded.size, x, unfolded, unfolded.size, *x.shape[1:], *window)
    return unfolded


def _fold(unfolded: Array, shape: tuple[int, ...], window: tuple[int, ...]) -> Array:
    """Every column added to where its sample came from."""
    x = cupy.empty(shape, unfolded.dtype)
    launch("convolution", "fold", x.dtype, x.size, cupy.ascontiguousarray(unfolded), x, x.size, *shape[1:], *window)
    return x

"""Convolution.

Convolution, its gradient for the input (which is transposed convolution) and its gradient for the weight are linear in
each of their two operands, and each is a gradient of the other two: so three operations give every order.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ddpnet.backend import Array, array_module
from ddpnet.kernels import kernels_for
from ddpnet.kernels.geometry import convolved_extent
from ddpnet.kernels.precision import is_half
from ddpnet.ops.autocasting import autocasts
from ddpnet.ops.conversion import cast
from ddpnet.ops.convolution_operands import check_channels, check_operands, check_window, same_padding
from ddpnet.ops.extents import Extents, extents_of
from ddpnet.ops.op import Op
from ddpnet.ops.padding import pad
from ddpnet.ops.precision import in_float32
from ddpnet.ops.presence import present
from ddpnet.tensor import Tensor

__all__ = [
    "conv1d",
    "conv2d",
    "conv3d",
]


class Convolution(Op):
    """x (N, C, H, W), w (O, C / groups, KH, KW) and b (O,) to (N, O, OH, OW); with one dimension (N, C, L)."""

    def is_by_row(self, most, x, w, b, **options):
        return x.ndim == 4 and kernels_for(x).goes_image_by_image(x, w, **options, gradient=self.needs[0])

    def forward(self, x, w, b, stride, padding, dilation, groups):
        self.options = stride, padding, dilation, groups
        self.save(x, w)
        y = kernels_for(x).conv2d_forward(images(x), images(w), b, *self.options)
        return y if x.ndim == 4 else y[:, :, 0]

    def backward(self, g):
        x, w = self.saved
        if x.ndim == 4:
            return kernels_for(x).conv2d_backward(g, x, w, *self.options, self.needs)
        dx, dw, db = kernels_for(x).conv2d_backward(images(g), images(x), images(w), *self.options, self.needs)
        return None if dx is None else dx[:, :, 0], None if dw is None else dw[:, :, 0], db

    def differentiable_backward(self, g):
        x, w = self.saved
        options = dict(zip(("stride", "padding", "dilation", "groups"), self.options, strict=True))
        dx = ConvolutionInput.apply(g, w, None, extents=x.shape[2:], **options) if self.needs[0] else None
        dw = ConvolutionWeight.apply(g, x, kernel=w.shape[2:], **options) if self.needs[1] else None
        return dx, dw, present(self, sum_to_channels(g)) if self.needs[2] else None


@in_float32
class ConvolutionInput(Op):
    """The gradient of a convolution for its input of `extents`, plus a bias: transposed convolution.

    g (N, O, OH, OW) and w (O, C / groups, KH, KW) to (N, C, H, W).
    """

    graph_name = "ConvolutionBackward0"

    def forward(self, g, w, b, extents, stride, padding, dilation, groups):
        self.options = stride, padding, dilation, groups
        self.save(g, w)
        extents = (1, *extents) if g.ndim == 3 else tuple(extents)
        xp, given, weights = array_module(g), images(g), images(w)
        shape = (len(g), w.shape[1] * groups, *extents)
        blank = xp.broadcast_to(xp.zeros((), g.dtype), shape)  # only its shape is looked at
        given = self._completed(given, weights, extents)
        dx, _, _ = kernels_for(g).conv2d_backward(given, blank, weights, *self.options, (True, False, False))
        if b is not None:
            dx = dx + b[:, None, None]
        return dx if g.ndim == 4 else dx[:, :, 0]

    def _completed(self, g: Array, w: Array, extents: tuple[int, ...]) -> Array:
        """`g` with the rows and columns that a convolution of `extents` has in addition: an output_padding of stride or
        more, which dilation allows, makes them."""
        stride, padding, dilation, _ = self.options
        along = zip(extents, w.shape[2:], stride, padding, dilation, strict=True)
        size = tuple(convolved_extent(*one) for one in along)
        if size == g.shape[2:]:
            return g
        whole = array_module(g).zeros((*g.shape[:2], *size), g.dtype)
        whole[:, :, : g.shape[2], : g.shape[3]] = g
        return whole

    def backward(self, u):
        g, w = self.saved
        kernels, dims = kernels_for(g), g.ndim
        g, w, u = images(g), images(w), images(u)
        dg = dw = None
        if self.needs[0]:
            dg = kernels.conv2d_forward(u, w, None, *self.options)[:, :, : g.shape[2], : g.shape[3]]
        if self.needs[1]:
            whole = self._completed(g, w, u.shape[2:])
            _, dw, _ = kernels.conv2d_backward(whole, u, w, *self.options, (False, True, False))
        if dims == 3:
            dg, dw = None if dg is None else dg[:, :, 0], None if dw is None else dw[:, :, 0]
        return dg, dw, sum_to_channels(u) if self.needs[2] else None

    def differentiable_backward(self, u):
        g, w = self.saved
        options = dict(zip(("stride", "padding", "dilation", "groups"), self.options, strict=True))
        dg = dw = None
        if self.needs[0]:
            dg = Convolution.apply(u, w, None, **options)
            dg = dg[(..., *(slice(0, extent) for extent in g.shape[2:]))]
        if self.needs[1]:
            size = Convolution.apply(u.detach(), w.detach(), None, **options).shape[2:]
            extra = [
                amount for have, want in zip(g.shape[:1:-1], size[::-1], strict=True) for amount in (0, want - have)
            ]
            dw = ConvolutionWeight.apply(pad(g, extra) if any(extra) else g, u, kernel=w.shape[2:], **options)
        return dg, dw, present(self, sum_to_channels(u)) if self.needs[2] else None


class ConvolutionWeight(Op):
    """The gradient of a convolution for its weight: g (N, O, OH, OW) and x (N, C, H, W) to (O, C / groups, KH, KW)."""

    graph_name = "ConvolutionBackward0"

    def forward(self, g, x, kernel, stride, padding, dilation, groups):
        self.options = stride, padding, dilation, groups
        self.save(g, x)
        kernel = (1, *kernel) if x.ndim == 3 else tuple(kernel)
        xp = array_module(x)
        blank = xp.broadcast_to(xp.zeros((), x.dtype), (g.shape[1], x.shape[1] // groups, *kernel))
        needs = False, True, False
        _, dw, _ = kernels_for(x).conv2d_backward(images(g), images(x), blank, *self.options, needs)
        return dw if x.ndim == 4 else dw[:, :, 0]

    def backward(self, u):
        g, x = self.saved
        kernels, dims = kernels_for(g), x.ndim
        g, x, u = images(g), images(x), images(u)
        dg = kernels.conv2d_forward(x, u, None, *self.options) if self.needs[0] else None
        dx = kernels.conv2d_backward(g, x, u, *self.options, (True, False, False))[0] if self.needs[1] else None
        if dims == 3:
            dg, dx = None if dg is None else dg[:, :, 0], None if dx is None else dx[:, :, 0]
        return dg, dx

    def differentiable_backward(self, u):
        g, x = self.saved
        options = dict(zip(("stride", "padding", "dilation", "groups"), self.options, strict=True))
        dg = Convolution.apply(x, u, None, **options) if self.needs[0] else None
        dx = ConvolutionInput.apply(g, u, None, extents=x.shape[2:], **options) if self.needs[1] else None
        return dg, dx


def images(x: Array) -> Array:
    """(N, C, L) as (N, C, 1, L)."""
    return x if x.ndim == 4 else x[:, :, None]


def sum_to_channels(g: Any) -> Any:
    """(N, C, ...) to (C,), of an array or a Tensor."""
    return g.sum(axis=(0, *range(2, g.ndim)))


@autocasts("lower")
def conv1d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Extents = 1,
    padding: Extents | str = 0,
    dilation: Extents = 1,
    groups: int = 1,
) -> Tensor:
    """One-dimensional cross-correlation: input (N, C, L) or (C, L), weight (O, C / groups, K), bias (O,)."""
    return _convolved(input, weight, bias, stride, padding, dilation, groups, 1)


@autocasts("lower")
def conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Extents = 1,
    padding: Extents | str = 0,
    dilation: Extents = 1,
    groups: int = 1,
) -> Tensor:
    """Two-dimensional cross-correlation: input (N, C, H, W) or (C, H, W), weight (O, C / groups, KH, KW), bias (O,).

    `padding` is zeros on each side, or 'valid' (none) or 'same' (the output has the input's size).
    RuntimeError where shapes or dtypes do not fit.
    """
    return _convolved(input, weight, bias, stride, padding, dilation, groups, 2)


@autocasts("lower")
def conv3d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Extents = 1,
    padding: Extents | str = 0,
    dilation: Extents = 1,
    groups: int = 1,
) -> Tensor:
    """Three-dimensional cross-correlation: input (N, C, D, H, W) or without N, weight (O, C / groups, KD, KH, KW)."""
    return _convolved(input, weight, bias, stride, padding, dilation, groups, 3)


def _convolved(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Extents,
    padding: Extents | str,
    dilation: Extents,
    groups: int,
    dims: int,
) -> Tensor:
    if input.array.ndim == dims + 1 and weight.array.ndim == dims + 2:
        return _convolved(input.unsqueeze(0), weight, bias, stride, padding, dilation, groups, dims).squeeze(0)
    steps, gaps = extents_of(stride, dims, "stride"), extents_of(dilation, dims, "dilation")
    check_operands(input, weight, bias, steps, gaps, groups, dims)
    kernel = weight.array.shape[2:]
    if isinstance(padding, str):
        zeros, more = same_padding(padding, kernel, gaps, steps)
        if any(more):  # an even kernel: what is left over goes behind
            input = pad(input, [amount for extra in more[::-1] for amount in (0, extra)])
    else:
        zeros = extents_of(padding, dims, "padding")
    shapes = input.array.shape, weight.array.shape, None if bias is None else bias.array.shape
    check_channels(*shapes, zeros, groups, weight.array.shape[1] * groups, weight.array.shape[0])
    check_window(input.array.shape[2:], kernel, zeros, gaps)
    if dims == 3:
        if is_half(input.array):  # one rounding, not one a plane
            x, w = (cast(operand, np.dtype(np.float32)) for operand in (input, weight))
            b = None if bias is None else cast(bias, np.dtype(np.float32))
            return cast(_volumes(x, w, b, steps, zeros, gaps, groups), input.array.dtype)
        return _volumes(input, weight, bias, steps, zeros, gaps, groups)
    if dims == 1:
        steps, zeros, gaps = (1, *steps), (0, *zeros), (1, *gaps)
    return Convolution.apply(input, weight, bias, stride=steps, padding=zeros, dilation=gaps, groups=groups)


def _volumes(
    x: Tensor,
    w: Tensor,
    b: Tensor | None,
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    dilation: tuple[int, ...],
    groups: int,
) -> Tensor:
    """A sum over the kernel's planes, each a convolution of planes as images."""
    x = pad(x, (0, 0, 0, 0, padding[0], padding[0])) if padding[0] else x
    depth = convolved_extent(x.shape[2], w.shape[2], stride[0], 0, dilation[0])
    options = {"stride": stride[1:], "padding": padding[1:], "dilation": dilation[1:], "groups": groups}
    total: Any = None
    for plane in range(w.shape[2]):
        first = plane * dilation[0]
        slices = x[:, :, first : first + (depth - 1) * stride[0] + 1 : stride[0]].transpose(1, 2)
        flat = slices.reshape(x.shape[0] * depth, *slices.shape[2:])
        part = Convolution.apply(flat, w[:, :, plane], b if plane == 0 else None, **options)
        total = part if total is None else total + part
    result: Tensor = total.reshape(x.shape[0], depth, *total.shape[1:]).transpose(1, 2)
    return result.clone()  # in the usual order

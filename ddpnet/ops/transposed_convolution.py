"""Transposed convolution: what the gradient of a convolution does to its outputs."""

from __future__ import annotations

from typing import Any

import numpy as np

from ddpnet.kernels.precision import is_half
from ddpnet.ops.autocasting import autocasts
from ddpnet.ops.conversion import cast
from ddpnet.ops.convolution import ConvolutionInput, sum_to_channels
from ddpnet.ops.convolution_operands import check_channels, check_operands
from ddpnet.ops.extents import Extents, extents_of
from ddpnet.ops.indexing import Placed
from ddpnet.ops.op import Op
from ddpnet.ops.presence import present
from ddpnet.tensor import Tensor

__all__ = [
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
]


class Offset(Op):
    """A bias (C,) added to (N, C, D, H, W)."""

    graph_name = "ConvolutionBackward0"

    def forward(self, x, b):
        return x + b[:, None, None, None]

    def backward(self, g):
        return g, sum_to_channels(g)

    def differentiable_backward(self, g):
        return g, present(self, sum_to_channels(g))


@autocasts("lower")
def conv_transpose1d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Extents = 1,
    padding: Extents = 0,
    output_padding: Extents = 0,
    groups: int = 1,
    dilation: Extents = 1,
) -> Tensor:
    """One-dimensional transposed convolution: input (N, C, L) or (C, L), weight (C, O / groups, K), bias (O,)."""
    return _transposed(input, weight, bias, stride, padding, output_padding, groups, dilation, 1)


@autocasts("lower")
def conv_transpose2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Extents = 1,
    padding: Extents = 0,
    output_padding: Extents = 0,
    groups: int = 1,
    dilation: Extents = 1,
) -> Tensor:
    """Two-dimensional transposed convolution: input (N, C, H, W) or (C, H, W), weight (C, O / groups, KH, KW).

    The output has (H - 1) * stride - 2 * padding + dilation * (KH - 1) + output_padding + 1 rows.
    RuntimeError where shapes or dtypes do not fit.
    """
    return _transposed(input, weight, bias, stride, padding, output_padding, groups, dilation, 2)


@autocasts("lower")
def conv_transpose3d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Extents = 1,
    padding: Extents = 0,
    output_padding: Extents = 0,
    groups: int = 1,
    dilation: Extents = 1,
) -> Tensor:
    """Three-dimensional transposed convolution: input (N, C, D, H, W), weight (C, O / groups, KD, KH, KW)."""
    return _transposed(input, weight, bias, stride, padding, output_padding, groups, dilation, 3)


def _transposed(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Extents,
    padding: Extents,
    output_padding: Extents,
    groups: int,
    dilation: Extents,
    dims: int,
) -> Tensor:
    if input.ndim == dims + 1 and weight.ndim == dims + 2:
        options = (stride, padding, output_padding, groups, dilation, dims)
        return _transposed(input.unsqueeze(0), weight, bias, *options).squeeze(0)
    steps, gaps = extents_of(stride, dims, "stride"), extents_of(dilation, dims, "dilation")
    zeros, more = extents_of(padding, dims, "padding"), extents_of(output_padding, dims, "output_padding")
    check_operands(input, weight, bias, steps, gaps, groups, dims)
    shapes = input.array.shape, weight.array.shape, None if bias is None else bias.array.shape
    check_channels(*shapes, zeros, groups, weight.array.shape[0], weight.array.shape[1] * groups)
    if min(more) < 0:
        raise RuntimeError("negative output_padding is not supported")
    if any(extra >= max(step, gap) for extra, step, gap in zip(more, steps, gaps, strict=True)):
        raise RuntimeError(
            f"output padding must be smaller than either stride or dilation, but got output_padding: {more}, stride: "
            f"{steps}, dilation: {gaps}"
        )
    along = zip(input.array.shape[2:], weight.array.shape[2:], steps, zeros, gaps, more, strict=True)
    extents = tuple((n - 1) * step - 2 * p + gap * (k - 1) + extra + 1 for n, k, step, p, gap, extra in along)
    if min(extents) < 1 or min(input.array.shape[2:]) < 1:
        raise RuntimeError(
            f"Given input size per channel: {tuple(input.array.shape[2:])}. Calculated output size per channel: "
            f"{extents}. Output size is too small"
        )
    if dims == 3:
        if is_half(input.array):  # one rounding, not one a plane
            x, w = (cast(operand, np.dtype(np.float32)) for operand in (input, weight))
            b = None if bias is None else cast(bias, np.dtype(np.float32))
            return cast(_volumes(x, w, b, extents, steps, zeros, gaps, groups), input.array.dtype)
        return _volumes(input, weight, bias, extents, steps, zeros, gaps, groups)
    if dims == 1:
        steps, zeros, gaps = (1, *steps), (0, *zeros), (1, *gaps)
    return ConvolutionInput.apply(
        input, weight, bias, extents=extents, stride=steps, padding=zeros, dilation=gaps, groups=groups
    )


def _volumes(
    x: Tensor,
    w: Tensor,
    b: Tensor | None,
    extents: tuple[int, ...],
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    dilation: tuple[int, ...],
    groups: int,
) -> Tensor:
    """A sum over the kernel's planes, each a transposed convolution of planes as images."""
    batch, depth = x.shape[0], x.shape[2]
    flat = x.transpose(1, 2).reshape(batch * depth, x.shape[1], *x.shape[3:])
    options = {"stride": stride[1:], "padding": padding[1:], "dilation": dilation[1:], "groups": groups}
    whole = max((depth - 1) * stride[0] + dilation[0] * (w.shape[2] - 1) + 1, padding[0] + extents[0])
    total: Any = None
    for plane in range(w.shape[2]):
        part = ConvolutionInput.apply(flat, w[:, :, plane], None, extents=extents[1:], **options)
        part = part.reshape(batch, depth, *part.shape[1:])
        first = plane * dilation[0]
        places = slice(first, first + (depth - 1) * stride[0] + 1, stride[0])
        placed = Placed.apply(part, shape=(batch, whole, *part.shape[2:]), key=(slice(None), places))
        total = placed if total is None else total + placed
    total = total[:, padding[0] : padding[0] + extents[0]].transpose(1, 2)
    result: Tensor = total if b is None else Offset.apply(total, b)
    return result.clone()  # in the usual order

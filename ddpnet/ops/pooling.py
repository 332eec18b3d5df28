"""Pooling over windows of an image."""

from __future__ import annotations

from typing import Any

import numpy as np

from ddpnet.kernels import kernels_for
from ddpnet.ops.convolution import Pair, pair
from ddpnet.ops.op import Op
from ddpnet.tensor import Tensor


class MaxPool2d(Op):
    graph_name = "MaxPool2DWithIndicesBackward0"
    differentiable = (True, False)

    def forward(self, x, kernel, stride, padding, dilation, ceil_mode):
        self.shape = x.shape
        y, indices = kernels_for(x).max_pool2d_forward(x, kernel, stride, padding, dilation, ceil_mode)
        self.save(indices)
        return y, indices

    def backward(self, g, _):
        (indices,) = self.saved
        return kernels_for(g).max_pool2d_backward(g, indices, self.shape)


class AvgPool2d(Op):
    graph_name = "AvgPool2DBackward0"

    def forward(self, x, kernel, stride, padding, ceil_mode, count_include_pad, divisor_override):
        self.shape = x.shape
        self.window = kernel, stride, padding, ceil_mode, count_include_pad, divisor_override
        return kernels_for(x).avg_pool2d_forward(x, *self.window)

    def backward(self, g):
        return kernels_for(g).avg_pool2d_backward(g, self.shape, *self.window)


def max_pool2d(
    input: Tensor,
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Pair = 0,
    dilation: Pair = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """The largest element of each window of input (N, C, H, W) or (C, H, W); `stride` is the window's size by default.

    With `return_indices` also int64 indices of the maxima in the flattened (H, W) plane.
    """
    if input.ndim == 3:
        pooled = max_pool2d(input.unsqueeze(0), kernel_size, stride, padding, dilation, ceil_mode, return_indices)
        return tuple(y.squeeze(0) for y in pooled) if return_indices else pooled.squeeze(0)
    kernel, step, zeros = _window(input, kernel_size, stride, padding, "max_pool2d")
    values, indices = MaxPool2d.apply(
        input, kernel=kernel, stride=step, padding=zeros, dilation=pair(dilation, "dilation"), ceil_mode=ceil_mode
    )
    return (values, Tensor(indices.array.astype(np.int64))) if return_indices else values


def avg_pool2d(
    input: Tensor,
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Pair = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """The mean of each window of input (N, C, H, W) or (C, H, W); `stride` is the window's size by default."""
    if input.ndim == 3:
        options = (kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)
        return avg_pool2d(input.unsqueeze(0), *options).squeeze(0)
    if divisor_override == 0:
        raise RuntimeError("divisor must be not zero")
    kernel, step, zeros = _window(input, kernel_size, stride, padding, "avg_pool2d")
    return AvgPool2d.apply(
        input,
        kernel=kernel,
        stride=step,
        padding=zeros,
        ceil_mode=ceil_mode,
        count_include_pad=count_include_pad,
        divisor_override=divisor_override,
    )


def _window(
    input: Tensor, kernel_size: Pair, stride: Pair | None, padding: Pair, name: str
) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
    """(kernel, stride, padding), checked against the input."""
    if input.ndim != 4:
        raise RuntimeError(f"{name}: Expected 3D or 4D input, but got input of size {list(input.array.shape)}")
    kernel, zeros = pair(kernel_size, "kernel_size"), pair(padding, "padding")
    step = kernel if stride is None or stride == () else pair(stride, "stride")
    if min(kernel) < 1 or min(step) < 1:
        raise RuntimeError(f"{name}: kernel size {kernel} and stride {step} should be greater than zero")
    if any(2 * pad > extent for pad, extent in zip(zeros, kernel, strict=True)) or min(zeros) < 0:
        raise RuntimeError(
            f"pad should be at most half of effective kernel size, but got pad={zeros} and kernel_size={kernel}"
        )
    if any(extent + 2 * pad < k for extent, pad, k in zip(input.array.shape[2:], zeros, kernel, strict=True)):
        raise RuntimeError(
            f"{name}: Given input size {list(input.array.shape[1:])} and kernel {kernel}: output size is too small"
        )
    return kernel, step, zeros

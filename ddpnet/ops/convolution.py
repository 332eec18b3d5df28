"""Convolution."""

from __future__ import annotations

from collections.abc import Sequence

from ddpnet.kernels import kernels_for
from ddpnet.ops.op import Op
from ddpnet.tensor import Tensor

Pair = int | Sequence[int]


def pair(value: Pair, name: str) -> tuple[int, int]:
    """(height, width) of a number that serves for both, or of two."""
    if isinstance(value, int):
        return value, value
    if len(value) == 1:
        return int(value[0]), int(value[0])
    if len(value) != 2:
        raise RuntimeError(f"{name}: expected one number or two (height, width), got {tuple(value)}")
    return int(value[0]), int(value[1])


class Convolution(Op):
    def forward(self, x, w, b, stride, padding, dilation, groups):
        self.options = stride, padding, dilation, groups
        self.save(x, w)
        return kernels_for(x).conv2d_forward(x, w, b, *self.options)

    def backward(self, g):
        x, w = self.saved
        return kernels_for(x).conv2d_backward(g, x, w, *self.options, self.needs)


def conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Pair = 1,
    padding: Pair | str = 0,
    dilation: Pair = 1,
    groups: int = 1,
) -> Tensor:
    """Two-dimensional cross-correlation: input (N, C, H, W) or (C, H, W), weight (O, C / groups, KH, KW), bias (O,).

    `padding` is zeros on each side, or 'valid' (none) or 'same' (the output has the input's size; odd kernels).
    RuntimeError where shapes or dtypes do not fit.
    """
    if input.ndim == 3:
        return conv2d(input.unsqueeze(0), weight, bias, stride, padding, dilation, groups).squeeze(0)
    steps, gaps = pair(stride, "stride"), pair(dilation, "dilation")
    zeros = _zeros(padding, weight.array.shape[2:], gaps, steps)
    _check(input, weight, bias, steps, zeros, gaps, groups)
    return Convolution.apply(input, weight, bias, stride=steps, padding=zeros, dilation=gaps, groups=groups)


def _zeros(
    padding: Pair | str, kernel: tuple[int, ...], dilation: tuple[int, int], stride: tuple[int, int]
) -> tuple[int, int]:
    """The zeros to add on each side, as (height, width)."""
    if not isinstance(padding, str):
        return pair(padding, "padding")
    if padding == "valid":
        return 0, 0
    if padding != "same":
        raise RuntimeError(f"Invalid padding string: '{padding}'; expected 'valid' or 'same'")
    if stride != (1, 1):
        raise RuntimeError("padding='same' is not supported for strided convolutions")
    total = [gap * (extent - 1) for gap, extent in zip(dilation, kernel, strict=True)]
    if any(zeros % 2 for zeros in total):
        raise NotImplementedError(f"padding='same' with a kernel of even extent {tuple(kernel)} is not supported")
    return total[0] // 2, total[1] // 2


def _check(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
    groups: int,
) -> None:
    x, w = input.array.shape, weight.array.shape
    if len(x) != 4:
        raise RuntimeError(f"Expected 3D (unbatched) or 4D (batched) input to conv2d, but got input of size: {list(x)}")
    if min(stride) < 1:
        raise RuntimeError("non-positive stride is not supported")
    if min(padding) < 0:
        raise RuntimeError("negative padding is not supported")
    if x[1] != w[1] * groups:
        raise RuntimeError(
            f"Given groups={groups}, weight of size {list(w)}, expected input{list(x)} to have {w[1] * groups} "
            f"channels, but got {x[1]} channels instead"
        )
    if w[0] % groups:
        raise RuntimeError(f"conv2d: {w[0]} output channels cannot be divided into {groups} groups")
    if bias is not None and bias.array.shape != (w[0],):
        raise RuntimeError(
            f"Given weight of size {list(w)}, expected bias to be 1-dimensional with {w[0]} elements, but got bias of "
            f"size {list(bias.array.shape)} instead"
        )
    if input.array.dtype != weight.array.dtype:
        raise RuntimeError(f"Input type ({input.dtype.name}) and weight type ({weight.dtype.name}) should be the same")
    padded = [extent + 2 * zeros for extent, zeros in zip(x[2:], padding, strict=True)]
    window = [gap * (extent - 1) + 1 for gap, extent in zip(dilation, w[2:], strict=True)]
    if any(have < need for have, need in zip(padded, window, strict=True)):
        raise RuntimeError(
            f"Calculated padded input size per channel: ({padded[0]} x {padded[1]}). Kernel size: ({window[0]} x "
            f"{window[1]}). Kernel size can't be greater than actual input size"
        )

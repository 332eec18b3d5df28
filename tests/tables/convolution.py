"""Rows of convolution in one and three dimensions, and of transposed convolution."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from tables import Table, real, whole

TABLE = Table()
row = TABLE.row


def call(name: str, **options: Any) -> Callable[..., Any]:
    def convolved(torch: Any, x: Any, w: Any, b: Any = None) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PyTorch's of the copy that an even kernel needs for "same"
            return getattr(torch.nn.functional, name)(x, w, b, **options)

    return convolved


row("conv2d same, even", call("conv2d", padding="same"), real(2, 3, 4, 5), real(4, 3, 2, 4), real(4))
row("conv2d same, even, dilated", call("conv2d", padding="same", dilation=3), real(1, 2, 6, 6), real(2, 2, 2, 2))
row("conv2d of integers", call("conv2d"), whole(-5, 5, 2, 3, 5, 4), whole(-5, 5, 4, 3, 2, 2), whole(-5, 5, 4))
row("conv1d", call("conv1d"), real(2, 3, 7), real(4, 3, 3), real(4))
row("conv1d, no bias", call("conv1d"), real(2, 3, 7), real(4, 3, 3))
row("conv1d stride, padding", call("conv1d", stride=2, padding=(1,)), real(2, 3, 7), real(4, 3, 3), real(4))
row("conv1d dilation, groups", call("conv1d", dilation=2, groups=3), real(2, 3, 9), real(6, 1, 3), real(6))
row("conv1d same", call("conv1d", padding="same"), real(2, 3, 7), real(4, 3, 4), real(4))
row("conv1d of one row", call("conv1d"), real(3, 7), real(4, 3, 3), real(4))
row("conv1d of no rows", call("conv1d"), real(0, 3, 7), real(4, 3, 3), real(4))
row("conv3d", call("conv3d"), real(2, 2, 4, 3, 5), real(3, 2, 2, 2, 3), real(3))
row("conv3d options", call("conv3d", stride=2, padding=(1, 0, 2)), real(1, 2, 4, 3, 5), real(3, 2, 2, 2, 3))
row("conv3d dilation, groups", call("conv3d", dilation=(2, 1, 1), groups=2), real(2, 5, 3, 4), real(2, 1, 2, 2, 2))

for dims, extents, window in ((1, (5,), (3,)), (2, (5, 4), (3, 2)), (3, (3, 2, 4), (2, 2, 3))):
    name = f"conv_transpose{dims}d"
    x, w, b = real(2, 3, *extents), real(3, 4, *window), real(4)
    row(name, call(name), x, w, b)
    row(f"{name}, no bias", call(name), x, w)
    row(f"{name} stride", call(name, stride=2), x, w, b)
    row(f"{name} output_padding", call(name, stride=3, padding=1, output_padding=2), x, w, b)
    row(f"{name} large output_padding", call(name, output_padding=1, dilation=2), x, w, b)
    row(f"{name} groups", call(name, groups=3, stride=2), x, real(3, 2, *window), real(6))
    row(f"{name} without a batch", call(name, dilation=2), x[0], w, b)
    row(f"{name} of nothing", call(name), x[:0], w, b)
row(
    "conv_transpose2d of pairs",
    call("conv_transpose2d", stride=(2, 1), padding=(0, 1)),
    real(2, 3, 3, 4),
    real(3, 2, 2, 3),
)
for options in ({}, {"stride": 2}, {"padding": (1, 2), "dilation": 2}, {"stride": (2, 1), "padding": 1}):
    depthwise = call("conv2d", groups=3, **options)
    row(f"depthwise {options}", depthwise, real(2, 3, 6, 7), real(3, 1, 3, 2), real(3))
    row(f"depthwise, two of each {options}", depthwise, real(2, 3, 6, 7), real(6, 1, 3, 2), real(6))
row("depthwise conv_transpose2d", call("conv_transpose2d", groups=3, stride=2), real(2, 3, 4, 3), real(3, 2, 3, 2))

"""Rows of the family `layers`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tables import Table, apart, positive, real

TABLE = Table()
row = TABLE.row

# Convolution, pooling, batch norm


def convolution(**options: Any) -> Callable[..., Any]:
    return lambda torch, x, w, b=None: torch.nn.functional.conv2d(x, w, b, **options)


row("conv", convolution(), real(2, 3, 6, 5), real(4, 3, 3, 2), real(4))
row("conv, no bias", convolution(), real(2, 3, 6, 5), real(4, 3, 3, 2))
row("conv 1x1", convolution(), real(2, 3, 4, 4), real(4, 3, 1, 1), real(4))
row("conv stride", convolution(stride=2), real(2, 3, 7, 6), real(4, 3, 3, 2), real(4))
row("conv strides", convolution(stride=(1, 3)), real(2, 3, 7, 6), real(4, 3, 3, 2), real(4))
row("conv padding", convolution(padding=1), real(2, 3, 4, 4), real(4, 3, 3, 3), real(4))
row("conv paddings", convolution(padding=(0, 2), stride=2), real(2, 3, 5, 4), real(4, 3, 3, 3), real(4))
row("conv same", convolution(padding="same"), real(2, 3, 4, 5), real(4, 3, 3, 5), real(4))
row("conv same, dilated", convolution(padding="same", dilation=2), real(1, 2, 6, 6), real(2, 2, 3, 3), real(2))
row("conv valid", convolution(padding="valid"), real(2, 3, 4, 5), real(4, 3, 3, 3), real(4))
row("conv dilation", convolution(dilation=2), real(2, 3, 8, 7), real(4, 3, 3, 2), real(4))
row("conv dilations", convolution(dilation=(1, 2), padding=1, stride=2), real(2, 3, 8, 7), real(4, 3, 3, 2), real(4))
row("conv groups", convolution(groups=2), real(2, 4, 5, 5), real(6, 2, 3, 3), real(6))
row("conv depthwise", convolution(groups=4, padding=1), real(2, 4, 5, 5), real(4, 1, 3, 3), real(4))
row("conv of one image", convolution(), real(3, 6, 5), real(4, 3, 3, 2), real(4))
row("conv of no images", convolution(), real(0, 3, 6, 5), real(4, 3, 3, 2), real(4))
row("conv of the whole image", convolution(), real(2, 3, 4, 5), real(4, 3, 4, 5), real(4))


def pool(kind: str, *args: Any, **options: Any) -> Callable[..., Any]:
    return lambda torch, x: getattr(torch.nn.functional, f"{kind}_pool2d")(x, *args, **options)


for kind in ("max", "avg"):
    row(f"{kind} pool", pool(kind, 2), apart(2, 3, 6, 4))
    row(f"{kind} pool of odd size", pool(kind, 2), apart(2, 3, 7, 5))
    row(f"{kind} pool window", pool(kind, (2, 3)), apart(2, 3, 6, 6))
    row(f"{kind} pool stride", pool(kind, 3, 1), apart(2, 3, 6, 5))
    row(f"{kind} pool strides", pool(kind, 2, (3, 1)), apart(2, 3, 6, 5))
    row(f"{kind} pool padding", pool(kind, 3, 2, 1), apart(2, 3, 6, 5))
    row(f"{kind} pool ceil", pool(kind, 3, 2, ceil_mode=True), apart(2, 3, 6, 6))
    row(f"{kind} pool ceil, padding", pool(kind, 3, 2, 1, ceil_mode=True), apart(2, 3, 6, 7))
    row(f"{kind} pool of one image", pool(kind, 2), apart(3, 6, 4))
    row(f"{kind} pool of no images", pool(kind, 2), apart(0, 3, 6, 4))
row("max pool indices", pool("max", 3, 2, 1, return_indices=True), apart(2, 3, 6, 5))
row("max pool indices of one image", pool("max", 2, return_indices=True), apart(3, 6, 4))
row("max pool dilation", pool("max", 2, 1, dilation=2), apart(2, 3, 6, 5))
row("max pool of equals", pool("max", 2, return_indices=True), np.ones((1, 1, 4, 4)), smooth=False)
row("max pool of negatives, padding", pool("max", 3, 2, 1), -positive(1, 2, 5, 5))
row("max pool of nan", pool("max", 2, return_indices=True), np.array([[[[1.0, np.nan], [3.0, 2.0]]]]), smooth=False)
row("max pool of -inf", pool("max", 2, return_indices=True), np.full((1, 1, 2, 2), -np.inf), smooth=False)
row("avg pool without padding", pool("avg", 3, 2, 1, count_include_pad=False), apart(2, 3, 6, 5))
row("avg pool ceil without padding", pool("avg", 3, 2, 1, True, False), apart(2, 3, 6, 7))
row("avg pool divisor", pool("avg", 3, 2, divisor_override=5), apart(2, 3, 7, 5))


def normalized(training: bool, affine: bool = True, tracked: bool = True) -> Callable[..., Any]:
    mean, var = real(3), positive(3)

    def call(torch: Any, x: Any, w: Any, b: Any) -> Any:
        running = [torch.tensor(s, dtype=x.dtype, device=x.device) for s in (mean, var)]
        running = running if tracked else [None, None]
        scale = (w, b) if affine else (None, None)
        y = torch.nn.functional.batch_norm(x, *running, *scale, training, 0.3, 1e-3)
        return (y, *running) if tracked else y

    return call


for shape in ((4, 3, 2, 5), (6, 3), (4, 3, 5), (2, 3, 1, 1)):
    channels = (real(3), real(3))
    row(f"batch norm training {shape}", normalized(True), real(*shape), *channels, tolerance=100)
    row(f"batch norm evaluation {shape}", normalized(False), real(*shape), *channels)
row("batch norm, not affine", normalized(True, affine=False), real(4, 3, 2, 2), *channels, tolerance=10)
row("batch norm, not tracked", normalized(True, tracked=False), real(4, 3, 2, 2), *channels, tolerance=10)
row("batch norm of large", normalized(True), real(4, 3, 2, 2) + 100, *channels, tolerance=1000)

"""Rows of pooling, and of the way back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tables import Table, apart, positive, real, whole

TABLE = Table()
row = TABLE.row


def call(name: str, *args: Any, **options: Any) -> Callable[..., Any]:
    return lambda torch, x: getattr(torch.nn.functional, name)(x, *args, **options)


for dims, extents in ((1, (9,)), (3, (5, 4, 6))):
    for kind in ("max", "avg"):
        name = f"{kind}_pool{dims}d"
        row(name, call(name, 2), apart(2, 3, *extents))
        row(f"{name} stride, padding", call(name, 3, 2, 1), apart(2, 3, *extents))
        row(f"{name} ceil", call(name, 3, 2, 1, ceil_mode=True), apart(2, 3, *extents))
        row(f"{name} without a batch", call(name, 2), apart(3, *extents))
        row(f"{name} of nothing", call(name, 2), apart(0, 3, *extents))
    row(f"max_pool{dims}d indices", call(f"max_pool{dims}d", 3, 2, 1, return_indices=True), apart(2, 3, *extents))
    row(f"max_pool{dims}d dilation", call(f"max_pool{dims}d", 2, 1, dilation=2), apart(2, 3, *extents))
    row(f"avg_pool{dims}d inside", call(f"avg_pool{dims}d", 3, 2, 1, count_include_pad=False), real(2, 3, *extents))
row("avg_pool3d divisor", call("avg_pool3d", (2, 1, 3), divisor_override=5), real(2, 3, 5, 4, 6))
row("max_pool2d of integers", call("max_pool2d", 2, return_indices=True), whole(-9, 9, 2, 3, 4, 5))
row("avg_pool2d of integers", call("avg_pool2d", 2), whole(-9, 9, 2, 3, 4, 5))

for dims, extents, sizes in (
    (1, (7,), (3, 1, 7, 9)),
    (2, (6, 5), (3, 1, (2, None), (None, 5), (4, 7), (6, 5))),
    (3, (4, 3, 5), (2, (None, 1, 3), 1)),
):
    for size in sizes:
        row(f"adaptive_avg {size}", call(f"adaptive_avg_pool{dims}d", size), real(2, 3, *extents))
        row(f"adaptive_max {size}", call(f"adaptive_max_pool{dims}d", size, True), apart(2, 3, *extents))
    row(f"adaptive_avg {dims}, no batch", call(f"adaptive_avg_pool{dims}d", 2), real(3, *extents))
    row(f"adaptive_max {dims}, no batch", call(f"adaptive_max_pool{dims}d", 2), apart(3, *extents))
row("adaptive_avg of nothing", call("adaptive_avg_pool2d", 2), real(0, 3, 4, 4))

row("lp_pool1d", call("lp_pool1d", 3, 2), positive(2, 3, 7), tolerance=10)
row("lp_pool2d", call("lp_pool2d", 2.0, (2, 3), 1), positive(2, 3, 5, 4), tolerance=10)
row("lp_pool2d ceil", call("lp_pool2d", 2, 3, 2, ceil_mode=True), positive(2, 3, 6, 6), tolerance=10)


def unpooled(dims: int, *args: Any, size: Any = None, **options: Any) -> Callable[..., Any]:
    def there_and_back(torch: Any, x: Any) -> Any:
        values, indices = getattr(torch.nn.functional, f"max_pool{dims}d")(x, *args, return_indices=True, **options)
        return getattr(torch.nn.functional, f"max_unpool{dims}d")(values, indices, *args, output_size=size)

    return there_and_back


row("max_unpool1d", unpooled(1, 2), apart(2, 3, 6))
row("max_unpool2d", unpooled(2, 2), apart(2, 3, 6, 4))
row("max_unpool2d size", unpooled(2, 2, size=(2, 3, 7, 5)), apart(2, 3, 7, 5))
row("max_unpool2d stride", unpooled(2, 3, 2), apart(3, 7, 5), smooth=False)
row("max_unpool3d", unpooled(3, 2), apart(2, 3, 4, 2, 6))
row(
    "max_pool1d of nan", call("max_pool1d", 2, return_indices=True), np.array([[[1.0, np.nan, 3.0, 2.0]]]), smooth=False
)

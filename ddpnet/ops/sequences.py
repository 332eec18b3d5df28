"""Numbers in a row, and the identity matrix."""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np

from ddpnet import dtypes
from ddpnet.dtypes import DType
from ddpnet.layouts import Layout
from ddpnet.ops.creation import DeviceLike, check_layout, into_out, place
from ddpnet.tensor import Tensor

__all__ = [
    "arange",
    "eye",
    "linspace",
    "logspace",
    "range",
]


def _number(value: Any) -> Any:
    """A Python number; a tensor of one element counts as it."""
    return value.item() if isinstance(value, Tensor | np.generic) else value


@into_out
def arange(
    start: Any = 0,
    end: Any = None,
    step: Any = 1,
    *,
    dtype: DType | None = None,
    layout: Layout | None = None,
    device: DeviceLike = None,
    pin_memory: bool = False,
    requires_grad: bool = False,
) -> Tensor:
    """start, start + step, ... before `end`; int64 if all three are integers."""
    check_layout(layout)
    if end is None:
        start, end = 0, start
    start, end, step = _number(start), _number(end), _number(step)
    whole = all(isinstance(value, int) for value in (start, end, step))
    kind = dtype or (dtypes.int64 if whole else dtypes.get_default_dtype())
    _check(start, end, step)
    if not kind.is_floating_point:
        first, last, by = int(start), int(end), int(step)
        if by == 0 and kind is dtypes.int64:
            raise ValueError("step must be nonzero")
        exact = by and (whole or kind is dtypes.int64)
        count = -(-(last - first) // by) if exact else math.ceil((end - start) / step)
        values = first + np.arange(count) * by
    else:
        values = start + np.arange(math.ceil((end - start) / step)) * step
    return place(values.astype(kind.numpy), device, requires_grad)


def _check(start: Any, end: Any, step: Any) -> None:
    if step == 0:
        raise RuntimeError("step must be nonzero")
    if not (math.isfinite(start) and math.isfinite(end)):
        raise RuntimeError(f"unsupported range: {start} -> {end}")
    if (end - start) * (1 if step > 0 else -1) < 0:
        raise RuntimeError("upper bound and lower bound inconsistent with step sign")


@into_out
def range(
    start: Any = 0,
    end: Any = None,
    step: Any = 1,
    *,
    dtype: DType | None = None,
    layout: Layout | None = None,
    device: DeviceLike = None,
    pin_memory: bool = False,
    requires_grad: bool = False,
) -> Tensor:
    """As `arange`, with `end` included, in the default dtype (deprecated in PyTorch)."""
    check_layout(layout)
    if end is None:
        start, end = 0, start
    start, end, step = _number(start), _number(end), _number(step)
    _check(start, end, step)
    values = start + np.arange(math.floor((end - start) / step) + 1) * step
    return place(values.astype((dtype or dtypes.get_default_dtype()).numpy), device, requires_grad)


def _evenly(start: Any, end: Any, steps: Any, dtype: DType | None) -> tuple[np.ndarray, np.dtype[Any]]:
    """Numbers from both ends to the middle, in the arithmetic of the dtype, and the dtype."""
    for value in (start, end):
        if isinstance(value, Tensor) and value.ndim:
            raise RuntimeError("linspace only supports 0-dimensional start and end tensors")
    start, end = _number(start), _number(end)
    steps = operator.index(steps)
    if steps < 0:
        raise RuntimeError("number of steps must be non-negative")
    kind = (dtype or dtypes.get_default_dtype()).numpy
    category = dtypes.category(kind)
    arithmetic: Any = np.float64 if category < 2 or kind == np.float64 else np.float32
    if category < 2:
        start, end = int(start), int(end)
    first, last = (arithmetic(np.asarray(value).astype(kind)) for value in (start, end))
    if steps == 1:
        return np.asarray([first]), kind
    step = (last - first) / arithmetic(max(steps - 1, 1))
    index = np.arange(steps).astype(arithmetic)
    values = np.where(index < steps // 2, first + step * index, last - step * (steps - 1 - index))
    return values.astype(arithmetic), kind


@into_out
def linspace(
    start: Any,
    end: Any,
    steps: int,
    *,
    dtype: DType | None = None,
    layout: Layout | None = None,
    device: DeviceLike = None,
    pin_memory: bool = False,
    requires_grad: bool = False,
) -> Tensor:
    """`steps` numbers from `start` to `end`, both included."""
    check_layout(layout)
    values, kind = _evenly(start, end, steps, dtype)
    return place(values.astype(kind), device, requires_grad)


@into_out
def logspace(
    start: Any,
    end: Any,
    steps: int,
    base: Any = 10.0,
    *,
    dtype: DType | None = None,
    layout: Layout | None = None,
    device: DeviceLike = None,
    pin_memory: bool = False,
    requires_grad: bool = False,
) -> Tensor:
    """The powers of `base` to `steps` numbers from `start` to `end`."""
    check_layout(layout)
    values, kind = _evenly(start, end, steps, dtype)
    with np.errstate(all="ignore"):
        powers = np.float64(_number(base)) ** values.astype(np.float64)
        return place(powers.astype(kind), device, requires_grad)


@into_out
def eye(
    n: int,
    m: int | None = None,
    *,
    dtype: DType | None = None,
    layout: Layout | None = None,
    device: DeviceLike = None,
    pin_memory: bool = False,
    requires_grad: bool = False,
) -> Tensor:
    """Ones on the diagonal of an (n, m) matrix of zeros."""
    check_layout(layout)
    if n < 0 or (m is not None and m < 0):
        raise RuntimeError(f"n must be greater or equal to 0, got {n}" if n < 0 else f"m must be >= 0, got {m}")
    return place(np.eye(n, m, dtype=(dtype or dtypes.get_default_dtype()).numpy), device, requires_grad)

"""Which values there are and how often: unique, histograms, places in a sorted sequence."""

from __future__ import annotations

from typing import Any

import numpy as np

from ddpnet.backend import Array, array_module
from ddpnet.dtypes import category
from ddpnet.ops.creation import as_tensor
from ddpnet.ops.dims import one_axis
from ddpnet.ops.op import Op
from ddpnet.ops.out import with_out
from ddpnet.ops.reduction import wide
from ddpnet.tensor import Tensor, method

__all__ = [
    "bincount",
    "bucketize",
    "histc",
    "isin",
    "searchsorted",
    "unique",
    "unique_consecutive",
]


class Unique(Op):
    """Different elements; PyTorch has no derivative of them."""

    graph_name = "NotImplemented"

    def forward(self, x, values):
        return values

    def backward(self, g):
        raise RuntimeError("derivative for aten::_unique2 is not implemented")


def _results(
    input: Tensor, values: Array, inverse: Array, counts: Array, return_inverse: bool, return_counts: bool
) -> Any:
    results = [Unique.apply(input, values=values)]
    if return_inverse:
        results.append(Tensor(inverse))
    if return_counts:
        results.append(Tensor(counts))
    return results[0] if len(results) == 1 else tuple(results)


@method
def unique(
    input: Tensor,
    sorted: bool = True,
    return_inverse: bool = False,
    return_counts: bool = False,
    dim: int | None = None,
) -> Any:
    """The different elements in order, or the different slices along `dim`.

    With `return_inverse` also where each element of the input is among them (int64), with `return_counts` how often.
    """
    x = wide(input.array)
    xp = array_module(x)
    if dim is not None:
        axis = one_axis(dim, input.ndim)
        if x.size == 0:
            return _empty_slices(input, axis, return_inverse, return_counts)
        values, inverse, counts = xp.unique(x, return_inverse=True, return_counts=True, axis=axis, equal_nan=False)
        inverse = inverse.reshape(-1)
    else:
        values, inverse, counts = xp.unique(x, return_inverse=True, return_counts=True, equal_nan=False)
        inverse = inverse.reshape(x.shape)
    return _results(input, values.astype(input.array.dtype, copy=False), inverse, counts, return_inverse, return_counts)


def _empty_slices(input: Tensor, axis: int, return_inverse: bool, return_counts: bool) -> Any:
    x = input.array
    if x.shape[axis]:
        raise RuntimeError(
            "There are 0 sized dimensions, and they aren't selected, so unique cannot be applied"
            if 0 in x.shape[:axis] + x.shape[axis + 1 :]
            else "unique: no elements"
        )
    nothing = array_module(x).zeros(0, int)
    return _results(input, x.copy(), nothing, nothing, return_inverse, return_counts)


@method
def unique_consecutive(
    input: Tensor, return_inverse: bool = False, return_counts: bool = False, dim: int | None = None
) -> Any:
    """One of each run of equal elements, or of equal slices along `dim`."""
    x = input.array
    xp = array_module(x)
    rows = x.reshape(-1, 1) if dim is None else xp.moveaxis(x, one_axis(dim, input.ndim), 0)
    count = len(rows)
    if count and rows.size == 0:
        raise RuntimeError("There are 0 sized dimensions, and they aren't selected, so unique cannot be applied")
    flat = rows.reshape(count, -1) if count else rows.reshape(0, 1)
    starts = xp.ones(count, bool)
    starts[1:] = (flat[1:] != flat[:-1]).any(axis=1)
    inverse = starts.cumsum() - 1
    places = xp.flatnonzero(starts)
    lengths = xp.diff(xp.concatenate([places, xp.asarray([count])]))
    if dim is None:
        values, inverse = x.reshape(-1)[places], inverse.reshape(x.shape)
    else:
        values = xp.ascontiguousarray(xp.moveaxis(rows[places], 0, one_axis(dim, input.ndim)))
    return _results(input, values, inverse, lengths, return_inverse, return_counts)


@method
def bincount(input: Tensor, weights: Tensor | None = None, minlength: int = 0) -> Tensor:
    """int64: how often each of 0, 1, ... is in a vector of integers, or the sum of the weights there."""
    x = input.array
    if minlength < 0:
        raise RuntimeError(f"minlength should be >= 0, but got {minlength}")
    if x.ndim != 1 or category(x.dtype) == 2 or (x.size and int(x.min()) < 0):
        raise RuntimeError("bincount only supports 1-d non-negative integral inputs.")
    if weights is not None and weights.array.shape != x.shape:
        raise RuntimeError("weights should be 1-d and have the same length as input")
    if weights is None:
        return Tensor(array_module(x).bincount(x.astype(int), minlength=minlength).astype(int, copy=False))
    kind = np.float32 if weights.array.dtype == np.float32 else np.float64
    sums = array_module(x).bincount(x.astype(int), weights.array.astype(np.float64), minlength=minlength)
    return Tensor(sums.astype(kind, copy=False))


@with_out
@method
def histc(input: Tensor, bins: int = 100, min: float = 0, max: float = 0) -> Tensor:
    """How many elements are in each of `bins` equal parts of [min, max] (of their own range where both are equal)."""
    x, kind = wide(input.array).reshape(-1), input.array.dtype
    if bins <= 0:
        raise RuntimeError("torch.histc(): bins must be > 0")
    if category(x.dtype) < 2:
        raise NotImplementedError(f'"histogram_cpu" not implemented for {input.dtype.scalar_name!r}')
    low, high = float(min), float(max)
    if low == high and x.size:
        low, high = float(x.min()), float(x.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise RuntimeError(f"torch.histc: range of [{low}, {high}] is not finite")
    if low > high:
        raise RuntimeError("torch.histc: max must be larger than min")
    if low == high:
        low, high = low - 1, high + 1
    x = x[(x >= low) & (x <= high)]
    first, last, count = (x.astype(kind).dtype.type(value) for value in (low, high, bins))
    places = ((x.astype(kind) - first) * count / (last - first)).astype(int)  # rounded at each step, as PyTorch does
    counts = array_module(x).bincount(array_module(x).minimum(places, bins - 1), minlength=bins)
    return Tensor(counts.astype(input.array.dtype))


@with_out
def searchsorted(
    sorted_sequence: Tensor,
    input: Any,
    *,
    out_int32: bool = False,
    right: bool = False,
    side: str | None = None,
    sorter: Tensor | None = None,
) -> Tensor:
    """int64: where each value would go into a sequence sorted along its last dimension, before equal ones or behind.

    The sequence is a vector, or has one row for each row of `input`.
    """
    if side not in (None, "left", "right"):
        raise RuntimeError(f"torch.searchsorted(): side can only be 'left' or 'right' but got {side}")
    if side == "left" and right:
        raise RuntimeError(
            "torch.searchsorted(): side and right can't be set to opposites, got side of left while right was True"
        )
    values = input if isinstance(input, Tensor) else as_tensor(input, device=sorted_sequence.device)
    if isinstance(input, Tensor) and values.array.dtype != sorted_sequence.array.dtype:
        raise RuntimeError(
            "torch.searchsorted(): boundary tensor should have same dtype as input value tensor, but got boundary "
            f"tensor dtype {sorted_sequence.dtype.scalar_name} and input value tensor dtype {values.dtype.scalar_name}"
        )
    a, v = wide(sorted_sequence.array), wide(values.array)
    if a.ndim == 0:
        raise RuntimeError(
            "torch.searchsorted(): boundaries tensor should have positive dimension, but got 0 dimension"
        )
    if a.ndim > 1 and a.shape[:-1] != v.shape[:-1]:
        raise RuntimeError(
            "torch.searchsorted(): boundaries tensor should be 1 dimension or the first N-1 dimensions of boundaries "
            f"tensor and input value tensor must match, but we got boundaries tensor {list(a.shape)} and input value "
            f"tensor {list(v.shape)}"
        )
    xp = array_module(a)
    if sorter is not None:
        if sorter.array.shape != a.shape:
            raise RuntimeError(
                "torch.searchsorted(): boundary and sorter must have the same size, but got "
                f"boundary tensor {list(a.shape)}and got sorter tensor {list(sorter.shape)}"
            )
        if sorter.array.dtype != np.int64:
            raise RuntimeError(
                f"torch.searchsorted(): sorter must be a tensor of long dtype but got dtype {sorter.dtype.scalar_name}"
            )
        if sorter.array.size and (sorter.array.min() < 0 or sorter.array.max() >= a.shape[-1]):
            raise RuntimeError("torch.searchsorted(): sorter index out of range")
        a = xp.take_along_axis(a, sorter.array, -1)
    after = "right" if right or side == "right" else "left"
    if a.ndim == 1:
        places = xp.asarray(xp.searchsorted(a, v, side=after))
    else:
        rows, wanted = a.reshape(-1, a.shape[-1]), v.reshape(-1, v.shape[-1])
        places = xp.zeros(wanted.shape, int)
        for row, (one, part) in enumerate(zip(rows, wanted, strict=True)):
            places[row] = xp.searchsorted(one, part, side=after)
        places = places.reshape(v.shape)
    return Tensor(places.astype(np.int32 if out_int32 else np.int64))


@with_out
def bucketize(input: Any, boundaries: Tensor, *, out_int32: bool = False, right: bool = False) -> Tensor:
    """int64: the number of boundaries, a sorted vector, that are below each value (`right`: or equal to it)."""
    if boundaries.ndim != 1:
        raise RuntimeError(f"boundaries tensor must be 1 dimension, but got dim({boundaries.ndim})")
    values = input if isinstance(input, Tensor) else as_tensor(input, device=boundaries.device)
    a, v = wide(boundaries.array), wide(values.array)
    places = array_module(a).searchsorted(a, v, side="right" if right else "left")
    return Tensor(array_module(a).asarray(places).astype(np.int32 if out_int32 else np.int64))


@with_out
def isin(elements: Any, test_elements: Any, *, assume_unique: bool = False, invert: bool = False) -> Tensor:
    """bool: whether each element is among `test_elements`."""
    if not isinstance(elements, Tensor) and not isinstance(test_elements, Tensor):
        raise TypeError("isin(): one of the arguments must be a Tensor")
    a, b = (wide(x.array) if isinstance(x, Tensor) else x for x in (elements, test_elements))
    for x in (elements, test_elements):
        if isinstance(x, Tensor) and x.array.dtype == np.bool_:
            raise RuntimeError("Unsupported input type encountered for isin(): Bool")
    xp = array_module(a if isinstance(elements, Tensor) else b)
    return Tensor(xp.asarray(xp.isin(a, b, invert=invert)))

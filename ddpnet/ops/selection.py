"""Copies of chosen elements: along a dimension, by flat index, by mask; and where elements are not zero."""

from __future__ import annotations

from typing import Any

import numpy as np

from ddpnet.backend import array_module
from ddpnet.ops.dims import one_axis
from ddpnet.ops.expansion import broadcast_tensors
from ddpnet.ops.indexing import Index
from ddpnet.ops.out import with_out
from ddpnet.ops.shape import expand
from ddpnet.tensor import Tensor, method

__all__ = [
    "argwhere",
    "gather",
    "index_select",
    "masked_select",
    "nonzero",
    "take",
    "take_along_dim",
]


class Gather(Index):
    pass


class IndexSelect(Index):
    """`key` ends with the one index array."""

    def forward(self, x, key):
        self.shape, self.key = x.shape, key
        return x.take(key[-1], axis=len(key) - 1)


class Take(Index):
    pass


class MaskedSelect(Index):
    pass


def places(index: Any, dim: int) -> tuple[Any, ...]:
    """The key that takes, for each element of `index`, the element with that number along `dim` in its own line."""
    key = list(array_module(index).ogrid[tuple([slice(extent) for extent in index.shape])])
    key[dim] = index
    return tuple(key)


def check_index(index: Tensor, name: str, kinds: tuple[str, ...] = ("int32", "int64")) -> None:
    """RuntimeError if the dtype is not one of indices."""
    if not isinstance(index, Tensor):
        raise TypeError(f"{name}(): argument 'index' must be Tensor, not {type(index).__name__}")
    if index.array.dtype.name not in kinds:
        raise RuntimeError(f"{name}(): Expected dtype {'/'.join(kinds)} for index")


def check_range(index: Any, extent: int, dim: int, error: type[Exception] = RuntimeError) -> None:
    """An error if an index is not one of an extent; negative ones are not."""
    if index.size and (int(index.min()) < 0 or int(index.max()) >= extent):
        bad = index[(index < 0) | (index >= extent)]
        raise error(f"index {int(bad[0])} is out of bounds for dimension {dim} with size {extent}")


@with_out
@method
def gather(input: Tensor, dim: int, index: Tensor, *, sparse_grad: bool = False) -> Tensor:
    """out[i][j] = input[index[i][j]][j] for dim 0, and so on; `index` int64 of the output's shape.

    RuntimeError for an index that is not there.
    """
    if sparse_grad:
        raise NotImplementedError("gather: sparse_grad=True is not supported: there are no sparse tensors")
    if index.array.size:
        check_index(index, "gather")
    dim = one_axis(dim, input.ndim)
    shape, wanted = input.array.shape or (1,), index.array.shape or (1,)
    if index.array.size == 0:
        return _nothing(input, index.array.shape)
    if len(shape) != len(wanted):
        raise RuntimeError("Index tensor must have the same number of dimensions as input tensor")
    if any(axis != dim and want > have for axis, (want, have) in enumerate(zip(wanted, shape, strict=True))):
        raise RuntimeError(
            f"Size does not match at dimension {dim} expected index {list(wanted)} to be no larger than self "
            f"{list(shape)} apart from dimension {dim}"
        )
    check_range(index.array, shape[dim], dim)
    flat = input if input.ndim else input.reshape(1)
    chosen = Gather.apply(flat, key=places(index.array.reshape(wanted), dim))
    return chosen if chosen.ndim == index.ndim else chosen.reshape(index.array.shape)


def _nothing(input: Tensor, shape: tuple[int, ...]) -> Tensor:
    """No element at all, in a shape that has none."""
    return Gather.apply(input.reshape(input.array.size), key=(array_module(input.array).zeros(shape, np.int64),))


@with_out
@method
def index_select(input: Tensor, dim: int, index: Tensor) -> Tensor:
    """The slices along `dim` that a one-dimensional `index` names."""
    if index.ndim > 1:
        raise IndexError("index_select(): Index is supposed to be a vector")
    check_index(index, "index_select")
    axis = one_axis(dim, input.ndim)
    rows = index.array.reshape(-1)
    extent = input.array.shape[axis] if input.ndim else 1
    check_range(rows, extent, axis, IndexError if input.ndim < 2 or extent else RuntimeError)
    if not input.ndim:
        if rows.size != 1:
            raise RuntimeError(f"index_select(): Index to scalar can have only 1 value, got {rows.size} value(s)")
        return input.clone()
    return IndexSelect.apply(input, key=(*(slice(None),) * axis, rows))


@with_out
@method
def take(input: Tensor, index: Tensor) -> Tensor:
    """The elements by their number in the flattened tensor, in the shape of `index`."""
    if index.array.dtype.name != "int64":
        raise RuntimeError(f"take(): Expected a long tensor for index, but got {index.dtype.scalar_name}")
    if index.array.size == 0:
        return _nothing(input, index.array.shape)
    count = input.array.size
    if count == 0:
        raise IndexError("take(): tried to take from an empty tensor")
    if int(index.array.min()) < -count or int(index.array.max()) >= count:
        raise IndexError("out of range: the index of an element that is not there")
    return Take.apply(input.reshape(-1), key=(index.array,))


@with_out
@method
def take_along_dim(input: Tensor, indices: Tensor, dim: int | None = None) -> Tensor:
    """As `gather`, with the other dimensions broadcast; without `dim` from the flattened tensor."""
    if indices.array.dtype.name != "int64":
        raise RuntimeError(
            f"torch.take_along_dim(): dtype of indices should be Long but got {indices.dtype.scalar_name}"
        )
    if dim is None:
        return gather(input.reshape(-1), 0, indices.reshape(-1))
    if input.ndim != indices.ndim:
        raise RuntimeError(
            "torch.take_along_dim(): input and indices should have the same number of dimensions, but got "
            f"{input.ndim} dimensions for input, and {indices.ndim} dimensions for indices"
        )
    axis = one_axis(dim, input.ndim)
    if input.ndim and indices.array.size and int(indices.array.min()) < 0:
        indices = Tensor(indices.array + (indices.array < 0) * input.array.shape[axis])
    ours, theirs = list(input.array.shape), list(indices.array.shape)
    if ours:
        ours[axis] = theirs[axis] = 1
        common = list(np.broadcast_shapes(ours, theirs)) if _fit(ours, theirs) else None
        if common is None:
            raise RuntimeError(f"take_along_dim: shapes {ours} and {theirs} do not fit")
        ours, theirs = common[:], common[:]
        ours[axis], theirs[axis] = input.array.shape[axis], indices.array.shape[axis]
    wide = expand(input, ours) if list(input.array.shape) != ours else input
    return gather(wide, axis, expand(indices, theirs))


def _fit(a: list[int], b: list[int]) -> bool:
    return all(x == y or 1 in (x, y) for x, y in zip(a, b, strict=True))


@with_out
@method
def masked_select(input: Tensor, mask: Tensor) -> Tensor:
    """The elements where a mask holds, in one dimension; both are broadcast."""
    if mask.array.dtype != np.bool_:
        raise RuntimeError(f"masked_select: expected BoolTensor for mask, but got {mask.dtype.scalar_name}")
    if input.array.shape != mask.array.shape:
        input, mask = broadcast_tensors(input, mask)
    if not input.ndim:
        input, mask = input.reshape(1), mask.reshape(1)
    return MaskedSelect.apply(input, key=(mask.array,))


@with_out
@method
def nonzero(input: Tensor, *, as_tuple: bool = False) -> Any:
    """Where the elements are not zero: int64 (count, ndim), or a tuple of one vector a dimension."""
    if as_tuple:
        array = input.array if input.ndim else input.array.reshape(1)
        return tuple(Tensor(place) for place in array.nonzero())
    return argwhere(input)


@method
def argwhere(input: Tensor) -> Tensor:
    """Where the elements are not zero: int64 (count, ndim), a column after the other in memory."""
    xp = array_module(input.array)
    if not input.ndim:
        return Tensor(xp.zeros((int(bool(input.array)), 0), np.int64))
    return Tensor(xp.stack(input.array.nonzero()).astype(np.int64, copy=False).T)

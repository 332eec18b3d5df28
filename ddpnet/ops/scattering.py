"""Copies in which chosen elements are replaced or added to, by index along a dimension; each with its in-place twin."""

from __future__ import annotations

from typing import Any

import numpy as np

from ddpnet import dtypes
from ddpnet.backend import array_module
from ddpnet.ops.autocasting import autocasts
from ddpnet.ops.dims import one_axis
from ddpnet.ops.expansion import broadcast_to
from ddpnet.ops.indexing import IndexAdd, IndexPut
from ddpnet.ops.inplace import inplace
from ddpnet.ops.out import with_out
from ddpnet.ops.selection import check_index, check_range, places
from ddpnet.tensor import Tensor, method

__all__ = [
    "diagonal_scatter",
    "index_add",
    "index_copy",
    "index_fill",
    "masked_scatter",
    "put",
    "scatter",
    "scatter_add",
    "select_scatter",
    "slice_scatter",
]


class Scatter(IndexPut):
    pass


class ScatterAdd(IndexAdd):
    pass


class IndexCopy(IndexPut):
    pass


class IndexFill(IndexPut):
    pass


class AddAlong(IndexAdd):
    graph_name = "IndexAddBackward0"


class MaskedScatter(IndexPut):
    pass


class Put(IndexPut):
    pass


def _wide(x: Tensor) -> Tensor:
    return x if x.ndim else x.reshape(1)


def prepared(input: Tensor, dim: int, index: Tensor, src: Any, name: str) -> tuple[Tensor, int, Any, Any] | None:
    """(input, dim, index array, values) of at least one dimension; None for an empty index. RuntimeError where shapes,
    dtypes or indices do not fit."""
    check_index(index, name)
    dim = one_axis(dim, input.ndim)
    if isinstance(src, Tensor) and src.array.dtype != input.array.dtype:
        raise RuntimeError(f"{name}(): Expected self.dtype to be equal to src.dtype")
    if index.array.size == 0:
        return None
    whole = _wide(input)
    array = index.array.reshape(index.array.shape or (1,))
    if array.ndim != whole.ndim:
        raise RuntimeError("Index tensor must have the same number of dimensions as self tensor")
    sizes = zip(array.shape, whole.array.shape, strict=True)
    if any(axis != dim and want > have for axis, (want, have) in enumerate(sizes)):
        raise RuntimeError(
            f"Expected index {list(array.shape)} to be no larger than self {list(input.array.shape)} apart from "
            f"dimension {dim}"
        )
    if isinstance(src, Tensor):
        src = _wide(src)
        if src.ndim != array.ndim:
            raise RuntimeError("Index tensor must have the same number of dimensions as src tensor")
        if any(want > have for want, have in zip(array.shape, src.array.shape, strict=True)):
            raise RuntimeError(
                f"Expected index {list(array.shape)} to be no larger than self {list(input.array.shape)} apart from "
                f"dimension {dim} and to be no larger than src {list(src.array.shape)}"
            )
        if src.array.shape != array.shape:
            src = src[tuple(slice(extent) for extent in array.shape)]
    check_range(array, whole.array.shape[dim], dim)
    return whole, dim, array, src


def as_input(result: Tensor, input: Tensor) -> Tensor:
    """The result in the shape of a 0-d input."""
    return result if input.ndim else result.reshape(())


@with_out
@inplace
@method
def scatter(
    input: Tensor, dim: int, index: Tensor, src: Any = None, *, value: Any = None, reduce: str | None = None
) -> Tensor:
    """out[index[i][j]][j] = src[i][j] for dim 0, and so on; `src` may be a number. `reduce` may be "add" or "multiply"
    (deprecated in PyTorch: see `scatter_reduce`)."""
    source = value if src is None else src
    if source is None:
        raise TypeError("scatter() missing 1 required argument: 'src' or 'value'")
    ready = prepared(input, dim, index, source, "scatter")
    if reduce not in (None, "add", "multiply"):
        raise RuntimeError("reduce argument must be either add or multiply.")
    if ready is None:
        return input.clone()
    whole, dim, array, source = ready
    if not isinstance(source, Tensor):
        source = _number(input, source)
    key = places(array, dim)
    if reduce == "add":
        return as_input(IndexAdd.apply(whole, source, key=key), input)
    if reduce == "multiply":
        factors = source if isinstance(source, Tensor) else whole.new_full(array.shape, source)
        return as_input(whole.scatter_reduce(dim, Tensor(array), factors, "prod"), input)
    return as_input(Scatter.apply(whole, source, key=key), input)


def _number(input: Tensor, value: Any) -> Any:
    if isinstance(value, float) and dtypes.category(input.array.dtype) == 1:
        return int(value)
    return bool(value) if input.array.dtype == np.bool_ else value


@with_out
@inplace
@method
@autocasts("widest", "cuda")
def scatter_add(input: Tensor, dim: int, index: Tensor, src: Tensor) -> Tensor:
    """out[index[i][j]][j] += src[i][j] for dim 0, and so on."""
    ready = prepared(input, dim, index, src, "scatter_add")
    if ready is None:
        return input.clone()
    whole, dim, array, src = ready
    return as_input(ScatterAdd.apply(whole, src, key=places(array, dim)), input)


def along(input: Tensor, dim: int, index: Tensor, source: Any, name: str) -> tuple[Tensor, int, Any, Any]:
    """(input, dim, index array, values) of the functions that name slices along a dimension."""
    check_index(index, name)
    if index.ndim > 1:
        raise IndexError(f"{name}(): Index should have dimension 1 or 0 (got {index.ndim})")
    dim = one_axis(dim, input.ndim)
    whole, rows = _wide(input), index.array.reshape(-1)
    if isinstance(source, Tensor):
        if source.array.dtype != input.array.dtype:
            raise RuntimeError(f"{name}(): self and source expected to have the same dtype")
        wanted = (*whole.array.shape[:dim], rows.size, *whole.array.shape[dim + 1 :])
        if name == "index_add" and dim == source.ndim == 0 and rows.size != 1:
            raise IndexError("Dimension specified as 0 but tensor has no dimensions")
        if name == "index_add" and input.ndim == 0 and source.array.size != 1:
            raise RuntimeError(
                "source tensor shape must match self tensor shape, excluding the specified dimension. Got self.shape = "
                f"{list(input.shape)} source.shape = {list(source.shape)}"
            )
        if name != "index_add" and source.ndim > 1 and input.ndim > 1 and source.ndim != input.ndim:
            raise IndexError(
                f"{name}(): When source and destination are not scalars, their dimensionality must match. Source "
                f"dimensionality ({source.ndim}), destination dimensionality ({input.ndim})"
            )
        fits = (source.array.shape or (1,)) == wanted or (not source.ndim and int(np.prod(wanted)) == 1)
        if not fits:
            error = IndexError if name == "index_copy" else RuntimeError
            raise error(
                f"{name}(): Number of indices ({rows.size}) should be equal to source.size(dim), and the other "
                f"dimensions to those of self: expected {list(wanted)}, got {list(source.array.shape)}"
            )
        source = source if source.array.shape == wanted else source.reshape(wanted)
    extent = whole.array.shape[dim]
    if rows.size and (int(rows.min()) < (0 if name != "index_fill" else -extent) or int(rows.max()) >= extent):
        runtime = (name == "index_add" and input.ndim > 1) or (name == "index_fill" and extent == 0)
        error = RuntimeError if runtime else IndexError
        raise error(f"{name}(): index out of range in self")
    return whole, dim, rows, source


@with_out
@inplace
@method
def index_add(input: Tensor, dim: int, index: Tensor, source: Tensor, *, alpha: Any = 1) -> Tensor:
    """A copy in which alpha times each slice of `source` is added to the slice along `dim` that `index` names."""
    whole, dim, rows, source = along(input, dim, index, source, "index_add")
    scaled = source if alpha == 1 else source * alpha
    return as_input(AddAlong.apply(whole, scaled, key=(*(slice(None),) * dim, rows)), input)


@with_out
@inplace
@method
@autocasts("widest")
def index_copy(input: Tensor, dim: int, index: Tensor, source: Tensor) -> Tensor:
    """A copy in which the slices along `dim` that `index` names are those of `source`."""
    check_index(index, "index_copy", ("int64",))
    whole, dim, rows, source = along(input, dim, index, source, "index_copy")
    return as_input(IndexCopy.apply(whole, source, key=(*(slice(None),) * dim, rows)), input)


@inplace
@method
def index_fill(input: Tensor, dim: int, index: Tensor, value: Any) -> Tensor:
    """A copy in which the slices along `dim` that `index` names have one value."""
    if isinstance(value, Tensor):
        if value.ndim:
            raise RuntimeError(
                "index_fill_ only supports a 0-dimensional value tensor, but got tensor with "
                f"{value.ndim} dimension(s)."
            )
        value = value.to(input.dtype)
    else:
        value = _number(input, value)
    check_index(index, "index_fill", ("int64",))
    whole, dim, rows, _ = along(input, dim, index, None, "index_fill")
    if isinstance(value, Tensor):  # each slice counts once in the gradient of the value
        rows = array_module(rows).unique(rows % (whole.array.shape[dim] or 1))
    return as_input(IndexFill.apply(whole, value, key=(*(slice(None),) * dim, rows)), input)


@inplace
@method
def put(input: Tensor, index: Tensor, source: Tensor, accumulate: bool = False) -> Tensor:
    """A copy in which the elements with these numbers in the flattened tensor are those of `source`."""
    if index.array.dtype.name != "int64":
        raise RuntimeError(f"put_(): Expected a long tensor for index, but got {index.dtype.scalar_name}")
    if source.array.dtype != input.array.dtype:
        raise RuntimeError(
            f"put_(): self and source expected to have the same dtype, but got self.dtype = {input.dtype} and "
            f"source.dtype = {source.dtype}"
        )
    if index.array.size != source.array.size:
        raise RuntimeError(
            f"put_(): Expected source and index to have the same number of elements, but got source.numel() = "
            f"{source.array.size}, index.numel() = {index.array.size}"
        )
    count = input.array.size
    if index.array.size and (count == 0 or int(index.array.min()) < -count or int(index.array.max()) >= count):
        raise IndexError("put_(): the index of an element that is not there")
    operation = IndexAdd if accumulate else Put
    flat = operation.apply(input.reshape(-1), source.reshape(-1), key=(index.array.reshape(-1),))
    return flat.reshape(input.array.shape)


@inplace
@method
def masked_scatter(input: Tensor, mask: Tensor, source: Tensor) -> Tensor:
    """A copy in which the elements where `mask` holds are the first ones of `source`."""
    if mask.array.dtype != np.bool_:
        raise RuntimeError(f"masked_scatter_ only supports boolean masks, but got mask with dtype {mask.dtype}")
    if source.array.dtype != input.array.dtype:
        raise RuntimeError(
            f"masked_scatter: expected self and source to have same dtypes but got {input.dtype} and {source.dtype}"
        )
    shape = np.broadcast_shapes(input.array.shape, mask.array.shape)
    holds = array_module(mask.array).broadcast_to(mask.array, shape)
    count = int(holds.sum())
    if source.array.size < count:
        raise RuntimeError("Number of elements of source < number of ones in mask")
    whole = _wide(broadcast_to(input, shape))
    result = MaskedScatter.apply(whole, source.reshape(-1)[:count], key=(holds.reshape(whole.array.shape),))
    return result if shape else result.reshape(())


def _replaced(input: Tensor, src: Tensor, part: Any, name: str) -> Tensor:
    """A copy of `input` in which the part that a function of tensors gives is `src`."""
    result = input.clone()
    target = part(result)
    if target.array.shape != src.array.shape:
        raise RuntimeError(
            f"expected src to have a size equal to the slice of self. src size = {list(src.array.shape)}, slice size = "
            f"{list(target.array.shape)}"
        )
    target.copy_(src)
    return result


@method
def select_scatter(input: Tensor, src: Tensor, dim: int, index: int) -> Tensor:
    """A copy in which one slice along `dim` is `src`."""
    return _replaced(input, src, lambda x: x.select(dim, index), "select_scatter")


@method
def slice_scatter(
    input: Tensor, src: Tensor, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1
) -> Tensor:
    """A copy in which the slices from `start` to `end` along `dim` are `src`."""
    before = (slice(None),) * one_axis(dim, input.ndim)
    return _replaced(input, src, lambda x: x[(*before, slice(start, end, step))], "slice_scatter")


@method
def diagonal_scatter(input: Tensor, src: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """A copy in which a diagonal is `src`."""
    return _replaced(input, src, lambda x: x.diagonal(offset, dim1, dim2), "diagonal_scatter")

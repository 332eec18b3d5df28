"""Triangles and diagonals of matrices."""

from __future__ import annotations

from typing import Any

import numpy as np

from ddpnet.backend import array_module
from ddpnet.dtypes import DType
from ddpnet.dtypes import int64 as _int64
from ddpnet.ops.autocasting import autocasts
from ddpnet.ops.dims import one_axis
from ddpnet.ops.inplace import inplace
from ddpnet.ops.joining import cat
from ddpnet.ops.op import Op
from ddpnet.ops.out import with_out
from ddpnet.ops.reduction import sum
from ddpnet.tensor import Tensor, method

__all__ = [
    "block_diag",
    "diag",
    "diag_embed",
    "diagflat",
    "diagonal",
    "trace",
    "tril",
    "tril_indices",
    "triu",
    "triu_indices",
]


class _Triangle(Op):
    dense = True

    def forward(self, x, offset):
        self.offset = offset
        return self.cut(x)

    cut: Any

    def backward(self, g):
        return self.cut(g)


class Tril(_Triangle):
    def cut(self, x):
        return array_module(x).tril(x, self.offset)


class Triu(_Triangle):
    def cut(self, x):
        return array_module(x).triu(x, self.offset)


class Diagonal(Op):
    """A view of a diagonal, as the last dimension."""

    view = True

    def forward(self, x, offset, first, second):
        self.place = offset, first, second
        self.extents = x.shape[first], x.shape[second]
        count = max(min(x.shape[first] + min(offset, 0), x.shape[second] - max(offset, 0)), 0)
        whole = [slice(None)] * x.ndim
        if count:
            whole[first], whole[second] = slice(max(-offset, 0), None), slice(max(offset, 0), None)
        rest = [axis for axis in range(x.ndim) if axis not in (first, second)]
        shape = (*[x.shape[axis] for axis in rest], count)
        strides = (*[x.strides[axis] for axis in rest], x.strides[first] + x.strides[second])
        return array_module(x).lib.stride_tricks.as_strided(x[tuple(whole)], shape, strides)

    def backward(self, g):
        return _embedded(g, *self.place, *self.extents)

    def differentiable_backward(self, g):
        return DiagonalBackward.apply(g, place=self.place, extents=self.extents)


class DiagonalBackward(Op):
    """Zeros, but for a diagonal that the last dimension is laid into."""

    graph_name = "DiagonalBackwardBackward0"

    def forward(self, g, place, extents):
        self.place = place
        return _embedded(g, *place, *extents)

    def backward(self, g):
        offset, first, second = self.place
        return g.diagonal(offset, first, second)


def _embedded(g: Any, offset: int, first: int, second: int, rows: int, columns: int) -> Any:
    xp = array_module(g)
    dx = xp.zeros((*g.shape[:-1], rows, columns), g.dtype)
    along = xp.arange(g.shape[-1])
    dx[..., along + max(-offset, 0), along + max(offset, 0)] = g
    order: list[int] = list(range(g.ndim - 1))
    for axis, source in sorted([(first, g.ndim - 1), (second, g.ndim)]):
        order.insert(axis, source)
    dx = dx.transpose(order)
    return dx


@with_out
@inplace
@method
def tril(input: Tensor, diagonal: int = 0) -> Tensor:
    """The elements on and below a diagonal of the last two dimensions; zeros above."""
    _matrix(input, "tril")
    return Tril.apply(input, offset=int(diagonal))


@with_out
@inplace
@method
def triu(input: Tensor, diagonal: int = 0) -> Tensor:
    """The elements on and above a diagonal of the last two dimensions; zeros below."""
    _matrix(input, "triu")
    return Triu.apply(input, offset=int(diagonal))


def _matrix(x: Tensor, name: str) -> None:
    if x.ndim < 2:
        raise RuntimeError(f"{name}: input tensor must have at least 2 dimensions")


def _indices(name: str, row: int, col: int, offset: int, dtype: DType, device: Any) -> Tensor:
    if row < 0 or col < 0:
        raise RuntimeError(f"row and col must be non-negative, got row {row} and col {col}")
    if dtype is None or dtype.is_floating_point or dtype.name == "bool":
        raise NotImplementedError(f'"{name}" not implemented for {getattr(dtype, "scalar_name", "None")!r}')
    places = getattr(np, name)(row, offset, col)
    array = np.stack(places).astype(dtype.numpy)
    return Tensor(array) if device is None else Tensor(array).to(device)


def tril_indices(
    row: int, col: int, offset: int = 0, *, dtype: DType = _int64, device: Any = None, layout: Any = None,
    pin_memory: bool = False,
) -> Tensor:  # fmt: skip
    """(2, n): the places on and below a diagonal of a matrix (row, col), row by row."""
    return _indices("tril_indices", row, col, offset, dtype, device)


def triu_indices(
    row: int, col: int, offset: int = 0, *, dtype: DType = _int64, device: Any = None, layout: Any = None,
    pin_memory: bool = False,
) -> Tensor:  # fmt: skip
    """(2, n): the places on and above a diagonal of a matrix (row, col), row by row."""
    return _indices("triu_indices", row, col, offset, dtype, device)


@method
def diagonal(input: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """A view of a diagonal of two dimensions, as the last dimension."""
    first, second = one_axis(dim1, input.ndim), one_axis(dim2, input.ndim)
    if first == second:
        raise RuntimeError(f"diagonal dimensions cannot be identical {dim1}, {dim2}")
    return Diagonal.apply(input, offset=int(offset), first=first, second=second)


@method
def diag_embed(input: Tensor, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Tensor:
    """The last dimension laid as a diagonal into two new dimensions of zeros."""
    first, second = one_axis(dim1, input.ndim + 1), one_axis(dim2, input.ndim + 1)
    if first == second:
        raise RuntimeError(f"diagonal dimensions cannot be identical {dim1}, {dim2}")
    extent = input.array.shape[-1] + abs(offset)
    result: Tensor = DiagonalBackward.apply(input, place=(offset, first, second), extents=(extent, extent))
    return result


@with_out
@method
def diag(input: Tensor, diagonal: int = 0) -> Tensor:
    """A vector as the diagonal of a matrix, or the diagonal of a matrix as a vector (a copy)."""
    if input.ndim not in (1, 2):
        raise RuntimeError(f"diag(): Supports 1D or 2D tensors. Got {input.ndim}D")
    return diag_embed(input, diagonal) if input.ndim == 1 else input.diagonal(diagonal).clone()


@method
def diagflat(input: Tensor, offset: int = 0) -> Tensor:
    """All elements as the diagonal of a matrix."""
    return diag_embed(input.reshape(-1), offset)


@method
@autocasts("float32", "cpu")
def trace(input: Tensor) -> Tensor:
    """The sum of the diagonal of a matrix."""
    if input.ndim != 2:
        raise RuntimeError("trace: expected a matrix")
    return sum(diagonal(input))


def block_diag(*tensors: Tensor) -> Tensor:
    """Matrices (vectors are rows) along the diagonal of a larger one."""
    from_rows = []
    for number, x in enumerate(tensors):
        if x.ndim > 2:
            raise RuntimeError(
                f"torch.block_diag: Input tensors must have 2 or fewer dimensions. Input {number} has {x.ndim} "
                "dimensions"
            )
        from_rows.append(x.reshape(1, -1) if x.ndim < 2 else x)
    columns = [x.shape[1] for x in from_rows]
    rows = []
    for number, x in enumerate(from_rows):
        before, behind = int(np.sum(columns[:number])), int(np.sum(columns[number + 1 :]))
        rows.append(cat([x.new_zeros((x.shape[0], before)), x, x.new_zeros((x.shape[0], behind))], 1))
    return cat(rows, 0)


def linalg_diagonal(A: Tensor, *, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Tensor:
    """`torch.linalg.diagonal`: a view of a diagonal of the last two dimensions."""
    return diagonal(A, offset, dim1, dim2)

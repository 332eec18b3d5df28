"""Elements chosen by index: `tensor[key]`, `tensor[key] = value`, `gather`, `index_select`."""

from __future__ import annotations

from typing import Any

import numpy as np

from ddpnet.backend import array_module
from ddpnet.ops.conversion import cast
from ddpnet.ops.dims import one_axis
from ddpnet.ops.inplace import assign, check_writable
from ddpnet.ops.op import Op
from ddpnet.tensor import Tensor, method


class Slice(Op):
    """Basic indexing: integers, slices, None and `...` give a view."""

    view = True

    def forward(self, x, key):
        self.shape, self.key = x.shape, key
        return x[key]

    def backward(self, g):
        dx = array_module(g).zeros(self.shape, g.dtype)
        dx[self.key] = g
        return dx


class Select(Slice):
    """Basic indexing by one integer."""


class Index(Op):
    """Indexing by arrays gives a copy; elements that were chosen twice get both gradients."""

    def forward(self, x, key):
        self.shape, self.key = x.shape, key
        return x[key]

    def backward(self, g):
        xp = array_module(g)
        dx = xp.zeros(self.shape, g.dtype)
        xp.add.at(dx, self.key, g)
        return dx


class IndexSelect(Index):
    pass


class IndexPut(Op):
    """A copy in which chosen elements have other values."""

    def forward(self, x, value, key):
        self.key = key
        y = x.copy()
        y[key] = value
        return y

    def backward(self, g):
        dx = g.copy()
        dx[self.key] = 0
        return dx, g[self.key] + 0 if self.needs[1] else None


class Gather(Op):
    def forward(self, x, index, dim):
        self.shape = x.shape
        places = list(array_module(x).ogrid[tuple(slice(extent) for extent in index.shape)])
        places[dim] = index
        self.save(*places)
        return x[tuple(places)]

    def backward(self, g):
        xp = array_module(g)
        dx = xp.zeros(self.shape, g.dtype)
        xp.add.at(dx, self.saved, g)
        return dx, None


def _array_key(key: Any) -> Any:
    """The key with arrays in place of tensors."""
    if isinstance(key, tuple):
        return tuple(_array_key(part) for part in key)
    if isinstance(key, list):
        parts = [part.item() if isinstance(part, Tensor) else part for part in key]
        return np.asarray(parts, dtype=None if key else int)
    return key.array if isinstance(key, Tensor) else key


def _is_basic(key: Any) -> bool:
    parts = key if isinstance(key, tuple) else (key,)
    return all(part is None or part is Ellipsis or isinstance(part, slice) or (type(part) is int) for part in parts)


def _get(self: Tensor, key: Any) -> Tensor:
    key = _array_key(key)
    if not _is_basic(key):
        return Index.apply(self, key=key)
    parts = key if isinstance(key, tuple) else (key,)
    view = parts if Ellipsis in parts else (*parts, Ellipsis)  # without it NumPy makes a copy of a single element
    return (Select if type(parts[-1]) is int else Slice).apply(self, key=view)


def _set(self: Tensor, key: Any, value: Any) -> None:
    check_writable(self)
    key = _array_key(key)
    source = cast(value, self.array.dtype) if isinstance(value, Tensor) else value
    if self._requires_grad or (isinstance(value, Tensor) and value._requires_grad):
        assign(self, IndexPut.apply(self, source, key=key))
    else:
        try:
            self.array[key] = source.array if isinstance(source, Tensor) else source
        except ValueError as error:  # NumPy's word for shapes that do not fit
            raise RuntimeError(str(error)) from error
        self.changed()


Tensor.__getitem__ = _get  # type: ignore[method-assign]
Tensor.__setitem__ = _set  # type: ignore[method-assign]


@method
def copy_(self: Tensor, src: Tensor, non_blocking: bool = False) -> Tensor:
    """Take the values of another tensor, broadcast and converted."""
    self[...] = src
    return self


@method
def gather(input: Tensor, dim: int, index: Tensor) -> Tensor:
    """out[i][j] = input[index[i][j]][j] for dim 0, and so on; `index` int64 of the output's shape.

    RuntimeError for an index that is not there.
    """
    dim = one_axis(dim, input.ndim)
    extent = input.array.shape[dim]
    bad = (index.array < 0) | (index.array >= extent)
    if bad.any():
        raise RuntimeError(f"index {index.array[bad][0]} is out of bounds for dimension {dim} with size {extent}")
    return Gather.apply(input, index, dim=dim)


@method
def index_select(input: Tensor, dim: int, index: Tensor) -> Tensor:
    """The slices along `dim` that a one-dimensional `index` names."""
    before = (slice(None),) * one_axis(dim, input.ndim)
    return IndexSelect.apply(input, key=(*before, index.array))

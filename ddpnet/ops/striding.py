"""Views by strides: `as_strided`, and the windows along a dimension."""

from __future__ import annotations

from typing import Any

import numpy as np

from ddpnet.backend import Array, array_module, is_array
from ddpnet.ops.accumulation import collected
from ddpnet.ops.dims import one_axis
from ddpnet.ops.indexing import Collected, Index
from ddpnet.ops.op import Op
from ddpnet.tensor import Tensor, method

__all__ = [
    "as_strided",
    "as_strided_copy",
    "as_strided_scatter",
    "unfold_copy",
]


def storage(array: Array) -> Array:
    """All the memory that an array is a part of, in one dimension."""
    array = _owner(array)
    return array.reshape(-1) if array.flags.c_contiguous else array.ravel("K")


def storage_offset(array: Array) -> int:
    """The elements before the first one of an array in its memory."""
    if array.size == 0 or array.base is None:
        return 0
    return (_address(array) - _address(_owner(array))) // array.itemsize


def _owner(array: Array) -> Array:
    """The array that has the memory; NumPy's `as_strided` puts an object between a view and its base."""
    while array.base is not None:
        base = array.base if is_array(array.base) else getattr(array.base, "base", None)
        if not is_array(base):
            break
        array = base
    return array


def _address(array: Array) -> int:
    return array.ctypes.data if isinstance(array, np.ndarray) else array.data.ptr


def _numbers(shape: Any, strides: Any, offset: int) -> np.ndarray:
    """Where each element of a strided tensor lies in memory, counted in elements."""
    places = np.full((), offset, np.int64)
    for extent, step in zip(shape, strides, strict=True):
        places = places[..., None] + np.arange(extent) * step
    return places


class AsStrided(Op):
    view = True

    def forward(self, x, size, stride, shift):
        steps = tuple([step // x.itemsize for step in x.strides])
        offset = storage_offset(x)
        self.geometry = x.shape, steps, offset
        self.taken = size, stride, offset + shift
        line = storage(x)
        if x.dtype != line.dtype:
            line = line.view(x.dtype)
        strides = tuple([step * x.itemsize for step in stride])
        return array_module(x).lib.stride_tricks.as_strided(line[offset + shift :], size, strides)

    def _places(self):
        """(places of the input's elements, of the output's, how often the input has each, memory) in elements."""
        own, taken = _numbers(*self.geometry), _numbers(*self.taken)
        count = max(own.max(initial=0), taken.max(initial=0)) + 1
        often = np.bincount(own.reshape(-1), minlength=count)[own] if own.size else own
        return own, taken, often, (int(count),)

    def backward(self, g):
        own, taken, often, memory = self._places()
        xp = array_module(g)
        dx = collected(g, memory, (xp.asarray(taken),))[xp.asarray(own)]
        return dx if (often <= 1).all() else dx / xp.asarray(often)

    def differentiable_backward(self, g):
        own, taken, often, memory = self._places()
        xp = array_module(g.array)
        dx = Index.apply(Collected.apply(g, shape=memory, key=(xp.asarray(taken),)), key=(xp.asarray(own),))
        return dx if (often <= 1).all() else dx / Tensor(xp.asarray(often))


@method
def as_strided(input: Tensor, size: Any, stride: Any, storage_offset: int | None = None) -> Tensor:
    """A view of the memory of a tensor with any shape and strides (in elements); RuntimeError outside of it."""
    shape, steps = tuple(int(extent) for extent in size), tuple(int(step) for step in stride)
    if len(shape) != len(steps):
        raise RuntimeError("mismatch in length of strides and shape")
    if min(steps, default=0) < 0:
        raise RuntimeError(f"as_strided: Negative strides are not supported at the moment, got strides: {list(steps)}")
    here = _offset(input.array)
    start = here if storage_offset is None else storage_offset
    if start < 0:
        raise RuntimeError(f"Tensor: invalid storage offset {start}")
    memory = storage(input.array)
    count = memory.size * memory.itemsize // input.array.itemsize
    last = start + sum((extent - 1) * step for extent, step in zip(shape, steps, strict=True))
    if 0 not in shape and last >= count:
        raise RuntimeError(
            f"setStorage: sizes {list(shape)}, strides {list(steps)}, storage offset {start}, and itemsize "
            f"{input.array.itemsize} requiring a storage size of {(last + 1) * input.array.itemsize} are out of bounds "
            f"for storage of size {count * input.array.itemsize}"
        )
    return AsStrided.apply(input, size=shape, stride=steps, shift=start - here)


_offset = storage_offset


def as_strided_copy(input: Tensor, size: Any, stride: Any, storage_offset: int | None = None) -> Tensor:
    """A copy of what `as_strided` gives."""
    return as_strided(input, size, stride, storage_offset).clone()


@method
def as_strided_scatter(input: Tensor, src: Tensor, size: Any, stride: Any, storage_offset: int | None = None) -> Tensor:
    """A copy in which what `as_strided` gives is `src`."""
    result = input.clone()
    target = as_strided(result, size, stride, storage_offset)
    if target.array.shape != src.array.shape:
        raise RuntimeError(
            f"expected src to have a size equal to the slice of self. src size = {list(src.array.shape)}, slice size = "
            f"{list(target.array.shape)}"
        )
    target.copy_(src)
    return result


class Unfold(Op):
    """Windows along a dimension; their elements are a new last dimension."""

    view = True

    def forward(self, x, dim, size, step):
        self.shape, self.dim, self.size, self.step = x.shape, dim, size, step
        count = (x.shape[dim] - size) // step + 1
        shape = (*x.shape[:dim], count, *x.shape[dim + 1 :], size)
        strides = (*x.strides[:dim], x.strides[dim] * step, *x.strides[dim + 1 :], x.strides[dim])
        return array_module(x).lib.stride_tricks.as_strided(x, shape, strides)

    def backward(self, g):
        return folded(g, self.shape, self.dim, self.size, self.step)

    def differentiable_backward(self, g):
        return UnfoldBackward.apply(g, shape=self.shape, dim=self.dim, size=self.size, step=self.step)


class UnfoldBackward(Op):
    """Windows added up where they lie."""

    def forward(self, windows, shape, dim, size, step):
        self.dim, self.size, self.step = dim, size, step
        return folded(windows, shape, dim, size, step)

    def backward(self, g):
        if isinstance(g, Tensor):
            return g.unfold(self.dim, self.size, self.step)
        node = Unfold.__new__(Unfold)
        return node.forward(g, self.dim, self.size, self.step)


def folded(g: Array, shape: tuple[int, ...], dim: int, size: int, step: int) -> Array:
    """The sum of windows along `dim`: of all their first elements at once, then of all their second, and so on."""
    x = array_module(g).zeros(shape, g.dtype)
    before = (slice(None),) * dim
    for at in range(size):
        x[(*before, slice(at, at + step * (g.shape[dim] - 1) + 1, step))] += g[..., at]
    return x


@method
def unfold(input: Tensor, dimension: int, size: int, step: int) -> Tensor:
    """Views of the windows of `size` elements along a dimension, `step` apart, as a new last dimension."""
    axis = one_axis(dimension, input.ndim)
    extent = input.array.shape[axis] if input.ndim else 1
    if size < 0:
        raise RuntimeError(f"size is {size} but must be >= 0")
    if size > extent:
        raise RuntimeError(f"maximum size for tensor at dimension {axis} is {extent} but size is {size}")
    if step <= 0:
        raise RuntimeError(f"step is {step} but must be > 0")
    if not input.ndim:
        return input.reshape(1)[:size]
    return Unfold.apply(input, dim=axis, size=size, step=step)


def unfold_copy(input: Tensor, dimension: int, size: int, step: int) -> Tensor:
    """A copy of the windows that `unfold` gives."""
    return unfold(input, dimension, size, step).clone()


Tensor.storage_offset = lambda self: storage_offset(self.array)  # type: ignore[attr-defined]

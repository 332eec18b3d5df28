"""Elements chosen by index: `tensor[key]`, `tensor[key] = value`."""

from __future__ import annotations

from typing import Any

import numpy as np

from ddpnet.autograd.grad_mode import mode
from ddpnet.backend import array_module, shares_memory
from ddpnet.ops.accumulation import add_at, collected
from ddpnet.ops.conversion import cast
from ddpnet.ops.inplace import assign, check_apart, check_writable, inplace
from ddpnet.ops.keys import parse
from ddpnet.ops.op import Op
from ddpnet.ops.shape import Alias, expand
from ddpnet.tensor import Tensor, method

__all__ = [
    "index_put",
]


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

    def differentiable_backward(self, g):
        return Placed.apply(g, shape=self.shape, key=self.key)


class Select(Slice):
    """Basic indexing that ends with an integer."""


class Insert(Slice):
    """Basic indexing that ends with None."""

    graph_name = "UnsqueezeBackward0"


class Placed(Op):
    """Values at their places among zeros."""

    graph_name = "SliceBackward0"

    def forward(self, values, shape, key):
        self.key = key
        y = array_module(values).zeros(shape, values.dtype)
        y[key] = values
        return y

    def backward(self, g):
        return g[self.key]


class Index(Op):
    """Indexing by arrays gives a copy; elements that were chosen twice get both gradients."""

    def forward(self, x, key):
        self.shape, self.key = x.shape, key
        y = x[key]
        return y if y.flags.c_contiguous else y.copy()

    def backward(self, g):
        return collected(g, self.shape, self.key)

    def differentiable_backward(self, g):
        return Collected.apply(g, shape=self.shape, key=self.key)


class Collected(Op):
    """Values added up at their places among zeros."""

    graph_name = "IndexPutBackward0"

    def forward(self, values, shape, key):
        self.key = key
        return collected(values, shape, key)

    def backward(self, g):
        return choose(g, self.key)


class IndexPut(Op):
    """A copy in which chosen elements have other values."""

    def forward(self, x, value, key):
        self.key = key
        y = x.copy()
        try:
            y[key] = value
        except TypeError as error:  # NumPy's word for a value that does not fit a mask
            raise ValueError(str(error)) from error
        return y

    def backward(self, g):
        if not self.needs[0]:
            return None, g[self.key] + 0
        dx = g.copy()
        dx[self.key] = 0
        return dx, g[self.key] + 0 if self.needs[1] else None

    def differentiable_backward(self, g):
        return IndexPut.apply(g, 0, key=self.key), choose(g, self.key)


class CopyInto(Op):
    """Values in the shape of what they replace, to which a gradient of zeros flows."""

    graph_name = "CopyBackwards"

    def forward(self, x, values):
        return array_module(x).broadcast_to(values, x.shape)

    def backward(self, g):
        return array_module(g).zeros_like(g) if self.needs[0] else None, g


class IndexAdd(Op):
    """A copy in which values are added to chosen elements."""

    graph_name = "IndexPutBackward0"

    def forward(self, x, value, key):
        self.key = key
        y = x.copy()
        add_at(y, key, value)
        return y

    def backward(self, g):
        return g, choose(g, self.key) if self.needs[1] else None


def choose(x: Any, key: tuple[Any, ...]) -> Any:
    """The elements that a key of arrays chooses, of an array or a Tensor."""
    return Index.apply(x, key=key) if isinstance(x, Tensor) else x[key]


_VIEWS = {"select": Select, "slice": Slice, "insert": Insert}


def _get(self: Tensor, key: Any) -> Tensor:
    array = self.array
    if type(key) is int and array.ndim:
        extent = array.shape[0]
        if not -extent <= key < extent:
            raise IndexError(f"index {key} is out of bounds for dimension 0 with size {extent}")
        return Select.apply(self, key=(key, Ellipsis))
    view, arrays, last = parse(key, array)
    if view is None and arrays is None:
        whole = type(key) is slice
        return Slice.apply(self, key=(Ellipsis,)) if whole else Alias.apply(self, shape=array.shape)
    result = self if view is None else _VIEWS[last].apply(self, key=view)
    return result if arrays is None else Index.apply(result, key=arrays)


def _set(self: Tensor, key: Any, value: Any) -> None:
    if key is False:
        check_writable(self)
        return
    view, arrays, last = parse(key, self.array)
    check_writable(self)
    source = _source(self, value, arrays is not None and not _is_filling(arrays, value))
    if arrays is not None and isinstance(source, Tensor) and shares_memory(self.array, source.array):
        raise RuntimeError(
            "unsupported operation: some elements of the input tensor and the written-to tensor refer to a single "
            "memory location. Please clone() the tensor before performing the operation."
        )
    if arrays is None and isinstance(source, Tensor) and source._version is self._version is not None:
        check_apart(self.array if view is None else self.array[view], source.array)
    if mode.enabled and (self._requires_grad or (isinstance(source, Tensor) and source._requires_grad)):
        target = self if view is None else _VIEWS[last].apply(self, key=view)
        if arrays is None:
            write(target, source)
        else:
            assign(target, IndexPut.apply(target, _fitting(source, target, arrays), key=arrays))
        return
    target = self.array if view is None else self.array[view]
    if arrays is None and isinstance(source, Tensor) and source.ndim > target.ndim:
        source = _without_leading_ones(source, target.ndim)
        if source.ndim > target.ndim:
            source = expand(source, target.shape)  # which raises
    if arrays is not None:
        source = _fitting(source, Tensor(target), arrays)
    try:
        target[... if arrays is None else arrays] = source.array if isinstance(source, Tensor) else source
    except (ValueError, TypeError) as error:  # NumPy's words for shapes that do not fit
        raise RuntimeError(str(error)) from error
    except OverflowError as error:
        raise RuntimeError(f"value cannot be converted to type {self.dtype.name} without overflow") from error
    self.changed()


def _is_filling(key: tuple[Any, ...], value: Any) -> bool:
    """Whether one mask chooses elements that all get one value, which PyTorch then converts."""
    chosen = [part for part in key if type(part) is not slice]
    return isinstance(value, Tensor) and value.array.size == 1 and len(chosen) == 1 and chosen[0].dtype.kind == "b"


def _source(self: Tensor, value: Any, by_arrays: bool) -> Any:
    """What is assigned: a tensor in the dtype and on the device of `self`, or a number."""
    if isinstance(value, Tensor):
        if value.array.dtype != self.array.dtype:
            if by_arrays:
                raise RuntimeError(
                    "Index put requires the source and destination dtypes match, got "
                    f"{self.dtype.scalar_name} for the destination and {value.dtype.scalar_name} for the source."
                )
            value = cast(value if self.is_floating_point() else value.detach(), self.array.dtype)
        return value.to(self.device) if value.device != self.device else value
    if isinstance(value, int | float | np.integer | np.bool_):
        return _number(self, value)
    raise TypeError(f"can't assign a {_type_name(value)} to a torch.{self.dtype.scalar_name}Tensor")


def _type_name(value: Any) -> str:
    kind = type(value)
    return f"numpy.{kind.__name__}" if kind.__module__ == "numpy" else kind.__name__


def _number(self: Tensor, value: Any) -> Any:
    kind = self.array.dtype.kind
    if kind in "iu" and isinstance(value, float):
        value = int(value)
    if kind == "u" and value < 0:
        value = int(value) % 256
    return bool(value) if kind == "b" else value


def _fitting(source: Any, target: Tensor, key: tuple[Any, ...]) -> Any:
    """The value without dimensions of extent 1 that the chosen elements do not have."""
    if not isinstance(source, Tensor):
        return source
    chosen = [part for part in key if type(part) is not slice]
    masks = [part.ndim for part in chosen if part.dtype.kind == "b"]
    taken = sum(masks) + len(chosen) - len(masks)
    given = max(1 if part.dtype.kind == "b" else part.ndim for part in chosen)
    return _without_leading_ones(source, target.ndim - taken + given)


def _without_leading_ones(source: Tensor, ndim: int) -> Tensor:
    while source.ndim > ndim and source.array.shape[0] == 1:
        source = source.reshape(source.array.shape[1:])
    return source


def write(target: Tensor, source: Any) -> Tensor:
    """`target` takes the values of a tensor of its dtype, broadcast, or a number; recorded."""
    if not isinstance(source, Tensor):
        source = Tensor(array_module(target.array).full((), source, target.array.dtype))
    source = _without_leading_ones(source, target.ndim)
    if source.ndim > target.ndim or not source._requires_grad:
        return assign(target, expand(source, target.array.shape))
    return assign(target, CopyInto.apply(target, source))


Tensor.__getitem__ = _get  # type: ignore[method-assign]
Tensor.__setitem__ = _set  # type: ignore[method-assign]


@method
def copy_(self: Tensor, src: Tensor, non_blocking: bool = False) -> Tensor:
    """Take the values of another tensor, broadcast and converted."""
    check_writable(self, one_value=src is self)
    if src is self:
        return self
    if isinstance(src, Tensor) and src.ndim > self.ndim:
        raise RuntimeError(f"copy_: values of shape {list(src.shape)} cannot be broadcast to shape {list(self.shape)}")
    self[...] = src
    return self


@inplace
@method
def index_put(input: Tensor, indices: Any, values: Tensor, accumulate: bool = False) -> Tensor:
    """A copy with other values where a tuple of index tensors leads; with `accumulate` they are added."""
    key = tuple(slice(None) if index is None else index for index in indices)
    view, arrays, _ = parse(key, input.array)
    if arrays is None or view is not None:
        raise IndexError("index_put_: indices must be tensors of integers or booleans")
    if values.array.dtype != input.array.dtype:
        raise RuntimeError(
            "Index put requires the source and destination dtypes match, got "
            f"{input.dtype.scalar_name} for the destination and {values.dtype.scalar_name} for the source."
        )
    operation = IndexAdd if accumulate else IndexPut
    return operation.apply(input, _fitting(values, input, arrays), key=arrays)

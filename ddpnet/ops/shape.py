"""The same elements in another shape: views where NumPy can make one, and joining."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ddpnet import dtypes
from ddpnet.backend import array_module
from ddpnet.ops.conversion import cast
from ddpnet.ops.dims import Dims, axes, one_axis
from ddpnet.ops.op import Op
from ddpnet.tensor import Tensor, method


def extents(shape: tuple[Any, ...]) -> tuple[int, ...]:
    """The shape of `f(2, 3)` and `f((2, 3))` alike."""
    if len(shape) == 1 and not isinstance(shape[0], int):
        shape = tuple(shape[0])
    return tuple(int(extent) for extent in shape)


class View(Op):
    view = True

    def forward(self, x, shape):
        self.shape = x.shape
        return x.reshape(shape)

    def backward(self, g):
        return g.reshape(self.shape)


class Transpose(Op):
    view = True

    def forward(self, x, first, second):
        self.pair = first, second
        return x.swapaxes(first, second)

    def backward(self, g):
        return g.swapaxes(*self.pair)


class T(Op):
    view = True

    def forward(self, x):
        return x.T

    def backward(self, g):
        return g.T


class Permute(Op):
    view = True

    def forward(self, x, order):
        self.order = order
        return x.transpose(order)

    def backward(self, g):
        return g.transpose(np.argsort(self.order).tolist())


class Expand(Op):
    """The engine sums the gradient over what was expanded."""

    view = True

    def forward(self, x, shape):
        return array_module(x).broadcast_to(x, shape)

    def backward(self, g):
        return g


class Unsqueeze(View):
    pass


class Squeeze(View):
    pass


class SqueezeAlong(View):
    graph_name = "SqueezeBackward1"


class Cat(Op):
    def forward(self, *arrays, dim):
        self.dim = dim
        self.ends = np.cumsum([x.shape[dim] for x in arrays])[:-1].tolist()
        return array_module(arrays[0]).concatenate(arrays, axis=dim)

    def backward(self, g):
        return tuple(array_module(g).split(g, self.ends, axis=self.dim))


class Stack(Op):
    def forward(self, *arrays, dim):
        self.dim = dim
        return array_module(arrays[0]).stack(arrays, axis=dim)

    def backward(self, g):
        return tuple(array_module(g).moveaxis(g, self.dim, 0))


def _resolved(shape: tuple[int, ...], count: int) -> tuple[int, ...]:
    """`shape` with its -1 replaced; RuntimeError if `count` elements do not fit."""
    known = int(np.prod([extent for extent in shape if extent != -1], dtype=np.int64))
    unknown = shape.count(-1)
    if unknown > 1:
        raise RuntimeError("only one dimension can be inferred")
    if unknown and known == 0:
        raise RuntimeError(
            f"cannot reshape tensor of {count} elements into shape {list(shape)} because the unspecified dimension "
            "size -1 can be any value and is ambiguous"
        )
    if (unknown and count % known) or (not unknown and known != count) or min(shape, default=0) < -1:
        raise RuntimeError(f"shape '{list(shape)}' is invalid for input of size {count}")
    return tuple(count // known if extent == -1 else extent for extent in shape)


@method
def reshape(input: Tensor, *shape: Any) -> Tensor:
    """The elements in another shape, one extent of which may be -1: a view where the strides allow it."""
    return View.apply(input, shape=_resolved(extents(shape), input.array.size))


@method
def view(input: Tensor, *shape: Any) -> Tensor:
    """As `reshape`, but RuntimeError where it cannot be a view."""
    if len(shape) == 1 and isinstance(shape[0], dtypes.DType):
        raise NotImplementedError("view(dtype) is not supported; use to(dtype)")
    result = View.apply(input, shape=_resolved(extents(shape), input.array.size))
    if input.array.size and not array_module(input.array).may_share_memory(input.array, result.array):
        raise RuntimeError(
            "view size is not compatible with input tensor's size and stride (at least one dimension spans across two "
            "contiguous subspaces). Use .reshape(...) instead."
        )
    return result


@method
def view_as(input: Tensor, other: Tensor) -> Tensor:
    """A view with the shape of `other`."""
    return view(input, other.shape)


@method
def flatten(input: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """The dimensions from `start_dim` to `end_dim` as one."""
    if input.ndim == 0:
        return reshape(input, 1)
    first, last = one_axis(start_dim, input.ndim), one_axis(end_dim, input.ndim)
    if first > last:
        raise RuntimeError("flatten() has invalid args: start_dim cannot come after end_dim")
    if first == last:
        return input
    shape = input.array.shape
    middle = int(np.prod(shape[first : last + 1], dtype=np.int64))
    return View.apply(input, shape=(*shape[:first], middle, *shape[last + 1 :]))


@method
def transpose(input: Tensor, dim0: int, dim1: int) -> Tensor:
    """A view with two dimensions exchanged."""
    return Transpose.apply(input, first=one_axis(dim0, input.ndim), second=one_axis(dim1, input.ndim))


@method
def t(input: Tensor) -> Tensor:
    """The transpose of a matrix, as a view."""
    if input.ndim > 2:
        raise RuntimeError(f"t() expects a tensor with <= 2 dimensions, but self is {input.ndim}D")
    return T.apply(input)


Tensor.T = property(t)  # type: ignore[attr-defined]
Tensor.mT = property(lambda self: transpose(self, -2, -1))  # type: ignore[attr-defined]


@method
def permute(input: Tensor, *dims: Any) -> Tensor:
    """A view with its dimensions in another order."""
    order = tuple(one_axis(dim, input.ndim) for dim in extents(dims))
    if sorted(order) != list(range(input.ndim)):
        raise RuntimeError(f"permute(dims): {list(order)} does not name each of {input.ndim} dimensions once")
    return Permute.apply(input, order=order)


@method
def expand(input: Tensor, *sizes: Any) -> Tensor:
    """A view in which dimensions of extent 1 are repeated; -1 keeps an extent."""
    shape = extents(sizes)
    if len(shape) < input.ndim:
        raise RuntimeError(
            f"expand: the number of sizes provided ({len(shape)}) must be greater or equal to the number of dimensions "
            f"in the tensor ({input.ndim})"
        )
    own = (1,) * (len(shape) - input.ndim) + input.array.shape
    wanted = tuple(have if want == -1 else want for want, have in zip(shape, own, strict=True))
    for axis, (want, have) in enumerate(zip(wanted, own, strict=True)):
        if have not in (1, want):
            raise RuntimeError(
                f"The expanded size of the tensor ({want}) must match the existing size ({have}) at non-singleton "
                f"dimension {axis}.  Target sizes: {list(shape)}.  Tensor sizes: {list(input.array.shape)}"
            )
    return Expand.apply(input, shape=wanted)


@method
def expand_as(input: Tensor, other: Tensor) -> Tensor:
    """A view expanded to the shape of `other`."""
    return expand(input, other.shape)


@method
def unsqueeze(input: Tensor, dim: int) -> Tensor:
    """A view with a dimension of extent 1 put in at `dim`."""
    at = one_axis(dim, input.ndim + 1)
    return Unsqueeze.apply(input, shape=(*input.array.shape[:at], 1, *input.array.shape[at:]))


@method
def squeeze(input: Tensor, dim: Dims = None) -> Tensor:
    """A view without the dimensions of extent 1: all of them, or those among `dim`."""
    out = {axis for axis in axes(dim, input.ndim) if input.ndim and input.array.shape[axis] == 1}
    shape = tuple(extent for axis, extent in enumerate(input.array.shape) if axis not in out)
    return (Squeeze if dim is None else SqueezeAlong).apply(input, shape=shape)


@method
def contiguous(input: Tensor, memory_format: Any = None) -> Tensor:
    """The tensor with its elements in the order of their indices: itself if it has them so."""
    return input if input.is_contiguous() else input.clone()


def cat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Tensors joined along an existing dimension."""
    if not tensors:
        raise ValueError("torch.cat(): expected a non-empty list of Tensors")
    alike = _alike(tensors)
    parts = [part for part in alike if part.array.shape != (0,)] or alike  # PyTorch lets these pass beside any shape
    return Cat.apply(*parts, dim=one_axis(dim, parts[0].ndim))


def stack(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Tensors of one shape joined along a new dimension."""
    if not tensors:
        raise RuntimeError("stack expects a non-empty TensorList")
    parts = _alike(tensors)
    for position, part in enumerate(parts):
        if part.shape != parts[0].shape:
            raise RuntimeError(
                f"stack expects each tensor to be equal size, but got {list(parts[0].shape)} at entry 0 and "
                f"{list(part.shape)} at entry {position}"
            )
    return Stack.apply(*parts, dim=one_axis(dim, parts[0].ndim + 1))


def _alike(tensors: Sequence[Tensor]) -> list[Tensor]:
    """The tensors in their common dtype."""
    common = tensors[0].array.dtype
    for tensor in tensors:
        common = dtypes.promote(common, tensor.array.dtype)
    return [cast(tensor, common) for tensor in tensors]


@method
def split(tensor: Tensor, split_size_or_sections: int | Sequence[int], dim: int = 0) -> tuple[Tensor, ...]:
    """Views of consecutive parts along a dimension, of one size (the last may be smaller) or of those given."""
    dim = one_axis(dim, tensor.ndim)
    extent = tensor.array.shape[dim]
    if isinstance(split_size_or_sections, int):
        sizes = [min(split_size_or_sections, extent - at) for at in range(0, extent, split_size_or_sections)]
    else:
        sizes = list(split_size_or_sections)
        if sum(sizes) != extent:
            raise RuntimeError(
                f"split_with_sizes expects split_sizes to sum exactly to {extent} (input tensor's size at dimension "
                f"{dim}), but got split_sizes={sizes}"
            )
    ends = np.cumsum(sizes).tolist()
    before = (slice(None),) * dim
    return tuple(tensor[(*before, slice(end - size, end))] for end, size in zip(ends, sizes, strict=True))


@method
def chunk(input: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """Views of at most `chunks` equal parts along a dimension."""
    return split(input, max(-(-input.array.shape[dim] // chunks), 1), dim)


@method
def unbind(input: Tensor, dim: int = 0) -> tuple[Tensor, ...]:
    """Views of the slices along a dimension, which goes away."""
    before = (slice(None),) * one_axis(dim, input.ndim)
    return tuple(input[(*before, i)] for i in range(input.array.shape[dim]))

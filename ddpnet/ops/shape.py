"""The same elements in another shape, or with their dimensions in another order: views where NumPy can make one."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from ddpnet.backend import array_module
from ddpnet.dtypes import DType
from ddpnet.ops.dims import Dims, axes, one_axis
from ddpnet.ops.op import Op
from ddpnet.ops.reinterpretation import view_dtype
from ddpnet.tensor import Tensor, method

__all__ = [
    "permute",
    "reshape",
    "squeeze",
    "t",
    "transpose",
    "unsqueeze",
]


def extents(shape: tuple[Any, ...]) -> tuple[int, ...]:
    """The shape of `f(2, 3)` and `f((2, 3))` alike."""
    if len(shape) == 1:
        first = shape[0]
        if type(first) is not int and (not isinstance(first, Tensor) or first.ndim) and not hasattr(first, "__index__"):
            shape = tuple(first)
    return tuple([extent if type(extent) is int else operator.index(extent) for extent in shape])


def named_or(shape: tuple[Any, ...], named: dict[str, Any], name: str, function: str) -> tuple[int, ...]:
    """The shape that was given in place, or by its keyword; TypeError for both or neither."""
    if not named:
        return extents(shape)
    if shape or set(named) != {name}:
        raise TypeError(f"{function}() got an unexpected combination of arguments: {', '.join(named)}")
    return extents((named[name],))


class View(Op):
    view = True

    def forward(self, x, shape):
        self.shape = x.shape
        return x.reshape(shape)

    def backward(self, g):
        return g.reshape(self.shape)


class UnsafeView(View):
    """A copy, where the elements do not lie in memory as a view would need."""

    view = False


class Alias(View):
    pass


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
        back = [0] * len(self.order)
        for place, axis in enumerate(self.order):
            back[axis] = place
        return array_module(g).transpose(g, back)


class Expand(Op):
    """The engine sums the gradient over what was expanded."""

    view = True

    def forward(self, x, shape):
        xp = array_module(x)
        if xp is np:
            return np.lib.stride_tricks.as_strided(x, shape, _strides(x, shape), writeable=x.flags.writeable)
        return xp.broadcast_to(x, shape)

    def backward(self, g):
        return g


def _strides(x: Any, shape: tuple[int, ...]) -> tuple[int, ...]:
    lead = len(shape) - x.ndim
    kept = [step if have == want else 0 for step, have, want in zip(x.strides, x.shape, shape[lead:], strict=True)]
    return (0,) * lead + tuple(kept)


class Unsqueeze(View):
    pass


class Squeeze(View):
    pass


class SqueezeAlong(View):
    graph_name = "SqueezeBackward1"


class SqueezeSeveral(View):
    graph_name = "SqueezeBackward2"


def resolved(shape: tuple[int, ...], count: int) -> tuple[int, ...]:
    """`shape` with its -1 replaced; RuntimeError if `count` elements do not fit."""
    known = 1
    unknown = 0
    for extent in shape:
        if extent == -1:
            unknown += 1
        elif extent < 0:
            raise RuntimeError(f"invalid shape dimension {extent}")
        else:
            known *= extent
    if unknown > 1:
        raise RuntimeError("only one dimension can be inferred")
    if unknown and known == 0 and count == 0:
        raise RuntimeError(
            f"cannot reshape tensor of {count} elements into shape {list(shape)} because the unspecified dimension "
            "size -1 can be any value and is ambiguous"
        )
    if count % known if unknown and known else known != count or unknown:
        raise RuntimeError(f"shape '{list(shape)}' is invalid for input of size {count}")
    return tuple([count // known if extent == -1 else extent for extent in shape]) if unknown else shape


def _viewable(array: Any, shape: tuple[int, ...]) -> bool:
    """Whether the elements can take a shape without moving."""
    if array.size == 0 or array.flags.c_contiguous:
        return True
    return bool(array_module(array).may_share_memory(array, array.reshape(shape)))


@method
def reshape(input: Tensor, *shape: Any, **named: Any) -> Tensor:
    """The elements in another shape, one extent of which may be -1: a view where the strides allow it."""
    wanted = resolved(named_or(shape, named, "shape", "reshape"), input.array.size)
    flags = input.array.flags
    return (View if flags.c_contiguous or _viewable(input.array, wanted) else UnsafeView).apply(input, shape=wanted)


@method
def view(input: Tensor, *shape: Any, **named: Any) -> Tensor:
    """As `reshape`, but RuntimeError where it cannot be a view; with a dtype the same bytes as other elements."""
    dtype = named.get("dtype", shape[0] if len(shape) == 1 else None)
    if isinstance(dtype, DType):
        return view_dtype(input, dtype) if dtype is not input.dtype else Alias.apply(input, shape=input.array.shape)
    wanted = resolved(named_or(shape, named, "size", "view"), input.array.size)
    if not _viewable(input.array, wanted):
        raise RuntimeError(
            "view size is not compatible with input tensor's size and stride (at least one dimension spans across two "
            "contiguous subspaces). Use .reshape(...) instead."
        )
    return View.apply(input, shape=wanted)


@method
def view_as(input: Tensor, other: Tensor) -> Tensor:
    """A view with the shape of `other`."""
    return view(input, other.array.shape)


@method
def reshape_as(input: Tensor, other: Tensor) -> Tensor:
    """The elements in the shape of `other`."""
    return reshape(input, other.array.shape)


@method
def transpose(input: Tensor, dim0: int, dim1: int) -> Tensor:
    """A view with two dimensions exchanged."""
    first, second = one_axis(dim0, input.ndim), one_axis(dim1, input.ndim)
    return Transpose.apply(input, first=first, second=second) if input.ndim else Alias.apply(input, shape=())


@method
def t(input: Tensor) -> Tensor:
    """The transpose of a matrix, as a view."""
    if input.ndim > 2:
        raise RuntimeError(f"t() expects a tensor with <= 2 dimensions, but self is {input.ndim}D")
    return T.apply(input)


@method
def permute(input: Tensor, *dims: Any, **named: Any) -> Tensor:
    """A view with its dimensions in another order."""
    wanted = named_or(dims, named, "dims", "permute")
    ndim = input.array.ndim
    if len(wanted) != ndim:
        raise RuntimeError(
            "permute: number of dimensions in the tensor input does not match the length of the desired "
            f"ordering of dimensions i.e. input.dim() = {ndim} is not equal to len(dims) = {len(wanted)}"
        )
    order = tuple([one_axis(dim, ndim) for dim in wanted])
    if len(set(order)) != ndim:
        raise RuntimeError("permute(): duplicate dims are not allowed.")
    return Permute.apply(input, order=order)


@method
def unsqueeze(input: Tensor, dim: int) -> Tensor:
    """A view with a dimension of extent 1 put in at `dim`."""
    at = one_axis(dim, input.ndim + 1)
    return Unsqueeze.apply(input, shape=(*input.array.shape[:at], 1, *input.array.shape[at:]))


@method
def squeeze(input: Tensor, dim: Dims = None) -> Tensor:
    """A view without the dimensions of extent 1: all of them, or those among `dim`."""
    shape = input.array.shape
    if dim is None:
        return Squeeze.apply(input, shape=tuple([extent for extent in shape if extent != 1]))
    several = not isinstance(dim, int)
    out = [one_axis(d, input.ndim) for d in dim] if several else axes(dim, input.ndim)  # type: ignore[union-attr]
    if len(set(out)) != len(out):
        raise RuntimeError(f"dim {out[0]} appears multiple times in the list of dims")
    kept = tuple([extent for axis, extent in enumerate(shape) if extent != 1 or axis not in out])
    return (SqueezeSeveral if several else SqueezeAlong).apply(input, shape=kept)


@method
def expand(input: Tensor, *size: Any, implicit: bool = False, **named: Any) -> Tensor:
    """A view in which dimensions of extent 1 are repeated; -1 keeps an extent."""
    shape = named_or(size, named, "size", "expand")
    lead = len(shape) - input.ndim
    if lead < 0:
        raise RuntimeError(
            f"expand(torch.{input.dtype.scalar_name}Tensor{{{list(input.array.shape)}}}, size={list(shape)}): the "
            f"number of sizes provided ({len(shape)}) must be greater or equal to the number of dimensions in the "
            f"tensor ({input.ndim})"
        )
    own = (1,) * lead + input.array.shape
    wanted = tuple([have if want == -1 else want for want, have in zip(shape, own, strict=True)])
    for axis, (want, have) in enumerate(zip(shape, own, strict=True)):
        if want == -1 and axis < lead:
            raise RuntimeError(
                f"The expanded size of the tensor (-1) isn't allowed in a leading, non-existing dimension {axis}"
            )
        if (want not in (-1, have) and have != 1) or want < -1:
            raise RuntimeError(
                f"The expanded size of the tensor ({want}) must match the existing size ({have}) at non-singleton "
                f"dimension {axis}.  Target sizes: {list(shape)}.  Tensor sizes: {list(input.array.shape)}"
            )
    return Expand.apply(input, shape=wanted)

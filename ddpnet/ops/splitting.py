"""Parts of a tensor along a dimension: views of slices, one or many at once."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from ddpnet.backend import array_module
from ddpnet.ops.dims import one_axis
from ddpnet.ops.op import Op
from ddpnet.tensor import Tensor, method

__all__ = [
    "chunk",
    "dsplit",
    "hsplit",
    "narrow",
    "select",
    "split",
    "split_with_sizes",
    "tensor_split",
    "unbind",
    "unsafe_chunk",
    "unsafe_split",
    "vsplit",
]


class Split(Op):
    """Consecutive parts along a dimension, all at once."""

    view = True

    def forward(self, x, sizes, dim):
        self.dim, self.outputs = dim, len(sizes)
        self.differentiable = (True,) * len(sizes)  # type: ignore[misc]
        before = (slice(None),) * dim
        parts, at = [], 0
        for size in sizes:
            parts.append(x[(*before, slice(at, at + size), ...)])
            at += size
        return tuple(parts)

    def backward(self, *gradients):
        return array_module(gradients[0]).concatenate(gradients, axis=self.dim)


class SplitWithSizes(Split):
    pass


class Unbind(Op):
    """All slices along a dimension, which goes away."""

    view = True

    def forward(self, x, dim):
        self.dim, self.outputs = dim, x.shape[dim]
        self.differentiable = (True,) * x.shape[dim]  # type: ignore[misc]
        before = (slice(None),) * dim
        return tuple([x[(*before, at, ...)] for at in range(x.shape[dim])])

    def backward(self, *gradients):
        xp = array_module(gradients[0])
        whole = None if isinstance(gradients[0], Tensor) else _undivided(gradients)
        return xp.stack(gradients, axis=self.dim) if whole is None else xp.moveaxis(whole, 0, self.dim)


def _undivided(parts: Sequence[Any]) -> Any:
    """The array whose slices along the first dimension are the parts, all of them and in order; None if none is."""
    whole = parts[0].base
    if type(whole) is not np.ndarray or whole.shape != (len(parts), *parts[0].shape):
        return None
    same = all(
        part.base is whole and part.__array_interface__ == own.__array_interface__
        for part, own in zip(parts, whole, strict=True)
    )
    return whole if same else None


def _not_scalar(input: Tensor, name: str) -> None:
    if input.ndim == 0:
        raise RuntimeError(f"{name} expects at least a 1-dimensional tensor")


def split(tensor: Tensor, split_size_or_sections: Any, dim: int = 0) -> tuple[Tensor, ...]:
    """Views of consecutive parts along a dimension, of one size (the last may be smaller) or of those given."""
    if not isinstance(split_size_or_sections, int) and not hasattr(split_size_or_sections, "__index__"):
        return split_with_sizes(tensor, split_size_or_sections, dim)
    size = int(split_size_or_sections)
    _not_scalar(tensor, "split")
    dim = one_axis(dim, tensor.ndim)
    extent = tensor.array.shape[dim]
    if size < 0:
        raise RuntimeError(f"split expects split_size be non-negative, but got split_size={size}")
    if size == 0 and extent:
        raise RuntimeError(f"split_size can only be 0 if dimension size is 0, but got dimension size of {extent}")
    sizes = tuple([min(size, extent - at) for at in range(0, extent, size)]) if extent else (0,)
    return Split.apply(tensor, sizes=sizes, dim=dim)


def _split_method(self: Tensor, split_size: Any, dim: int = 0) -> tuple[Tensor, ...]:
    return split(self, split_size, dim)


_split_method.__name__, _split_method.__doc__ = "split", split.__doc__
method(_split_method)


@method
def split_with_sizes(input: Tensor, split_sizes: Sequence[int], dim: int = 0) -> tuple[Tensor, ...]:
    """Views of consecutive parts of the given sizes."""
    _not_scalar(input, "split_with_sizes")
    dim = one_axis(dim, input.ndim)
    sizes = tuple(int(size) for size in split_sizes)
    extent = input.array.shape[dim]
    if min(sizes, default=0) < 0:
        raise RuntimeError(
            f"split_with_sizes expects split_sizes have only non-negative entries, but got split_sizes={list(sizes)}"
        )
    if sum(sizes) != extent:
        raise RuntimeError(
            f"split_with_sizes expects split_sizes to sum exactly to {extent} (input tensor's size at dimension "
            f"{dim}), but got split_sizes={list(sizes)}"
        )
    return SplitWithSizes.apply(input, sizes=sizes, dim=dim) if sizes else ()


@method
def chunk(input: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """Views of at most `chunks` equal parts along a dimension."""
    _not_scalar(input, "chunk")
    if chunks <= 0:
        raise RuntimeError(f"chunk expects `chunks` to be greater than 0, got: {chunks}")
    dim = one_axis(dim, input.ndim)
    extent = input.array.shape[dim]
    size = -(-extent // chunks)
    return split(input, size, dim) if size else split_with_sizes(input, (0,) * chunks, dim)


@method
def unsafe_split(input: Tensor, split_size: int, dim: int = 0) -> tuple[Tensor, ...]:
    """As `split`, with copies instead of views."""
    return tuple(part.clone() for part in split(input, split_size, dim))


@method
def unsafe_chunk(input: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """As `chunk`, with copies instead of views."""
    return tuple(part.clone() for part in chunk(input, chunks, dim))


@method
def unbind(input: Tensor, dim: int = 0) -> tuple[Tensor, ...]:
    """Views of the slices along a dimension, which goes away."""
    axis = one_axis(dim, input.ndim)
    if input.ndim == 0:
        raise IndexError("Dimension specified as 0 but tensor has no dimensions")
    return Unbind.apply(input, dim=axis) if input.array.shape[axis] else ()


def _between(input: Tensor, start: int, end: int, axis: int) -> Tensor:
    return input[(*(slice(None),) * axis, slice(start, end))]


@method
def tensor_split(input: Tensor, *args: Any, dim: int = 0, **where: Any) -> tuple[Tensor, ...]:
    """Views of parts: `tensor_split(input, sections or indices, dim)`; a number of parts whose sizes differ by one at
    most, or the places (numbers, or a tensor) where to cut."""
    wanted, dim = _cuts(args, where, dim)
    _not_scalar(input, "tensor_split")
    dim = one_axis(dim, input.ndim)
    extent = input.array.shape[dim]
    if isinstance(wanted, Tensor):
        if wanted.ndim > 1 or wanted.array.dtype.name != "int64":
            raise RuntimeError(
                "tensor_split expected tensor_indices_or_sections to be a zero-dimensional or one-dimensional tensor "
                f"of dtype long, but got a tensor with {wanted.ndim} dims and dtype {wanted.dtype}"
            )
        wanted = wanted.tolist()
    if isinstance(wanted, int):
        if wanted <= 0:
            raise RuntimeError(f"number of sections must be larger than 0, got {wanted}")
        least, more = divmod(extent, wanted)
        places = [number * least + min(number, more) for number in range(1, wanted)]
    else:
        places = [operator.index(place) for place in wanted]
    cuts = [0, *places, extent]
    return tuple(_between(input, start, end, dim) for start, end in itertools.pairwise(cuts))


def _cuts(args: tuple[Any, ...], named: dict[str, Any], dim: int) -> tuple[Any, int]:
    """(sections or indices, dim) of the arguments of `tensor_split`."""
    known = {"indices_or_sections", "sections", "indices", "tensor_indices_or_sections"}
    if len(args) > 2 or len(args[:1]) + len(named) != 1 or not set(named) <= known:
        raise TypeError("tensor_split() expects sections or indices, and a dim")
    return (args[0] if args else next(iter(named.values()))), args[1] if len(args) > 1 else dim


def _along(name: str, least: int, letter: str) -> Any:
    def apply(input: Tensor, indices_or_sections: Any) -> tuple[Tensor, ...]:
        if input.ndim < least:
            raise RuntimeError(
                f"torch.{name} requires a tensor with at least {least} dimension{'s' if least > 1 else ''}, but got a "
                f"tensor with {input.ndim} dimensions!"
            )
        dim = {"h": 0 if input.ndim == 1 else 1, "v": 0, "d": 2}[letter]
        if isinstance(indices_or_sections, int):
            extent = input.array.shape[dim]
            if indices_or_sections <= 0 or extent % indices_or_sections:
                raise RuntimeError(
                    f"torch.{name} attempted to split along dimension {dim}, but the size of the dimension {extent} is "
                    f"not divisible by the split_size {indices_or_sections}!"
                )
        return tensor_split(input, indices_or_sections, dim)

    apply.__name__ = apply.__qualname__ = name
    apply.__doc__ = (
        f"`tensor_split` along dimension {'1 (0 of a vector)' if letter == 'h' else 0 if letter == 'v' else 2}."
    )
    return method(apply)


hsplit, vsplit, dsplit = _along("hsplit", 1, "h"), _along("vsplit", 2, "v"), _along("dsplit", 3, "d")


@method
def narrow(input: Tensor, dim: int, start: Any, length: int) -> Tensor:
    """A view of `length` slices from `start` on."""
    if input.ndim == 0:
        raise RuntimeError("narrow() cannot be applied to a 0-dim tensor.")
    if isinstance(start, Tensor):
        if start.ndim or start.array.dtype.kind not in "iu":
            raise RuntimeError("start must be an 0-dim integral Tensor.")
        start = int(start)
    axis = one_axis(dim, input.ndim)
    extent = input.array.shape[axis]
    if length < 0:
        raise RuntimeError("narrow(): length must be non-negative.")
    if not -extent <= start <= extent:
        raise IndexError(f"start out of range (expected to be in range of [{-extent}, {extent}], but got {start})")
    start = start + extent if start < 0 else start
    if start > extent - length:
        raise RuntimeError(f"start ({start}) + length ({length}) exceeds dimension size ({extent}).")
    return _between(input, start, start + length, axis)


@method
def select(input: Tensor, dim: int, index: int) -> Tensor:
    """A view of one slice along a dimension, which goes away."""
    if input.ndim == 0:
        raise IndexError("select() cannot be applied to a 0-dim tensor.")
    axis = one_axis(dim, input.ndim)
    extent = input.array.shape[axis]
    index = int(index)
    if not -extent <= index < extent:
        raise IndexError(
            f"select(): index {index} out of range for tensor of size {list(input.array.shape)} at dimension {axis}"
        )
    return input[(*(slice(None),) * axis, index)]

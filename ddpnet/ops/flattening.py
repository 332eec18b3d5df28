"""Several dimensions as one, and one as several."""

from __future__ import annotations

from typing import Any

from ddpnet.dtypes import DType
from ddpnet.ops.dims import one_axis
from ddpnet.ops.shape import extents, reshape, resolved, view
from ddpnet.tensor import Tensor, method

__all__ = [
    "flatten",
    "ravel",
    "unflatten",
    "view_copy",
]


def view_copy(input: Tensor, size: Any = None, *, dtype: DType | None = None) -> Tensor:
    """A copy in another shape, or of the bytes as another dtype."""
    return view(input, size if dtype is None else dtype).clone()


@method
def ravel(input: Tensor) -> Tensor:
    """All elements in one dimension."""
    return reshape(input, (-1,)) if input.array.size else reshape(input, (0,))


@method
def flatten(input: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """The dimensions from `start_dim` to `end_dim` as one."""
    first, last = one_axis(start_dim, input.ndim), one_axis(end_dim, input.ndim)
    if first > last:
        raise RuntimeError("flatten() has invalid args: start_dim cannot come after end_dim")
    if input.ndim == 0:
        return reshape(input, (1,))
    if first == last:
        return input
    shape = input.array.shape
    middle = 1
    for extent in shape[first : last + 1]:
        middle *= extent
    return reshape(input, (*shape[:first], middle, *shape[last + 1 :]))


@method
def unflatten(input: Tensor, dim: int, sizes: Any) -> Tensor:
    """One dimension as several, one extent of which may be -1."""
    axis = one_axis(dim, input.ndim)
    if input.ndim == 0:
        raise IndexError("unflatten: a 0-d tensor has no dimension to split")
    parts = extents((sizes,))
    shape = input.array.shape
    if not parts:
        raise RuntimeError("unflatten: sizes must be non-empty")
    try:
        parts = resolved(parts, shape[axis])
    except RuntimeError as error:
        raise RuntimeError(
            f"unflatten: Provided sizes {list(parts)} don't multiply up to the size of dim {axis} ({shape[axis]}) in "
            f"the input tensor: {error}"
        ) from None
    return view(input, (*shape[:axis], *parts, *shape[axis + 1 :]))

"""Views in which dimensions are repeated, and shapes that fit each other."""

from __future__ import annotations

from typing import Any

import numpy as np

from ddpnet.ops.shape import expand, extents, reshape, unsqueeze
from ddpnet.size import Size
from ddpnet.tensor import Tensor, method

__all__ = [
    "atleast_1d",
    "atleast_2d",
    "atleast_3d",
    "broadcast_shapes",
    "broadcast_tensors",
    "broadcast_to",
    "meshgrid",
]


@method
def expand_as(input: Tensor, other: Tensor) -> Tensor:
    """A view expanded to the shape of `other`."""
    return expand(input, other.array.shape)


@method
def broadcast_to(input: Tensor, size: Any) -> Tensor:
    """`expand` by NumPy's name."""
    return expand(input, size)


def broadcast_shapes(*shapes: Any) -> Size:
    """The shape to which all of these broadcast; RuntimeError if there is none."""
    parts = [extents((shape,)) for shape in shapes]
    for part in parts:
        if min(part, default=0) < 0:
            raise RuntimeError(f"Trying to create tensor with negative dimension ({min(part)}): ({min(part)})")
    try:
        return Size(np.broadcast_shapes(*parts))
    except ValueError:
        raise RuntimeError(
            "Shape mismatch: objects cannot be broadcast to a single shape: " + ", ".join(map(str, parts))
        ) from None


def broadcast_tensors(*tensors: Any) -> tuple[Tensor, ...]:
    """The tensors expanded to their common shape."""
    if len(tensors) == 1 and not isinstance(tensors[0], Tensor):
        tensors = tuple(tensors[0])
    shape = _common(tensors)
    return tuple(expand(tensor, shape) for tensor in tensors)


def _common(tensors: Any) -> tuple[int, ...]:
    shape: tuple[int, ...] = ()
    for tensor in tensors:
        theirs = tensor.array.shape
        try:
            shape = np.broadcast_shapes(shape, theirs)
        except ValueError:
            lead = len(theirs) - len(shape)
            at = next(
                axis
                for axis in range(-1, -min(len(shape), len(theirs)) - 1, -1)
                if shape[axis] != theirs[axis] and 1 not in (shape[axis], theirs[axis])
            )
            raise RuntimeError(
                f"The size of tensor a ({shape[at]}) must match the size of tensor b ({theirs[at]}) at non-singleton "
                f"dimension {max(len(shape), len(shape) + lead) + at}"
            ) from None
    return shape


def meshgrid(*tensors: Any, indexing: str = "ij") -> tuple[Tensor, ...]:
    """Vectors as grids: view number k varies along dimension k only ("xy" exchanges the first two dimensions)."""
    if len(tensors) == 1 and not isinstance(tensors[0], Tensor):
        tensors = tuple(tensors[0])
    if not tensors:
        raise RuntimeError("meshgrid expects a non-empty TensorList")
    if indexing not in ("ij", "xy"):
        raise RuntimeError(f'torch.meshgrid: indexing must be one of "xy" or "ij", but received: {indexing}')
    for tensor in tensors:
        if tensor.ndim > 1:
            raise RuntimeError(f"torch.meshgrid: Expected 0D or 1D tensor in the tensor list but got: {tensor.ndim}D")
        if tensor.dtype is not tensors[0].dtype:
            raise RuntimeError("torch.meshgrid expects all tensors to have the same dtype")
    crossed = indexing == "xy" and len(tensors) > 1
    order = [1, 0, *range(2, len(tensors))] if crossed else list(range(len(tensors)))
    shape = tuple(tensors[place].array.size for place in order)
    grids = [
        expand(reshape(tensors[place], (-1,) + (1,) * (len(shape) - 1 - at)), shape) for at, place in enumerate(order)
    ]
    return tuple(grids[place] for place in order)


def _at_least(ndim: int, add: Any) -> Any:
    def apply(*tensors: Any) -> Any:
        if len(tensors) == 1:
            one = tensors[0]
            return add(one) if isinstance(one, Tensor) else tuple(add(tensor) for tensor in one)
        return tuple(add(tensor) for tensor in tensors)

    apply.__name__ = apply.__qualname__ = f"atleast_{ndim}d"
    apply.__doc__ = f"Views with at least {ndim} dimensions, of one tensor or of each."
    return apply


def _two(x: Tensor) -> Tensor:
    return reshape(x, (1, 1)) if x.ndim == 0 else unsqueeze(x, 0) if x.ndim == 1 else x


def _three(x: Tensor) -> Tensor:
    if x.ndim == 0:
        return reshape(x, (1, 1, 1))
    return x if x.ndim > 2 else unsqueeze(x, -1) if x.ndim == 2 else unsqueeze(unsqueeze(x, 0), -1)


atleast_1d = _at_least(1, lambda x: reshape(x, (1,)) if x.ndim == 0 else x)
atleast_2d = _at_least(2, _two)
atleast_3d = _at_least(3, _three)

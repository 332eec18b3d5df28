"""Products of vectors, and lists of what can be chosen from them."""

from __future__ import annotations

import itertools

import numpy as np

from ddpnet.backend import array_module
from ddpnet.ops.autocasting import autocasts
from ddpnet.ops.conversion import promoted
from ddpnet.ops.dims import one_axis
from ddpnet.ops.joining import cat, stack
from ddpnet.ops.out import with_out
from ddpnet.ops.reduction import sum
from ddpnet.ops.scan import cumprod
from ddpnet.tensor import Tensor, method

__all__ = [
    "cartesian_prod",
    "combinations",
    "cross",
    "vander",
]


def _shifted(x: Tensor, axis: int, by: int) -> Tensor:
    return x.roll(by, axis)


@with_out
@method
def cross(input: Tensor, other: Tensor, dim: int | None = None) -> Tensor:
    """The cross product along a dimension of extent 3, by default the first that has it."""
    if dim is None:
        shape = np.broadcast_shapes(input.shape, other.shape)
        if 3 not in shape:
            raise RuntimeError("no dimension of size 3 in input")
        dim = shape.index(3)
    return linalg_cross(input, other, dim=dim)


@with_out
def linalg_cross(input: Tensor, other: Tensor, *, dim: int = -1) -> Tensor:
    """`torch.linalg.cross`: the cross product along a dimension of extent 3."""
    if input.ndim != other.ndim:
        raise RuntimeError("linalg.cross: inputs must have the same number of dimensions.")
    axis = one_axis(dim, input.ndim)
    if input.shape[axis] != 3 or other.shape[axis] != 3:
        raise RuntimeError(
            f"linalg.cross: inputs dimension {dim} must have length 3. Got {input.shape[axis]} and {other.shape[axis]}"
        )
    a, b = promoted(input, other)
    return _shifted(a, axis, -1) * _shifted(b, axis, -2) - _shifted(a, axis, -2) * _shifted(b, axis, -1)


@with_out
@autocasts("lower")
def vecdot(x: Tensor, y: Tensor, *, dim: int = -1) -> Tensor:
    """`torch.linalg.vecdot`: the sum of the products along a dimension."""
    a, b = promoted(x, y)
    total = sum(a * b, dim)
    return total.to(a.dtype)


def vander(x: Tensor, N: int | None = None, increasing: bool = False) -> Tensor:
    """The powers of each element of a vector as the columns of a matrix."""
    if x.ndim != 1:
        raise RuntimeError("x must be a one-dimensional tensor.")
    count = x.shape[0] if N is None else N
    if count < 0:
        raise RuntimeError("N must be non-negative.")
    powers = linalg_vander(x, N=count) if count > 1 else _powers(x, count)
    return powers if increasing else powers.flip(1)


def linalg_vander(x: Tensor, *, N: int | None = None) -> Tensor:
    """`torch.linalg.vander`: 1, x, x**2, ... for each element, as a new last dimension."""
    if N is not None and N <= 1:
        raise RuntimeError(f"N must be greater than 1. Got {N}.")
    x = x.reshape(1) if x.ndim == 0 else x
    return _powers(x, x.shape[-1] if N is None else N)


def _powers(x: Tensor, count: int) -> Tensor:
    one = x.new_ones((*x.shape, min(count, 1)))
    if x.array.dtype.kind in "biu":
        one = one.long()
    if count <= 1:
        return one
    rest = cumprod(x.unsqueeze(-1).expand(*x.shape, count - 1), -1)
    return cat([one, rest], -1)


def cartesian_prod(*tensors: Tensor) -> Tensor:
    """All ways to take one element of each vector, as the rows of a matrix; of one vector, itself."""
    for x in tensors:
        if x.ndim != 1:
            raise RuntimeError("Expect a 1D vector, but got shape " + str(list(x.shape)))
    if len(tensors) == 1:
        return tensors[0]
    xp = array_module(tensors[0].array)
    places = xp.indices([x.shape[0] for x in tensors]).reshape(len(tensors), -1)
    return stack([x[Tensor(index)] for x, index in zip(tensors, places, strict=True)], 1)


def combinations(input: Tensor, r: int = 2, with_replacement: bool = False) -> Tensor:
    """All ways to choose `r` elements of a vector in its order, as the rows of a matrix."""
    if input.ndim != 1:
        raise RuntimeError("Expect a 1D vector, but got shape " + str(list(input.shape)))
    if r < 0:
        raise RuntimeError(f"Expect a non-negative number, but got {r}")
    if r == 0:
        return input.new_empty((0,))
    choose = itertools.combinations_with_replacement if with_replacement else itertools.combinations
    places = np.array(list(choose(range(input.shape[0]), r)), int).reshape(-1, r)
    return input[Tensor(array_module(input.array).asarray(places))]

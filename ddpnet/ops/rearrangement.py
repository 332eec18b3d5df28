"""Elements repeated, reversed, rotated: copies."""

from __future__ import annotations

from typing import Any

import numpy as np

from ddpnet.backend import array_module
from ddpnet.ops.dims import Dims, axes, one_axis
from ddpnet.ops.flattening import flatten
from ddpnet.ops.op import Op
from ddpnet.ops.shape import named_or
from ddpnet.size import Size
from ddpnet.tensor import Tensor, method

__all__ = [
    "flip",
    "fliplr",
    "flipud",
    "repeat_interleave",
    "roll",
    "rot90",
    "tile",
    "unravel_index",
]


class Repeat(Op):
    def forward(self, x, repeats):
        lead = len(repeats) - x.ndim
        self.shape = x.shape
        pairs = zip(repeats, (1,) * lead + x.shape, strict=True)
        self.folded = tuple([extent for pair in pairs for extent in pair])
        return array_module(x).tile(x, repeats)

    def backward(self, g):
        return g.reshape(self.folded).sum(axis=tuple(range(0, len(self.folded), 2))).reshape(self.shape)


class RepeatInterleave(Op):
    """Each slice along a dimension, as often as a number says."""

    graph_name = "RepeatInterleaveBackward0"

    def forward(self, x, repeats, dim):
        self.shape, self.repeats, self.dim = x.shape, repeats, dim
        return array_module(x).repeat(x, repeats, axis=dim)

    def backward(self, g):
        before, extent, after = self.shape[: self.dim], self.shape[self.dim], self.shape[self.dim + 1 :]
        if isinstance(self.repeats, int):
            return g.reshape((*before, extent, self.repeats, *after)).sum(axis=self.dim + 1)
        xp = array_module(g)
        dx = xp.zeros(self.shape, g.dtype)
        place = (slice(None),) * self.dim
        xp.add.at(dx, (*place, np.repeat(np.arange(extent), self.repeats)), g)
        return dx

    def differentiable_backward(self, g):
        if isinstance(self.repeats, int):
            return self.backward(g)
        rows = Tensor(np.repeat(np.arange(self.shape[self.dim]), self.repeats))
        return g.new_zeros(self.shape).index_add(self.dim, rows, g)


class Flip(Op):
    def forward(self, x, dims):
        self.dims = dims
        return array_module(x).flip(x, dims).copy() if x.ndim else x.copy()

    def backward(self, g):
        if g.ndim == 0:
            return g
        return g.flip(self.dims) if isinstance(g, Tensor) else array_module(g).flip(g, self.dims)


class Roll(Op):
    dense = True

    def forward(self, x, shifts, dims):
        self.shifts, self.dims = shifts, dims
        return array_module(x).roll(x, shifts, dims)

    def backward(self, g):
        back = tuple([-shift for shift in self.shifts])
        return g.roll(back, self.dims) if isinstance(g, Tensor) else array_module(g).roll(g, back, self.dims)


class Rot90(Op):
    def forward(self, x, turns, dims):
        self.turns, self.dims = turns, dims
        return array_module(x).ascontiguousarray(array_module(x).rot90(x, turns, dims))

    def backward(self, g):
        turn = g.rot90 if isinstance(g, Tensor) else lambda *args: array_module(g).rot90(g, *args)
        return turn(-self.turns, self.dims)


@method
def repeat(input: Tensor, *repeats: Any, **named: Any) -> Tensor:
    """The tensor as often along each dimension as is said; further numbers in front make new dimensions."""
    times = named_or(repeats, named, "repeats", "repeat")
    if len(times) < input.ndim:
        raise RuntimeError("Number of dimensions of repeat dims can not be smaller than number of dimensions of tensor")
    if min(times, default=0) < 0:
        raise RuntimeError(f"Trying to create tensor with negative dimension {min(times)}: {list(times)}")
    return Repeat.apply(input, repeats=times)


@method
def tile(input: Tensor, *dims: Any, **named: Any) -> Tensor:
    """As `repeat`; numbers that are missing in front are 1."""
    times = named_or(dims, named, "dims", "tile")
    return repeat(input, (1,) * (input.ndim - len(times)) + times)


@method
def repeat_interleave(
    input: Tensor, repeats: Any = None, dim: int | None = None, *, output_size: int | None = None
) -> Tensor:
    """Each element (slice along `dim`) as often as `repeats`, a number or a tensor of them, says, one after the other.

    With only a tensor of counts: each index as often as its count.
    """
    if repeats is None:
        return _counted(input)
    if dim is not None and input.ndim == 0:
        raise IndexError("Dimension out of range (expected to be in range of [-1, 0], but got 1)")
    x, axis = (flatten(input), 0) if dim is None else (input, one_axis(dim, input.ndim))
    x = x if x.ndim else x.reshape(1)
    extent = x.array.shape[axis]
    counts: Any = repeats
    if isinstance(repeats, Tensor):
        _check_counts(repeats)
        counts = np.asarray(repeats.tolist(), np.int64)
        if counts.ndim > 1:
            raise RuntimeError("repeats must be 0-dim or 1-dim tensor")
        if counts.size == 1:
            counts = int(counts.reshape(()))
        elif counts.size != extent:
            raise RuntimeError(
                f"repeats must have the same size as input along dim, but got repeats.size(0) = {counts.size} and "
                f"input.size({axis}) = {extent}"
            )
    elif repeats < 0:
        raise RuntimeError("Repeats must be non-negative")
    total = counts * extent if isinstance(counts, int) else int(counts.sum())
    if output_size is not None and output_size != total:
        raise RuntimeError(f"repeat_interleave: Invalid output_size, expected {total} but got {output_size}")
    result: Tensor = RepeatInterleave.apply(x, repeats=counts, dim=axis)
    return result.reshape(()) if dim is not None and input.ndim == 0 and total == 1 else result


def _check_counts(counts: Tensor) -> None:
    if counts.array.dtype.name not in ("int32", "int64"):
        raise RuntimeError("repeats has to be Long or Int tensor")
    if (counts.array < 0).any():
        raise RuntimeError("repeats can not be negative")


def _counted(counts: Tensor) -> Tensor:
    if counts.ndim != 1:
        raise RuntimeError("repeat_interleave only accept 1D vector as repeat")
    _check_counts(counts)
    xp = array_module(counts.array)
    return Tensor(xp.repeat(xp.arange(counts.array.size), counts.array.tolist()))


@method
def flip(input: Tensor, *dims: Any, **named: Any) -> Tensor:
    """The elements in reverse order along dimensions."""
    wanted = named_or(dims, named, "dims", "flip")
    out = tuple([one_axis(dim, input.ndim) for dim in wanted])
    if len(set(out)) != len(out):
        raise RuntimeError(f"dim {out[0]} appears multiple times in the list of dims")
    return Flip.apply(input, dims=out)


@method
def fliplr(input: Tensor) -> Tensor:
    """The columns in reverse order."""
    if input.ndim < 2:
        raise RuntimeError("Input must be >= 2-d.")
    return flip(input, 1)


@method
def flipud(input: Tensor) -> Tensor:
    """The rows in reverse order."""
    if input.ndim < 1:
        raise RuntimeError("Input must be >= 1-d.")
    return flip(input, 0)


@method
def roll(input: Tensor, shifts: Any, dims: Dims = None) -> Tensor:
    """The elements moved along dimensions (or in flattened order); those that fall off come in at the other end."""
    steps = (shifts,) if isinstance(shifts, int) else tuple(int(shift) for shift in shifts)
    if dims is None or dims == () or dims == []:
        if len(steps) != 1:
            raise RuntimeError(f"shifts and dimensions must align. shifts: {len(steps)}, dims:0")
        return Roll.apply(input, shifts=steps, dims=None)
    along = axes(dims, input.ndim)
    if not input.ndim:
        raise IndexError("Dimension specified as 0 but tensor has no dimensions")
    if not steps:
        raise RuntimeError("`shifts` required")
    if len(steps) != len(along):
        raise RuntimeError(f"shifts and dimensions must align. shifts: {len(steps)}, dims:{len(along)}")
    return Roll.apply(input, shifts=steps, dims=along)


@method
def rot90(input: Tensor, k: int = 1, dims: Any = (0, 1)) -> Tensor:
    """The plane of two dimensions turned `k` times by a right angle, from the first towards the second."""
    if len(dims) != 2:
        raise RuntimeError(f"expected total rotation dims == 2, but got dims = {len(dims)}")
    if input.ndim < 2:
        raise RuntimeError(f"expected total dims >= 2, but got total dims = {input.ndim}")
    first, second = (one_axis(dim, input.ndim) for dim in dims)
    if first == second:
        raise RuntimeError(f"expected rotation dims to be different, but got dim0 = {dims[0]} and dim1 = {dims[1]}")
    return Rot90.apply(input, turns=k, dims=(first, second))


def unravel_index(indices: Tensor, shape: Any) -> tuple[Tensor, ...]:
    """The coordinates of flat indices in an array of a shape, one int64 tensor a dimension."""
    if not isinstance(indices, Tensor):
        raise TypeError(f"indices: expected a Tensor, got {type(indices).__name__}")
    if indices.array.dtype.kind not in "iu":
        raise ValueError(f"expected 'indices' to be integer dtype, but got {indices.dtype}")
    extents = Size((shape,) if isinstance(shape, int) else tuple(int(extent) for extent in shape))
    if min(extents, default=0) < 0:
        raise ValueError(f"'shape' cannot have negative values, but got {tuple(extents)}")
    rest, places = indices.array.astype(np.int64), []
    for extent in reversed(extents):
        places.append(Tensor(rest % (extent or 1)))
        rest = rest // (extent or 1)
    return tuple(reversed(places))

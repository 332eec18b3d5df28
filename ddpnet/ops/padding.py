"""Padding: rows and columns around what is there, of a constant or of values inside."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ddpnet.backend import Array, array_module
from ddpnet.ops.autocasting import autocasts
from ddpnet.ops.op import Op
from ddpnet.ops.precision import in_float32
from ddpnet.ops.presence import present
from ddpnet.tensor import Tensor

__all__ = [
    "constant_pad_nd",
]

Widths = tuple[tuple[int, int], ...]
"""For each of the last dimensions, in their order, what to add before and behind; negative widths take away."""


class ConstantPadNd(Op):
    def forward(self, x, widths, value):
        self.widths = widths
        shape = [n + a + b for n, (a, b) in zip(x.shape, widths, strict=True)]
        y = array_module(x).full(shape, value, x.dtype)
        target = tuple(slice(max(a, 0), n - max(b, 0)) for n, (a, b) in zip(shape, widths, strict=True))
        source = tuple(slice(max(-a, 0), n - max(-b, 0)) for n, (a, b) in zip(x.shape, widths, strict=True))
        if all(one.start < one.stop for one in source):
            y[target] = x[source]
        return y

    def backward(self, g):
        node = ConstantPadNd()
        return node.forward(g, self._back(), 0)

    def differentiable_backward(self, g):
        return ConstantPadNd.apply(g, widths=self._back(), value=0)

    def _back(self) -> Widths:
        return tuple((-a, -b) for a, b in self.widths)


@in_float32
class EdgePad(Op):
    """Places beyond the edges repeat others: for each of the last dimensions, `places` has the index of the source."""

    graph_name = "PadBackward0"

    def forward(self, x, places, around=False):
        self.extents, self.places, self.around = x.shape, places, around
        for axis, index in enumerate(places, x.ndim - len(places)):
            if index is not None:
                x = x.take(array_module(x).asarray(index), axis)
        return x

    def backward(self, g):
        return EdgeFold().forward(g, self.extents, self.places)

    def differentiable_backward(self, g):
        folded = EdgeFold.apply(g, extents=self.extents, places=self.places)
        return folded if self.around else present(self, folded)


@in_float32
class EdgeFold(Op):
    """What EdgePad repeated, added up where it came from."""

    graph_name = "PadBackwardBackward0"

    def forward(self, g, extents, places):
        self.places = places
        for axis, index in enumerate(places, g.ndim - len(places)):
            if index is not None:
                g = _folded(g, index, axis, extents[axis])
        return g

    def backward(self, u):
        return EdgePad().forward(u, self.places)

    def differentiable_backward(self, u):
        return EdgePad.apply(u, places=self.places, around=True)


def _folded(g: Array, index: np.ndarray, axis: int, extent: int) -> Array:
    """The slices of `g` along an axis added up by index, in runs of indices that go up, down or stay: there are few."""
    total = array_module(g).zeros((*g.shape[:axis], extent, *g.shape[axis + 1 :]), g.dtype)
    before = (slice(None),) * axis
    start = 0
    while start < len(index):
        step = int(index[start + 1] - index[start]) if start + 1 < len(index) else 1
        if abs(step) > 1:  # from one side to the other
            step = 1
        stop = start + 1
        while stop < len(index) and index[stop] - index[stop - 1] == step:
            stop += 1
        part, low, high = g[(*before, slice(start, stop))], int(index[start]), int(index[stop - 1])
        if step == 0:
            total[(*before, low)] += part.sum(axis=axis)
        elif step == 1:
            total[(*before, slice(low, high + 1))] += part
        else:
            total[(*before, slice(high, low + 1))] += part[(*before, slice(None, None, -1))]
        start = stop
    return total


def constant_pad_nd(input: Tensor, pad: Sequence[int], value: Any = 0) -> Tensor:
    """`input` with `value` around it: `pad` has (before, behind) of the last dimension, then of the one before it, ...

    Negative numbers take away. RuntimeError where more is taken than there is.
    """
    widths = _widths(pad)
    if len(widths) > input.ndim:
        raise RuntimeError(
            f"Length of pad should be no more than twice the number of dimensions of the input. Pad length is "
            f"{len(pad)} while the input has {input.ndim} dimensions."
        )
    widths = ((0, 0),) * (input.ndim - len(widths)) + widths
    for extent, (before, behind) in zip(input.shape, widths, strict=True):
        if extent + before + behind < 0 or (extent and extent + min(before, 0) + min(behind, 0) < 0):
            raise RuntimeError(
                f"The input size {extent}, plus negative padding {before} and {behind}, resulted in a negative output "
                "size, which is invalid."
            )
    return ConstantPadNd.apply(input, widths=widths, value=value)


def _autocast_dtype(
    fast: np.dtype[Any], input: Tensor, pad: Sequence[int], mode: str = "constant", value: float | None = None
) -> np.dtype[Any] | None:
    """Inside an autocast on the CPU the edges are repeated in float32, but for three dimensions reflected."""
    return np.dtype(np.float32) if mode == "replicate" or (mode == "reflect" and len(pad) <= 4) else None


@autocasts(_autocast_dtype, "cpu")
def pad(input: Tensor, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Tensor:
    """`input` with more around it, as `constant_pad_nd`; or repeating what is inside, with mode 'reflect' (without the
    edge), 'replicate' (the edge) or 'circular' (the other side).

    RuntimeError for widths that do not fit, NotImplementedError for modes and dimensions that there are not.
    """
    if mode == "constant":
        return constant_pad_nd(input, pad, 0 if value is None else value)
    if value is not None and value != 0:
        raise RuntimeError(f"Padding mode '{mode}' doesn't take in value argument")
    if mode not in ("reflect", "replicate", "circular"):
        raise NotImplementedError(f"Unrecognised padding mode {mode}")
    widths = _widths(pad)
    if not 1 <= len(widths) <= 3 or input.ndim not in (len(widths) + 1, len(widths) + 2):
        raise NotImplementedError(
            "Only 2D, 3D, 4D, 5D padding with non-constant padding are supported for now: the last 1, 2 or 3 "
            f"dimensions of an input with or without a batch dimension; got {len(pad)} widths for "
            f"{input.ndim} dimensions"
        )
    if 0 in input.shape[1:]:
        raise RuntimeError(
            f"Expected a tensor with possibly 0 batch size and other non-zero dimensions for input, but got: "
            f"{list(input.shape)}"
        )
    places = [_places(n, *width, mode) for n, width in zip(input.shape[-len(widths) :], widths, strict=True)]
    return EdgePad.apply(input, places=tuple(places), around=mode == "circular")


def _widths(pad: Sequence[int]) -> Widths:
    if len(pad) % 2:
        raise RuntimeError(f"Padding length must be divisible by 2, got {len(pad)}")
    flat = [int(width) for width in pad]
    return tuple(zip(flat[::2], flat[1::2], strict=True))[::-1]


def _places(extent: int, before: int, behind: int, mode: str) -> np.ndarray | None:
    """The index of the source of every place along one dimension; None where nothing is added."""
    if before == behind == 0:
        return None
    size = extent + before + behind
    if mode == "reflect" and (before >= extent or behind >= extent):
        raise RuntimeError(
            f"Argument #4: Padding size should be less than the corresponding input dimension, but got: padding "
            f"({before}, {behind}) at a dimension of extent {extent}"
        )
    if mode == "circular" and (before > extent or behind > extent):
        raise RuntimeError("Padding value causes wrapping around more than once.")
    if size < (0 if mode == "circular" else 1):
        raise RuntimeError(
            f"input (extent {extent}) is too small, or padding ({before}, {behind}) takes too much away: calculated "
            f"output extent {size}"
        )
    place = np.arange(size) - before
    if mode == "replicate":
        return place.clip(0, extent - 1)
    if mode == "reflect":
        place = np.where(place < 0, -place, place)
        return np.where(place >= extent, 2 * (extent - 1) - place, place)
    first, kept = max(-before, 0), extent + min(before, 0) + min(behind, 0)
    return first + (np.arange(size) - max(before, 0)) % max(kept, 1)

"""Winograd's maps of tiles (Lavin and Gray, 2016), as code on vectors of channels.

A convolution of a tile with 3 weights a side is the product of two polynomials, which is taken at m + 2 points to get
m outputs: y = A'((G w) * (B' x)), in both directions of the plane. Each map is written once, for one direction, on
anything with arithmetic; here those are vectors of LANES channels in the code being compiled.

For m = 2 the points are 0, 1, -1 and infinity, and rounding is that of a direct sum. For m = 4 the usual 2 and -2 would
lose four digits at the middle rows: 0, 3/4, -3/4, 3/2, -3/2 and infinity are the best of those tried whose maps have
exact coefficients. Largest error at 256 channels of 8x8, relative to the largest result, forward, for x and for w:
2.2e-6, 2.0e-6 and 5.6e-7, where 1, -1, 2 and -2 have 9.9e-6, 6.8e-6 and 2.1e-6.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from numba import types

from ddpnet.kernels.cpu.channel_vectors import Memory, Vector, chosen, intrinsic, sum_of
from ddpnet.kernels.cpu.vectors import LANES

Line = list[Any]

_S, _L = 0.75, 1.5  # the smaller and the larger of the points
_S2, _L2 = _S * _S, _L * _L
_SUM, _PRODUCT = _S2 + _L2, _S2 * _L2
_AT_S, _AT_L = 2 * _S2 * (_S2 - _L2), 2 * _L2 * (_L2 - _S2)  # what the other points leave of the polynomial there


def _x4(x: Line) -> Line:
    """B'."""
    small, small_odd = x[4] - _L2 * x[2], _S * (x[3] - _L2 * x[1])
    large, large_odd = x[4] - _S2 * x[2], _L * (x[3] - _S2 * x[1])
    first, last = _PRODUCT * x[0] - _SUM * x[2] + x[4], _PRODUCT * x[1] - _SUM * x[3] + x[5]
    return [first, small + small_odd, small - small_odd, large + large_odd, large - large_odd, last]


def _dx4(v: Line) -> Line:
    """B."""
    small, small_odd, large, large_odd = v[1] + v[2], _S * (v[1] - v[2]), v[3] + v[4], _L * (v[3] - v[4])
    return [
        _PRODUCT * v[0],
        _PRODUCT * v[5] - _L2 * small_odd - _S2 * large_odd,
        -_SUM * v[0] - _L2 * small - _S2 * large,
        small_odd + large_odd - _SUM * v[5],
        v[0] + small + large,
        v[5],
    ]


def _y4(v: Line) -> Line:
    """A'."""
    small, small_odd, large, large_odd = v[1] + v[2], _S * (v[1] - v[2]), v[3] + v[4], _L * (v[3] - v[4])
    return [
        v[0] + small + large,
        small_odd + large_odd,
        _S2 * small + _L2 * large,
        _S2 * small_odd + _L2 * large_odd + v[5],
    ]


def _dy4(g: Line) -> Line:
    """A."""
    small, small_odd = g[0] + _S2 * g[2], _S * (g[1] + _S2 * g[3])
    large, large_odd = g[0] + _L2 * g[2], _L * (g[1] + _L2 * g[3])
    return [g[0], small + small_odd, small - small_odd, large + large_odd, large - large_odd, g[3]]


def _w4(w: Line) -> Line:
    """G."""
    small, small_odd = (1 / _AT_S) * (w[0] + _S2 * w[2]), (_S / _AT_S) * w[1]
    large, large_odd = (1 / _AT_L) * (w[0] + _L2 * w[2]), (_L / _AT_L) * w[1]
    return [(1 / _PRODUCT) * w[0], small + small_odd, small - small_odd, large + large_odd, large - large_odd, w[2]]


def _dw4(v: Line) -> Line:
    """G'."""
    small, small_odd = (1 / _AT_S) * (v[1] + v[2]), (_S / _AT_S) * (v[1] - v[2])
    large, large_odd = (1 / _AT_L) * (v[3] + v[4]), (_L / _AT_L) * (v[3] - v[4])
    return [(1 / _PRODUCT) * v[0] + small + large, small_odd + large_odd, _S2 * small + _L2 * large + v[5]]


def _x2(x: Line) -> Line:
    return [x[0] - x[2], x[1] + x[2], x[2] - x[1], x[3] - x[1]]


def _dx2(v: Line) -> Line:
    return [v[0], v[1] - v[2] - v[3], v[1] + v[2] - v[0], v[3]]


def _y2(v: Line) -> Line:
    return [v[0] + v[1] + v[2], v[1] - v[2] + v[3]]


def _dy2(g: Line) -> Line:
    return [g[0], g[0] + g[1], g[0] - g[1], g[1]]


def _w2(w: Line) -> Line:
    ends, middle = 0.5 * (w[0] + w[2]), 0.5 * w[1]
    return [w[0], ends + middle, ends - middle, w[2]]


def _dw2(v: Line) -> Line:
    both, odd = 0.5 * (v[1] + v[2]), 0.5 * (v[1] - v[2])
    return [v[0] + both, odd, both + v[3]]


class Map(NamedTuple):
    """A map in one direction, with how many numbers go into it and come out."""

    inputs: int
    outputs: int
    apply: Callable[[Line], Line]


MAPS = {
    "x4": Map(6, 6, _x4),
    "dx4": Map(6, 6, _dx4),
    "y4": Map(6, 4, _y4),
    "dy4": Map(4, 6, _dy4),
    "w4": Map(3, 6, _w4),
    "dw4": Map(6, 3, _dw4),
    "x2": Map(4, 4, _x2),
    "dx2": Map(4, 4, _dx2),
    "y2": Map(4, 2, _y2),
    "dy2": Map(2, 4, _dy2),
    "w2": Map(3, 4, _w2),
    "dw2": Map(4, 3, _dw2),
}
"""By what they lead from or to, and m."""


@intrinsic(prefer_literal=True)  # type: ignore[untyped-decorator]
def map_tile(
    typing_context: Any, name: Any, x: Any, at: Any, row: Any, column: Any, y: Any, to: Any, down: Any, across: Any,
    adds: Any,
) -> Any:  # fmt: skip
    """Take a tile of vectors from x[at + i * row + j * column], map it both ways, write it to y in the same way.

    `adds`: 1 to add to what is there, else 0.
    """
    inputs, _, along = MAPS[name.literal_value]
    add = bool(adds.literal_value)

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _, x_array, x_start, x_row, x_column, y_array, y_start, y_row, y_column, _ = arguments
        source = Memory(context, builder, x, x_array, x_start)
        target = Memory(context, builder, y, y_array, y_start)
        columns = [
            along([Vector(builder, source.load(None, (i, x_row), (j, x_column))) for i in range(inputs)])
            for j in range(inputs)
        ]
        for i, line in enumerate(zip(*columns, strict=True)):
            for j, number in enumerate(along(list(line))):
                value = number.value
                if add:
                    value = builder.fadd(target.load(None, (i, y_row), (j, y_column)), value)
                target.store(None, value, (i, y_row), (j, y_column))
        return context.get_dummy_value()

    place = types.intp
    return types.void(name, x, place, place, place, y, place, place, place, adds), emit


@intrinsic(prefer_literal=True)  # type: ignore[untyped-decorator]
def map_weights(typing_context: Any, name: Any, w: Any, at: Any, y: Any, to: Any, down: Any, across: Any) -> Any:
    """Take 3x3 weights of LANES channels from w[at] on, map them both ways, write them as `map_tile` does."""
    along = MAPS[name.literal_value].apply

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _, w_array, w_start, y_array, y_start, y_row, y_column = arguments
        source = Memory(context, builder, w, w_array, w_start)
        target = Memory(context, builder, y, y_array, y_start)
        vectors = [source.load(None, (i, source.lanes)) for i in range(9)]
        columns = zip(*(_every_third(builder, vectors[i : i + 3]) for i in (0, 3, 6)), strict=True)
        tiles = [along([Vector(builder, one) for one in _every_third(builder, list(column))]) for column in columns]
        for i, line in enumerate(zip(*tiles, strict=True)):
            for j, number in enumerate(along(list(line))):
                target.store(None, number.value, (i, y_row), (j, y_column))
        return context.get_dummy_value()

    place = types.intp
    return types.void(name, w, place, y, place, place, place), emit


@intrinsic(prefer_literal=True)  # type: ignore[untyped-decorator]
def map_to_weights(typing_context: Any, name: Any, x: Any, at: Any, row: Any, column: Any, w: Any, to: Any) -> Any:
    """Take a tile as `map_tile` does, map it both ways to 3x3 weights of LANES channels, write them from w[to] on.

    Returns the sum of all the numbers.
    """
    inputs, _, along = MAPS[name.literal_value]

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _, x_array, x_start, x_row, x_column, w_array, w_start = arguments
        source = Memory(context, builder, x, x_array, x_start)
        target = Memory(context, builder, w, w_array, w_start)
        columns = [
            along([Vector(builder, source.load(None, (i, x_row), (j, x_column))) for i in range(inputs)])
            for j in range(inputs)
        ]
        rows = [[number.value for number in along(list(line))] for line in zip(*columns, strict=True)]
        thirds = zip(*(_alternating(builder, list(taps)) for taps in zip(*rows, strict=True)), strict=True)
        vectors = [vector for third in thirds for vector in _alternating(builder, list(third))]
        for i, value in enumerate(vectors):
            target.store(None, value, (i, target.lanes))
        return sum_of(builder, vectors)

    place = types.intp
    return types.float32(name, x, place, place, place, w, place), emit


def _every_third(builder: Any, vectors: Line) -> Line:
    """Three vectors in a row as those of their numbers 0, 3, 6, ..., of 1, 4, 7, ... and of 2, 5, 8, ..."""
    found = []
    for first in range(3):
        places = range(first, 3 * LANES, 3)
        two = chosen(builder, vectors[0], vectors[1], [place % (2 * LANES) for place in places])
        third = [lane if place < 2 * LANES else place - LANES for lane, place in enumerate(places)]
        found.append(chosen(builder, two, vectors[2], third))
    return found


def _alternating(builder: Any, vectors: Line) -> Line:
    """The inverse of `_every_third`."""
    found = []
    for first in range(0, 3 * LANES, LANES):
        places = [divmod(place, 3) for place in range(first, first + LANES)]
        two = chosen(builder, vectors[0], vectors[1], [lane + LANES * (which == 1) for lane, which in places])
        third = [LANES + lane if which == 2 else place for place, (lane, which) in enumerate(places)]
        found.append(chosen(builder, two, vectors[2], third))
    return found

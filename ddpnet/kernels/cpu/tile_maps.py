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

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

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

_NUMBER, _INDEX = ir.FloatType(), ir.IntType(32)
_VECTOR, _INDICES = ir.VectorType(_NUMBER, LANES), ir.VectorType(_INDEX, LANES)
_ALIGNMENT = ir.Constant(_INDEX, 4)
_FUSED = ("contract",)


class _Vector:
    """A vector in code that is being emitted; its arithmetic emits more."""

    def __init__(self, builder: Any, value: Any) -> None:
        self.builder, self.value = builder, value

    def __add__(self, other: _Vector) -> _Vector:
        return _Vector(self.builder, self.builder.fadd(self.value, other.value, flags=_FUSED))

    def __sub__(self, other: _Vector) -> _Vector:
        return _Vector(self.builder, self.builder.fsub(self.value, other.value, flags=_FUSED))

    def __rmul__(self, number: float) -> _Vector:
        constant = ir.Constant(_VECTOR, [ir.Constant(_NUMBER, number)] * LANES)
        return _Vector(self.builder, self.builder.fmul(constant, self.value, flags=_FUSED))


class _Memory:
    """Vectors at one place of an array and at steps from there."""

    def __init__(self, context: Any, builder: Any, kind: Any, array: Any, start: Any) -> None:
        self.builder = builder
        self.first = builder.gep(context.make_array(kind)(context, builder, array).data, [start])

    def at(self, *steps: tuple[int, Any]) -> Any:
        """The address that many times each step from the start."""
        address = self.first
        for count, step in steps:
            if count:
                distance = self.builder.mul(step, ir.Constant(step.type, count))
                address = self.builder.gep(address, [distance])
        return self.builder.bitcast(address, _VECTOR.as_pointer())

    def load(self, mask: Any, *steps: tuple[int, Any]) -> Any:
        pointer = self.at(*steps)
        if mask is None:
            return self.builder.load(pointer, align=4)
        kind = ir.FunctionType(_VECTOR, [pointer.type, _INDEX, mask.type, _VECTOR])
        function = cgutils.get_or_insert_function(self.builder.module, kind, f"llvm.masked.load.v{LANES}f32.p0")
        return self.builder.call(function, [pointer, _ALIGNMENT, mask, ir.Constant(_VECTOR, None)])

    def store(self, mask: Any, value: Any, *steps: tuple[int, Any]) -> None:
        pointer = self.at(*steps)
        if mask is None:
            self.builder.store(value, pointer, align=4)
            return
        kind = ir.FunctionType(ir.VoidType(), [_VECTOR, pointer.type, _INDEX, mask.type])
        function = cgutils.get_or_insert_function(self.builder.module, kind, f"llvm.masked.store.v{LANES}f32.p0")
        self.builder.call(function, [value, pointer, _ALIGNMENT, mask])


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
        source = _Memory(context, builder, x, x_array, x_start)
        target = _Memory(context, builder, y, y_array, y_start)
        columns = [
            along([_Vector(builder, source.load(None, (i, x_row), (j, x_column))) for i in range(inputs)])
            for j in range(inputs)
        ]
        for i in range(len(columns[0])):
            for j, number in enumerate(along([column[i] for column in columns])):
                value = number.value
                if add:
                    value = builder.fadd(target.load(None, (i, y_row), (j, y_column)), value)
                target.store(None, value, (i, y_row), (j, y_column))
        return context.get_dummy_value()

    place = types.intp
    return types.void(name, x, place, place, place, y, place, place, place, adds), emit


@intrinsic(prefer_literal=True)  # type: ignore[untyped-decorator]
def turn(typing_context: Any, x: Any, at: Any, step: Any, many: Any, y: Any, to: Any, apart: Any, count: Any) -> Any:
    """Write x[at + i * step + j] to y[to + j * apart + i] for LANES i and j, of which x has `many` j, y `count` i.

    Returns the sum of all the numbers.
    """

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        x_array, x_start, x_step, x_count, y_array, y_start, y_step, y_count = arguments
        source = _Memory(context, builder, x, x_array, x_start)
        target = _Memory(context, builder, y, y_array, y_start)
        mask = _first_lanes(builder, x_count)
        rows = [source.load(mask, (i, x_step)) for i in range(LANES)]
        distance = 1
        while distance < LANES:  # swap the squares of that size beside the diagonal
            upper = [lane + LANES - distance if lane & distance else lane for lane in range(LANES)]
            lower = [lane + LANES if lane & distance else lane + distance for lane in range(LANES)]
            for i in range(LANES):
                if not i & distance:
                    a, b = rows[i], rows[i + distance]
                    rows[i] = builder.shuffle_vector(a, b, ir.Constant(_INDICES, upper))
                    rows[i + distance] = builder.shuffle_vector(a, b, ir.Constant(_INDICES, lower))
            distance *= 2
        mask = _first_lanes(builder, y_count)
        for j, value in enumerate(rows):
            target.store(mask, value, (j, y_step))
        return _sum(builder, rows)

    place = types.intp
    return types.float32(x, place, place, place, y, place, place, place), emit


@intrinsic  # type: ignore[untyped-decorator]
def move(typing_context: Any, x: Any, at: Any, y: Any, to: Any) -> Any:
    """Write LANES numbers from x[at] on to y[to] on."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        x_array, x_start, y_array, y_start = arguments
        value = _Memory(context, builder, x, x_array, x_start).load(None)
        _Memory(context, builder, y, y_array, y_start).store(None, value)
        return context.get_dummy_value()

    return types.void(x, types.intp, y, types.intp), emit


def _sum(builder: Any, vectors: Line) -> Any:
    """Of all lanes of some vectors, by halves."""
    while len(vectors) > 1:
        vectors = [builder.fadd(a, b) for a, b in zip(vectors[::2], vectors[1::2], strict=True)]
    (value,), lanes = vectors, LANES
    while lanes > 1:
        lanes //= 2
        half = ir.VectorType(_INDEX, lanes)
        low, high = (ir.Constant(half, [start + lane for lane in range(lanes)]) for start in (0, lanes))
        value = builder.fadd(builder.shuffle_vector(value, value, low), builder.shuffle_vector(value, value, high))
    return builder.extract_element(value, ir.Constant(_INDEX, 0))


def _first_lanes(builder: Any, count: Any) -> Any:
    """A mask of the first `count` lanes."""
    number = builder.trunc(count, _INDEX)
    first = builder.insert_element(ir.Constant(_INDICES, ir.Undefined), number, ir.Constant(_INDEX, 0))
    all_lanes = builder.shuffle_vector(first, first, ir.Constant(_INDICES, [0] * LANES))
    return builder.icmp_signed("<", ir.Constant(_INDICES, list(range(LANES))), all_lanes)

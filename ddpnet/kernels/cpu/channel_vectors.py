"""Vectors of channels, and turning pixels into them and back, written in LLVM's terms.

Arrays are flat, contiguous, float32; places count numbers, and nothing checks them.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import extending, types
from numba.core import cgutils

from ddpnet.kernels.cpu.vectors import LANES

intrinsic: Any = extending.intrinsic
"""Without its type, which leaves out that compiled code calls it with the arguments after the first."""

_NUMBER, _INDEX = ir.FloatType(), ir.IntType(32)
VECTOR, _INDICES = ir.VectorType(_NUMBER, LANES), ir.VectorType(_INDEX, LANES)
_ALIGNMENT = ir.Constant(_INDEX, 4)
_FUSED = ("contract",)


class Vector:
    """A vector in code that is being emitted; its arithmetic emits more."""

    def __init__(self, builder: Any, value: Any) -> None:
        self.builder, self.value = builder, value

    def __add__(self, other: Vector) -> Vector:
        return Vector(self.builder, self.builder.fadd(self.value, other.value, flags=_FUSED))

    def __sub__(self, other: Vector) -> Vector:
        return Vector(self.builder, self.builder.fsub(self.value, other.value, flags=_FUSED))

    def __rmul__(self, number: float) -> Vector:
        constant = ir.Constant(VECTOR, [ir.Constant(_NUMBER, number)] * LANES)
        return Vector(self.builder, self.builder.fmul(constant, self.value, flags=_FUSED))


class Memory:
    """Vectors at one place of an array and at steps from there."""

    def __init__(self, context: Any, builder: Any, kind: Any, array: Any, start: Any) -> None:
        self.builder = builder
        self.lanes = ir.Constant(ir.IntType(64), LANES)
        self.first = builder.gep(context.make_array(kind)(context, builder, array).data, [start])

    def at(self, *steps: tuple[int, Any]) -> Any:
        """The address that many times each step from the start."""
        address = self.first
        for count, step in steps:
            if count:
                distance = self.builder.mul(step, ir.Constant(step.type, count))
                address = self.builder.gep(address, [distance])
        return self.builder.bitcast(address, VECTOR.as_pointer())

    def load(self, mask: Any, *steps: tuple[int, Any]) -> Any:
        pointer = self.at(*steps)
        if mask is None:
            return self.builder.load(pointer, align=4)
        kind = ir.FunctionType(VECTOR, [pointer.type, _INDEX, mask.type, VECTOR])
        function = cgutils.get_or_insert_function(self.builder.module, kind, f"llvm.masked.load.v{LANES}f32.p0")
        return self.builder.call(function, [pointer, _ALIGNMENT, mask, ir.Constant(VECTOR, None)])

    def store(self, mask: Any, value: Any, *steps: tuple[int, Any]) -> None:
        pointer = self.at(*steps)
        if mask is None:
            self.builder.store(value, pointer, align=4)
            return
        kind = ir.FunctionType(ir.VoidType(), [VECTOR, pointer.type, _INDEX, mask.type])
        function = cgutils.get_or_insert_function(self.builder.module, kind, f"llvm.masked.store.v{LANES}f32.p0")
        self.builder.call(function, [value, pointer, _ALIGNMENT, mask])


@intrinsic(prefer_literal=True)  # type: ignore[untyped-decorator]
def turn(typing_context: Any, x: Any, at: Any, step: Any, many: Any, y: Any, to: Any, apart: Any, count: Any) -> Any:
    """Write x[at + i * step + j] to y[to + j * apart + i] for LANES i and j, of which x has `many` j, y `count` i.

    Returns the sum of all the numbers.
    """

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        x_array, x_start, x_step, x_count, y_array, y_start, y_step, y_count = arguments
        source = Memory(context, builder, x, x_array, x_start)
        target = Memory(context, builder, y, y_array, y_start)
        mask = _first_lanes(builder, x_count)
        rows = [source.load(mask, (i, x_step)) for i in range(LANES)]
        distance = 1
        while distance < LANES:  # swap the squares of that size beside the diagonal
            upper = [lane + LANES - distance if lane & distance else lane for lane in range(LANES)]
            lower = [lane + LANES if lane & distance else lane + distance for lane in range(LANES)]
            for i in range(LANES):
                if not i & distance:
                    a, b = rows[i], rows[i + distance]
                    rows[i], rows[i + distance] = (chosen(builder, a, b, lanes) for lanes in (upper, lower))
            distance *= 2
        mask = _first_lanes(builder, y_count)
        for j, value in enumerate(rows):
            target.store(mask, value, (j, y_step))
        return sum_of(builder, rows)

    place = types.intp
    return types.float32(x, place, place, place, y, place, place, place), emit


@intrinsic  # type: ignore[untyped-decorator]
def move(typing_context: Any, x: Any, at: Any, y: Any, to: Any) -> Any:
    """Write LANES numbers from x[at] on to y[to] on."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        x_array, x_start, y_array, y_start = arguments
        value = Memory(context, builder, x, x_array, x_start).load(None)
        Memory(context, builder, y, y_array, y_start).store(None, value)
        return context.get_dummy_value()

    return types.void(x, types.intp, y, types.intp), emit


def chosen(builder: Any, a: Any, b: Any, lanes: list[int]) -> Any:
    """Lanes of two vectors; those of the second count from LANES."""
    return builder.shuffle_vector(a, b, ir.Constant(_INDICES, lanes))


def sum_of(builder: Any, vectors: list[Any]) -> Any:
    """Of all lanes of some vectors, by halves."""
    while len(vectors) > 1:
        vectors = [builder.fadd(a, b) for a, b in zip(vectors[::2], vectors[1::2], strict=False)] + vectors[
            len(vectors) & ~1 :
        ]
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

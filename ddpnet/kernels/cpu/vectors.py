"""Vectors for kernels: tiles of float32 sums that stay in registers, written in LLVM's terms.

Numba vectorises a loop but does not keep a block of sums in registers, which is what a matrix product's speed comes
from. A tile is (rows, columns) of vectors of LANES numbers. It is an ordinary value in a compiled function, with these
operations; extents of tiles have to be literals. Arrays are flat, contiguous, float32; places count elements, and
nothing checks them. LLVM splits the vectors where the processor has narrower ones.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import binding, ir
from numba import types
from numba.core import cgutils, config
from numba.extending import intrinsic, models, register_model

settings: Any = config  # Numba's, which it reads from the environment


def _has_wide_registers() -> bool:
    """Whether the processor that Numba compiles for has 32 registers of 16 numbers."""
    if settings.CPU_NAME or settings.CPU_FEATURES:
        return "+avx512vl" in (settings.CPU_FEATURES or "")
    return bool(binding.get_host_cpu_features().get("avx512vl", False))


WIDE = _has_wide_registers()
LANES = 16 if WIDE else 8

NUMBER, INDEX, _BIT = ir.FloatType(), ir.IntType(32), ir.IntType(1)
VECTOR, INDICES, _MASK = (ir.VectorType(one, LANES) for one in (NUMBER, INDEX, _BIT))
_ALIGNMENT = ir.Constant(INDEX, 4)


class TileType(types.Type):
    """Numba's type of a tile."""

    def __init__(self, rows: int, columns: int) -> None:
        self.rows, self.columns = rows, columns
        super().__init__(name=f"tile({rows}, {columns})")


@register_model(TileType)
class _TileModel(models.PrimitiveModel):
    def __init__(self, manager: Any, tile: TileType) -> None:
        super().__init__(manager, tile, ir.ArrayType(VECTOR, tile.rows * tile.columns))


def _each(tile: TileType) -> Any:
    """(place in the value, row, column) of each vector."""
    return [(r * tile.columns + c, r, c) for r in range(tile.rows) for c in range(tile.columns)]


def _number(builder: Any, value: int) -> Any:
    return ir.Constant(ir.IntType(64), value)


class Memory:
    """Emits addresses in, loads from and stores to one array of numbers or of indices."""

    def __init__(self, context: Any, builder: Any, array_type: Any, array: Any, start: Any, step: Any = None) -> None:
        data = context.make_array(array_type)(context, builder, array).data
        self.builder, self.step, self.first = builder, step, builder.gep(data, [start])
        self.kind = VECTOR if array_type.dtype is types.float32 else INDICES

    def at(self, count: int, kind: ir.Type, more: int = 0) -> Any:
        """The address `count` steps and `more` elements from the start."""
        address = self.first
        if count:
            address = self.builder.gep(address, [self.builder.mul(self.step, _number(self.builder, count))])
        if more:
            address = self.builder.gep(address, [_number(self.builder, more)])
        return self.builder.bitcast(address, kind.as_pointer())

    def vector(self, count: int, mask: Any = None, more: int = 0) -> Any:
        """A vector; with a mask 0 where it is unset, where memory is not touched."""
        pointer = self.at(count, self.kind, more)
        if mask is None:
            return self.builder.load(pointer, align=4)
        load = self._masked("load", self.kind, pointer.type, INDEX, _MASK, self.kind)
        return self.builder.call(load, [pointer, _ALIGNMENT, mask, ir.Constant(self.kind, None)])

    def store(self, value: Any, count: int, mask: Any = None, more: int = 0) -> None:
        """Write a vector; with a mask only where it is set."""
        pointer = self.at(count, self.kind, more)
        if mask is None:
            self.builder.store(value, pointer, align=4)
        else:
            store = self._masked("store", ir.VoidType(), self.kind, pointer.type, INDEX, _MASK)
            self.builder.call(store, [value, pointer, _ALIGNMENT, mask])

    def _masked(self, what: str, result: Any, *operands: Any) -> Any:
        """LLVM's function."""
        name = f"llvm.masked.{what}.v{LANES}{'f' if self.kind is VECTOR else 'i'}32.p0"
        return cgutils.get_or_insert_function(self.builder.module, ir.FunctionType(result, operands), name)

    def broadcast(self, count: int) -> Any:
        """One number in all lanes."""
        return broadcast(self.builder, self.builder.load(self.at(count, NUMBER), align=4))


def broadcast(builder: Any, value: Any) -> Any:
    """A scalar in all lanes."""
    kind = ir.VectorType(value.type, LANES)
    first = builder.insert_element(ir.Constant(kind, ir.Undefined), value, ir.Constant(INDEX, 0))
    return builder.shuffle_vector(first, first, ir.Constant(INDICES, [0] * LANES))


def first_lanes(builder: Any, count: Any, column: int = 0) -> Any:
    """A mask of the first `count` lanes, which go on over the columns."""
    numbers = ir.Constant(INDICES, [LANES * column + lane for lane in range(LANES)])
    return builder.icmp_signed("<", numbers, broadcast(builder, builder.trunc(count, INDEX)))


def _fused(builder: Any, a: Any, b: Any, c: Any) -> Any:
    """a * b + c, rounded once."""
    name = f"llvm.fma.v{LANES}f32"
    fma = cgutils.get_or_insert_function(builder.module, ir.FunctionType(VECTOR, [VECTOR] * 3), name)
    return builder.call(fma, [a, b, c])


def _sum(builder: Any, value: Any) -> Any:
    """Of all lanes, by halves."""
    lanes = LANES
    while lanes > 1:
        lanes //= 2
        half = ir.VectorType(INDEX, lanes)
        low, high = (ir.Constant(half, [start + lane for lane in range(lanes)]) for start in (0, lanes))
        value = builder.fadd(builder.shuffle_vector(value, value, low), builder.shuffle_vector(value, value, high))
    return builder.extract_element(value, ir.Constant(INDEX, 0))


def operation(emitter: Any) -> Any:
    """Decorator: a function that gives a signature and what emits LLVM's instructions; callable in compiled code."""
    return intrinsic(prefer_literal=True)(emitter)


@operation
def zeros(typing_context: Any, rows: Any, columns: Any) -> Any:
    """A tile of zeros."""
    tile = TileType(rows.literal_value, columns.literal_value)

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return ir.Constant(context.get_value_type(tile), None)

    return tile(rows, columns), emit


@operation
def filled(typing_context: Any, rows: Any, columns: Any, a: Any, at: Any) -> Any:
    """A tile whose row r has a[at + r] everywhere."""
    tile = TileType(rows.literal_value, columns.literal_value)

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        one = _number(builder, 1)
        memory = Memory(context, builder, a, arguments[2], arguments[3], one)
        values = [memory.broadcast(row) for row in range(tile.rows)]
        return _collected(context, builder, tile, [values[row] for _, row, _ in _each(tile)])

    return tile(rows, columns, a, types.intp), emit


def _collected(context: Any, builder: Any, tile: TileType, vectors: list[Any]) -> Any:
    value = ir.Constant(context.get_value_type(tile), ir.Undefined)
    for place, vector in enumerate(vectors):
        value = builder.insert_value(value, vector, place)
    return value


@operation
def add_outer(typing_context: Any, tile: Any, a: Any, a_at: Any, a_step: Any, b: Any, b_at: Any) -> Any:
    """The tile plus a number for each row, a[a_at + r * a_step], times vectors that follow each other from b[b_at]."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        sums, a_array, a_start, step, b_array, b_start = arguments
        left = Memory(context, builder, a, a_array, a_start, step)
        right = Memory(context, builder, b, b_array, b_start)
        vectors = [right.vector(0, more=LANES * column) for column in range(tile.columns)]
        results = []
        for row in range(tile.rows):
            factor = left.broadcast(row)
            for column in range(tile.columns):
                value = builder.extract_value(sums, row * tile.columns + column)
                results.append(_fused(builder, factor, vectors[column], value))
        return _collected(context, builder, tile, results)

    return tile(tile, a, types.intp, types.intp, b, types.intp), emit


@operation
def add_inner(
    typing_context: Any,
    tile: Any,
    a: Any,
    a_at: Any,
    a_step: Any,
    b: Any,
    b_at: Any,
    b_step: Any,
    rows: Any,
    count: Any,
) -> Any:
    """The tile plus products of vectors: that at a[a_at + r * a_step] times that at b[b_at + c * b_step].

    Of a there are `rows` rows: those of the tile behind them are anything. Of each vector only the first `count` lanes
    are read; the literal LANES for all.
    """
    masked = not (isinstance(count, types.IntegerLiteral) and count.literal_value == LANES)

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        sums, a_array, a_start, a_each, b_array, b_start, b_each, last, lanes = arguments
        mask = first_lanes(builder, lanes) if masked else None
        right = Memory(context, builder, b, b_array, b_start, b_each)
        rows = []
        for row in range(tile.rows):
            inside = builder.icmp_signed("<", _number(builder, row), last)
            start = builder.select(inside, builder.add(a_start, builder.mul(a_each, _number(builder, row))), a_start)
            rows.append(Memory(context, builder, a, a_array, start).vector(0, mask))
        columns = [right.vector(column, mask) for column in range(tile.columns)]
        results = [
            _fused(builder, rows[row], columns[column], builder.extract_value(sums, place))
            for place, row, column in _each(tile)
        ]
        return _collected(context, builder, tile, results)

    kind = types.intp if masked else count
    return tile(tile, a, types.intp, types.intp, b, types.intp, types.intp, types.intp, kind), emit


@operation
def copy(typing_context: Any, x: Any, at: Any, y: Any, to: Any, first: Any, after: Any) -> Any:
    """Write LANES numbers from y[to] on: of x from x[at] on in the lanes from `first` to before `after`, else 0."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        x_array, x_start, y_array, y_start, low, high = arguments
        mask = builder.and_(first_lanes(builder, high), builder.not_(first_lanes(builder, low)))
        vector = Memory(context, builder, x, x_array, x_start).vector(0, mask)
        Memory(context, builder, y, y_array, y_start).store(vector, 0)
        return context.get_dummy_value()

    return types.void(x, types.intp, y, types.intp, types.intp, types.intp), emit


def _row_by_row(builder: Any, tile: TileType, rows: Any, emit_row: Callable[[int], None]) -> None:
    """`emit_row` for the first `rows` rows."""
    for row in range(tile.rows):
        with builder.if_then(builder.icmp_signed("<", _number(builder, row), rows), likely=True):
            emit_row(row)


@operation
def store(typing_context: Any, tile: Any, y: Any, at: Any, step: Any, rows: Any, count: Any) -> Any:
    """Write the first `count` numbers of the first `rows` rows, each from y[at + r * step] on."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        sums, array, start, each, wanted, lanes = arguments
        memory = Memory(context, builder, y, array, start, each)
        masks = [first_lanes(builder, lanes, column) for column in range(tile.columns)]

        def emit_row(row: int) -> None:
            for column in range(tile.columns):
                value = builder.extract_value(sums, row * tile.columns + column)
                memory.store(value, row, masks[column], more=LANES * column)

        _row_by_row(builder, tile, wanted, emit_row)
        return context.get_dummy_value()

    return types.void(tile, y, types.intp, types.intp, types.intp, types.intp), emit


@operation
def add_to(typing_context: Any, tile: Any, y: Any, at: Any, step: Any, count: Any) -> Any:
    """Add the first `count` numbers of each row to those from y[at + r * step] on, one row after the other."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        sums, array, start, each, lanes = arguments
        memory = Memory(context, builder, y, array, start, each)
        masks = [first_lanes(builder, lanes, column) for column in range(tile.columns)]
        nothing = ir.Constant(VECTOR, None)
        for place, row, column in _each(tile):
            new = builder.select(masks[column], builder.extract_value(sums, place), nothing)
            old = memory.vector(row, more=LANES * column)
            memory.store(builder.fadd(old, new), row, more=LANES * column)
        return context.get_dummy_value()

    return types.void(tile, y, types.intp, types.intp, types.intp), emit


@operation
def add_sums(typing_context: Any, tile: Any, y: Any, at: Any, step: Any, rows: Any, columns: Any) -> Any:
    """Add the sum of each vector's lanes to y[at + r * step + c], in the first `rows` rows and `columns` columns."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        sums, array, start, each, wanted, across = arguments
        memory = Memory(context, builder, y, array, start, each)

        def emit_row(row: int) -> None:
            for column in range(tile.columns):
                with builder.if_then(builder.icmp_signed("<", _number(builder, column), across), likely=True):
                    address = memory.at(row, NUMBER, column)
                    total = _sum(builder, builder.extract_value(sums, row * tile.columns + column))
                    builder.store(builder.fadd(builder.load(address), total), address)

        _row_by_row(builder, tile, wanted, emit_row)
        return context.get_dummy_value()

    return types.void(tile, y, types.intp, types.intp, types.intp, types.intp), emit

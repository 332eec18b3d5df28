"""More operations on vectors (see `vectors.py`): between memory and registers."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils

from ddpnet.kernels.cpu.vectors import INDEX, INDICES, LANES, Memory, first_lanes, operation

_BYTE = ir.IntType(8)
_CLOSE, _DATA = 3, 1
"""LLVM's words for the first level of cache, and for data."""


@operation
def prefetch(typing_context: Any, x: Any, at: Any, written: Any) -> Any:
    """Bring x[at], which may lie outside, to the cache; `written` is a literal: whether it is going to be written."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        address = Memory(context, builder, x, *arguments[:2]).at(0, _BYTE)
        kind = ir.FunctionType(ir.VoidType(), [address.type, INDEX, INDEX, INDEX])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        options = [ir.Constant(INDEX, value) for value in (int(written.literal_value), _CLOSE, _DATA)]
        builder.call(function, [address, *options])
        return context.get_dummy_value()

    return types.void(x, types.intp, written), emit


@operation
def store_sum(
    typing_context: Any, tile: Any, x: Any, from_: Any, x_step: Any, y: Any, at: Any, step: Any, first: Any, count: Any
) -> Any:
    """Write to the rows from y[at + r * step] on the sums of the tile and those from x[from_ + r * x_step] on: the
    first `count` numbers of each row from the `first` on."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        sums, x_array, x_start, x_each, y_array, start, each, skipped, lanes = arguments
        source = Memory(context, builder, x, x_array, x_start, x_each)
        target = Memory(context, builder, y, y_array, start, each)
        masks = [first_lanes(builder, lanes, column) for column in range(tile.columns)]
        for row in range(tile.rows):
            number = ir.Constant(skipped.type, row)
            with builder.if_then(builder.icmp_signed(">=", number, skipped), likely=True):
                for column in range(tile.columns):
                    value = builder.extract_value(sums, row * tile.columns + column)
                    value = builder.fadd(source.vector(row, masks[column], more=LANES * column), value)
                    target.store(value, row, masks[column], more=LANES * column)
        return context.get_dummy_value()

    place = types.intp
    return types.void(tile, x, place, place, y, place, place, place, place), emit


@operation
def turn(typing_context: Any, x: Any, at: Any, step: Any, count: Any, y: Any, to: Any, pitch: Any) -> Any:
    """Write the transpose of LANES x LANES numbers whose rows are `step` apart, the last row for those from `count` on;
    columns become rows `pitch` apart."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        x_array, start, each, rows, y_array, place, apart = arguments
        last = builder.sub(rows, ir.Constant(rows.type, 1))
        vectors = []
        for row in range(LANES):
            number = ir.Constant(rows.type, row)
            inside = builder.select(builder.icmp_signed("<", number, last), number, last)
            first = builder.add(start, builder.mul(each, inside))
            vectors.append(Memory(context, builder, x, x_array, first).vector(0))
        target = Memory(context, builder, y, y_array, place, apart)
        for row, vector in enumerate(_transposed(builder, vectors)):
            target.store(vector, row)
        return context.get_dummy_value()

    return types.void(x, types.intp, types.intp, types.intp, y, types.intp, types.intp), emit


def _transposed(builder: Any, vectors: list[Any]) -> list[Any]:
    """Bit by bit, exchange the number of a vector with that of a lane."""
    bit = 1
    while bit < LANES:
        low = [lane + (LANES - bit if lane & bit else 0) for lane in range(LANES)]
        high = [lane + (LANES if lane & bit else bit) for lane in range(LANES)]
        masks = [ir.Constant(INDICES, lanes) for lanes in (low, high)]
        changed = list(vectors)
        for i in range(LANES):
            if not i & bit:
                pair = vectors[i], vectors[i + bit]
                changed[i], changed[i + bit] = (builder.shuffle_vector(*pair, mask) for mask in masks)
        vectors, bit = changed, 2 * bit
    return vectors

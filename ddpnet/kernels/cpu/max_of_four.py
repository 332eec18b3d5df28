"""Max-pooling by windows of two by two that lie side by side, and the way back: LANES windows at a time; float32."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types

from ddpnet.kernels.cpu.compiled import compiled
from ddpnet.kernels.cpu.vectors import INDEX, INDICES, LANES, VECTOR, Memory, broadcast, first_lanes, operation


@compiled
def maxima(x, floor, y, places):
    """x (N, C, H, W) to the maxima y (N, C, H // 2, W // 2) and their places in a plane, the first of equals, the last
    NaN before all. Elements count as `floor` where they are at most that."""
    (images, channels, height, width), (rows, columns) = x.shape, y.shape[2:]
    planes = images * channels
    flat_x, flat_y, flat_places = x.reshape(-1), y.reshape(-1), places.reshape(-1)
    to = 0
    for plane in range(planes):
        for row in range(rows):
            for col in range(0, columns, LANES):
                at, place = (plane * height + 2 * row) * width + 2 * col, 2 * row * width + 2 * col
                if at + width + 2 * LANES <= x.size and to + col + LANES <= y.size:  # what is too much is overwritten
                    _store_maxima(flat_x, at, width, floor, flat_y, flat_places, to + col, place, LANES)
                else:
                    _store_maxima(flat_x, at, width, floor, flat_y, flat_places, to + col, place, columns - col)
            to += columns


@compiled
def spread(g, places, dx):
    """g (N, C, H // 2, W // 2) to dx (N, C, H, W): g at the places of the maxima, 0 elsewhere."""
    (images, channels, height, width), (rows, columns) = dx.shape, g.shape[2:]
    planes = images * channels
    flat_g, flat_places, flat_dx = g.reshape(-1), places.reshape(-1), dx.reshape(-1)
    start = 0
    for plane in range(planes):
        for row in range(rows):
            for col in range(0, columns, LANES):
                to, place = (plane * height + 2 * row) * width + 2 * col, 2 * row * width + 2 * col
                last = start + col + LANES > g.size or to + width + 2 * LANES > dx.size
                if last or (columns > LANES and columns - col < LANES):
                    _store_spread(flat_g, flat_places, start + col, flat_dx, to, width, place, columns - col)
                else:  # what is too much is overwritten by the rows below
                    _store_spread(flat_g, flat_places, start + col, flat_dx, to, width, place, LANES)
            start += columns
        image, channel = plane // channels, plane % channels
        if 2 * columns < width:
            dx[image, channel, :, width - 1] = 0
        if 2 * rows < height:
            dx[image, channel, height - 1] = 0


def _numbers(step: int, start: int = 0) -> Any:
    return ir.Constant(INDICES, [start + step * lane for lane in range(LANES)])


def _candidates(builder: Any, place: Any, width: Any) -> list[Any]:
    """Places of the four elements of each window, row by row, from that of the first one."""
    first = builder.add(broadcast(builder, builder.trunc(place, INDEX)), _numbers(2))
    below = builder.add(first, broadcast(builder, builder.trunc(width, INDEX)))
    one = ir.Constant(INDICES, [1] * LANES)
    return [first, builder.add(first, one), below, builder.add(below, one)]


def _is_literal(count: Any) -> bool:
    """Whether all lanes are read and written."""
    return isinstance(count, types.IntegerLiteral)


@operation
def _store_maxima(
    typing_context: Any, x: Any, at: Any, width: Any, floor: Any, y: Any, places: Any, to: Any, place: Any, count: Any
) -> Any:
    """The maxima of the first `count` of LANES windows from x[at] on, and their places from `place` on;
    of LANES where that is a literal."""
    whole = _is_literal(count)

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        x_array, start, across, least, y_array, places_array, target, corner, windows = arguments
        pairs = [None if whole else first_lanes(builder, builder.add(windows, windows), half) for half in range(2)]
        source = Memory(context, builder, x, x_array, start, across)
        lowest, values = broadcast(builder, least), []
        for row in range(2):
            low, high = (source.vector(row, pairs[half], LANES * half) for half in range(2))
            low, high = (builder.select(builder.fcmp_ordered("<=", half, lowest), lowest, half) for half in (low, high))
            values += [builder.shuffle_vector(low, high, _numbers(2, odd)) for odd in range(2)]
        where = _candidates(builder, corner, across)
        best, chosen = values[0], where[0]
        for value, its in zip(values[1:], where[1:], strict=True):
            larger = builder.fcmp_ordered(">", value, best)
            better = builder.or_(larger, builder.fcmp_unordered("uno", value, value))
            best, chosen = builder.select(better, value, best), builder.select(better, its, chosen)
        mask = None if whole else first_lanes(builder, windows)
        Memory(context, builder, y, y_array, target).store(best, 0, mask)
        Memory(context, builder, places, places_array, target).store(chosen, 0, mask)
        return context.get_dummy_value()

    index = types.intp
    return types.void(x, index, index, floor, y, places, index, index, count if whole else index), emit


@operation
def _store_spread(
    typing_context: Any, g: Any, places: Any, at: Any, dx: Any, to: Any, width: Any, place: Any, count: Any
) -> Any:
    """The first `count` of LANES gradients from g[at] on to windows from dx[to] on, whose places begin at `place`;
    of LANES where that is a literal."""
    whole = _is_literal(count)

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        g_array, places_array, start, dx_array, target, across, corner, windows = arguments
        mask = None if whole else first_lanes(builder, windows)
        gradient = Memory(context, builder, g, g_array, start).vector(0, mask)
        chosen = Memory(context, builder, places, places_array, start).vector(0, mask)
        nothing = ir.Constant(VECTOR, None)
        parts = [
            builder.select(builder.icmp_signed("==", chosen, its), gradient, nothing)
            for its in _candidates(builder, corner, across)
        ]
        memory = Memory(context, builder, dx, dx_array, target, across)
        for row in range(2):
            for half in range(2):
                pairs = None if whole else first_lanes(builder, builder.add(windows, windows), half)
                lanes = [half * LANES // 2 + lane // 2 + lane % 2 * LANES for lane in range(LANES)]
                pair = builder.shuffle_vector(*parts[2 * row : 2 * row + 2], ir.Constant(INDICES, lanes))
                memory.store(pair, row, pairs, LANES * half)
        return context.get_dummy_value()

    index = types.intp
    return types.void(g, places, index, dx, index, index, index, count if whole else index), emit

"""How tensors of several ranks are combined (`ReduceOp`)."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

import numpy as np

from ddpnet.distributed.step.tree import halves
from ddpnet.dtypes import category


class ReduceOp(Enum):
    """SUM and AVG are made in the order of the fixed tree over the ranks: the same bits on every rank."""

    SUM = "sum"
    AVG = "avg"
    PRODUCT = "product"
    MIN = "min"
    MAX = "max"
    BAND = "band"
    BOR = "bor"
    BXOR = "bxor"


_UFUNCS: dict[ReduceOp, np.ufunc] = {
    ReduceOp.SUM: np.add,
    ReduceOp.AVG: np.add,
    ReduceOp.PRODUCT: np.multiply,
    ReduceOp.MIN: np.minimum,
    ReduceOp.MAX: np.maximum,
    ReduceOp.BAND: np.bitwise_and,
    ReduceOp.BOR: np.bitwise_or,
    ReduceOp.BXOR: np.bitwise_xor,
}


def check(op: ReduceOp, array: np.ndarray) -> None:
    """TypeError for what is no ReduceOp; RuntimeError for bits of numbers that are no integers, and means of bools."""
    if not isinstance(op, ReduceOp):
        raise TypeError(f"expected a ReduceOp ({', '.join(op.name for op in ReduceOp)}), got {op!r}")
    kind = category(array.dtype)
    if kind == 2 and op in (ReduceOp.BAND, ReduceOp.BOR, ReduceOp.BXOR):
        raise RuntimeError(f"Cannot use ReduceOp.{op.name} with non-integral dtype {array.dtype}")
    if kind == 0 and op is ReduceOp.AVG:
        raise RuntimeError("Cannot use ReduceOp.AVG with Bool: a mean of truth values is none")


def ufunc(op: ReduceOp) -> np.ufunc:
    """The function of two arrays. A sum of bools is whether any is true, a product whether all are."""
    return _UFUNCS[op]


def finish(op: ReduceOp, total: np.ndarray, count: int) -> np.ndarray:
    """The result, from what was combined of `count` ranks. Means of integers are cut towards zero, as NCCL does."""
    if op is not ReduceOp.AVG:
        return total
    if category(total.dtype) == 2:
        return np.asarray(total / total.dtype.type(count))
    down = total // count
    return np.asarray(down + ((total % count != 0) & (total < 0)), total.dtype)


def combine(op: ReduceOp, parts: Sequence[np.ndarray]) -> np.ndarray:
    """The arrays of all ranks combined in the order of the tree."""

    def node(span: tuple[int, int]) -> np.ndarray:
        if span[1] - span[0] == 1:
            return parts[span[0]]
        left, right = halves(span)
        return np.asarray(ufunc(op)(node(left), node(right)))

    return finish(op, node((0, len(parts))), len(parts))

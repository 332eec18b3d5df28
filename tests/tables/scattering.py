"""Rows of the families that choose and scatter by index."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tables import Table, apart, positive, real, truth, whole

TABLE = Table()
row = TABLE.row

ROWS = np.array([2, 0, 2])
EACH = np.array([[0, 2, 1], [1, 1, 2]])


def changed(change: Callable[..., Any]) -> Callable[..., Any]:
    """An update in place of a tensor that is not a leaf."""

    def call(torch: Any, x: Any, *rest: Any) -> Any:
        y = x * 2
        change(torch, y, *rest)
        return y

    return call


row("take", lambda torch, x, i: (x.take(i), torch.take(x, i - 6)), real(2, 3), np.array([[0, 5], [5, 1]]))
row("take along dim", lambda torch, x, i: torch.take_along_dim(x, i, 1), real(2, 3), np.array([[0], [2]]))
row("masked select", lambda torch, x, m: torch.masked_select(x, m), real(2, 3), np.array([True, False, True]))
row("nonzero", lambda torch, x: (x.nonzero(), *torch.nonzero(x, as_tuple=True), x.argwhere()), truth(3, 4))
row("separate arrays", lambda torch, x, i: x[i, :, i], real(3, 2, 3), ROWS)
row("number and array", lambda torch, x, i: (x[0, :, i], x[:, 0, i], x[i, None, 1]), real(3, 2, 3), ROWS)
row("truth values", lambda torch, x: (x[True], x[False], x[None, True, 0]), real(2, 3))
row("mask and array", lambda torch, x, m, i: x[m, i], real(3, 4), np.array([True, False, True]), np.array([1, 3]))
row("range and list", lambda torch, x: (x[range(2)], x[[0, 1], [1, 1]], x[[], 0]), real(3, 4))
row("scatter", lambda torch, x, i, y: x.scatter(1, i, y), real(2, 3), np.array([[0, 2], [1, 0]]), real(2, 2))
row("scatter a number", lambda torch, x, i: (x.scatter(1, i, 2.5), x.scatter(1, i, value=1)), real(2, 3), EACH[:, :1])
row("scatter add", lambda torch, x, i, y: torch.scatter_add(x, 1, i, y), real(2, 3), EACH, real(2, 3))
for kind in ("sum", "mean", "prod", "amax", "amin"):
    for own in (True, False):
        row(
            f"scatter reduce {kind} {own}",
            lambda torch, x, i, y, kind=kind, own=own: x.scatter_reduce(1, i, y, kind, include_self=own),
            apart(2, 3),
            EACH,
            positive(2, 3),
        )
row("index add", lambda torch, x, i, y: x.index_add(0, i, y, alpha=2), real(3, 2), ROWS, real(3, 2))
row("index add last", lambda torch, x, i, y: x.index_add(-1, i, y), real(2, 3), ROWS, real(2, 3))
row("index copy", lambda torch, x, i, y: x.index_copy(1, i, y), real(2, 3), np.array([2, 0]), real(2, 2))
row("index fill", lambda torch, x, i: x.index_fill(0, i, 5), real(3, 2), ROWS)
row("index put", lambda torch, x, i, y: x.index_put((i,), y, accumulate=True), real(3, 2), ROWS, real(2))
row("put", lambda torch, x, i, y: x.put(i, y), real(2, 3), np.array([1, 4]), real(2))
row("put accumulate", lambda torch, x, i, y: x.put(i, y, True), real(2, 3), np.array([1, 1]), real(2))
row("masked scatter", lambda torch, x, m, y: x.masked_scatter(m, y), real(2, 3), np.eye(2, 3, dtype=bool), real(4))
row("select scatter", lambda torch, x, y: x.select_scatter(y, 1, 0), real(2, 3), real(2))
row("slice scatter", lambda torch, x, y: torch.slice_scatter(x, y, 1, 0, 3, 2), real(2, 3), real(2, 2))
row("one hot", lambda torch, i: torch.nn.functional.one_hot(i, 4), whole(0, 4, 2, 3))
row("in place add at", changed(lambda torch, x, y, i: x.index_add_(0, i, y)), real(3, 2), real(3, 2), ROWS)
row(
    "in place scatter",
    changed(lambda torch, x, y, i: x.scatter_(1, i, y)),
    real(2, 3),
    real(2, 2),
    np.array([[0, 2], [1, 0]]),
)
row("in place of a part", changed(lambda torch, x, y: x[0].mul_(y)), real(2, 3), real(3))
row(
    "put number and array",
    changed(lambda torch, x, y, i: x.__setitem__((0, i), y)),
    real(2, 3),
    real(2),
    np.array([2, 0]),
)


def augmented(torch: Any, x: Any, y: Any, i: Any) -> Any:
    z = x * 1
    z[i] += y
    z[:, 0] *= 3
    return z


row("augmented", augmented, real(3, 2), real(2, 2), np.array([2, 0]))
row("put leading ones", changed(lambda torch, x, y: x.__setitem__(0, y)), real(2, 3), real(1, 1, 3))

"""Rows of the family `indexing`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tables import Table, apart, real, whole

TABLE = Table()
row = TABLE.row

# Indexing

ROWS = np.array([2, 0, 2])
row("index", lambda torch, x: x[1], real(3, 4))
row("index from the end", lambda torch, x: x[-1, -2], real(3, 4))
row("index of all", lambda torch, x: x[...], real(3, 4))
row("slice", lambda torch, x: x[1:, ::2], real(3, 4))
row("slice and new", lambda torch, x: x[:, None, 1], real(3, 4))
row("ellipsis", lambda torch, x: x[..., 0], real(2, 3, 4))
row("index by tensor", lambda torch, x, i: x[i], real(3, 4), ROWS)
row("index by tensors", lambda torch, x, i, j: x[i, j], real(3, 4), ROWS, np.array([0, 1, 0]))
row("index by slice and tensor", lambda torch, x, i: x[:, i], real(2, 3), ROWS)
row("index by list", lambda torch, x: x[[0, 2, 0]], real(3, 4))
row("index by 0-d tensor", lambda torch, x, i: x[i], real(3, 4), np.array(1))
row("index by mask", lambda torch, x, c: x[c], real(3, 4), np.eye(3, 4, dtype=bool))
row("index by row mask", lambda torch, x, c: x[c], real(3, 4), np.array([True, False, True]))
row("index by comparison", lambda torch, x: x[x > 0], apart(3, 4))
row("gather", lambda torch, x, i: torch.gather(x, 1, i), real(3, 4), whole(0, 4, 3, 2))
row("gather first", lambda torch, x, i: x.gather(0, i), real(3, 4), whole(0, 3, 5, 4))
row("gather of fewer", lambda torch, x, i: x.gather(1, i), real(3, 4), whole(0, 4, 2, 6))
row("index select", lambda torch, x, i: torch.index_select(x, 1, i), real(2, 3), ROWS)


def put(key: Callable[[Any], Any]) -> Callable[..., Any]:
    """Assignment to elements of a tensor that is not a leaf, with gradients to the tensor and to the value."""

    def call(torch: Any, x: Any, value: Any) -> Any:
        y = x * 2
        y[key(torch)] = value
        return y

    return call


row("put one", put(lambda torch: 1), real(3, 4), real(4))
row("put a slice", put(lambda torch: slice(1, None)), real(3, 4), real(2, 4))
row("put broadcast", put(lambda torch: (slice(None), 2)), real(3, 4), real())
row("put by tensor", put(lambda torch: torch.tensor([2, 0])), real(3, 4), real(2, 4))
row("put by mask", put(lambda torch: torch.tensor([True, False, True])), real(3, 4), real(2, 4))
row("put by list", put(lambda torch: [0, 2]), real(3, 4), real(4))
row("put all", put(lambda torch: ...), real(3, 4), real(4))
row("put a number", lambda torch, x: put(lambda torch: 0)(torch, x, 5.0), real(3, 4))
row("copy", lambda torch, x, y: (x * 2).copy_(y), real(3, 4), real(4))
row("fill", lambda torch, x: (x * 2).fill_(3), real(3, 4))
row("zero", lambda torch, x: (x * 2).zero_(), real(3, 4))

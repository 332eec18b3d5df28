"""Rows of the family `embedding`: tables of rows, bags of them, and bilinear forms."""

from __future__ import annotations

from typing import Any

import numpy as np

from tables import Table, apart, real, whole

TABLE = Table()
row = TABLE.row

INDEX = np.array([[1, 4, 1], [0, 2, 4]])


def embedding(torch: Any, w: Any, i: Any, **options: Any) -> Any:
    return torch.nn.functional.embedding(i, w, **options)


def bag(torch: Any, w: Any, i: Any, *rest: Any, **options: Any) -> Any:
    return torch.nn.functional.embedding_bag(i, w, *rest, **options)


row("embedding", embedding, real(5, 3), INDEX)
row("embedding of one", embedding, real(5, 3), np.array(2))
row("embedding of nothing", embedding, real(5, 3), np.zeros((2, 0), np.int64))
row("embedding by int32", embedding, real(5, 3), INDEX.astype(np.int32))
row("embedding, padding", lambda torch, w, i: embedding(torch, w, i, padding_idx=-1), real(5, 3), INDEX, smooth=False)
row(
    "embedding, by frequency",
    lambda torch, w, i: embedding(torch, w, i, scale_grad_by_freq=True),
    real(5, 3),
    INDEX,
    smooth=False,
)
row(
    "embedding, largest norm",
    lambda torch, w, i: embedding(torch, w.detach().clone(), i, max_norm=0.7, norm_type=1.0),
    real(5, 3),
    INDEX,
)
OFFSETS = np.array([0, 2, 2, 5])
FLAT = np.array([1, 4, 0, 2, 2, 4])
for mode in ("sum", "mean", "max"):
    row(f"bag {mode}", lambda torch, w, i, m=mode: bag(torch, w, i, mode=m), apart(5, 3), INDEX)
    row(
        f"bag {mode} with offsets",
        lambda torch, w, i, o, m=mode: bag(torch, w, i, o, mode=m),
        apart(5, 3),
        FLAT,
        OFFSETS,
    )
    row(
        f"bag {mode} with the last offset",
        lambda torch, w, i, o, m=mode: bag(torch, w, i, o, mode=m, include_last_offset=True),
        apart(5, 3),
        FLAT,
        np.array([0, 2, 6]),
    )
    row(
        f"bag {mode}, padding",
        lambda torch, w, i, o, m=mode: bag(torch, w, i, o, mode=m, padding_idx=2),
        apart(5, 3),
        FLAT,
        OFFSETS,
    )
row(
    "bag of weighted samples",
    lambda torch, w, s, i, o: bag(torch, w, i, o, mode="sum", per_sample_weights=s),
    real(5, 3),
    real(6),
    FLAT,
    OFFSETS,
)

# Bilinear forms

for batch in ((), (4,), (2, 3), (0,)):
    row(
        f"bilinear {batch}",
        lambda torch, x, z, w, b: torch.nn.functional.bilinear(x, z, w, b),
        real(*batch, 2),
        real(*batch, 3),
        real(4, 2, 3),
        real(4),
        tolerance=4,
    )
row("bilinear, no bias", lambda torch, x, z, w: torch.bilinear(x, z, w), real(5, 2), real(5, 3), real(4, 2, 3))
row(
    "bilinear of integers",
    lambda torch, x, z, w: torch.bilinear(x, z, w),
    *(whole(-3, 3, *shape) for shape in ((5, 2), (5, 3), (4, 2, 3))),
)

"""Rows of the family `reduction`."""

from __future__ import annotations

import numpy as np

from tables import Table, apart, real, truth, whole

TABLE = Table()
row, rows = TABLE.row, TABLE.rows

# Reductions

for name in ("sum", "mean"):
    rows(name, lambda torch, x, f=name: getattr(torch, f)(x), real, (2, 3), ())
    for dim in (0, -1, (0, 2), [1], None):
        row(f"{name} {dim}", lambda torch, x, f=name, d=dim: getattr(x, f)(d), real(2, 3, 4))
        row(f"{name} {dim} kept", lambda torch, x, f=name, d=dim: getattr(x, f)(d, keepdim=True), real(2, 3, 4))
row("sum of nothing", lambda torch, x: (x.sum(), x.sum(0), x.sum(1)), real(0, 3))
row("sum of integers", lambda torch, x: (x.sum(), x.sum(0)), whole(0, 5, 2, 3).astype(np.int32))
row("sum of truth", lambda torch, x: (x.sum(), x.sum(1)), truth(2, 3))
row("sum in another dtype", lambda torch, x: x.sum(dtype=torch.float64), real(2, 3))
row("mean of integers as floats", lambda torch, x: x.mean(dtype=torch.float32), whole(0, 5, 2, 3))
for unbiased in (True, False):
    row(f"var {unbiased}", lambda torch, x, u=unbiased: x.var(unbiased=u), real(2, 3))
    row(f"std {unbiased}", lambda torch, x, u=unbiased: torch.std(x, 1, unbiased=u), real(2, 3))
    row(f"var kept {unbiased}", lambda torch, x, u=unbiased: torch.var(x, (0, 2), u, True), real(2, 3, 4))
row("var correction", lambda torch, x: torch.var(x, 1, correction=2), real(2, 4))
for name in ("max", "min"):
    row(name, lambda torch, x, f=name: getattr(torch, f)(x), apart(3, 4))
    row(f"{name} of equals", lambda torch, x, f=name: getattr(torch, f)(x), np.ones((2, 3)), smooth=False)
    row(f"{name} along", lambda torch, x, f=name: tuple(getattr(torch, f)(x, 1)), apart(3, 4))
    row(f"{name} along kept", lambda torch, x, f=name: getattr(x, f)(dim=0, keepdim=True).values, apart(3, 4))
    row(f"{name} of two", lambda torch, x, y, f=name: getattr(torch, f)(x, y), apart(3, 4), real(3, 4))
    row(f"{name} of integers", lambda torch, x, f=name: getattr(x, f)(), whole(0, 9, 5))
    row(
        f"{name} with nan",
        lambda torch, x, f=name: tuple(getattr(x, f)(1)),
        np.array([[1, np.nan, 2], [3, 1, 2]]),
        smooth=False,
    )
    position = f"arg{name}"
    row(position, lambda torch, x, f=position: getattr(torch, f)(x), apart(3, 4))
    row(f"{position} along", lambda torch, x, f=position: getattr(x, f)(1), apart(3, 4))
    row(f"{position} kept", lambda torch, x, f=position: getattr(x, f)(dim=-1, keepdim=True), apart(3, 4))
row("all, any", lambda torch, x: (x.all(), x.any(), torch.all(x, 0), x.any(1, keepdim=True)), truth(2, 3))
row("norm", lambda torch, x: torch.norm(x), real(2, 3))
row("norm 1", lambda torch, x: x.norm(1), apart(2, 3))
row("norm 3 along", lambda torch, x: x.norm(3, dim=1), apart(2, 3))
row("norm kept", lambda torch, x: x.norm(2, 1, True), real(2, 3))
for name in ("prod", "nansum", "nanmean", "logsumexp"):
    for dim in (0, -1):
        row(f"{name} {dim}", lambda torch, x, f=name, d=dim: getattr(torch, f)(x, d), real(2, 3))
        row(f"{name} {dim} kept", lambda torch, x, f=name, d=dim: getattr(x, f)(axis=d, keepdims=True), real(2, 3))
row("prod of all", lambda torch, x: torch.prod(x), real(2, 3))
row("prod of none", lambda torch, x: (x.prod(), x.prod(0), x.prod(1)), real(0, 3))
row("prod of a number", lambda torch, x: (x.prod(), x.prod(0, keepdim=True)), real())
row("prod with a zero", lambda torch, x: x.prod(1), np.array([[1.0, 0.0, 3.0], [2.0, 4.0, 5.0]]))
row("prod with zeros", lambda torch, x: x.prod(), np.array([2.0, 0.0, 3.0, 0.0]))
row("prod of integers", lambda torch, x: (x.prod(), x.prod(0, dtype=torch.int8)), whole(1, 5, 2, 3).astype(np.int32))
row(
    "nansum of some",
    lambda torch, x: x.nansum(1),
    np.array([[1.0, np.nan], [np.nan, np.nan]]),
    smooth=False,
    twice=False,
)
row("nanmean of some", lambda torch, x: x.nanmean(1), np.array([[1.0, np.nan], [3.0, 2.0]]), smooth=False, twice=False)
row("logsumexp over two", lambda torch, x: torch.logsumexp(x, (0, 2)), real(2, 3, 4))
row("logsumexp of large numbers", lambda torch, x: x.logsumexp(0), 1000 + real(3), smooth=False)
row(
    "logsumexp of infinities",
    lambda torch, x: x.logsumexp(1),
    np.array([[-np.inf, -np.inf], [0, np.inf]]),
    smooth=False,
    twice=False,
)
row("logsumexp of integers", lambda torch, x: x.logsumexp(0), whole(0, 5, 3))
row("sum of one dimension of a number", lambda torch, x: (x.sum(0), x.sum(-1, keepdim=True)), real())
row("sum as int8", lambda torch, x: x.sum(dtype=torch.int8), whole(0, 5, 3))
row("sum_to_size", lambda torch, x: (x.sum_to_size(1, 3), x.sum_to_size((3,)), x.sum_to_size(2, 4, 3)), real(2, 4, 3))
row(
    "count_nonzero",
    lambda torch, x: (torch.count_nonzero(x), x.count_nonzero(0), x.count_nonzero((0, 1))),
    whole(0, 2, 3, 4),
)
row(
    "all, any of several",
    lambda torch, x: (x.all((0, 1)), x.any(dim=(0, -1), keepdim=True), torch.any(x)),
    whole(0, 2, 2, 3, 2),
)
row("all, any of bytes", lambda torch, x: (x.all(), x.any(0)), whole(0, 2, 2, 3).astype(np.uint8))
row("all, any of nothing", lambda torch, x: (x.all(), x.any(), x.all(0), x.any(1)), truth(0, 3))
for name in ("amax", "amin"):
    for dim in ((), 0, (0, 2), -1):
        row(f"{name} {dim}", lambda torch, x, f=name, d=dim: getattr(torch, f)(x, d), apart(2, 3, 4))
        row(f"{name} {dim} kept", lambda torch, x, f=name, d=dim: getattr(x, f)(d, keepdim=True), apart(2, 3, 4))
    row(f"{name} of equals", lambda torch, x, f=name: getattr(torch, f)(x, 1), np.ones((2, 3)), smooth=False)
    row(f"{name} of a number", lambda torch, x, f=name: getattr(torch, f)(x), real())
    row(f"{name} of integers", lambda torch, x, f=name: getattr(torch, f)(x, 0), whole(0, 9, 3, 2).astype(np.int16))
    row(f"{name} of truth", lambda torch, x, f=name: getattr(torch, f)(x, 0), truth(3, 2))
row("aminmax", lambda torch, x: (*torch.aminmax(x), *x.aminmax(dim=1, keepdim=True)), apart(3, 4))
row("max of a number along", lambda torch, x: tuple(x.max(0)), real())
row("argmax of all kept", lambda torch, x: (x.argmax(keepdim=True), x.argmin(), x.argmax(axis=1)), apart(3, 4))
row("argmax of ties", lambda torch, x: (x.argmax(0), x.argmin(1)), whole(0, 2, 5, 4))
for name in ("var_mean", "std_mean"):
    row(name, lambda torch, x, f=name: getattr(torch, f)(x), real(2, 3))
    row(f"{name} along", lambda torch, x, f=name: getattr(torch, f)(x, 1, correction=0, keepdim=True), real(2, 3))
    row(f"{name} biased", lambda torch, x, f=name: getattr(torch, f)(x, False), real(2, 3))
row("std of equals", lambda torch, x: x.std(1, correction=0), np.ones((2, 3)), smooth=False, twice=False)
row("var of one", lambda torch, x: x.var(1, unbiased=False), real(3, 1))
row("var by a fraction", lambda torch, x: x.var(0, correction=0.5), real(3, 2))
for p in (0, 0.5, 1, 1.5, 2, 3, np.inf, -np.inf, -1):
    row(f"norm {p}", lambda torch, x, p=p: torch.norm(x, p, 1), real(3, 4))
    row(f"linalg.vector_norm {p}", lambda torch, x, p=p: torch.linalg.vector_norm(x, p, (0, 2), True), real(2, 3, 2))
for p in (1, 2, np.inf):
    row(f"norm {p} at 0", lambda torch, x, p=p: x.norm(p), np.zeros(3), smooth=False, twice=False)
for p in ("fro", "nuc", 1, -1, 2, -2, np.inf, -np.inf):
    row(f"linalg.matrix_norm {p}", lambda torch, x, p=p: torch.linalg.matrix_norm(x, p), real(2, 3, 4), tolerance=100)
    row(f"linalg.norm {p}", lambda torch, x, p=p: torch.linalg.norm(x, p, (0, -1), True), real(3, 2, 2), tolerance=100)
row("linalg.norm", lambda torch, x: (torch.linalg.norm(x), torch.linalg.norm(x, dim=1)), real(2, 3))
row(
    "norm of matrices",
    lambda torch, x: (torch.norm(x, "fro"), torch.norm(x, "nuc", (0, 1)), x.norm("fro", 0)),
    real(3, 4),
    tolerance=100,
)
row("dist", lambda torch, x, y: (torch.dist(x, y), x.dist(y, 3)), real(2, 3), real(3))
row("renorm", lambda torch, x: x.renorm(2, 0, 1.0), real(3, 4), tolerance=10)

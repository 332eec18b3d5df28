"""Rows of the family `scan`."""

from __future__ import annotations

import numpy as np

from tables import Table, apart, positive, real, truth, whole

TABLE = Table()
row, rows = TABLE.row, TABLE.rows

for name in ("cumsum", "cumprod", "logcumsumexp"):
    for dim in (0, 1, -1):
        row(f"{name} {dim}", lambda torch, x, f=name, d=dim: getattr(torch, f)(x, d), real(3, 4), tolerance=10)
    rows(name, lambda torch, x, f=name: getattr(x, f)(0), positive, (), (0, 3), (2, 3, 2), tolerance=10)
for name in ("cumsum", "cumprod"):
    row(f"{name} of integers", lambda torch, x, f=name: getattr(x, f)(1), whole(0, 5, 3, 4).astype(np.int16))
    row(f"{name} of truth", lambda torch, x, f=name: getattr(x, f)(0), truth(3, 4))
    row(f"{name} in a dtype", lambda torch, x, f=name: getattr(x, f)(0, dtype=torch.float64), whole(0, 5, 3))
row("cumprod with zeros", lambda torch, x: x.cumprod(1), np.array([[1.0, 0.0, 3.0, 2.0], [2.0, 4.0, 0.0, 0.0]]))
row("cumsum in place", lambda torch, x: (x * 1).cumsum_(0), real(3, 2))
for name in ("cummax", "cummin"):
    row(name, lambda torch, x, f=name: tuple(getattr(torch, f)(x, 1)), apart(3, 4))
    row(f"{name} of ties", lambda torch, x, f=name: tuple(getattr(x, f)(0)), whole(0, 3, 6, 4))
    row(
        f"{name} with nan",
        lambda torch, x, f=name: tuple(getattr(x, f)(0)),
        np.array([1, 3, np.nan, 2, 5.0]),
        smooth=False,
        twice=False,
    )
    rows(name, lambda torch, x, f=name: tuple(getattr(x, f)(0)), real, (), (0, 3))
for n in (0, 1, 2):
    row(f"diff {n}", lambda torch, x, n=n: torch.diff(x, n), real(2, 4))
row(
    "diff with ends",
    lambda torch, x, a, b: torch.diff(x, dim=0, prepend=a, append=b),
    real(3, 2),
    real(1, 2),
    real(2, 2),
)
row("diff of truth", lambda torch, x: x.diff(), truth(2, 5))
row("trapezoid", lambda torch, y: (torch.trapezoid(y), torch.trapz(y, dx=0.5, dim=0)), real(3, 4))
row(
    "trapezoid at points",
    lambda torch, y, x: (torch.trapezoid(y, x), torch.trapezoid(y, x, dim=-1)),
    real(3, 4),
    real(4),
)
row("cumulative_trapezoid", lambda torch, y: torch.cumulative_trapezoid(y, dim=0), real(3, 4))
row("cumulative_trapezoid at points", lambda torch, y, x: torch.cumulative_trapezoid(y, x), real(3, 4), real(3, 4))

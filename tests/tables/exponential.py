"""Rows of the families `exponential`, `powers` and `trigonometry`."""

from __future__ import annotations

import numpy as np

from tables import SHAPES, Table, apart, positive, real, whole

TABLE = Table()
row, rows = TABLE.row, TABLE.rows


def inside(*shape: int) -> np.ndarray:
    return np.tanh(real(*shape)) * 0.9


def above(*shape: int) -> np.ndarray:
    return positive(*shape) + 1.0


EVERYWHERE = "exp2 expm1 sin cos tan atan sinh cosh asinh sinc deg2rad rad2deg".split()
for names, make in (
    (EVERYWHERE, real),
    ("log log2 log10 log1p sqrt rsqrt reciprocal".split(), positive),
    ("asin acos atanh".split(), inside),
    ("acosh".split(), above),
):
    for name in names:
        rows(name, lambda torch, x, f=name: getattr(torch, f)(x), make, *SHAPES)
        row(f"{name} method", lambda torch, x, f=name: getattr(x, f)(), make(4))
        if name not in ("asinh", "acosh", "atanh"):  # PyTorch has no derivative of these
            row(f"{name} in place", lambda torch, x, f=name: getattr(x * 1, f"{f}_")(), make(4))
        row(f"{name} out", lambda torch, x, f=name: getattr(torch, f)(x.detach(), out=torch.empty_like(x)), make(4))
        row(f"{name} of integers", lambda torch, n, f=name: getattr(torch, f)(n), whole(1, 2, 3))
for name, other in zip(
    "arcsin arccos arctan arcsinh arccosh arctanh".split(), (inside, inside, real, real, above, inside), strict=True
):
    row(
        name,
        lambda torch, x, f=name: (getattr(torch, f)(x), getattr(x, f)(), getattr(x.detach() * 1, f"{f}_")()),
        other(4),
    )
row("sinc near 0", lambda torch, x: torch.sinc(x), np.array([0.0, 1e-3, 1.0, -2.0]), smooth=False)
row("atan2", lambda torch, y, x: torch.atan2(y, x), apart(3, 4), apart(4))
row("arctan2 in place", lambda torch, y, x: (y * 1).arctan2_(x), apart(3, 4), apart(4))
row("hypot", lambda torch, x, y: torch.hypot(x, y), apart(3, 4), apart(4))
for name in ("logaddexp", "logaddexp2"):
    row(name, lambda torch, x, y, f=name: getattr(torch, f)(x, y), real(3, 4), real(4))
    row(f"{name} 0-d", lambda torch, x, y, f=name: getattr(torch, f)(x, y), real(), real())
row("logaddexp of infinities", lambda torch, x: torch.logaddexp(x.detach(), x.detach()), np.array([np.inf, -np.inf]))
row("xlogy", lambda torch, x, y: torch.xlogy(x, y), apart(3, 4), positive(4))
row("xlogy numbers", lambda torch, x: (torch.xlogy(2.5, x), torch.xlogy(x, 3), torch.xlogy(0, x)), positive(4))
row(
    "xlogy at 0",
    lambda torch, x, y: torch.xlogy(x, y),
    np.array([0.0, 0.0, 0.0, 2.0]),
    np.array([0.0, -1.0, np.nan, 3.0]),
    smooth=False,
)
row("xlogy integers", lambda torch, n: torch.xlogy(n, n), whole(0, 5, 6))
row("logit", lambda torch, x: torch.logit(x), positive(3, 4) / 3)
row("logit eps", lambda torch, x: torch.logit(x, 0.3), np.array([0.1, 0.4, 0.6, 0.8, 1.2]))
row("logit outside", lambda torch, x: x.logit(), np.array([-0.1, 0.0, 0.5, 1.0, 1.1]), smooth=False)
row("pow of integers", lambda torch, n, p: (n**p, n**2, 2**p, n**0.5, torch.pow(3, p)), whole(1, 5, 4), whole(0, 4, 4))
row("negative powers of integers", lambda torch, n: (n ** torch.full_like(n, -1),), np.array([1, -1, 2, -3]))
row("float power", lambda torch, x, n: (torch.float_power(x, 2), torch.float_power(n, n)), positive(4), whole(1, 4, 4))
row("float power from number", lambda torch, x: torch.float_power(2, x), positive(4))
row("pow negative base", lambda torch, x: x**3, np.array([-1.5, 0.5]))
row("pow edges", lambda torch, x: (x**0, x**1, x**2, x**0.5), np.array([0.0, 1.0]), smooth=False)
row("pow from zero", lambda torch, p: torch.pow(0.0, p), np.array([0.0, 1.0, 2.0]), smooth=False)
row(
    "square of integers",
    lambda torch, n, b: (torch.square(n), torch.square(b)),
    whole(-3, 3, 4),
    np.array([True, False]),
)
row("sqrt at 0", lambda torch, x: x.sqrt(), np.array([0.0, 4.0]), smooth=False)

"""Rows of the family `special_functions`."""

from __future__ import annotations

import numpy as np

from tables import SHAPES, Table, apart, positive, real, whole

TABLE = Table()
row, rows = TABLE.row, TABLE.rows

PLACES = np.array([-3.5, -2.0, -1.2, -0.0, 0.0, 0.3, 1.0, 2.0, 11.0, 50.0, np.nan, np.inf, -np.inf])
for name in "erf erfc i0 i0e i1 i1e log_ndtr ndtr erfcx".split():
    rows(name, lambda torch, x, f=name: getattr(torch.special, f)(x), apart, *SHAPES)
for name in "gammaln entr".split():
    rows(name, lambda torch, x, f=name: getattr(torch.special, f)(x), positive, *SHAPES)
rows("digamma", lambda torch, x: torch.digamma(x), positive, *SHAPES, tolerance=1000)
for name in "erf erfc lgamma".split():
    row(f"{name} at places", lambda torch, x, f=name: getattr(torch, f)(x.detach()), PLACES, tolerance=10)
row("lgamma of negative", lambda torch, x: torch.lgamma(x), np.array([-0.3, -1.7, -2.2]), tolerance=10)
row("digamma of negative", lambda torch, x: torch.digamma(x), np.array([-0.3, -1.7, -2.2, 12.0]), tolerance=1000)
row("digamma at poles", lambda torch, x: torch.digamma(x.detach()), np.array([0.0, -0.0, -1.0, -2.0]))
rows("erfinv", lambda torch, x: torch.erfinv(x), lambda *shape: np.tanh(real(*shape)), *SHAPES, tolerance=30)
row("erfinv outside", lambda torch, x: torch.erfinv(x.detach()), np.array([-1.0, 1.0, 1.5, np.nan]))
rows("ndtri", lambda torch, x: torch.special.ndtri(x), lambda *shape: positive(*shape) / 3, *SHAPES, tolerance=30)
row("ndtri outside", lambda torch, x: torch.special.ndtri(x.detach()), np.array([-1.0, 0.0, 1e-30, 1.0, 2.0, np.nan]))
for n in (0, 1, 2, 4):
    row(f"polygamma {n}", lambda torch, x, n=n: torch.polygamma(n, x), positive(3, 4), tolerance=1000, twice=n < 4)
    row(f"polygamma {n} method", lambda torch, x, n=n: x.polygamma(n), positive(3), tolerance=1000, twice=n < 4)
row("mvlgamma", lambda torch, x: torch.mvlgamma(x, 3), positive(3, 4) + 2)
row("xlog1py", lambda torch, x, y: (torch.special.xlog1py(x, y), torch.special.xlog1py(2, y)), apart(3, 4), positive(4))
row(
    "zeta",
    lambda torch, x, q: torch.special.zeta(x.detach(), q.detach()),
    positive(3, 4) + 1,
    positive(4),
    tolerance=10,
)
row("integers", lambda torch, n: (n.erf(), n.lgamma(), torch.digamma(n), torch.i0(n)), whole(1, 5, 4))
row(
    "in place",
    lambda torch, x: ((x * 1).erf_(), (x * 1).lgamma_(), (x * 1).digamma_(), (x * 1).erfc_()),
    positive(4),
    tolerance=1000,
)
row(
    "incomplete gamma",
    lambda torch, a, x: (torch.igamma(a.detach(), x), torch.special.gammaincc(a.detach(), x)),
    positive(3, 40) * 5,
    positive(40) * 5,
    tolerance=10,
    twice=False,
)
row(
    "incomplete gamma at edges",
    lambda torch, a, x: (torch.igamma(a.detach(), x.detach()), torch.igammac(a.detach(), x.detach())),
    np.array([0.0, 0.0, 1.0, 1.0, np.inf, -1.0, 2.0, 300.0]),
    np.array([0.0, 1.0, 0.0, np.inf, 1.0, 1.0, -1.0, 310.0]),
    tolerance=100,
)

"""Rows of the families `solving`, `factorization`, `matrices` and `distance`."""

from __future__ import annotations

import numpy as np

from tables import Table, apart, real

TABLE = Table()
row, rows = TABLE.row, TABLE.rows


def definite(*shape: int) -> np.ndarray:
    """Matrices that are symmetric and positive definite."""
    x = real(*shape)
    return x @ x.swapaxes(-1, -2) + 2 * np.eye(shape[-1])


def regular(*shape: int) -> np.ndarray:
    """Matrices far from singular ones."""
    return real(*shape) + 4 * np.eye(shape[-1])


for shape in ((3, 3), (2, 3, 3), (0, 0)):
    row(f"inv {shape}", lambda torch, x: (torch.linalg.inv(x), x.inverse()), regular(*shape), tolerance=100)
    row(f"det {shape}", lambda torch, x: (torch.linalg.det(x), x.det()), regular(*shape), tolerance=100)
    row(f"slogdet {shape}", lambda torch, x: (torch.linalg.slogdet(x)[1], x.logdet()), definite(*shape), tolerance=100)
row("solve", lambda torch, a, b: torch.linalg.solve(a, b), regular(2, 3, 3), real(2, 3, 4), tolerance=100)
row("solve for vectors", lambda torch, a, b: torch.linalg.solve(a, b), regular(3, 3), real(3), tolerance=100)
row(
    "solve from the right",
    lambda torch, a, b: torch.linalg.solve(a, b, left=False),
    regular(3, 3),
    real(4, 3),
    tolerance=100,
)
for upper in (False, True):
    row(
        f"cholesky {upper}",
        lambda torch, x, u=upper: torch.linalg.cholesky((x + x.mT) / 2, upper=u),
        definite(2, 3, 3),
        tolerance=100,
    )
    row(
        f"solve_triangular {upper}",
        lambda torch, a, b, u=upper: torch.linalg.solve_triangular(a, b, upper=u),
        regular(3, 3),
        real(3, 2),
        tolerance=100,
    )
row(
    "cholesky_solve",
    lambda torch, b, a: torch.cholesky_solve(b, torch.linalg.cholesky((a + a.mT) / 2)),
    real(3, 2),
    definite(3, 3),
    tolerance=1000,
)
row("qr", lambda torch, x: tuple(y.abs() for y in torch.linalg.qr(x)), real(4, 3), tolerance=100)
row("qr of a wide matrix", lambda torch, x: tuple(y.abs() for y in torch.linalg.qr(x)), real(3, 5), tolerance=1000)
row("svdvals", lambda torch, x: torch.linalg.svdvals(x), real(2, 4, 3), tolerance=1000)
row(
    "svd",
    lambda torch, x: tuple(y.abs() for y in torch.linalg.svd(x, full_matrices=False)),
    real(4, 3),
    tolerance=10000,
)
row("svd of a wide matrix", lambda torch, x: (torch.svd(x).U.abs(), torch.svd(x).S), real(3, 4), tolerance=10000)
row("eigh", lambda torch, x: tuple(y.abs() for y in torch.linalg.eigh((x + x.mT) / 2)), definite(3, 3), tolerance=10000)
row("eigvalsh", lambda torch, x: torch.linalg.eigvalsh((x + x.mT) / 2), definite(2, 3, 3), tolerance=1000)
row("pinv", lambda torch, x: (torch.linalg.pinv(x), x.mT.pinverse()), real(4, 3), tolerance=1000)
row("lstsq", lambda torch, a, b: torch.linalg.lstsq(a, b).solution, real(5, 3), real(5, 2), tolerance=1000)
row("matrix_rank", lambda torch, x: torch.linalg.matrix_rank(x @ x.mT), real(4, 2), tolerance=10)
for n in (-2, 0, 1, 3, 6):
    row(f"matrix_power {n}", lambda torch, x, n=n: torch.matrix_power(x / 4, n), regular(3, 3), tolerance=1000)
row("matrix_exp", lambda torch, x: torch.matrix_exp(x), real(2, 3, 3), tolerance=1000)
for p in (None, 1, -1, 2, -2, "fro", "nuc", np.inf):
    row(
        f"cond {p}",
        lambda torch, x, p=p: torch.linalg.cond(x if p in (None, 2, -2) else x.detach(), p),
        regular(3, 3),
        tolerance=1000,
    )

for p in (0, 1, 2, 3, np.inf):
    row(
        f"cdist {p}",
        lambda torch, x, y, p=p: torch.cdist(x, y, p),
        apart(2, 3, 4),
        real(2, 5, 4),
        twice=p == 2,
        tolerance=10,
        smooth=p != 0,
    )
    row(
        f"pdist {p}",
        lambda torch, x, p=p: torch.nn.functional.pdist(x, p),
        real(4, 3),
        twice=False,
        tolerance=10,
        smooth=p != 0,
    )
row("cdist of many", lambda torch, x, y: torch.cdist(x, y), real(30, 4), real(28, 4), twice=False, tolerance=1000)
row("cdist broadcast", lambda torch, x, y: torch.cdist(x, y), real(2, 1, 3, 4), real(5, 2, 4), tolerance=10)
for p in (1, 2, 3):
    row(
        f"pairwise_distance {p}",
        lambda torch, x, y, p=p: torch.nn.functional.pairwise_distance(x, y, p, keepdim=True),
        real(3, 4),
        real(3, 4),
    )
    row(f"normalize {p}", lambda torch, x, p=p: torch.nn.functional.normalize(x, p), apart(3, 4))
row(
    "normalize zeros",
    lambda torch, x: torch.nn.functional.normalize(x, dim=0),
    np.zeros((2, 2)),
    smooth=False,
    twice=False,
)
row("cosine_similarity", lambda torch, x, y: torch.cosine_similarity(x, y), real(3, 4), real(3, 4), tolerance=10)
row(
    "cosine_similarity broadcast",
    lambda torch, x, y: torch.nn.functional.cosine_similarity(x, y, -1),
    real(3, 1, 4),
    real(2, 4),
    tolerance=10,
)

"""Rows of the family `statistics`."""

from __future__ import annotations

from tables import Table, real, whole

TABLE = Table()
row = TABLE.row

row("cov", lambda torch, x: (torch.cov(x), x.cov(correction=0), torch.cov(x[0])), real(3, 5), tolerance=10)
row("cov weighed", lambda torch, x, f: torch.cov(x, fweights=f), real(3, 5), whole(1, 4, 5), tolerance=10)
row("cov of weights", lambda torch, x, f, a: x.cov(fweights=f, aweights=a.abs()), real(2, 4), whole(1, 4, 4), real(4))
row("corrcoef", lambda torch, x: (torch.corrcoef(x), x[0].corrcoef()), real(3, 5), tolerance=10)
for order in (1, 2):
    row(f"gradient {order}", lambda torch, x, e=order: torch.gradient(x, edge_order=e), real(4, 5))
    row(
        f"gradient in steps {order}",
        lambda torch, x, e=order: torch.gradient(x, spacing=0.5, dim=1, edge_order=e),
        real(3, 4),
    )
row(
    "gradient at points",
    lambda torch, x: torch.gradient(
        x, spacing=(torch.tensor([0.0, 1.0, 4.0, 5.0], dtype=x.dtype),), dim=0, edge_order=2
    ),
    real(4, 2),
    tolerance=10,
)
row("histogram", lambda torch, x: tuple(torch.histogram(x.detach(), 4, range=(-1.0, 1.0))), real(20))
row(
    "histogram of edges",
    lambda torch, x: tuple(x.detach().histogram(torch.tensor([-1.0, 0, 3], dtype=x.dtype), density=True)),
    real(20),
)

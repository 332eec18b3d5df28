"""Rows of the family `linalg`."""

from __future__ import annotations

import numpy as np

from tables import Table, real, whole

TABLE = Table()
row = TABLE.row

# Matrix products

FACTORS = (
    ((2, 3), (3, 4)), ((3,), (3,)), ((2, 3), (3,)), ((3,), (3, 4)), ((5, 2, 3), (5, 3, 4)), ((5, 2, 3), (3, 4)),
    ((2, 3), (5, 3, 4)), ((5, 2, 3), (3,)), ((3,), (5, 3, 4)), ((2, 1, 2, 3), (5, 3, 4)), ((0, 3), (3, 4)),
    ((2, 0), (0, 4)),
)  # fmt: skip
for a, b in FACTORS:
    row(f"matmul {a} {b}", lambda torch, x, y: x @ y, real(*a), real(*b))
row("mm", lambda torch, x, y: torch.mm(x, y), real(2, 3), real(3, 4))
row("bmm", lambda torch, x, y: torch.bmm(x, y), real(2, 3, 4), real(2, 4, 5))
row("dot", lambda torch, x, y: torch.dot(x, y), real(3), real(3))
row("addmm", lambda torch, c, x, y: torch.addmm(c, x, y), real(4), real(2, 3), real(3, 4))
row("addmm scaled", lambda torch, c, x, y: torch.addmm(c, x, y, beta=0.5, alpha=2), real(2, 4), real(2, 3), real(3, 4))
row("linear", lambda torch, x, w, b: torch.nn.functional.linear(x, w, b), real(2, 3), real(4, 3), real(4))
row("linear, no bias", lambda torch, x, w: torch.nn.functional.linear(x, w), real(2, 3), real(4, 3))
row("linear of a vector", lambda torch, x, w, b: torch.nn.functional.linear(x, w, b), real(3), real(4, 3), real(4))
row("linear of a stack", lambda torch, x, w, b: torch.nn.functional.linear(x, w, b), real(2, 5, 3), real(4, 3), real(4))
row("linear of nothing", lambda torch, x, w, b: torch.nn.functional.linear(x, w, b), real(0, 3), real(4, 3), real(4))
row("matmul of integers", lambda torch, x, y: x @ y, whole(0, 5, 2, 3), whole(0, 5, 3, 4))
row("matmul, folded", lambda torch, x, y: torch.matmul(x, y), real(2, 3, 4, 5), real(5, 2))
row("matmul of parts", lambda torch, x, y: x[:, ::2] @ y[::2].mT, real(4, 6), real(8, 3))
row("mv", lambda torch, x, v: (torch.mv(x, v), x.mv(v)), real(3, 4), real(4))
row("mv of nothing", lambda torch, x, v: x.mv(v), real(3, 0), real(0))
row("inner", lambda torch, x, y: torch.inner(x, y), real(2, 3), real(4, 5, 3))
row("inner of vectors", lambda torch, x, y: (torch.inner(x, y), torch.vdot(x, y)), real(3), real(3))
row("outer", lambda torch, x, y: (torch.outer(x, y), x.ger(y)), real(2), real(3))
row("outer of integers", lambda torch, x, y: x.outer(y), whole(0, 5, 2), whole(0, 5, 3))
for beta, alpha in ((1, 1), (0, 1), (0.5, 2), (2, 0.5)):
    scales = {"beta": beta, "alpha": alpha}
    row(f"addmm {scales}", lambda torch, c, x, y, s=scales: c.addmm(x, y, **s), real(1, 4), real(2, 3), real(3, 4))
    row(f"addmv {scales}", lambda torch, c, x, v, s=scales: torch.addmv(c, x, v, **s), real(2), real(2, 3), real(3))
    row(f"addr {scales}", lambda torch, c, u, v, s=scales: torch.addr(c, u, v, **s), real(2, 3), real(2), real(3))
    row(
        f"baddbmm {scales}",
        lambda torch, c, x, y, s=scales: c.baddbmm(x, y, **s),
        real(5, 2, 4),
        real(5, 2, 3),
        real(5, 3, 4),
    )
    row(f"addbmm {scales}", lambda torch, c, x, y, s=scales: c.addbmm(x, y, **s), real(4), real(5, 2, 3), real(5, 3, 4))
row("addmm in place", lambda torch, c, x, y: (c * 1).addmm_(x, y, alpha=2), real(2, 4), real(2, 3), real(3, 4))
row(
    "addmm over nan",
    lambda torch, x, y: torch.addmm(torch.full((2, 4), float("nan"), dtype=x.dtype), x, y, beta=0),
    real(2, 3),
    real(3, 4),
)
row("linear of a weight vector", lambda torch, x, w: torch.nn.functional.linear(x, w), real(2, 3), real(3))

for equation, *shapes in (
    ("bhid,bhjd->bhij", (2, 3, 4, 5), (2, 3, 6, 5)),
    ("...ij,...jk->...ik", (2, 1, 3, 4), (5, 4, 2)),
    ("ii->i", (3, 3)),
    ("ii", (3, 3)),
    ("ij,jk,kl->il", (2, 3), (3, 4), (4, 5)),
    ("b...->...b", (2, 3, 4)),
    ("i,i->", (3,), (3,)),
    ("i,j->ij", (3,), (4,)),
    ("ij,ij->ij", (2, 3), (2, 3)),
    ("bn,anm,bm->ba", (2, 3), (4, 3, 5), (2, 5)),
    ("ab,b->a", (2, 3), (1,)),
    ("iij,jk->ik", (3, 3, 2), (2, 4)),
    ("ij,kl->", (2, 3), (3, 2)),
    (" b i j , b j k ", (2, 3, 4), (2, 4, 5)),
    ("ij,j", (2, 0), (0,)),
):
    row(f"einsum {equation}", lambda torch, *xs, e=equation: torch.einsum(e, *xs), *(real(*shape) for shape in shapes))
row(
    "einsum of lists",
    lambda torch, x, y: torch.einsum(x, [..., 0, 1], y, [1, 2], [2, ..., 0]),
    real(2, 3, 4),
    real(4, 5),
)
row("einsum of integers", lambda torch, x, y: torch.einsum("ij,jk->k", x, y), whole(0, 5, 2, 3), whole(0, 5, 3, 4))
for dims in (0, 1, 2, ([0, 2], [1, 0]), ([-1], [0])):
    shapes = ((2, 3, 4), (4, 2, 5)) if isinstance(dims, tuple) else ((2, 3), (3, 4)) if dims == 1 else ((2, 3), (2, 3))
    row(f"tensordot {dims}", lambda torch, x, y, d=dims: torch.tensordot(x, y, d), real(*shapes[0]), real(*shapes[1]))
row("kron", lambda torch, x, y: (torch.kron(x, y), x.kron(y[0])), real(2, 3), real(3, 2))
row(
    "multi_dot",
    lambda torch, *xs: torch.linalg.multi_dot(xs),
    real(2, 5),
    real(5, 3),
    real(3, 4),
)
row("multi_dot of vectors", lambda torch, *xs: torch.linalg.multi_dot(xs), real(5), real(5, 3), real(3))
row("cross", lambda torch, x, y: (torch.cross(x, y, dim=1), torch.linalg.cross(x, y)), real(2, 3), real(2, 3))
row("vecdot", lambda torch, x, y: torch.linalg.vecdot(x, y, dim=0), real(3, 2), real(3, 2))
row("vander", lambda torch, x: (torch.vander(x.detach()), torch.linalg.vander(x, N=3)), real(3))
row("vander of integers", lambda torch, x: torch.vander(x), whole(0, 5, 3))
row("cartesian_prod", lambda torch, x, y: (torch.cartesian_prod(x, y), torch.cartesian_prod(x)), real(2), real(3))
row("combinations", lambda torch, x: (torch.combinations(x), torch.combinations(x, 3, with_replacement=True)), real(4))

for offset in (-1, 0, 2):
    row(f"tril {offset}", lambda torch, x, k=offset: (torch.tril(x, k), x.triu(k)), real(3, 4))
    row(f"diagonal {offset}", lambda torch, x, k=offset: (x.diagonal(k), torch.diagonal(x, k, -1, 0)), real(3, 4, 3))
    row(f"diag {offset}", lambda torch, x, k=offset: (torch.diag(x, k), x[0].diag(k), x.diagflat(k)), real(3, 4))
    row(f"diag_embed {offset}", lambda torch, x, k=offset: (torch.diag_embed(x, k), x.diag_embed(k, 0, 2)), real(2, 3))
    row(f"tril_indices {offset}", lambda torch, k=offset: (torch.tril_indices(3, 4, k), torch.triu_indices(4, 3, k)))
row("tril of stacks", lambda torch, x: (x.tril(), x.triu(1)), real(2, 3, 3))
row("tril in place", lambda torch, x: (x * 1).tril_(-1), real(3, 3))
row("trace", lambda torch, x: (torch.trace(x), x[:2].trace()), real(3, 4))
row("trace of integers", lambda torch, x: x.trace(), whole(0, 5, 3, 3).astype(np.int32))
row("block_diag", lambda torch, x, y, z: torch.block_diag(x, y, z), real(2, 3), real(4), real())

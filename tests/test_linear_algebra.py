"""Products, triangles, decompositions: what is no row of a table - views, in-place updates, errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import ddpnet


def test_the_diagonal_is_a_view() -> None:
    x = ddpnet.zeros(2, 3, requires_grad=True)
    y = x * 1
    y.diagonal(1).add_(2)
    assert y.tolist() == [[0, 2, 0], [0, 0, 2]]
    assert ddpnet.linalg.diagonal(y)._base is y
    (y * ddpnet.arange(6.0).reshape(2, 3)).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert ddpnet.diag(y)._base is None


def test_updates_in_place() -> None:
    a, b = ddpnet.ones(2, 3), ddpnet.ones(3, 2)
    c = ddpnet.zeros(2, 2)
    assert c.addmm_(a, b, alpha=2) is c
    assert c[0].addmv_(ddpnet.ones(2, 2), ddpnet.ones(2)).tolist() == [8, 8]
    assert c.addr_(ddpnet.ones(2), ddpnet.ones(2), beta=0).tolist() == [[1, 1], [1, 1]]
    assert c.tril_(-1).tolist() == [[0, 0], [1, 0]]
    stack = ddpnet.zeros(4, 2, 2).baddbmm_(ddpnet.ones(4, 2, 3), ddpnet.ones(4, 3, 2))
    assert stack.sum().item() == 48
    assert ddpnet.zeros(2, 2).addbmm_(ddpnet.ones(4, 2, 3), ddpnet.ones(4, 3, 2)).sum().item() == 48


def test_results_go_where_out_says() -> None:
    a, y = ddpnet.eye(2), ddpnet.empty(2, 2)
    assert ddpnet.matmul(a, a, out=y) is y
    assert y.tolist() == a.tolist()
    with pytest.raises(RuntimeError, match="don't support automatic differentiation"):
        ddpnet.mm(a.clone().requires_grad_(), a, out=y)


def test_the_gradient_of_the_determinant_of_a_singular_matrix() -> None:
    x = ddpnet.tensor([[1.0, 2.0], [2.0, 4.0]], dtype=ddpnet.float64, requires_grad=True)
    (slope,) = ddpnet.autograd.grad(x.det(), [x], create_graph=True)
    np.testing.assert_allclose(slope.detach().numpy(), [[4, -2], [-2, 1]], atol=1e-12)
    slope[0, 0].backward()
    assert x.grad is not None
    np.testing.assert_allclose(x.grad.numpy(), [[0, 0], [0, 1]], atol=1e-12)


ERRORS: list[tuple[str, type[Exception], Any]] = [
    ("columns and rows", RuntimeError, lambda: ddpnet.ones(2, 3) @ ddpnet.ones(2, 3)),
    ("a number", RuntimeError, lambda: ddpnet.tensor(1.0) @ ddpnet.ones(2)),
    ("dtypes", RuntimeError, lambda: ddpnet.ones(2, 2) @ ddpnet.ones(2, 2, dtype=ddpnet.float64)),
    ("bools", NotImplementedError, lambda: ddpnet.eye(2, dtype=ddpnet.bool) @ ddpnet.eye(2, dtype=ddpnet.bool)),
    ("bmm of matrices", RuntimeError, lambda: ddpnet.bmm(ddpnet.ones(2, 2), ddpnet.ones(2, 2))),
    ("bmm of other stacks", RuntimeError, lambda: ddpnet.bmm(ddpnet.ones(1, 2, 2), ddpnet.ones(3, 2, 2))),
    ("mv of matrices", RuntimeError, lambda: ddpnet.mv(ddpnet.ones(2, 2), ddpnet.ones(2, 2))),
    ("dot of other sizes", RuntimeError, lambda: ddpnet.dot(ddpnet.ones(2), ddpnet.ones(3))),
    ("fractions of integers", RuntimeError, lambda: ddpnet.addmm(*[ddpnet.eye(2).long()] * 3, beta=0.5)),
    ("addmm that does not fit", RuntimeError, lambda: ddpnet.addmm(ddpnet.ones(3), ddpnet.eye(2), ddpnet.eye(2))),
    ("einsum of too few", RuntimeError, lambda: ddpnet.einsum("ij,jk->ik", ddpnet.ones(2, 2))),
    ("einsum of other sizes", RuntimeError, lambda: ddpnet.einsum("i,i->i", ddpnet.ones(2), ddpnet.ones(3))),
    ("einsum to a strange letter", RuntimeError, lambda: ddpnet.einsum("i->j", ddpnet.ones(2))),
    ("einsum of more dimensions", RuntimeError, lambda: ddpnet.einsum("i->i", ddpnet.ones(2, 2))),
    ("tensordot of other sizes", RuntimeError, lambda: ddpnet.tensordot(ddpnet.ones(2, 3), ddpnet.ones(2, 3), 1)),
    ("cross of two", RuntimeError, lambda: ddpnet.linalg.cross(ddpnet.ones(2), ddpnet.ones(2))),
    ("tril of a vector", RuntimeError, lambda: ddpnet.ones(2).tril()),
    ("diagonal of one dimension", RuntimeError, lambda: ddpnet.ones(2, 2).diagonal(0, 1, 1)),
    ("trace of a vector", RuntimeError, lambda: ddpnet.ones(2).trace()),
    ("inv of a wide matrix", RuntimeError, lambda: ddpnet.linalg.inv(ddpnet.ones(2, 3))),
    ("inv of a singular matrix", ddpnet.linalg.LinAlgError, lambda: ddpnet.linalg.inv(ddpnet.zeros(2, 2))),
    ("solve with a singular matrix", RuntimeError, lambda: ddpnet.linalg.solve(ddpnet.zeros(2, 2), ddpnet.ones(2))),
    ("cholesky of a negative matrix", RuntimeError, lambda: ddpnet.linalg.cholesky(-ddpnet.eye(2))),
    ("inv of halves", RuntimeError, lambda: ddpnet.linalg.inv(ddpnet.eye(2).half())),
    ("cdist of other columns", RuntimeError, lambda: ddpnet.cdist(ddpnet.ones(2, 3), ddpnet.ones(2, 2))),
    ("matrix_norm of a strange order", RuntimeError, lambda: ddpnet.linalg.matrix_norm(ddpnet.eye(2), 3)),
]


@pytest.mark.parametrize(("error", "call"), [pytest.param(*rest, id=name) for name, *rest in ERRORS])
def test_errors_are_pytorch_s(error: type[Exception], call: Any) -> None:
    with pytest.raises(error):
        call()


def test_numbers_that_do_not_count_may_be_nan() -> None:
    nothing = ddpnet.full((2, 2), float("nan"))
    assert ddpnet.addmm(nothing, ddpnet.eye(2), ddpnet.eye(2), beta=0).tolist() == [[1, 0], [0, 1]]
    assert ddpnet.addr(nothing, ddpnet.ones(2), ddpnet.ones(2), beta=0).tolist() == [[1, 1], [1, 1]]

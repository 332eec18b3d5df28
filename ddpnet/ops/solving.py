"""Linear systems, inverses and determinants of square matrices, or of stacks of them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ddpnet.backend import array_module
from ddpnet.dtypes import category
from ddpnet.ops.autocasting import autocasts
from ddpnet.ops.linalg import product
from ddpnet.ops.op import Op
from ddpnet.ops.out import with_out
from ddpnet.ops.return_types import named
from ddpnet.tensor import Tensor, method

__all__ = [
    "cholesky",
    "cholesky_inverse",
    "cholesky_solve",
    "det",
    "inverse",
    "logdet",
    "slogdet",
]


class LinAlgError(RuntimeError):
    """A matrix that a method of linear algebra cannot be used on (`torch.linalg.LinAlgError`)."""


def adjoint(x: Any) -> Any:
    """The matrices transposed."""
    return x.swapaxes(-1, -2)


def checked(x: Tensor, name: str, square: bool = True) -> Tensor:
    """`x`; RuntimeError if it holds no (square) matrices of float32 or float64."""
    if x.ndim < 2:
        raise RuntimeError(f"{name}: The input tensor A must have at least 2 dimensions.")
    if square and x.shape[-1] != x.shape[-2]:
        raise RuntimeError(
            f"{name}: A must be batches of square matrices, but they are {x.shape[-2]} by {x.shape[-1]} matrices"
        )
    if category(x.array.dtype) < 2:
        raise RuntimeError(f"{name}: Expected a floating point or complex tensor as input. Got {x.dtype.scalar_name}")
    if x.array.dtype not in (np.float32, np.float64):
        raise RuntimeError(f"{name}: Low precision dtypes not supported. Got {x.dtype.scalar_name}")
    return x


def _inverted(x: Any) -> Any:
    return inverse(x) if isinstance(x, Tensor) else array_module(x).linalg.inv(x)


def _solved(a: Any, b: Any) -> Any:
    return solve(a, b) if isinstance(a, Tensor) else array_module(a).linalg.solve(a, b)


class LinalgInv(Op):
    def forward(self, x):
        try:
            y = array_module(x).linalg.inv(x)
        except np.linalg.LinAlgError as error:
            raise LinAlgError(
                "linalg.inv: The diagonal element is zero, the inversion could not be completed because the input "
                "matrix is singular."
            ) from error
        self.save(y)
        return y

    def backward(self, g):
        (y,) = self.saved
        return -product(product(adjoint(y), g), adjoint(y))


class LinalgSolve(Op):
    """x of a @ x = b, for matrices b."""

    def forward(self, a, b):
        try:
            x = array_module(a).linalg.solve(a, b)
        except np.linalg.LinAlgError as error:
            raise LinAlgError("torch.linalg.solve: The solver failed because the input matrix is singular.") from error
        self.save(a, x)
        return x

    def backward(self, g):
        a, x = self.saved
        db = _solved(adjoint(a), g)
        return -product(db, adjoint(x)), db


class LinalgDet(Op):
    def forward(self, x):
        y = array_module(x).asarray(array_module(x).linalg.det(x))
        self.save(x, y)
        return y

    def backward(self, g):
        x, _ = self.saved
        xp = array_module(x)
        if x.size == 0:
            return xp.zeros_like(x)
        u, s, v = xp.linalg.svd(x)  # the cofactors: right for singular matrices, too
        n = s.shape[-1]
        others = xp.where(xp.eye(n, dtype=bool), s.dtype.type(1), s[..., None, :]).prod(axis=-1)
        sign = xp.linalg.det(u) * xp.linalg.det(v)
        return (g * sign)[..., None, None] * ((u * others[..., None, :]) @ v)

    def differentiable_backward(self, g):
        x, y = self.saved
        if x.array.size == 0:
            return x * 0
        if (abs(y.array) > np.finfo(y.array.dtype).eps).all():
            return (g * y).unsqueeze(-1).unsqueeze(-1) * adjoint(inverse(x))
        return g.unsqueeze(-1).unsqueeze(-1) * _cofactors(x)


def _cofactors(x: Tensor) -> Tensor:
    """The determinants of the matrices without one row and one column, with their signs."""
    n = x.shape[-1]
    if n == 1:
        return x * 0 + 1
    kept = [[i for i in range(n) if i != left_out] for left_out in range(n)]
    xp = array_module(x.array)
    rows, columns = xp.asarray(kept)[:, None, :, None], xp.asarray(kept)[None, :, None, :]
    minors = det(x[..., Tensor(rows), Tensor(columns)])
    signs = xp.asarray([[1 - 2 * ((i + j) % 2) for j in range(n)] for i in range(n)], x.array.dtype)
    return minors * Tensor(signs)


class LinalgSlogdet(Op):
    differentiable = (True, True)

    def forward(self, x):
        xp = array_module(x)
        sign, size = xp.linalg.slogdet(x)
        self.save(x)
        return xp.asarray(sign), xp.asarray(size)

    def backward(self, _, g):
        (x,) = self.saved
        xp = array_module(g)
        return xp.expand_dims(xp.expand_dims(g, -1), -1) * adjoint(_inverted(x))


class LinalgCholesky(Op):
    def forward(self, x):
        xp = array_module(x)
        low = np.tril(x)
        try:
            y = xp.linalg.cholesky(low + adjoint(np.tril(x, -1)))
        except np.linalg.LinAlgError as error:
            raise LinAlgError(
                "linalg.cholesky: The factorization could not be completed because the input is not positive-definite."
            ) from error
        self.save(y)
        return y

    def backward(self, g):
        (y,) = self.saved
        xp = array_module(g)
        inner = xp.tril(product(adjoint(y), g))
        half = (
            (inner + adjoint(xp.tril(inner, -1))) * y.dtype.type(0.5)
            if not isinstance(g, Tensor)
            else (inner + adjoint(xp.tril(inner, -1))) * 0.5
        )
        back = _inverted(y)
        return product(product(adjoint(back), half), back)


class ReadTriangle(Op):
    """One triangle of factors that have no other: the gradient is, as PyTorch's, that of full matrices."""

    def forward(self, x, upper):
        return np.triu(x) if upper else np.tril(x)

    def backward(self, g):
        return g


@with_out
@autocasts("float32", "cpu")
def inv(A: Tensor) -> Tensor:
    """`torch.linalg.inv`: the inverse matrices; LinAlgError (a RuntimeError) for a singular one."""
    result: Tensor = LinalgInv.apply(checked(A, "linalg.inv"))
    return result


@with_out
@method
@autocasts("float32", "cpu")
def inverse(input: Tensor) -> Tensor:
    """The inverse matrices; LinAlgError (a RuntimeError) for a singular one."""
    return inv(input)


@with_out
@autocasts("float32", "cpu")
def solve(A: Tensor, B: Tensor, *, left: bool = True) -> Tensor:
    """`torch.linalg.solve`: X of A @ X = B (or of X @ A = B); B holds matrices, or vectors for each of A."""
    checked(A, "linalg.solve")
    if A.array.dtype != B.array.dtype:
        raise RuntimeError(
            f"linalg.solve: Expected A and B to have the same dtype, but found A of type {A.dtype.scalar_name} and "
            f"B of type {B.dtype.scalar_name} instead"
        )
    if B.ndim < 1:
        raise RuntimeError("linalg.solve: B must have at least 1 dimension")
    vector = B.ndim == 1 or (B.ndim == A.ndim - 1 and B.shape == A.shape[:-1])
    if vector and not left:
        raise RuntimeError("linalg.solve: Vector broadcasting of the left hand side is not supported for left=False.")
    b = B.unsqueeze(-1) if vector else B
    if b.shape[-2 if left else -1] != A.shape[-1]:
        raise RuntimeError(
            f"linalg.solve: Incompatible shapes of A and B for the equation {'AX = B' if left else 'XA = B'} "
            f"({A.shape[-2]}x{A.shape[-1]} and {b.shape[-2]}x{b.shape[-1]})"
        )
    if not left:
        return adjoint(LinalgSolve.apply(adjoint(A), adjoint(b)))
    result: Tensor = LinalgSolve.apply(A, b)
    return result.squeeze(-1) if vector else result


@with_out
@method
def det(input: Tensor) -> Tensor:
    """The determinants."""
    result: Tensor = LinalgDet.apply(checked(input, "linalg.det"))
    return result


@named("slogdet")
class SignLogDet(NamedTuple):
    """What `slogdet` gives."""

    sign: Tensor
    logabsdet: Tensor


@with_out
@method
def slogdet(input: Tensor) -> SignLogDet:
    """(the sign of the determinants, the logarithm of their absolute values)."""
    return SignLogDet(*LinalgSlogdet.apply(checked(input, "linalg.slogdet")))


@method
def logdet(input: Tensor) -> Tensor:
    """The logarithm of the determinants; nan where one is negative."""
    sign, size = slogdet(checked(input, "logdet"))
    return size.masked_fill(Tensor(sign.array < 0), float("nan"))


@with_out
@autocasts("float32", "cpu")
def linalg_cholesky(input: Tensor, *, upper: bool = False) -> Tensor:
    """`torch.linalg.cholesky`: L of L @ L.T of symmetric positive-definite matrices, or its transpose."""
    result: Tensor = LinalgCholesky.apply(
        adjoint(checked(input, "linalg.cholesky")) if upper else checked(input, "linalg.cholesky")
    )
    return adjoint(result) if upper else result


@with_out
@method
@autocasts("float32", "cpu")
def cholesky(input: Tensor, upper: bool = False) -> Tensor:
    """L of L @ L.T of symmetric positive-definite matrices, or its transpose."""
    return linalg_cholesky(input, upper=upper)


@with_out
def solve_triangular(A: Tensor, B: Tensor, *, upper: bool, left: bool = True, unitriangular: bool = False) -> Tensor:
    """`torch.linalg.solve_triangular`: X of A @ X = B (or X @ A = B), of A only one triangle."""
    checked(A, "linalg.solve_triangular")
    if B.ndim < 2:
        raise RuntimeError("linalg.solve_triangular: The input tensor B must have at least 2 dimensions.")
    if A.shape[-1] != B.shape[-2 if left else -1]:
        raise RuntimeError(
            f"linalg.solve_triangular: Incompatible shapes of A and B ({A.shape[-2]}x{A.shape[-1]} and "
            f"{B.shape[-2]}x{B.shape[-1]})"
        )
    triangle = (A.triu if upper else A.tril)((1 if upper else -1) if unitriangular else 0)
    if unitriangular:
        eye = array_module(A.array).eye(A.shape[-1], dtype=A.array.dtype)
        triangle = triangle + Tensor(eye)
    return solve(triangle, B, left=left)


@with_out
@method
@autocasts("float32", "cpu")
def cholesky_solve(B: Tensor, L: Tensor, upper: bool = False) -> Tensor:
    """X of (L @ L.T) @ X = B, for a Cholesky factor L."""
    factor = ReadTriangle.apply(checked(L, "cholesky_solve"), upper=upper)
    factor = adjoint(factor) if upper else factor
    return solve(adjoint(factor), solve(factor, B))


@with_out
@method
@autocasts("float32", "cpu")
def cholesky_inverse(L: Tensor, upper: bool = False) -> Tensor:
    """The inverse of L @ L.T, for a Cholesky factor L."""
    back = inv(ReadTriangle.apply(checked(L, "cholesky_inverse"), upper=upper))
    result: Tensor = product(back, adjoint(back)) if upper else product(adjoint(back), back)
    return result

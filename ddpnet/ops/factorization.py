"""Matrices as products of simpler ones: QR, singular values, eigenvalues, and what follows from them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ddpnet.backend import array_module
from ddpnet.ops.autocasting import autocasts
from ddpnet.ops.linalg import matmul, product
from ddpnet.ops.op import Op
from ddpnet.ops.out import with_out
from ddpnet.ops.return_types import named
from ddpnet.ops.solving import LinAlgError, adjoint, checked, solve
from ddpnet.tensor import Tensor, method

__all__ = [
    "qr",
    "svd",
]


def _unit(like: Any, k: int) -> Any:
    """bool: the unit matrix, as an array or a Tensor like another."""
    if isinstance(like, Tensor):
        return Tensor(array_module(like.array).eye(k, dtype=bool))
    return array_module(like).eye(k, dtype=bool)


def _diagonal(x: Any) -> Any:
    """Vectors as diagonal matrices."""
    return x[..., None, :] * _unit(x, x.shape[-1])


class LinalgQr(Op):
    differentiable = (True, True)

    def forward(self, x, mode):
        self.mode = mode
        xp = array_module(x)
        q, r = xp.linalg.qr(x, mode=mode)
        self.save(q, r)
        return q, r

    def backward(self, gq, gr):
        q, r = self.saved
        m, n = q.shape[-2], r.shape[-1]
        if self.mode == "complete" and m > n:
            raise RuntimeError("The QR decomposition is not differentiable when mode='complete' and nrows > ncols")
        if m >= n:
            return _qr_slope(q, r, gq, gr)
        xp = array_module(gq)
        left, right = r[..., :m], gr[..., m:]
        wide = product(q, right)
        x_right = product(q, r[..., m:])
        first = _qr_slope(q, left, gq + product(x_right, adjoint(right)), gr[..., :m])
        return xp.concatenate([first, wide], -1)


def _qr_slope(q: Any, r: Any, gq: Any, gr: Any) -> Any:
    """The gradient of a matrix with as many rows as columns, or more, from those of q and r."""
    xp = array_module(gq)
    m = product(r, adjoint(gr)) - product(adjoint(gq), q)
    symmetric = xp.tril(m) + adjoint(xp.tril(m, -1))
    inner = gq + product(q, symmetric)
    if isinstance(inner, Tensor):
        return adjoint(solve(r, adjoint(inner)))
    return adjoint(xp.linalg.solve(r, adjoint(inner)))


class LinalgSvd(Op):
    """U (..., m, k), S (..., k), Vh (..., k, n), with k the smaller of m and n."""

    differentiable = (True, True, True)

    def forward(self, x, full):
        xp = array_module(x)
        try:
            u, s, v = xp.linalg.svd(x, full_matrices=full)
        except np.linalg.LinAlgError as error:
            raise LinAlgError(
                "linalg.svd: The algorithm failed to converge because the input matrix contained non-finite values."
            ) from error
        self.full = full
        self.save(u, s, v)
        return u, s, v

    def backward(self, gu, gs, gv):
        u, s, v = self.saved
        if self.full and u.shape[-1] != v.shape[-1]:
            k = s.shape[-1]
            u, v, gu, gv = u[..., :k], v[..., :k, :], gu[..., :k], gv[..., :k, :]
        m, k, n = u.shape[-2], s.shape[-1], v.shape[-1]
        left, right = product(adjoint(u), gu), product(gv, adjoint(v))
        squares = s * s
        gap = squares[..., None, :] - squares[..., None]
        gap = gap + _unit(gap, k)
        left, right = (left - adjoint(left)) / gap, (adjoint(right) - right) / gap
        inner = left * s[..., None, :] + s[..., None] * right + _diagonal(gs)
        result = product(product(u, inner), v)
        if m > k:
            outside = gu - product(u, product(adjoint(u), gu))
            result = result + product(outside / s[..., None, :], v)
        if n > k:
            outside = gv - product(product(gv, adjoint(v)), v)
            result = result + product(u / s[..., None, :], outside)
        return result


class LinalgSvdvals(Op):
    """Singular values alone."""

    def forward(self, x):
        u, s, v = array_module(x).linalg.svd(x, full_matrices=False)
        self.save(x, u, v)
        return s

    def backward(self, g):
        _, u, v = self.saved
        return (u * g[..., None, :]) @ v

    def differentiable_backward(self, g):
        x = self.saved[0]
        u, _, v = LinalgSvd.apply(x, full=False)
        return matmul(u * g.unsqueeze(-2), v)


class LinalgEigh(Op):
    """The eigenvalues (..., n) in order, and vectors as columns (..., n, n), of symmetric matrices."""

    differentiable = (True, True)

    def forward(self, x, lower):
        values, vectors = array_module(x).linalg.eigh(x, UPLO="L" if lower else "U")
        self.save(values, vectors)
        return values, vectors

    def backward(self, gl, gv):
        values, vectors = self.saved
        gap = values[..., None, :] - values[..., None] + _unit(values, values.shape[-1])
        turn = product(adjoint(vectors), gv)
        inner = (turn - adjoint(turn)) / (gap * 2)
        unit = _unit(values, values.shape[-1])
        inner = inner * ~unit + _diagonal(gl)
        return product(product(vectors, inner), adjoint(vectors))


@named("linalg_qr")
class LinalgQR(NamedTuple):
    """What `linalg.qr` gives."""

    Q: Tensor
    R: Tensor


@named("qr")
class QR(NamedTuple):
    """What `qr` gives."""

    Q: Tensor
    R: Tensor


@named("linalg_svd")
class LinalgSVD(NamedTuple):
    """What `linalg.svd` gives."""

    U: Tensor
    S: Tensor
    Vh: Tensor


@named("svd")
class SVD(NamedTuple):
    """What `svd` gives."""

    U: Tensor
    S: Tensor
    V: Tensor


@named("linalg_eigh")
class Eigen(NamedTuple):
    """What `linalg.eigh` gives."""

    eigenvalues: Tensor
    eigenvectors: Tensor


@with_out
@autocasts("float32", "cpu")
def linalg_qr(A: Tensor, mode: str = "reduced") -> LinalgQR:
    """`torch.linalg.qr`: orthonormal columns Q and upper triangular R; `mode` "reduced", "complete" or "r" (no Q)."""
    if mode not in ("reduced", "complete", "r"):
        raise RuntimeError(
            f"qr received unrecognized mode '{mode}' but expected one of 'reduced' (default), 'r', or 'complete'"
        )
    checked(A, "linalg.qr", square=False)
    if mode == "r":
        if A.requires_grad:
            r = array_module(A.array).linalg.qr(A.array, mode="r")
            return LinalgQR(A.new_empty(0), _NoSlope.apply(A, values=r))
        return LinalgQR(A.new_empty(0), Tensor(array_module(A.array).linalg.qr(A.array, mode="r")))
    return LinalgQR(*LinalgQr.apply(A, mode=mode))


class _NoSlope(Op):
    graph_name = "LinalgQrBackward0"

    def forward(self, x, values):
        return values

    def backward(self, g):
        raise RuntimeError(
            "The derivative of linalg.qr depends on Q, which is not computed when mode='r'. Please use "
            "linalg.qr(A, mode='reduced') if you are going to require gradients."
        )


@with_out
@method
@autocasts("float32", "cpu")
def qr(input: Tensor, some: bool = True) -> QR:
    """(Q, R), reduced, or complete without `some`."""
    return QR(*linalg_qr(input, "reduced" if some else "complete"))


@with_out
@autocasts("float32", "cpu")
def linalg_svd(A: Tensor, full_matrices: bool = True, *, driver: str | None = None) -> LinalgSVD:
    """`torch.linalg.svd`: U, S, Vh of U @ diag(S) @ Vh, with S falling."""
    if driver is not None:
        raise RuntimeError("torch.linalg.svd: keyword argument `driver=` is only supported on CUDA inputs")
    checked(A, "linalg.svd", square=False)
    return LinalgSVD(*LinalgSvd.apply(A, full=full_matrices))


@with_out
@method
@autocasts("float32", "cpu")
def svd(input: Tensor, some: bool = True, compute_uv: bool = True) -> SVD:
    """(U, S, V) of U @ diag(S) @ V.T, with S falling."""
    if not compute_uv:
        m, n = input.shape[-2:]
        lead = tuple(input.shape[:-2])
        return SVD(input.new_zeros((*lead, m, m)), singular_values(input), input.new_zeros((*lead, n, n)))
    u, s, v = linalg_svd(input, not some)
    return SVD(u, s, adjoint(v))


@with_out
@autocasts("float32", "cpu")
def singular_values(A: Tensor, *, driver: str | None = None) -> Tensor:
    """`torch.linalg.svdvals`: the singular values, falling."""
    if driver is not None:
        raise RuntimeError("torch.linalg.svd: keyword argument `driver=` is only supported on CUDA inputs")
    result: Tensor = LinalgSvdvals.apply(checked(A, "linalg.svd", square=False))
    return result


@with_out
@autocasts("float32", "cpu")
def eigh(A: Tensor, UPLO: str = "L") -> Eigen:
    """`torch.linalg.eigh`: eigenvalues in rising order, and vectors as columns, of symmetric matrices."""
    if UPLO.upper() not in ("L", "U"):
        raise RuntimeError(f"Expected UPLO argument to be 'L' or 'U', but got {UPLO}")
    return Eigen(*LinalgEigh.apply(checked(A, "linalg.eigh"), lower=UPLO.upper() == "L"))


@with_out
@autocasts("float32", "cpu")
def eigvalsh(A: Tensor, UPLO: str = "L") -> Tensor:
    """`torch.linalg.eigvalsh`: the eigenvalues of symmetric matrices, in rising order."""
    return eigh(A, UPLO).eigenvalues

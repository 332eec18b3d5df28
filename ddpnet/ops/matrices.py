"""Functions of matrices: powers, the exponential, rank, condition, least squares."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from ddpnet.backend import array_module
from ddpnet.ops.autocasting import autocasts
from ddpnet.ops.factorization import singular_values
from ddpnet.ops.joining import cat
from ddpnet.ops.linalg import matmul
from ddpnet.ops.norms import linalg_norm
from ddpnet.ops.op import Op
from ddpnet.ops.out import with_out
from ddpnet.ops.pseudoinverse import pinv, tolerance
from ddpnet.ops.return_types import named
from ddpnet.ops.solving import LinAlgError, checked, inv, linalg_cholesky, solve
from ddpnet.tensor import Tensor, method

__all__ = [
    "matrix_exp",
    "matrix_power",
]


@with_out
@method
def matrix_power(input: Tensor, n: int) -> Tensor:
    """Square matrices to the power of an integer; of a negative one, their inverses."""
    if input.ndim < 2 or input.shape[-1] != input.shape[-2]:
        raise RuntimeError("linalg.matrix_power: A must be batches of square matrices")
    if n == 0:
        eye = array_module(input.array).eye(input.shape[-1], dtype=input.array.dtype)
        return input * 0 + Tensor(eye)
    base, power, result = (inv(input) if n < 0 else input), abs(n), None
    while power:
        if power & 1:
            result = base if result is None else matmul(result, base)
        power >>= 1
        if power:
            base = matmul(base, base)
    assert result is not None
    return result.clone() if result is input else result


class LinalgMatrixExp(Op):
    """By scaling, Taylor's series, and squaring. The gradient is a block of the exponential of a larger matrix."""

    def forward(self, x):
        self.save(x)
        return _exponential(x)

    def backward(self, g):
        (x,) = self.saved
        xp = array_module(x)
        back = x.swapaxes(-1, -2)
        n = x.shape[-1]
        above = xp.concatenate([back, g], -1)
        below = xp.concatenate([xp.zeros_like(back), back], -1)
        return _exponential(xp.concatenate([above, below], -2))[..., :n, n:]

    def differentiable_backward(self, g):
        (x,) = self.saved
        back, n = x.transpose(-1, -2), x.shape[-1]
        whole = cat([cat([back, g], -1), cat([back * 0, back], -1)], -2)
        return matrix_exp(whole)[..., :n, n:]


def _exponential(x: Any) -> Any:
    xp = array_module(x)
    if x.size == 0:
        return x.copy()
    size = float(np.abs(x).sum(axis=-2).max())
    largest = 3.0 if x.dtype == np.float32 else 1.09  # for which 18 terms are enough
    halvings = max(0, math.ceil(math.log2(size / largest))) if 0 < size < math.inf else 0
    x = x / x.dtype.type(2**halvings)
    term = y = xp.eye(x.shape[-1], dtype=x.dtype) + x * 0
    for k in range(1, 19):
        term = term @ x / x.dtype.type(k)
        y = y + term
    for _ in range(halvings):
        y = y @ y
    return y


@method
def matrix_exp(input: Tensor) -> Tensor:
    """The exponential of square matrices."""
    if input.ndim < 2 or input.shape[-1] != input.shape[-2]:
        raise RuntimeError("linalg.matrix_exp: A must be batches of square matrices")
    if input.array.dtype.itemsize == 2:
        return matrix_exp(input.float()).to(input.dtype)
    result: Tensor = LinalgMatrixExp.apply(input)
    return result


@with_out
@autocasts("float32", "cpu")
def matrix_rank(A: Tensor, tol: Any = None, hermitian: bool = False, *, atol: Any = None, rtol: Any = None) -> Tensor:
    """`torch.linalg.matrix_rank`: int64, the number of singular values above max(atol, rtol * the largest)."""
    checked(A, "linalg.matrix_rank", square=hermitian)
    values = singular_values(A.detach()).array
    if 0 in A.shape[-2:]:
        return Tensor(array_module(values).zeros(A.shape[:-2], np.int64))
    absolute, relative = tolerance(A, tol if atol is None else atol, 0.0 if tol is not None else rtol)
    limit = np.maximum(absolute, relative * values.max(axis=-1))
    return Tensor((values > limit[..., None]).sum(axis=-1, dtype=np.int64))


@with_out
@autocasts("float32", "cpu")
def cond(A: Tensor, p: Any = None) -> Tensor:
    """`torch.linalg.cond`: how much a solution may change with the right-hand side, in a norm of matrices."""
    if A.ndim < 2:
        raise RuntimeError("linalg.cond: The input tensor A must have at least 2 dimensions.")
    if isinstance(p, str) and p not in ("fro", "nuc"):
        raise RuntimeError(f"linalg.cond: got an invalid norm type: {p}")
    if p is None or p in (2, -2):
        values = singular_values(checked(A, "linalg.cond", square=False))
        if values.array.size == 0:
            return A.new_zeros(A.shape[:-2])
        first, last = values[..., 0], values[..., -1]
        return last / first if p == -2 else first / last
    if 0 in A.shape[-2:]:
        return A.new_zeros(A.shape[:-2])
    checked(A, "linalg.cond")
    try:
        back = inv(A)
    except LinAlgError:
        return A.new_full(A.shape[:-2], math.inf)
    return linalg_norm(A, p, (-2, -1)) * linalg_norm(back, p, (-2, -1))


@named("linalg_lstsq")
class LeastSquares(NamedTuple):
    """What `linalg.lstsq` gives."""

    solution: Tensor
    residuals: Tensor
    rank: Tensor
    singular_values: Tensor


@autocasts("float32", "cpu")
def lstsq(A: Tensor, B: Tensor, rcond: float | None = None, *, driver: str | None = None) -> LeastSquares:
    """`torch.linalg.lstsq`: X with the least |A @ X - B|, the squares of what is left, the rank, the singular values.

    `driver` says, as in PyTorch, which of the last three are computed; the way is always that of singular values.
    """
    if driver not in (None, "gels", "gelsy", "gelsd", "gelss"):
        raise RuntimeError("torch.linalg.lstsq: parameter `driver` should be one of (gels, gelsy, gelsd, gelss)")
    if A.array.dtype != B.array.dtype:
        raise RuntimeError(
            f"torch.linalg.lstsq: Expected input and other to have the same dtype, but got input's dtype {A.dtype} and "
            f"other's dtype {B.dtype}"
        )
    if A.ndim < 2:
        raise RuntimeError("torch.linalg.lstsq: input must have at least 2 dimensions.")
    if B.ndim < 1:
        raise RuntimeError("torch.linalg.lstsq: other must have at least 1 dimension.")
    checked(A, "torch.linalg.lstsq", square=False)
    vector = A.ndim - 1 == B.ndim and A.shape[:-1] == B.shape
    b = B.unsqueeze(-1) if vector else B
    if b.shape[-2:-1] != A.shape[-2:-1]:
        raise RuntimeError("torch.linalg.lstsq: input.size(-2) should match other.size(-2)")
    m, n = A.shape[-2:]
    limit = np.finfo(A.array.dtype).eps * max(m, n) if rcond is None else rcond
    solution = matmul(pinv(A, rtol=limit), b)
    values = singular_values(A.detach()).array
    nothing = A.new_empty(0)
    rank = Tensor((values > limit * values.max(axis=-1, keepdims=True, initial=0)).sum(axis=-1, dtype=np.int64))
    residuals = solution.reshape(-1)[:0]
    if m > n and driver != "gelsy" and driver is not None and (rank.array == n).all():
        left = matmul(A, solution) - b
        residuals = (left * left).sum(-2)
    return LeastSquares(
        solution.squeeze(-1) if vector else solution,
        residuals,
        Tensor(np.zeros(0, np.int64)) if driver == "gels" else rank,
        Tensor(values) if driver in ("gelsd", "gelss") else nothing,
    )


@with_out
@autocasts("float32", "cpu")
def tensorinv(A: Tensor, ind: int = 2) -> Tensor:
    """`torch.linalg.tensorinv`: the inverse of `tensordot(A, ., ind)`."""
    if ind <= 0:
        raise RuntimeError("Expected a strictly positive integer for 'ind'")
    rows, columns = tuple(A.shape[:ind]), tuple(A.shape[ind:])
    if math.prod(rows) != math.prod(columns):
        raise RuntimeError(
            f"Expected self to satisfy the requirement prod(self.shape[ind:]) == prod(self.shape[:ind]), but got "
            f"{math.prod(columns)} != {math.prod(rows)}"
        )
    return inv(A.reshape(math.prod(rows), math.prod(rows))).reshape((*columns, *rows))


@with_out
@autocasts("float32", "cpu")
def tensorsolve(A: Tensor, B: Tensor, dims: Any = None) -> Tensor:
    """`torch.linalg.tensorsolve`: X of tensordot(A, X, X.ndim) = B."""
    if dims is not None:
        moved = [d % A.ndim for d in dims]
        A = A.permute([d for d in range(A.ndim) if d not in moved] + moved)
    extents = tuple(A.shape[B.ndim :])
    count = math.prod(extents)
    if count != math.prod(A.shape[: B.ndim]):
        raise RuntimeError(
            "Expected self to satisfy the requirement prod(self.shape[other.ndim:]) == prod(self.shape[:other.ndim])"
        )
    return solve(A.reshape(count, count), B.reshape(-1)).reshape(extents)


@named("linalg_inv_ex")
class InverseAndInfo(NamedTuple):
    """What `linalg.inv_ex` gives."""

    inverse: Tensor
    info: Tensor


@named("linalg_cholesky_ex")
class CholeskyAndInfo(NamedTuple):
    """What `linalg.cholesky_ex` gives."""

    L: Tensor
    info: Tensor


@named("linalg_solve_ex")
class SolutionAndInfo(NamedTuple):
    """What `linalg.solve_ex` gives."""

    result: Tensor
    info: Tensor


def _no_failures(A: Tensor) -> Tensor:
    return Tensor(array_module(A.array).zeros(A.shape[:-2], np.int32))


@with_out
@autocasts("float32", "cpu")
def inv_ex(A: Tensor, *, check_errors: bool = False) -> InverseAndInfo:
    """`torch.linalg.inv_ex`: (the inverse, int32 zeros). LinAlgError for a singular matrix, whatever `check_errors`."""
    return InverseAndInfo(inv(A), _no_failures(A))


@with_out
@autocasts("float32", "cpu")
def cholesky_ex(input: Tensor, *, upper: bool = False, check_errors: bool = False) -> CholeskyAndInfo:
    """`torch.linalg.cholesky_ex`: (L, int32 zeros). LinAlgError for other matrices, whatever `check_errors`."""
    return CholeskyAndInfo(linalg_cholesky(input, upper=upper), _no_failures(input))


@with_out
def solve_ex(A: Tensor, B: Tensor, *, left: bool = True, check_errors: bool = False) -> SolutionAndInfo:
    """`torch.linalg.solve_ex`: (X, int32 zeros). LinAlgError for a singular matrix, whatever `check_errors`."""
    return SolutionAndInfo(solve(A, B, left=left), _no_failures(A))

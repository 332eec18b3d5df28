"""Linear algebra by PyTorch's names (`torch.linalg`); the operations are in `ops/`."""

from __future__ import annotations

from ddpnet.ops.contraction import multi_dot
from ddpnet.ops.factorization import eigh, eigvalsh
from ddpnet.ops.factorization import linalg_qr as qr
from ddpnet.ops.factorization import linalg_svd as svd
from ddpnet.ops.factorization import singular_values as svdvals
from ddpnet.ops.linalg import matmul
from ddpnet.ops.matrices import (
    cholesky_ex,
    cond,
    inv_ex,
    lstsq,
    matrix_exp,
    matrix_power,
    matrix_rank,
    solve_ex,
    tensorinv,
    tensorsolve,
)
from ddpnet.ops.norms import linalg_norm as norm
from ddpnet.ops.norms import matrix_norm, vector_norm
from ddpnet.ops.pseudoinverse import pinv
from ddpnet.ops.solving import LinAlgError, det, inv, slogdet, solve, solve_triangular
from ddpnet.ops.solving import linalg_cholesky as cholesky
from ddpnet.ops.triangular import linalg_diagonal as diagonal
from ddpnet.ops.vectors import linalg_cross as cross
from ddpnet.ops.vectors import linalg_vander as vander
from ddpnet.ops.vectors import vecdot

__all__ = [
    "LinAlgError",
    "cholesky",
    "cholesky_ex",
    "cond",
    "cross",
    "det",
    "diagonal",
    "eigh",
    "eigvalsh",
    "inv",
    "inv_ex",
    "lstsq",
    "matmul",
    "matrix_exp",
    "matrix_norm",
    "matrix_power",
    "matrix_rank",
    "multi_dot",
    "norm",
    "pinv",
    "qr",
    "slogdet",
    "solve",
    "solve_ex",
    "solve_triangular",
    "svd",
    "svdvals",
    "tensorinv",
    "tensorsolve",
    "vander",
    "vecdot",
    "vector_norm",
]

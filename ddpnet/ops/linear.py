"""Linear: a product with the weights of a layer, and its bias."""

from __future__ import annotations

from typing import Any

from ddpnet.backend import array_module
from ddpnet.kernels import kernels_for
from ddpnet.ops.autocasting import autocasts
from ddpnet.ops.linalg import flattened, matmul, product
from ddpnet.ops.op import Op
from ddpnet.tensor import Tensor

__all__: list[str] = []


class Linear(Op):
    """x @ w.T + b for x (..., in), w (out, in), b (out,): the bias first, as PyTorch's addmm has it."""

    graph_name = "AddmmBackward0"

    def is_by_row(self, most, b, x, w):
        return kernels_for(x).goes_row_by_row(most, x, w, b, self.needs)

    def forward(self, b, x, w):
        self.save(x if self.needs[2] else None, w if self.needs[1] else None)
        kernels = kernels_for(x)
        y = kernels.few_rows_forward(x, w, b)
        if y is None:
            y = kernels.many_rows_forward(x, w, b)
        if y is None:
            y = _folded(x, w.T)
            if b is not None:
                y += b
        return y

    def backward(self, g):
        kernels = kernels_for(g)
        return (
            kernels.few_rows_backward(g, *self.saved, self.needs)
            or kernels.many_rows_backward(g, *self.saved, self.needs)
            or self.differentiable_backward(g)
        )

    def differentiable_backward(self, g):
        x, w = self.saved
        rows = flattened(g) if g.ndim != 2 else g
        return (
            _column_sums(rows) if self.needs[0] else None,
            _folded(g, w) if self.needs[1] else None,
            product(rows.T, flattened(x) if x.ndim != 2 else x) if self.needs[2] else None,
        )


def _folded(a: Any, b: Any) -> Any:
    """a (..., n) @ b (n, m) as one product; NumPy makes one of each matrix: (35, 20, 256) in 60 ms instead of 36."""
    return product(a, b) if a.ndim <= 2 else product(flattened(a), b).reshape((*a.shape[:-1], b.shape[1]))


def _column_sums(x: Any) -> Any:
    """The sum over the rows of x (n, m), by BLAS: of (700, 10000) in 0.8 ms instead of 1.6."""
    return x.sum(axis=0) if isinstance(x, Tensor) else product(array_module(x).ones(len(x), x.dtype), x)


@autocasts("lower")
def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """input @ weight.T + bias, for input (..., in), weight (out, in), bias (out,); result (..., out).

    RuntimeError where the shapes or dtypes do not fit.
    """
    if weight.array.ndim != 2:
        result = matmul(input, weight)
        return result if bias is None else result + bias
    if input.array.shape[-1:] != weight.array.shape[-1:]:
        rows = input.array.size // max(input.array.shape[-1], 1) if input.ndim else 1
        have = f"{rows}x{input.array.shape[-1]}" if input.ndim else "a scalar"
        raise RuntimeError(
            f"mat1 and mat2 shapes cannot be multiplied ({have} and {weight.array.shape[1]}x{weight.array.shape[0]})"
        )
    if input.array.dtype != weight.array.dtype:
        raise RuntimeError(
            f"mat1 and mat2 must have the same dtype, but got {input.dtype.scalar_name} and {weight.dtype.scalar_name}"
        )
    return Linear.apply(bias, input, weight)

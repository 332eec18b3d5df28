"""Matrix products."""

from __future__ import annotations

import numpy as np

from ddpnet.backend import Array
from ddpnet.ops.op import Op
from ddpnet.ops.operators import operator
from ddpnet.tensor import Tensor, method


def product(a: Array, b: Array) -> Array:
    """a @ b; of bfloat16, for which NumPy has no product, through float32."""
    if a.dtype.kind == "V":
        return (a.astype(np.float32) @ b.astype(np.float32)).astype(a.dtype)
    return a @ b


class Mm(Op):
    def forward(self, a, b):
        self.save(a if self.needs[1] else None, b if self.needs[0] else None)
        return product(a, b)

    def backward(self, g):
        a, b = self.saved
        return product(g, b.T) if self.needs[0] else None, product(a.T, g) if self.needs[1] else None


class Matmul(Op):
    """Products of stacks of matrices; the engine sums over broadcast stack dimensions."""

    graph_name = "BmmBackward0"

    def forward(self, a, b):
        self.save(a if self.needs[1] else None, b if self.needs[0] else None)
        return product(a, b)

    def backward(self, g):
        a, b = self.saved
        return (
            product(g, b.swapaxes(-1, -2)) if self.needs[0] else None,
            product(a.swapaxes(-1, -2), g) if self.needs[1] else None,
        )


class Addmm(Op):
    """c + a @ b."""

    def forward(self, c, a, b):
        self.save(a if self.needs[2] else None, b if self.needs[1] else None)
        y = product(a, b)
        y += c
        return y

    def backward(self, g):
        a, b = self.saved
        return g, product(g, b.T) if self.needs[1] else None, product(a.T, g) if self.needs[2] else None


class Linear(Op):
    """x @ w.T + b for x (..., in), w (out, in), b (out,): the bias first, as PyTorch's addmm has it."""

    graph_name = "AddmmBackward0"

    def forward(self, b, x, w):
        self.save(x if self.needs[2] else None, w if self.needs[1] else None)
        y = product(x, w.T)
        if b is not None:
            y += b
        return y

    def backward(self, g):
        x, w = self.saved
        rows = g.reshape(-1, g.shape[-1])
        return (
            rows.sum(axis=0) if self.needs[0] else None,
            product(g, w) if self.needs[1] else None,
            product(rows.T, x.reshape(-1, x.shape[-1])) if self.needs[2] else None,
        )


def _same_dtype(a: Tensor, b: Tensor, name: str) -> None:
    if a.array.dtype != b.array.dtype:
        raise RuntimeError(
            f"{name}: expected m1 and m2 to have the same dtype, but got: {a.dtype.name} != {b.dtype.name}"
        )


@method
def mm(input: Tensor, mat2: Tensor) -> Tensor:
    """The product of matrices (n, m) and (m, p)."""
    a, b = input.array.shape, mat2.array.shape
    if len(a) != 2 or len(b) != 2:
        raise RuntimeError(f"mm: expected two matrices, got shapes {list(a)} and {list(b)}")
    if a[1] != b[0]:
        raise RuntimeError(f"mat1 and mat2 shapes cannot be multiplied ({a[0]}x{a[1]} and {b[0]}x{b[1]})")
    _same_dtype(input, mat2, "mm")
    return Mm.apply(input, mat2)


@operator("__matmul__")
@method
def matmul(input: Tensor, other: Tensor) -> Tensor:
    """The matrix product; vectors count as a row (left) or column (right), dimensions before the last two broadcast."""
    if input.ndim == 0 or other.ndim == 0:
        raise RuntimeError(
            f"both arguments to matmul need to be at least 1D, but they are {input.ndim}D and {other.ndim}D"
        )
    if input.ndim == 1:
        return matmul(input.unsqueeze(0), other).squeeze(-2 if other.ndim > 1 else 0)
    if other.ndim == 1:
        return matmul(input, other.unsqueeze(1)).squeeze(-1)
    if input.ndim == 2 and other.ndim == 2:
        return mm(input, other)
    _same_dtype(input, other, "matmul")
    if input.array.shape[-1] != other.array.shape[-2]:
        raise RuntimeError(
            f"matmul: shapes {list(input.array.shape)} and {list(other.array.shape)} cannot be multiplied: "
            f"{input.array.shape[-1]} columns, {other.array.shape[-2]} rows"
        )
    return Matmul.apply(input, other)


@method
def bmm(input: Tensor, mat2: Tensor) -> Tensor:
    """The products of two stacks of matrices, (b, n, m) and (b, m, p)."""
    if input.ndim != 3 or mat2.ndim != 3:
        raise RuntimeError("batch1 and batch2 must be 3D tensors")
    return matmul(input, mat2)


@method
def dot(input: Tensor, tensor: Tensor) -> Tensor:
    """The sum of the products of two vectors."""
    if input.ndim != 1 or tensor.ndim != 1:
        raise RuntimeError(f"1D tensors expected, but got {input.ndim}D and {tensor.ndim}D tensors")
    return matmul(input, tensor)


def addmm(input: Tensor, mat1: Tensor, mat2: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """beta * input + alpha * (mat1 @ mat2)."""
    if beta != 1 or alpha != 1:
        return input * beta + mm(mat1, mat2) * alpha
    return Addmm.apply(input, mat1, mat2)


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """input @ weight.T + bias, for input (..., in), weight (out, in), bias (out,); result (..., out).

    RuntimeError where the shapes or dtypes do not fit.
    """
    if input.array.shape[-1:] != weight.array.shape[-1:]:
        rows = input.array.size // max(input.array.shape[-1], 1) if input.ndim else 1
        have = f"{rows}x{input.array.shape[-1]}" if input.ndim else "a scalar"
        raise RuntimeError(
            f"mat1 and mat2 shapes cannot be multiplied ({have} and {weight.array.shape[1]}x{weight.array.shape[0]})"
        )
    if input.array.dtype != weight.array.dtype:
        raise RuntimeError(
            f"mat1 and mat2 must have the same dtype, but got {input.dtype.name} and {weight.dtype.name}"
        )
    return Linear.apply(bias, input, weight)

"""Matrix products."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ddpnet.backend import Array, array_module
from ddpnet.kernels.precision import is_half
from ddpnet.ops.autocasting import autocasts
from ddpnet.ops.conversion import refuse
from ddpnet.ops.op import Op
from ddpnet.ops.operators import operator
from ddpnet.ops.out import with_out
from ddpnet.tensor import Tensor, method

__all__ = [
    "bmm",
    "dot",
    "ger",
    "inner",
    "matmul",
    "mm",
    "mv",
    "outer",
    "vdot",
]


def product(a: Any, b: Any) -> Any:
    """a @ b of arrays or Tensors; of float16 and bfloat16, for which NumPy has no fast product, through float32."""
    if isinstance(a, Tensor):
        return matmul(a, b)
    if is_half(a):
        return (a.astype(np.float32) @ b.astype(np.float32)).astype(a.dtype)
    return _laid_out(a) @ _laid_out(b)


def _laid_out(x: Array) -> Array:
    """`x`, copied where neither rows nor columns lie densely: NumPy multiplies such matrices without BLAS."""
    if x.flags.forc or x.ndim < 2:
        return x
    (down, along), (rows, columns), size = x.strides[-2:], x.shape[-2:], x.itemsize
    if (along == size and down >= columns * size) or (down == size and along >= rows * size):
        return x
    return array_module(x).ascontiguousarray(x)


def flattened(x: Any) -> Any:
    """The last dimension, and all others as one."""
    return x.reshape((math.prod(x.shape[:-1]), x.shape[-1]))


class Mm(Op):
    def forward(self, a, b):
        self.save(a if self.needs[1] else None, b if self.needs[0] else None)
        return product(a, b)

    def backward(self, g):
        a, b = self.saved
        return product(g, b.T) if self.needs[0] else None, product(a.T, g) if self.needs[1] else None


class FoldedMm(Op):
    """Products of a stack of matrices with one matrix: one large product."""

    graph_name = "UnsafeViewBackward0"

    def forward(self, a, b):
        self.save(a if self.needs[1] else None, b if self.needs[0] else None)
        return product(flattened(a), b).reshape((*a.shape[:-1], b.shape[1]))

    def backward(self, g):
        a, b = self.saved
        rows = flattened(g)
        return (
            product(rows, b.T).reshape((*g.shape[:-1], b.shape[0])) if self.needs[0] else None,
            product(flattened(a).T, rows) if self.needs[1] else None,
        )


class Mv(Op):
    """(..., n) @ (n,)."""

    def forward(self, a, v):
        self.save(a if self.needs[1] else None, v if self.needs[0] else None)
        return product(a, v)

    def backward(self, g):
        a, v = self.saved
        return (
            array_module(g).expand_dims(g, -1) * v if self.needs[0] else None,
            product(g.reshape((1, math.prod(g.shape))), flattened(a)).reshape(a.shape[-1:]) if self.needs[1] else None,
        )


class Dot(Mv):
    pass


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


def same_dtype(a: Tensor, b: Tensor, name: str) -> None:
    if a.array.dtype != b.array.dtype:
        raise RuntimeError(
            f"{name}: expected m1 and m2 to have the same dtype, but got: {a.dtype.scalar_name} != "
            f"{b.dtype.scalar_name}"
        )
    if a.array.dtype.kind == "b":
        refuse(0, name, a)


@with_out
@method
@autocasts("lower")
def mm(input: Tensor, mat2: Tensor) -> Tensor:
    """The product of matrices (n, m) and (m, p)."""
    a, b = input.array.shape, mat2.array.shape
    if len(a) != 2 or len(b) != 2:
        raise RuntimeError(f"mm: expected two matrices, got shapes {list(a)} and {list(b)}")
    if a[1] != b[0]:
        raise RuntimeError(f"mat1 and mat2 shapes cannot be multiplied ({a[0]}x{a[1]} and {b[0]}x{b[1]})")
    same_dtype(input, mat2, "mm")
    result: Tensor = Mm.apply(input, mat2)
    return result


@with_out
@operator("__matmul__", "__rmatmul__")
@method
@autocasts("lower")
def matmul(input: Tensor, other: Tensor) -> Tensor:
    """The matrix product; vectors count as a row (left) or column (right), dimensions before the last two broadcast."""
    a, b = input.array.shape, other.array.shape
    if not a or not b:
        raise RuntimeError(f"both arguments to matmul need to be at least 1D, but they are {len(a)}D and {len(b)}D")
    same_dtype(input, other, "matmul")
    if a[-1] != b[-2 if len(b) > 1 else 0]:
        if len(a) == 2 and len(b) == 2:
            raise RuntimeError(f"mat1 and mat2 shapes cannot be multiplied ({a[0]}x{a[1]} and {b[0]}x{b[1]})")
        raise RuntimeError(
            f"matmul: shapes {list(a)} and {list(b)} cannot be multiplied: {a[-1]} columns, "
            f"{b[-2 if len(b) > 1 else 0]} rows"
        )
    result: Tensor
    if len(b) == 1:
        result = (Mv if len(a) > 1 else Dot).apply(input, other)
    elif len(a) == 1:
        result = Mv.apply(other.transpose(-1, -2), input)
    elif len(b) == 2:
        result = (Mm if len(a) == 2 else FoldedMm).apply(input, other)
    else:
        result = Matmul.apply(input, other)
    return result


@with_out
@method
@autocasts("lower")
def bmm(input: Tensor, mat2: Tensor) -> Tensor:
    """The products of two stacks of matrices, (b, n, m) and (b, m, p)."""
    check_stacks(input, mat2)
    same_dtype(input, mat2, "bmm")
    result: Tensor = Matmul.apply(input, mat2)
    return result


def check_stacks(first: Tensor, second: Tensor) -> None:
    a, b = first.array.shape, second.array.shape
    if len(a) != 3 or len(b) != 3:
        raise RuntimeError("batch1 and batch2 must be 3D tensors")
    if a[0] != b[0] or a[2] != b[1]:
        raise RuntimeError(
            f"Expected size for first two dimensions of batch2 tensor to be: [{a[0]}, {a[2]}] but got: "
            f"[{b[0]}, {b[1]}]."
        )


@with_out
@method
@autocasts("lower", "cuda")
def mv(input: Tensor, vec: Tensor) -> Tensor:
    """The product of a matrix (n, m) and a vector (m,)."""
    if input.ndim != 2 or vec.ndim != 1:
        raise RuntimeError(f"vector + matrix @ vector expected, got 1, {input.ndim}, {vec.ndim}")
    if input.array.shape[1] != vec.array.shape[0]:
        raise RuntimeError(
            f"size mismatch, got input ({input.shape[0]}), mat ({input.shape[0]}x{input.shape[1]}), "
            f"vec ({vec.shape[0]})"
        )
    same_dtype(input, vec, "mv")
    result: Tensor = Mv.apply(input, vec)
    return result


@with_out
@method
@autocasts("widest", "cuda")
def dot(input: Tensor, tensor: Tensor) -> Tensor:
    """The sum of the products of two vectors."""
    if input.ndim != 1 or tensor.ndim != 1:
        raise RuntimeError(f"1D tensors expected, but got {input.ndim}D and {tensor.ndim}D tensors")
    if input.array.dtype != tensor.array.dtype:
        raise RuntimeError(
            "dot : expected both vectors to have same dtype, but found "
            f"{input.dtype.scalar_name} and {tensor.dtype.scalar_name}"
        )
    if input.array.shape != tensor.array.shape:
        raise RuntimeError(
            f"inconsistent tensor size, expected tensor [{input.shape[0]}] and src [{tensor.shape[0]}] to have the "
            f"same number of elements, but got {input.shape[0]} and {tensor.shape[0]} elements respectively"
        )
    refuse(0, "dot", input)
    result: Tensor = Dot.apply(input, tensor)
    return result


@with_out
@method
@autocasts("widest", "cuda")
def vdot(input: Tensor, other: Tensor) -> Tensor:
    """`dot`, as there are no complex numbers."""
    return dot(input, other)


@with_out
@method
def inner(input: Tensor, other: Tensor) -> Tensor:
    """The products along the last dimensions of both: (..., n) and (*, n) give (..., *)."""
    if input.ndim == 0 or other.ndim == 0:
        return input * other
    if input.array.shape[-1] != other.array.shape[-1]:
        raise RuntimeError(
            f"inner() the last dimension must match on both input tensors but got shapes {list(input.shape)} and "
            f"{list(other.shape)}"
        )
    rows = other.reshape((math.prod(other.shape[:-1]), other.shape[-1]))
    return matmul(input, rows.transpose(0, 1)).reshape((*input.shape[:-1], *other.shape[:-1]))


@with_out
@method
def outer(input: Tensor, vec2: Tensor) -> Tensor:
    """The products of each element of a vector with each of another."""
    if input.ndim != 1 or vec2.ndim != 1:
        raise RuntimeError(
            f"outer: Expected 1-D argument {'self' if input.ndim != 1 else 'vec2'}, but got "
            f"{input.ndim if input.ndim != 1 else vec2.ndim}-D"
        )
    return input.unsqueeze(1) * vec2


ger = outer
Tensor.ger = outer  # type: ignore[attr-defined]

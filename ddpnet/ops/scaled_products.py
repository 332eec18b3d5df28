"""Matrix products added to something: beta * c + alpha * (a @ b), and its kin."""

from __future__ import annotations

from typing import Any

import numpy as np

from ddpnet.backend import array_module
from ddpnet.dtypes import category
from ddpnet.kernels.precision import is_half
from ddpnet.ops.autocasting import autocasts
from ddpnet.ops.inplace import inplace
from ddpnet.ops.linalg import check_stacks, product, same_dtype
from ddpnet.ops.op import Op
from ddpnet.ops.out import with_out
from ddpnet.tensor import Tensor, method

__all__ = [
    "addbmm",
    "addmm",
    "addmv",
    "addr",
    "baddbmm",
]


class Addmm(Op):
    """beta * c + alpha * (a @ b), of matrices or stacks of them; c is not looked at where beta is 0."""

    def forward(self, c, a, b, beta, alpha):
        self.beta, self.alpha = beta, alpha
        self.save(a if self.needs[2] else None, b if self.needs[1] else None)
        half = a.dtype if is_half(a) else None
        if half:
            a, b, c = (x.astype(np.float32) for x in (a, b, c))
        y = product(a, b)
        if alpha != 1:
            y *= y.dtype.type(alpha)
        if beta == 1:
            y += c
        elif beta != 0:
            y += c * c.dtype.type(beta)
        return y.astype(half) if half else y

    def backward(self, g):
        a, b = self.saved
        scaled = g if self.alpha == 1 else g * self.alpha
        return (
            (g if self.beta == 1 else g * self.beta) if self.needs[0] else None,
            product(scaled, b.swapaxes(-1, -2)) if self.needs[1] else None,
            product(a.swapaxes(-1, -2), scaled) if self.needs[2] else None,
        )


class Baddbmm(Addmm):
    pass


def _whole(**factors: Any) -> None:
    """RuntimeError for a factor that integers cannot be multiplied by."""
    for name, value in factors.items():
        if isinstance(value, float):
            raise RuntimeError(f"For integral input tensors, argument {name} must not be a floating point number.")


def _scaled(operation: type[Addmm], c: Tensor, a: Tensor, b: Tensor, beta: Any, alpha: Any, name: str) -> Tensor:
    """beta * c + alpha * (a @ b), after what PyTorch checks; c broadcasts to the product."""
    same_dtype(a, b, name)
    if c.array.dtype != a.array.dtype:
        raise RuntimeError(
            f"self and mat2 must have the same dtype, but got {c.dtype.scalar_name} and {a.dtype.scalar_name}"
        )
    if category(a.array.dtype) < 2:
        if name == "addmm":
            _whole(beta=beta, alpha=alpha)
        beta, alpha = int(beta), int(alpha)  # as PyTorch's other functions do
    shape = (*a.array.shape[:-1], b.array.shape[-1])
    own = c.array.shape
    if own != shape and (
        len(own) > len(shape) or any(n not in (1, m) for n, m in zip(reversed(own), reversed(shape), strict=False))
    ):
        raise RuntimeError(
            f"The expanded size of the tensor {list(shape)} must match the existing size {list(own)} ({name})"
        )
    result: Tensor = operation.apply(c, a, b, beta=beta, alpha=alpha)
    return result


@with_out
@inplace
@method
@autocasts("lower")
def addmm(input: Tensor, mat1: Tensor, mat2: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
    """beta * input + alpha * (mat1 @ mat2)."""
    a, b = mat1.array.shape, mat2.array.shape
    for shape, name in ((a, "mat1"), (b, "mat2")):
        if len(shape) != 2:
            raise RuntimeError(f"{name} must be a matrix, got {len(shape)}-D tensor")
    if a[1] != b[0]:
        raise RuntimeError(f"mat1 and mat2 shapes cannot be multiplied ({a[0]}x{a[1]} and {b[0]}x{b[1]})")
    return _scaled(Addmm, input, mat1, mat2, beta, alpha, "addmm")


@with_out
@inplace
@method
@autocasts("lower", "cuda")
def addmv(input: Tensor, mat: Tensor, vec: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
    """beta * input + alpha * (mat @ vec)."""
    if mat.ndim != 2 or vec.ndim != 1 or input.ndim > 1:
        raise RuntimeError(f"vector + matrix @ vector expected, got {input.ndim}, {mat.ndim}, {vec.ndim}")
    if mat.array.shape[1] != vec.array.shape[0] or (input.ndim and input.array.shape[0] not in (1, mat.shape[0])):
        raise RuntimeError(
            f"size mismatch, got input ({list(input.shape)}), mat ({mat.shape[0]}x{mat.shape[1]}), vec ({vec.shape[0]})"
        )
    column = input.unsqueeze(-1) if input.ndim else input
    return _scaled(Addmm, column, mat, vec.unsqueeze(1), beta, alpha, "addmv").squeeze(1)


@with_out
@inplace
@method
@autocasts("lower", "cuda")
def addr(input: Tensor, vec1: Tensor, vec2: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
    """beta * input + alpha * outer(vec1, vec2)."""
    if vec1.ndim != 1 or vec2.ndim != 1:
        raise RuntimeError(f"addr: Expected 1-D argument vec1 and vec2, but got {vec1.ndim}-D and {vec2.ndim}-D")
    kinds = {x.array.dtype.kind for x in (input, vec1, vec2)}
    start = input.expand((*vec1.shape, *vec2.shape))
    if kinds == {"b"}:
        return start & bool(beta) | vec1.unsqueeze(1) & vec2 & bool(alpha)
    if kinds <= set("biu"):
        _whole(beta=beta, alpha=alpha)
    if is_half(input.array):  # PyTorch rounds the factors, too
        beta, alpha = (float(input.array.dtype.type(value)) for value in (beta, alpha))
    scaled = (vec1 if alpha == 1 else vec1 * alpha).unsqueeze(1) * vec2
    if beta == 0:  # what is nan there does not count
        start = start.masked_fill(Tensor(array_module(start.array).ones(start.array.shape, bool)), 0)
    return (start if beta in (0, 1) else start * beta) + scaled


@with_out
@inplace
@method
@autocasts("lower")
def baddbmm(input: Tensor, batch1: Tensor, batch2: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
    """beta * input + alpha * bmm(batch1, batch2)."""
    check_stacks(batch1, batch2)
    return _scaled(Baddbmm, input, batch1, batch2, beta, alpha, "baddbmm")


@with_out
@inplace
@method
@autocasts("lower")
def addbmm(input: Tensor, batch1: Tensor, batch2: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
    """beta * input + alpha * (the sum of the products of two stacks of matrices)."""
    check_stacks(batch1, batch2)
    stack, n, m = batch1.array.shape
    if is_half(input.array) and stack:
        result = input  # PyTorch rounds the sum after each product
        for number in range(stack):
            result = addmm(result, batch1[number], batch2[number], beta=beta if number == 0 else 1, alpha=alpha)
        return result
    left = batch1.permute(1, 0, 2).reshape(n, stack * m)
    right = batch2.reshape(stack * m, batch2.array.shape[2])
    return _scaled(Addmm, input, left, right, beta, alpha, "addbmm")

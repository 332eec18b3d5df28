"""The Moore-Penrose inverse."""

from __future__ import annotations

from typing import Any

import numpy as np

from ddpnet.backend import array_module
from ddpnet.ops.autocasting import autocasts
from ddpnet.ops.linalg import product
from ddpnet.ops.op import Op
from ddpnet.ops.out import with_out
from ddpnet.ops.solving import adjoint, checked
from ddpnet.tensor import Tensor, method

__all__ = [
    "pinverse",
]


class LinalgPinv(Op):
    """The Moore-Penrose inverse; its gradient after Golub and Pereyra (1973)."""

    def forward(self, x, relative, absolute, hermitian):
        xp = array_module(x)
        if hermitian:
            values, vectors = xp.linalg.eigh(x)
            s, sign = abs(values), xp.sign(values)
            u, v = vectors, adjoint(vectors * sign[..., None, :])
        else:
            u, s, v = xp.linalg.svd(x, full_matrices=False)
        if s.shape[-1]:
            limit = xp.maximum(absolute, relative * s.max(axis=-1))[..., None]
            s = xp.where(s > limit, 1 / xp.where(s > 0, s, 1), 0).astype(x.dtype)
        y = adjoint(v) @ (s[..., None] * adjoint(u))
        self.save(x, y)
        return y

    def backward(self, g):
        x, y = self.saved
        back, inverse = adjoint(g), adjoint(y)
        if x.shape[-2] <= x.shape[-1]:
            k = product(back, y)
            other = product(k, inverse)
            return (
                other
                - adjoint(product(y, k))
                - product(product(x, y), other)
                + product(product(inverse, y), back - product(k, x))
            )
        k = product(y, back)
        other = product(inverse, k)
        return (
            other
            - adjoint(product(k, y))
            + product(product(back - product(x, k), y), inverse)
            - product(product(other, y), x)
        )


def tolerance(A: Tensor, atol: Any, rtol: Any) -> tuple[Any, Any]:
    """(absolute, relative) limits below which a singular value counts as 0."""
    absolute = 0.0 if atol is None else atol.array if isinstance(atol, Tensor) else atol
    if rtol is None:
        relative = max(A.shape[-2:]) * float(np.finfo(A.array.dtype).eps)
        if atol is not None:
            relative = np.where(np.asarray(absolute) > 0, 0.0, relative)
    else:
        relative = rtol.array if isinstance(rtol, Tensor) else rtol
    return absolute, relative


@with_out
def pinv(A: Tensor, rcond: Any = None, hermitian: bool = False, *, atol: Any = None, rtol: Any = None) -> Tensor:
    """`torch.linalg.pinv`: the Moore-Penrose inverse; singular values up to max(atol, rtol * largest) count as 0."""
    checked(A, "linalg.pinv", square=hermitian)
    absolute, relative = tolerance(A, atol, rtol if rcond is None else rcond)
    result: Tensor = LinalgPinv.apply(A, relative=relative, absolute=absolute, hermitian=hermitian)
    return result


@method
@autocasts("float32", "cpu")
def pinverse(input: Tensor, rcond: float = 1e-15) -> Tensor:
    """The Moore-Penrose inverse; singular values up to `rcond` times the largest count as 0."""
    return pinv(input, rtol=rcond)

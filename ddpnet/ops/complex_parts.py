"""Functions of complex numbers, as far as they are made for real ones, and which numbers a tensor holds."""

from __future__ import annotations

import math

from ddpnet.backend import array_module
from ddpnet.ops.conversion import floating, tensors
from ddpnet.ops.inplace import inplace
from ddpnet.ops.op import Op
from ddpnet.ops.out import with_out
from ddpnet.tensor import Tensor, method

__all__ = [
    "angle",
    "conj",
    "conj_physical",
    "imag",
    "is_complex",
    "is_conj",
    "is_floating_point",
    "is_neg",
    "is_nonzero",
    "is_signed",
    "real",
    "resolve_conj",
    "resolve_neg",
]


class Angle(Op):
    def forward(self, x):
        xp = array_module(x)
        return xp.where(x < 0, x.dtype.type(math.pi), xp.where(x != x, x, x.dtype.type(0)))

    def backward(self, g):
        return array_module(g).zeros_like(g)


@with_out
@method
def angle(input: Tensor) -> Tensor:
    """pi for negative numbers, 0 for others."""
    return Angle.apply(floating(input))


@method
def conj(input: Tensor) -> Tensor:
    """The tensor itself: its numbers are real."""
    tensors("conj", input)
    return input


@with_out
@inplace
@method
def conj_physical(input: Tensor) -> Tensor:
    """The tensor itself: its numbers are real."""
    return conj(input)


@method
def resolve_conj(input: Tensor) -> Tensor:
    """The tensor itself."""
    return conj(input)


@method
def resolve_neg(input: Tensor) -> Tensor:
    """The tensor itself."""
    return conj(input)


def real(input: Tensor) -> Tensor:
    """The tensor itself: its numbers are real."""
    return conj(input)


def imag(input: Tensor) -> Tensor:
    """RuntimeError: there are no complex numbers."""
    tensors("imag", input)
    raise RuntimeError("imag is not implemented for tensors with non-complex dtypes.")


@method
def is_complex(input: Tensor) -> bool:
    """Never."""
    tensors("is_complex", input)
    return False


@method
def is_conj(input: Tensor) -> bool:
    """Never."""
    return is_complex(input)


@method
def is_neg(input: Tensor) -> bool:
    """Never: a negation is computed at once."""
    return is_complex(input)


def is_floating_point(input: Tensor) -> bool:
    """Whether the dtype is a floating-point type."""
    tensors("is_floating_point", input)
    return input.is_floating_point()


@method
def is_signed(input: Tensor) -> bool:
    """Whether the dtype has negative numbers."""
    tensors("is_signed", input)
    return input.dtype.is_signed


@method
def is_nonzero(input: Tensor) -> bool:
    """Whether the only element is not zero; RuntimeError for more or fewer."""
    tensors("is_nonzero", input)
    return bool(input)


Tensor.real = property(real, lambda self, value: self.copy_(value), doc=real.__doc__)  # type: ignore[attr-defined]
Tensor.imag = property(imag, doc=imag.__doc__)  # type: ignore[attr-defined]

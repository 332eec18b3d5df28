"""The normal distribution's functions, and others of `torch.special` that logarithms and error functions make."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ddpnet.backend import array_module
from ddpnet.kernels import kernels_for
from ddpnet.kernels.precision import is_half
from ddpnet.ops.arithmetic import mul
from ddpnet.ops.conversion import Operand, beside, cast, common_dtype, floating, tensors
from ddpnet.ops.op import Op
from ddpnet.ops.out import with_out
from ddpnet.ops.special_functions import erfc
from ddpnet.tensor import Tensor

__all__: list[str] = []


class Entr(Op):
    """-x log x: 0 at 0, minus infinity below."""

    graph_name = "SpecialEntrBackward0"

    def forward(self, x):
        self.save(x)
        xp = array_module(x)
        return xp.where(x > 0, -x * np.log(x), xp.where(x == 0, 0, xp.where(x < 0, -np.inf, x))).astype(x.dtype)

    def backward(self, g):
        (x,) = self.saved
        xp = array_module(g)
        return g * xp.where(x < 0, math.nan, -xp.log(x) - 1)


class Erfcx(Op):
    graph_name = "SpecialErfcxBackward0"

    def forward(self, x):
        self.save(x)
        return kernels_for(x).erfcx(x)

    def backward(self, g):
        (x,) = self.saved
        return g * (2 * x * kernels_for(x).erfcx(x) - 2 / math.sqrt(math.pi))

    def differentiable_backward(self, g):
        (x,) = self.saved
        return g * (2 * x * erfcx(x) - 2 / math.sqrt(math.pi))


class LogNdtr(Op):
    graph_name = "SpecialLogNdtrBackward0"

    def forward(self, x):
        self.save(x)
        return kernels_for(x).log_ndtr(x)

    def backward(self, g):
        (x,) = self.saved
        return g / kernels_for(x).erfcx(x * x.dtype.type(-math.sqrt(0.5))) * math.sqrt(2 / math.pi)

    def differentiable_backward(self, g):
        (x,) = self.saved
        return g / erfcx(x * -math.sqrt(0.5)) * math.sqrt(2 / math.pi)


class Ndtri(Op):
    graph_name = "SpecialNdtriBackward0"

    def forward(self, x):
        y = kernels_for(x).ndtri(x)
        self.save(y)
        return y

    def backward(self, g):
        (y,) = self.saved
        return g * math.sqrt(2 * math.pi) * array_module(g).exp(y * y / 2)


class Xlog1py(Op):
    graph_name = "SpecialXlog1PyBackward0"

    def forward(self, x, y):
        self.save(x, y)
        xp = array_module(y)
        return xp.where((x == 0) & (y == y), 0, x * xp.log1p(y)).astype(y.dtype)

    def backward(self, g):
        x, y = self.saved
        xp = array_module(g)
        dx = xp.where((x == 0) & (y <= -1), 0, g * xp.log1p(y)) if self.needs[0] else None
        return dx, g * x / (y + 1) if self.needs[1] else None


class Zeta(Op):
    graph_name = "SpecialZetaBackward0"

    def forward(self, x, q):
        xp = array_module(x)
        self.save(x, q)
        x, q = xp.broadcast_arrays(x, q)
        return kernels_for(x).zeta(x, q)

    def backward(self, g):
        raise NotImplementedError("derivative for aten::special_zeta is not implemented")


@with_out
def entr(input: Tensor) -> Tensor:
    """-x log x: 0 at 0, minus infinity below."""
    return Entr.apply(floating(input))


@with_out
def erfcx(input: Tensor) -> Tensor:
    """exp(x ** 2) * erfc(x)."""
    return Erfcx.apply(_single_or_double("erfcx", floating(input)))


@with_out
def ndtr(input: Tensor) -> Tensor:
    """The distribution function of the standard normal distribution."""
    return mul(erfc(mul(floating(input), -math.sqrt(0.5))), 0.5)


@with_out
def log_ndtr(input: Tensor) -> Tensor:
    """The logarithm of `ndtr`, exact far below 0."""
    return LogNdtr.apply(_single_or_double("log_ndtr", floating(input)))


@with_out
def ndtri(input: Tensor) -> Tensor:
    """The inverse of `ndtr`: infinite at 0 and 1, not a number beyond."""
    return Ndtri.apply(_single_or_double("ndtri", floating(input)))


@with_out
def xlog1py(input: Operand, other: Operand) -> Tensor:
    """input * log(1 + other), and 0 where input is 0 (unless other is not a number)."""
    return Xlog1py.apply(*_both("xlog1py", input, other))


@with_out
def zeta(input: Operand, other: Operand) -> Tensor:
    """Hurwitz's zeta function: the sum of (k + other) ** -input for k = 0, 1, ...; no gradient."""
    return Zeta.apply(*[_single_or_double("zeta", x) for x in _both("zeta", input, other)])


def _single_or_double(name: str, x: Tensor) -> Tensor:
    """The tensor; NotImplementedError for float16 and bfloat16."""
    if is_half(x.array):
        raise NotImplementedError(f"\"{name}_cpu\" not implemented for '{x.dtype.scalar_name}'")
    return x


def _both(name: str, *operands: Any) -> list[Tensor]:
    """Both operands as tensors of floating point."""
    a, b = operands
    if not isinstance(a, Tensor):
        tensors(name, b)
    dtype = common_dtype(a, b)
    place = a if isinstance(a, Tensor) else b
    return [floating(cast(x, dtype) if isinstance(x, Tensor) else beside(x, dtype, place)) for x in (a, b)]

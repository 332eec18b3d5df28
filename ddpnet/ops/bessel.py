"""Modified Bessel functions of the first kind, of order 0 and 1, plain and scaled by exp(-|x|)."""

from __future__ import annotations

from ddpnet.backend import array_module
from ddpnet.kernels import kernels_for
from ddpnet.ops.conversion import floating
from ddpnet.ops.inplace import inplace
from ddpnet.ops.op import Op
from ddpnet.ops.out import with_out
from ddpnet.tensor import Tensor, method

__all__ = [
    "i0",
]


class I0(Op):
    graph_name = "I0Backward0"

    def forward(self, x):
        self.save(x)
        return kernels_for(x).bessel_i(x, 0, False)

    def backward(self, g):
        (x,) = self.saved
        return g * kernels_for(x).bessel_i(x, 1, False)

    def differentiable_backward(self, g):
        (x,) = self.saved
        return g * i1(x)


class I1(Op):
    graph_name = "SpecialI1Backward0"

    def forward(self, x):
        self.save(x)
        return kernels_for(x).bessel_i(x, 1, False)

    def backward(self, g):
        (x,) = self.saved
        xp, bessel_i = array_module(x), kernels_for(x).bessel_i
        return g * xp.where(x == 0, 0.5, bessel_i(x, 0, False) - bessel_i(x, 1, False) / x)

    def differentiable_backward(self, g):
        (x,) = self.saved
        where = array_module(g).where
        return g * where(x == 0, 0.5, i0(x) - i1(x) / where(x == 0, 1, x))


class I0e(Op):
    graph_name = "SpecialI0EBackward0"

    def forward(self, x):
        y = kernels_for(x).bessel_i(x, 0, True)
        self.save(x)
        return y

    def backward(self, g):
        (x,) = self.saved
        bessel_i = kernels_for(x).bessel_i
        return g * (bessel_i(x, 1, True) - array_module(x).sign(x) * bessel_i(x, 0, True))

    def differentiable_backward(self, g):
        (x,) = self.saved
        return g * (i1e(x) - array_module(g).sign(x) * i0e(x))


class I1e(Op):
    graph_name = "SpecialI1EBackward0"

    def forward(self, x):
        self.save(x)
        return kernels_for(x).bessel_i(x, 1, True)

    def backward(self, g):
        (x,) = self.saved
        xp, bessel_i = array_module(x), kernels_for(x).bessel_i
        return g * xp.where(x == 0, 0.5, bessel_i(x, 0, True) - bessel_i(x, 1, True) * (xp.sign(x) + 1 / x))

    def differentiable_backward(self, g):
        (x,) = self.saved
        xp = array_module(g)
        return g * xp.where(x == 0, 0.5, i0e(x) - i1e(x) * (xp.sign(x) + 1 / xp.where(x == 0, 1, x)))


@with_out
@inplace
@method
def i0(input: Tensor) -> Tensor:
    """Order 0."""
    return I0.apply(floating(input))


@with_out
def i1(input: Tensor) -> Tensor:
    """Order 1."""
    return I1.apply(floating(input))


@with_out
def i0e(input: Tensor) -> Tensor:
    """Order 0, scaled by exp(-|x|)."""
    return I0e.apply(floating(input))


@with_out
def i1e(input: Tensor) -> Tensor:
    """Order 1, scaled by exp(-|x|)."""
    return I1e.apply(floating(input))

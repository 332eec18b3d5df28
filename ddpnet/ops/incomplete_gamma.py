"""The regularized incomplete gamma functions."""

from __future__ import annotations

from ddpnet.backend import array_module
from ddpnet.kernels import kernels_for
from ddpnet.ops.conversion import promoted, refuse, tensors
from ddpnet.ops.exponential import exp, log
from ddpnet.ops.inplace import inplace
from ddpnet.ops.op import Op
from ddpnet.ops.out import with_out
from ddpnet.ops.special_functions import lgamma
from ddpnet.tensor import Tensor, method

__all__ = [
    "igamma",
    "igammac",
]


class Igamma(Op):
    def forward(self, a, x, upper):
        self.sign = -1 if upper else 1
        self.save(a, x)
        a, x = array_module(a).broadcast_arrays(a, x)
        return kernels_for(a).incomplete_gamma(a, x, upper)

    def backward(self, g):
        a, x = self.saved
        self._check()
        xp = array_module(x)
        return None, g * xp.exp((a - 1) * xp.log(x) - x - kernels_for(a).lgamma(a)) * self.sign

    def differentiable_backward(self, g):
        a, x = self.saved
        self._check()
        return None, g * exp((a - 1) * log(x) - x - lgamma(a)) * self.sign

    def _check(self):
        if self.needs[0]:
            raise RuntimeError("derivative for aten::igamma: self is not implemented")


@with_out
@inplace
@method
def igamma(input: Tensor, other: Tensor) -> Tensor:
    """The integral of t ** (input - 1) * exp(-t) from 0 to `other`, over gamma(input); a gradient for `other` only."""
    return Igamma.apply(*_two("igamma", input, other), upper=False)


@with_out
@inplace
@method
def igammac(input: Tensor, other: Tensor) -> Tensor:
    """1 - igamma(input, other), exact where that is small."""
    return Igamma.apply(*_two("igammac", input, other), upper=True)


def _two(name: str, input: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    tensors(name, input, other)
    a, b = promoted(input, other)
    refuse(0, name, a)
    refuse(1, name, a)
    return a, b

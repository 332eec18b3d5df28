"""Activation functions made of exponentials: sigmoids, exponential units, gated units."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ddpnet.backend import array_module
from ddpnet.kernels import kernels_for
from ddpnet.ops.activation import placed, refuse_integers
from ddpnet.ops.autocasting import autocasts
from ddpnet.ops.conversion import floating
from ddpnet.ops.dims import one_axis
from ddpnet.ops.inplace import inplace as with_twin
from ddpnet.ops.op import Op
from ddpnet.ops.precision import in_float32
from ddpnet.tensor import Tensor, method

__all__ = [
    "celu",
    "celu_",
    "selu",
    "selu_",
    "sigmoid",
    "sigmoid_",
    "tanh",
    "tanh_",
]


@in_float32
class Tanh(Op):
    def forward(self, x):
        y = np.tanh(x)
        self.save(y)
        return y

    def backward(self, g):
        (y,) = self.saved
        return g * (1 - y * y)


@in_float32
class Sigmoid(Op):
    """1 / (1 + exp(-x))."""

    def forward(self, x):
        y = kernels_for(x).sigmoid(x)
        self.save(y)
        return y

    def backward(self, g):
        (y,) = self.saved
        return g * (1 - y) * y


def logistic(x: Any) -> Any:
    """1 / (1 + exp(-x)), of an array or recorded of a Tensor."""
    if isinstance(x, Tensor):
        return Sigmoid.apply(x)
    x = array_module(x).asarray(x)
    return kernels_for(x).sigmoid(x)


@in_float32
class LogSigmoid(Op):
    def forward(self, x):
        self.save(x)
        return np.minimum(x, 0) - np.log1p(np.exp(-np.abs(x)))

    def backward(self, g):
        (x,) = self.saved
        return g * logistic(-x)


@in_float32
class Silu(Op):
    """x * sigmoid(x) (Elfwing et al., 2017)."""

    def forward(self, x):
        self.save(x)
        return kernels_for(x).silu_forward(x)

    def backward(self, g):
        (x,) = self.saved
        return kernels_for(g).silu_backward(g, x)

    def differentiable_backward(self, g):
        (x,) = self.saved
        s = Sigmoid.apply(x)
        return g * (s * (1 + x * (1 - s)))


@in_float32
class Mish(Op):
    """x * tanh(softplus(x)) (Misra, 2019)."""

    def forward(self, x):
        self.save(x)
        return x * np.tanh(np.logaddexp(x, x.dtype.type(0)))

    def backward(self, g):
        (x,) = self.saved
        s = logistic(x)
        t = _tanh_of_softplus(s)
        return g * (t + x * s * (1 - t * t))


def _tanh_of_softplus(s: Any) -> Any:
    """With s = sigmoid(x): 1 - s is exp(-softplus(x)), and tanh(u) is (1 - exp(-2u)) / (1 + exp(-2u))."""
    square = (1 - s) * (1 - s)
    return (s * (2 - s)) / (1 + square)


@in_float32
class Gelu(Op):
    """x times the probability that a normal number is below x (Hendrycks and Gimpel, 2016), or its approximation."""

    def forward(self, x, approximate):
        self.approximate = approximate
        self.save(x)
        return kernels_for(x).gelu_forward(x, approximate)

    def backward(self, g):
        (x,) = self.saved
        return kernels_for(g).gelu_backward(g, x, self.approximate)

    def differentiable_backward(self, g):
        (x,) = self.saved
        if not self.approximate:
            return g * (NormalCdf.apply(x) + x * ((x * x * -0.5).exp() * (1 / math.sqrt(2 * math.pi))))
        slope = math.sqrt(2 / math.pi)
        t = Tanh.apply(slope * (x + 0.044715 * (x * x * x)))
        return g * (0.5 * (1 + t) + 0.5 * x * (1 - t * t) * (slope * (1 + 3 * 0.044715 * (x * x))))


@in_float32
class NormalCdf(Op):
    """The probability that a normal number is below x."""

    def forward(self, x):
        self.save(x)
        return kernels_for(x).normal_cdf(x)

    def backward(self, g):
        (x,) = self.saved
        return g * (array_module(g).exp(x * x * -0.5) * (1 / math.sqrt(2 * math.pi)))


@in_float32
class Softplus(Op):
    """log(1 + exp(beta * x)) / beta; x itself where beta * x is above `threshold`."""

    def forward(self, x, beta, threshold):
        self.beta, self.threshold = beta, threshold
        self.save(x)
        z = x * beta
        return array_module(x).where(z > threshold, x, np.log1p(np.exp(z)) / beta)

    def backward(self, g):
        (x,) = self.saved
        z = x * self.beta
        return array_module(g).where(z > self.threshold, g, g * logistic(z))


@in_float32
class Elu(Op):
    """scale * x where x is positive, else scale * alpha * (exp(x * steepness) - 1)."""

    def forward(self, x, alpha, scale, steepness):
        self.alpha, self.scale, self.steepness = alpha, scale, steepness
        self.save(x)
        below = np.expm1(np.minimum(x, 0) * steepness) * (alpha * scale)
        return array_module(x).where(x > 0, x * scale, below)

    def backward(self, g):
        (x,) = self.saved
        below = array_module(g).exp(x * (x <= 0) * self.steepness) * (self.alpha * self.scale * self.steepness)
        return g * array_module(g).where(x <= 0, below, below * 0 + self.scale)


@in_float32
class Glu(Op):
    """a * sigmoid(b) for the halves a and b (Dauphin et al., 2017)."""

    def forward(self, x, dim):
        self.dim = dim
        self.save(x)
        a, b = array_module(x).split(x, 2, dim)
        return a * logistic(b)

    def backward(self, g):
        (x,) = self.saved
        xp = array_module(g)
        a, b = xp.split(x, [x.shape[self.dim] // 2], self.dim)
        s = logistic(b)
        return xp.concatenate((g * s, g * a * s * (1 - s)), self.dim)


@with_twin
@method
def tanh(input: Tensor) -> Tensor:
    """The hyperbolic tangent."""
    return Tanh.apply(floating(input))


@with_twin
@method
def sigmoid(input: Tensor) -> Tensor:
    """1 / (1 + exp(-x))."""
    return Sigmoid.apply(floating(input))


def tanh_(input: Tensor) -> Tensor:
    """`tanh` in place."""
    return input.tanh_()


def sigmoid_(input: Tensor) -> Tensor:
    """`sigmoid` in place."""
    return input.sigmoid_()


def logsigmoid(input: Tensor) -> Tensor:
    """log(1 / (1 + exp(-x)))."""
    refuse_integers("logsigmoid", input)
    return LogSigmoid.apply(input)


def silu(input: Tensor, inplace: bool = False) -> Tensor:
    """x * sigmoid(x)."""
    refuse_integers("silu", input)
    return placed(input, Silu.apply(input), inplace)


def mish(input: Tensor, inplace: bool = False) -> Tensor:
    """x * tanh(log(1 + exp(x)))."""
    refuse_integers("mish", input)
    return placed(input, Mish.apply(input), inplace)


def gelu(input: Tensor, approximate: str = "none") -> Tensor:
    """x * P(normal < x): exact, or with `approximate="tanh"` by 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))."""
    refuse_integers("gelu", input)
    if approximate not in ("none", "tanh"):
        raise RuntimeError("approximate argument must be either none or tanh.")
    return Gelu.apply(input, approximate=approximate == "tanh")


@autocasts("float32", "cuda")
def softplus(input: Tensor, beta: float = 1, threshold: float = 20) -> Tensor:
    """log(1 + exp(beta * x)) / beta; x itself where beta * x is above `threshold`."""
    refuse_integers("softplus", input)
    return Softplus.apply(input, beta=beta, threshold=threshold)


def softsign(input: Tensor) -> Tensor:
    """x / (1 + |x|)."""
    return input / (input.abs() + 1)


def tanhshrink(input: Tensor) -> Tensor:
    """x - tanh(x)."""
    return input - tanh(input)


def elu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """x where it is positive, else alpha * (exp(x) - 1)."""
    refuse_integers("elu", input)
    return placed(input, Elu.apply(input, alpha=alpha, scale=1.0, steepness=1.0), inplace)


def elu_(input: Tensor, alpha: float = 1.0) -> Tensor:
    """`elu` in place."""
    return elu(input, alpha, inplace=True)


def selu(input: Tensor, inplace: bool = False) -> Tensor:
    """The scaled `elu` under which layers keep mean 0 and variance 1 (Klambauer et al., 2017)."""
    refuse_integers("selu", input)
    return placed(input, Elu.apply(input, alpha=1.6732632423543772, scale=1.0507009873554805, steepness=1.0), inplace)


def selu_(input: Tensor) -> Tensor:
    """`selu` in place."""
    return selu(input, inplace=True)


def celu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """x where it is positive, else alpha * (exp(x / alpha) - 1) (Barron, 2017)."""
    refuse_integers("celu", input)
    if alpha == 0:
        raise RuntimeError("ZeroDivisionError: alpha cannot be 0 for CELU")
    return placed(input, Elu.apply(input, alpha=alpha, scale=1.0, steepness=1 / alpha), inplace)


def celu_(input: Tensor, alpha: float = 1.0) -> Tensor:
    """`celu` in place."""
    return celu(input, alpha, inplace=True)


def glu(input: Tensor, dim: int = -1) -> Tensor:
    """The first half along `dim` times the sigmoid of the second."""
    refuse_integers("glu", input)
    if input.ndim == 0:
        raise RuntimeError("glu does not support 0-dimensional tensors")
    dim = one_axis(dim, input.ndim)
    if input.array.shape[dim] % 2:
        raise RuntimeError(f"Halving dimension must be even, but dimension {dim} is size {input.array.shape[dim]}")
    return Glu.apply(input, dim=dim)

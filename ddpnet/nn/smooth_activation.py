"""Activation functions as modules: those made of exponentials."""

from __future__ import annotations

from ddpnet.nn.activation import InPlace
from ddpnet.nn.module import Module
from ddpnet.ops import smooth_activation
from ddpnet.tensor import Tensor


class Tanh(Module):
    """The hyperbolic tangent."""

    def forward(self, input: Tensor) -> Tensor:
        return smooth_activation.tanh(input)


class Sigmoid(Module):
    """1 / (1 + exp(-x))."""

    def forward(self, input: Tensor) -> Tensor:
        return smooth_activation.sigmoid(input)


class LogSigmoid(Module):
    """log(1 / (1 + exp(-x)))."""

    def forward(self, input: Tensor) -> Tensor:
        return smooth_activation.logsigmoid(input)


class Softsign(Module):
    """x / (1 + |x|)."""

    def forward(self, input: Tensor) -> Tensor:
        return smooth_activation.softsign(input)


class Tanhshrink(Module):
    """x - tanh(x)."""

    def forward(self, input: Tensor) -> Tensor:
        return smooth_activation.tanhshrink(input)


class SiLU(InPlace):
    """x * sigmoid(x)."""

    def forward(self, input: Tensor) -> Tensor:
        return smooth_activation.silu(input, self.inplace)


class Mish(InPlace):
    """x * tanh(log(1 + exp(x)))."""

    def forward(self, input: Tensor) -> Tensor:
        return smooth_activation.mish(input, self.inplace)


class SELU(InPlace):
    """The scaled exponential unit under which layers keep mean 0 and variance 1."""

    def forward(self, input: Tensor) -> Tensor:
        return smooth_activation.selu(input, self.inplace)


class GELU(Module):
    """x * P(normal < x), or its approximation by a tanh with `approximate="tanh"`."""

    def __init__(self, approximate: str = "none") -> None:
        super().__init__()
        self.approximate = approximate

    def forward(self, input: Tensor) -> Tensor:
        return smooth_activation.gelu(input, self.approximate)

    def extra_repr(self) -> str:
        return f"approximate={self.approximate!r}"


class Softplus(Module):
    """log(1 + exp(beta * x)) / beta; x itself where beta * x is above `threshold`."""

    def __init__(self, beta: float = 1.0, threshold: float = 20.0) -> None:
        super().__init__()
        self.beta, self.threshold = beta, threshold

    def forward(self, input: Tensor) -> Tensor:
        return smooth_activation.softplus(input, self.beta, self.threshold)

    def extra_repr(self) -> str:
        return f"beta={self.beta}, threshold={self.threshold}"


class _WithAlpha(Module):
    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        super().__init__()
        self.alpha, self.inplace = alpha, inplace

    def extra_repr(self) -> str:
        return f"alpha={self.alpha}" + (", inplace=True" if self.inplace else "")


class ELU(_WithAlpha):
    """x where it is positive, else alpha * (exp(x) - 1)."""

    def forward(self, input: Tensor) -> Tensor:
        return smooth_activation.elu(input, self.alpha, self.inplace)


class CELU(_WithAlpha):
    """x where it is positive, else alpha * (exp(x / alpha) - 1)."""

    def forward(self, input: Tensor) -> Tensor:
        return smooth_activation.celu(input, self.alpha, self.inplace)


class GLU(Module):
    """The first half along `dim` times the sigmoid of the second."""

    def __init__(self, dim: int = -1) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, input: Tensor) -> Tensor:
        return smooth_activation.glu(input, self.dim)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"

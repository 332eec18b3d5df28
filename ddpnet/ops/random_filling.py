"""Tensors set to random numbers in place."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ddpnet import backend
from ddpnet.dtypes import category
from ddpnet.ops.drawing import floating, integers, probabilities, stream
from ddpnet.random import Generator
from ddpnet.tensor import Tensor, method

__all__: list[str] = []


def _fill_from(self: Tensor, values: np.ndarray) -> Tensor:
    return self.copy_(Tensor(backend.move(np.asarray(values).astype(self.array.dtype, copy=False), self.device)))


def _bounds(args: tuple[Any, ...], named: dict[str, Any], names: dict[str, Any], function: str) -> list[Any]:
    """The arguments in order; `from` is no name that a Python function can give to an argument."""
    if len(args) > len(names) or not set(named) <= set(list(names)[len(args) :]):
        raise TypeError(f"{function}() got an unexpected combination of arguments: {args} {named}")
    return [*args, *({**names, **named}[name] for name in list(names)[len(args) :])]


@method
def uniform_(self: Tensor, *bounds: Any, generator: Generator | None = None, **named: Any) -> Tensor:
    """Set the elements to numbers drawn evenly: `uniform_(from=0, to=1)`, from [from, to)."""
    low, high = _bounds(bounds, named, {"from": 0.0, "to": 1.0}, "uniform_")
    if low > high:
        raise RuntimeError(f"uniform_ expects to return a [from, to) range, but found from={low} > to={high}")
    kind = floating(self.array.dtype, "check_uniform_bounds")
    values = stream(generator).random(self.array.shape, kind)
    return _fill_from(self, values * kind(high - low) + kind(low))


@method
def normal_(self: Tensor, mean: float = 0, std: float = 1, *, generator: Generator | None = None) -> Tensor:
    """Set the elements to normally distributed numbers."""
    if std < 0:
        raise RuntimeError(f"normal expects std >= 0.0, but found std {std}")
    kind = floating(self.array.dtype, "normal_kernel_cpu")
    values = stream(generator).standard_normal(self.array.shape, kind)
    return _fill_from(self, values * kind(std) + kind(mean))


@method
def bernoulli_(self: Tensor, p: Any = 0.5, *, generator: Generator | None = None) -> Tensor:
    """Set the elements to 1 with a probability, else 0."""
    return _fill_from(self, stream(generator).random(self.array.shape) < probabilities(p, self.array.shape))


@method
def random_(self: Tensor, *bounds: Any, generator: Generator | None = None, **named: Any) -> Tensor:
    """Set the elements to integers: `random_()`, `random_(to)`, `random_(from, to)`; without bounds from 0 to what the
    dtype holds exactly."""
    if len(bounds) == 1 and not named:
        bounds = (0, *bounds)
    low, high = _bounds(bounds, named, {"from": 0, "to": None}, "random_")
    kind = self.array.dtype
    if high is None:
        digits = {"float16": 11, "bfloat16": 8, "float32": 24, "float64": 53, "bool": 1}
        high = np.iinfo(kind).max if category(kind) == 1 else 2 ** digits[kind.name]
    return _fill_from(self, integers(low, high, self.array.shape, kind, stream(generator)))


def _positive(value: float, name: str, what: str) -> None:
    if not value > 0:
        raise RuntimeError(f"{name} expects {what} > 0.0, but found {what}={value}")


@method
def exponential_(self: Tensor, lambd: float = 1, *, generator: Generator | None = None) -> Tensor:
    """Set the elements to exponentially distributed numbers of rate `lambd`."""
    _positive(lambd, "exponential_", "lambda")
    floating(self.array.dtype, "exponential")
    return _fill_from(self, stream(generator).standard_exponential(self.array.shape) / lambd)


@method
def geometric_(self: Tensor, p: float, *, generator: Generator | None = None) -> Tensor:
    """Set the elements to the number of trials of chance `p` up to the first success."""
    if not 0 < p < 1:
        raise RuntimeError(f"geometric_ expects p to be in (0, 1), but got p={p}")
    if self.array.dtype == np.bool_:
        raise NotImplementedError("\"geometric_cpu\" not implemented for 'Bool'")
    return _fill_from(self, stream(generator).geometric(p, self.array.shape))


@method
def log_normal_(self: Tensor, mean: float = 1, std: float = 2, *, generator: Generator | None = None) -> Tensor:
    """Set the elements to numbers whose logarithms are normally distributed."""
    _positive(std, "log_normal_", "std")
    floating(self.array.dtype, "log_normal")
    return _fill_from(self, np.exp(stream(generator).standard_normal(self.array.shape) * std + mean))


@method
def cauchy_(self: Tensor, median: float = 0, sigma: float = 1, *, generator: Generator | None = None) -> Tensor:
    """Set the elements to Cauchy-distributed numbers."""
    _positive(sigma, "cauchy_", "sigma")
    floating(self.array.dtype, "cauchy")
    even = stream(generator).random(self.array.shape)
    return _fill_from(self, median + sigma * np.tan(math.pi * (even - 0.5)))

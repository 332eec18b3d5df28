"""Distributions around the gamma function; their samples carry no gradient."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from ddpnet import backend, random
from ddpnet.distributions import constraints
from ddpnet.distributions.distribution import Constraints, Distribution, Parameter, Shape, broadcast_all
from ddpnet.dtypes import finfo
from ddpnet.ops.joining import stack
from ddpnet.size import Size
from ddpnet.tensor import Tensor


def _standard_gamma(concentration: Tensor, shape: Size) -> Tensor:
    """Numbers of the gamma distribution with rate 1; never zero."""
    kind = concentration.array.dtype
    drawn = (
        random.default_generator().draw().standard_gamma(backend.host(concentration.array).astype(np.float64), shape)
    )
    values = np.maximum(drawn, float(finfo(concentration.dtype).tiny)).astype(kind)
    return Tensor(backend.move(np.asarray(values), concentration.device))


class Gamma(Distribution):
    """Of the time until `concentration` things have happened of which `rate` happen in a unit of it."""

    arg_constraints: ClassVar[Constraints] = {"concentration": constraints.positive, "rate": constraints.positive}
    support = constraints.nonnegative

    concentration: Tensor
    rate: Tensor

    def __init__(self, concentration: Parameter, rate: Parameter, validate_args: bool | None = None) -> None:
        self.concentration, self.rate = broadcast_all(concentration, rate)
        super().__init__(self.concentration.shape, validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        return self.concentration / self.rate

    @property
    def mode(self) -> Tensor:
        return ((self.concentration - 1) / self.rate).clamp(min=0)

    @property
    def variance(self) -> Tensor:
        return self.concentration / self.rate.square()

    def sample(self, sample_shape: Shape = ()) -> Tensor:
        return _standard_gamma(self.concentration, self._extended_shape(sample_shape)) / self.rate.detach()

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        a, b = self.concentration, self.rate
        return (a * b.log()) + (a - 1) * value.log() - b * value - a.lgamma()

    def entropy(self) -> Tensor:
        a = self.concentration
        return a - self.rate.log() + a.lgamma() + (1.0 - a) * a.digamma()


class Chi2(Gamma):
    """Of the sum of `df` squares of normally distributed numbers."""

    arg_constraints: ClassVar[Constraints] = {"df": constraints.positive}

    def __init__(self, df: Parameter, validate_args: bool | None = None) -> None:
        (half,) = broadcast_all(df)
        super().__init__(0.5 * half, 0.5, validate_args)

    @property
    def df(self) -> Tensor:
        """How many numbers there are."""
        return self.concentration * 2

    def expand(self, batch_shape: Shape, _instance: Any = None) -> Any:
        new = type(self).__new__(type(self)) if _instance is None else _instance
        new.concentration, new.rate = (x.expand(*batch_shape) for x in (self.concentration, self.rate))
        Distribution.__init__(new, batch_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new


class Dirichlet(Distribution):
    """Of probabilities (K) that add up to 1, with weights `concentration` (..., K)."""

    arg_constraints: ClassVar[Constraints] = {"concentration": constraints.independent(constraints.positive, 1)}
    support = constraints.simplex

    concentration: Tensor

    def __init__(self, concentration: Tensor, validate_args: bool | None = None) -> None:
        if concentration.dim() < 1:
            raise ValueError("`concentration` parameter must be at least one-dimensional.")
        self.concentration = concentration
        super().__init__(concentration.shape[:-1], concentration.shape[-1:], validate_args)

    @property
    def mean(self) -> Tensor:
        return self.concentration / self.concentration.sum(-1, keepdim=True)

    @property
    def variance(self) -> Tensor:
        total = self.concentration.sum(-1, keepdim=True)
        return self.concentration * (total - self.concentration) / (total.square() * (total + 1))

    def sample(self, sample_shape: Shape = ()) -> Tensor:
        parts = _standard_gamma(self.concentration, self._extended_shape(sample_shape))
        return parts / parts.sum(-1, keepdim=True)

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        a = self.concentration
        return ((a - 1.0) * value.log()).sum(-1) + a.sum(-1).lgamma() - a.lgamma().sum(-1)

    def entropy(self) -> Tensor:
        a, k = self.concentration, self.concentration.shape[-1]
        total = a.sum(-1)
        rest = ((a - 1.0) * a.digamma()).sum(-1)
        return a.lgamma().sum(-1) - total.lgamma() - (k - total) * total.digamma() - rest


class Beta(Distribution):
    """Of a probability after `concentration1` successes and `concentration0` failures, one of each taken off."""

    arg_constraints: ClassVar[Constraints] = {
        "concentration1": constraints.positive,
        "concentration0": constraints.positive,
    }
    support = constraints.unit_interval

    concentration1: Tensor
    concentration0: Tensor

    def __init__(self, concentration1: Parameter, concentration0: Parameter, validate_args: bool | None = None) -> None:
        self.concentration1, self.concentration0 = broadcast_all(concentration1, concentration0)
        super().__init__(self.concentration1.shape, validate_args=validate_args)

    @property
    def _dirichlet(self) -> Dirichlet:
        return Dirichlet(stack([self.concentration1, self.concentration0], -1), validate_args=False)

    @property
    def mean(self) -> Tensor:
        return self.concentration1 / (self.concentration1 + self.concentration0)

    @property
    def variance(self) -> Tensor:
        total = self.concentration1 + self.concentration0
        return self.concentration1 * self.concentration0 / (total.square() * (total + 1))

    def sample(self, sample_shape: Shape = ()) -> Tensor:
        return self._dirichlet.sample(sample_shape)[..., 0]

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        return self._dirichlet.log_prob(stack([value, 1.0 - value], -1))

    def entropy(self) -> Tensor:
        return self._dirichlet.entropy()

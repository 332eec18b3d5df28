"""Distributions of how often something happens; their samples come from NumPy."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from ddpnet import backend, ops, random
from ddpnet.distributions import constraints
from ddpnet.distributions.bernoulli import Binary
from ddpnet.distributions.distribution import Constraints, Distribution, Parameter, Shape, broadcast_all
from ddpnet.tensor import Tensor


class Poisson(Distribution):
    """Of how often something happens that happens `rate` times on average."""

    arg_constraints: ClassVar[Constraints] = {"rate": constraints.nonnegative}
    support = constraints.nonnegative_integer

    rate: Tensor

    def __init__(self, rate: Parameter, validate_args: bool | None = None) -> None:
        (self.rate,) = broadcast_all(rate)
        super().__init__(self.rate.shape, validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        return self.rate

    @property
    def mode(self) -> Tensor:
        return self.rate.floor()

    @property
    def variance(self) -> Tensor:
        return self.rate

    def sample(self, sample_shape: Shape = ()) -> Tensor:
        drawn = (
            random.default_generator().draw().poisson(backend.host(self.rate.array), self._extended_shape(sample_shape))
        )
        return Tensor(backend.move(drawn.astype(self.rate.array.dtype), self.rate.device))

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        rate, value = broadcast_all(self.rate, value)
        return ops.xlogy(value, rate) - rate - (value + 1).lgamma()


class Binomial(Binary):
    """Of the number of successes in `total_count` trials, each with probability `probs` or log-odds `logits`."""

    arg_constraints: ClassVar[Constraints] = {
        "total_count": constraints.nonnegative_integer,
        "probs": constraints.unit_interval,
        "logits": constraints.real,
    }

    has_enumerate_support = True

    total_count: Tensor

    def __init__(
        self,
        total_count: Parameter = 1,
        probs: Parameter | None = None,
        logits: Parameter | None = None,
        validate_args: bool | None = None,
    ) -> None:
        count, _ = broadcast_all(total_count, logits if probs is None else probs)  # type: ignore[arg-type]
        self.total_count = count
        super().__init__(
            None if probs is None else broadcast_all(probs, count)[0],
            None if logits is None else broadcast_all(logits, count)[0],
            validate_args,
        )
        self.total_count = count.to(self._param.dtype)

    @constraints.dependent_property(is_discrete=True)
    def support(self) -> constraints.Constraint:
        """The numbers 0 to `total_count`."""
        return constraints.integer_interval(0, self.total_count)

    @property
    def mean(self) -> Tensor:
        return self.total_count * self.probs

    @property
    def mode(self) -> Tensor:
        return ((self.total_count + 1) * self.probs).floor().clamp(max=self.total_count)

    @property
    def variance(self) -> Tensor:
        return self.total_count * self.probs * (1 - self.probs)

    def sample(self, sample_shape: Shape = ()) -> Tensor:
        count, probs = (backend.host(x.array) for x in (self.total_count, self.probs))
        drawn = (
            random.default_generator()
            .draw()
            .binomial(count.astype(np.int64), probs.astype(np.float64).clip(0, 1), self._extended_shape(sample_shape))
        )
        return Tensor(backend.move(np.asarray(drawn).astype(self.probs.array.dtype), self.probs.device))

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        n, x = self.total_count, self.logits
        positive = (x.clamp(min=0) + x - x.clamp(max=0)) / 2  # with the slope 1/2 at zero
        ways = (n + 1).lgamma() - (value + 1).lgamma() - (n - value + 1).lgamma()
        return ways + value * x - n * (positive + (-x.abs()).exp().log1p())

    def entropy(self) -> Tensor:
        logarithms = self.log_prob(self.enumerate_support(False))
        return -(logarithms.exp() * logarithms).sum(0)

    def enumerate_support(self, expand: bool = True) -> Tensor:
        count = int(self.total_count.max())
        if int(self.total_count.min()) != count:
            raise NotImplementedError("Inhomogeneous total count not supported by `enumerate_support`.")
        values = ops.arange(1 + count, dtype=self._param.dtype, device=self._param.device)
        values = values.reshape(-1, *(1 for _ in self._batch_shape))
        return values.expand(-1, *self._batch_shape) if expand else values

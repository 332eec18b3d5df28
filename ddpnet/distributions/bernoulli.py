"""Distributions of what succeeds with a probability, once or until it does."""

from __future__ import annotations

import math
from typing import ClassVar

from ddpnet import ops
from ddpnet.autograd.grad_mode import no_grad
from ddpnet.distributions import constraints
from ddpnet.distributions.distribution import Constraints, Distribution, Parameter, Shape, broadcast_all, lazy_property
from ddpnet.dtypes import finfo
from ddpnet.nn import functional
from ddpnet.size import Size
from ddpnet.tensor import Tensor


def only_one(probs: object, logits: object) -> None:
    """ValueError unless one of the two is given."""
    if (probs is None) == (logits is None):
        raise ValueError("Either `probs` or `logits` must be specified, but not both.")


def clamp_probs(probs: Tensor) -> Tensor:
    """Probabilities between 0 and 1, both excluded."""
    eps = finfo(probs.dtype).eps
    return probs.clamp(eps, 1 - eps)


class Binary(Distribution):
    """With a probability `probs` or its log-odds `logits`."""

    def __init__(
        self, probs: Parameter | None = None, logits: Parameter | None = None, validate_args: bool | None = None
    ) -> None:
        only_one(probs, logits)
        name, value = ("probs", probs) if probs is not None else ("logits", logits)
        (vars(self)[name],) = broadcast_all(value)  # type: ignore[arg-type]
        super().__init__(vars(self)[name].shape, validate_args=validate_args)

    @lazy_property
    def logits(self) -> Tensor:
        """The log-odds."""
        probs = clamp_probs(self.probs)
        return probs.log() - (-probs).log1p()

    @lazy_property
    def probs(self) -> Tensor:
        """The probability."""
        return self.logits.sigmoid()

    @property
    def _param(self) -> Tensor:
        return vars(self)["probs"] if "probs" in vars(self) else vars(self)["logits"]

    @property
    def param_shape(self) -> Size:
        """The shape of the parameter."""
        return self._param.shape


class Bernoulli(Binary):
    """1 with probability `probs`, else 0; or with log-odds `logits`."""

    arg_constraints: ClassVar[Constraints] = {"probs": constraints.unit_interval, "logits": constraints.real}
    support = constraints.boolean
    has_enumerate_support = True

    @property
    def mean(self) -> Tensor:
        return self.probs

    @property
    def mode(self) -> Tensor:
        mode = (self.probs >= 0.5).to(self.probs.dtype)
        return ops.where(self.probs == 0.5, math.nan, mode)

    @property
    def variance(self) -> Tensor:
        return self.probs * (1 - self.probs)

    def sample(self, sample_shape: Shape = ()) -> Tensor:
        with no_grad():
            return ops.bernoulli(self.probs.expand(*self._extended_shape(sample_shape)))

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        logits, value = broadcast_all(self.logits, value)
        return -functional.binary_cross_entropy_with_logits(logits, value, reduction="none")

    def entropy(self) -> Tensor:
        return functional.binary_cross_entropy_with_logits(self.logits, self.probs, reduction="none")

    def enumerate_support(self, expand: bool = True) -> Tensor:
        values = ops.arange(2, dtype=self._param.dtype, device=self._param.device)
        values = values.reshape(-1, *(1 for _ in self._batch_shape))
        return values.expand(-1, *self._batch_shape) if expand else values


class Geometric(Binary):
    """Of the number of failures before the first success, which has probability `probs`."""

    arg_constraints: ClassVar[Constraints] = {"probs": constraints.unit_interval, "logits": constraints.real}
    support = constraints.nonnegative_integer

    def __init__(
        self, probs: Parameter | None = None, logits: Parameter | None = None, validate_args: bool | None = None
    ) -> None:
        super().__init__(probs, logits, validate_args)
        if self._validate_args and probs is not None and not bool((self.probs > 0).all()):
            raise ValueError(
                f"Expected parameter probs of distribution {self!r} to be positive, but got:\n{self.probs}"
            )

    @property
    def mean(self) -> Tensor:
        return 1.0 / self.probs - 1.0

    @property
    def mode(self) -> Tensor:
        return ops.zeros_like(self.probs)

    @property
    def variance(self) -> Tensor:
        return (1.0 / self.probs - 1.0) / self.probs

    def sample(self, sample_shape: Shape = ()) -> Tensor:
        with no_grad():
            even = ops.rand(self._extended_shape(sample_shape), dtype=self.probs.dtype, device=self.probs.device)
            return (even.clamp(min=finfo(self.probs.dtype).tiny).log() / (-self.probs).log1p()).floor()

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        value, probs = broadcast_all(value, self.probs)
        safe = ops.where(probs.eq(1) & value.eq(0), ops.zeros_like(probs), probs)
        return value * (-safe).log1p() + self.probs.log()

    def entropy(self) -> Tensor:
        return functional.binary_cross_entropy_with_logits(self.logits, self.probs, reduction="none") / self.probs

"""Distributions of functions of what another distribution gives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from ddpnet.autograd.grad_mode import no_grad
from ddpnet.distributions import constraints
from ddpnet.distributions.distribution import Constraints, Distribution, Shape, sum_rightmost
from ddpnet.distributions.transforms import Transform
from ddpnet.tensor import Tensor


class TransformedDistribution(Distribution):
    """Of the results of `transforms`, one after the other, of samples of `base_distribution`."""

    arg_constraints: ClassVar[Constraints] = {}

    def __init__(
        self, base_distribution: Any, transforms: Transform | Sequence[Transform], validate_args: bool | None = None
    ) -> None:
        self.transforms = [transforms] if isinstance(transforms, Transform) else list(transforms)
        if not all(isinstance(transform, Transform) for transform in self.transforms):
            raise ValueError(f"transforms must be a Transform or list, but was {transforms}")
        self.base_dist = base_distribution
        shape = base_distribution.batch_shape + base_distribution.event_shape
        dims = max([len(base_distribution.event_shape), *(transform.event_dim for transform in self.transforms)])
        super().__init__(shape[: len(shape) - dims], shape[len(shape) - dims :], validate_args)

    def expand(self, batch_shape: Shape, _instance: Any = None) -> Any:
        new = type(self).__new__(type(self)) if _instance is None else _instance
        own = len(self.event_shape) - len(self.base_dist.event_shape)
        new.base_dist = self.base_dist.expand((*batch_shape, *self.event_shape[:own]))
        new.transforms = self.transforms
        Distribution.__init__(new, batch_shape, self._event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    @property
    def has_rsample(self) -> bool:  # type: ignore[override]
        """Whether the inner distribution has differentiable samples."""
        return bool(self.base_dist.has_rsample)

    @constraints.dependent_property
    def support(self) -> constraints.Constraint:
        """The values of the last transform."""
        result: constraints.Constraint = self.transforms[-1].codomain if self.transforms else self.base_dist.support
        missing = len(self.event_shape) - result.event_dim
        return constraints.independent(result, missing) if missing else result

    def sample(self, sample_shape: Shape = ()) -> Tensor:
        with no_grad():
            return self._transformed(self.base_dist.sample(sample_shape))

    def rsample(self, sample_shape: Shape = ()) -> Tensor:
        return self._transformed(self.base_dist.rsample(sample_shape))

    def _transformed(self, value: Tensor) -> Tensor:
        for transform in self.transforms:
            value = transform(value)
        return value

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        result: Any = 0.0
        dims = len(self.event_shape)
        for transform in reversed(self.transforms):
            x = transform._inv_call(value)
            result = result - sum_rightmost(transform.log_abs_det_jacobian(x, value), dims - transform.event_dim)
            value = x
        return result + sum_rightmost(self.base_dist.log_prob(value), dims - len(self.base_dist.event_shape))

    def cdf(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        for transform in reversed(self.transforms):
            value = transform._inv_call(value)
        return self._reflected(self.base_dist.cdf(value))

    def icdf(self, value: Tensor) -> Tensor:
        return self._transformed(self.base_dist.icdf(self._reflected(value)))

    def _reflected(self, value: Tensor) -> Tensor:
        """A probability from the other side, if the transforms fall."""
        sign: Any = 1
        for transform in self.transforms:
            sign = sign * transform.sign
        return value if isinstance(sign, int) and sign == 1 else sign * (value - 0.5) + 0.5

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

"""A mixture of distributions of one kind."""

from __future__ import annotations

from typing import Any, ClassVar

from ddpnet.autograd.grad_mode import no_grad
from ddpnet.distributions import constraints
from ddpnet.distributions.categorical import Categorical
from ddpnet.distributions.distribution import Constraints, Distribution, Shape
from ddpnet.tensor import Tensor


class MixtureSameFamily(Distribution):
    """Of one of the distributions along the last dimension of the batch of `component_distribution`, chosen by another.

    ValueError if `mixture_distribution` is no `Categorical` of as many numbers as there are components.
    """

    arg_constraints: ClassVar[Constraints] = {}

    def __init__(
        self, mixture_distribution: Categorical, component_distribution: Any, validate_args: bool | None = None
    ) -> None:
        if not isinstance(mixture_distribution, Categorical):
            raise ValueError("The Mixture distribution needs to be an instance of torch.distributions.Categorical")
        if not isinstance(component_distribution, Distribution):
            raise ValueError("The Component distribution need to be an instance of torch.distributions.Distribution")
        batch = component_distribution.batch_shape
        ours, theirs = mixture_distribution.batch_shape, batch[:-1]
        for one, other in zip(reversed(ours), reversed(theirs), strict=False):
            if one != 1 and other != 1 and one != other:
                raise ValueError(f"`mixture_distribution.batch_shape` ({ours}) is not compatible with {theirs}")
        count = mixture_distribution.logits.shape[-1]
        if count != batch[-1]:
            raise ValueError(
                f"`mixture_distribution component` ({count}) does not equal the number of them ({batch[-1]})"
            )
        self._mixture_distribution = mixture_distribution
        self._component_distribution = component_distribution
        super().__init__(theirs, component_distribution.event_shape, validate_args)

    def expand(self, batch_shape: Shape, _instance: Any = None) -> Any:
        new = type(self).__new__(type(self)) if _instance is None else _instance
        count = self._component_distribution.batch_shape[-1]
        new._component_distribution = self._component_distribution.expand((*batch_shape, count))
        new._mixture_distribution = self._mixture_distribution.expand(batch_shape)
        Distribution.__init__(new, batch_shape, self._event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    @property
    def mixture_distribution(self) -> Categorical:
        """Which component is chosen."""
        return self._mixture_distribution

    @property
    def component_distribution(self) -> Any:
        """The components."""
        return self._component_distribution

    @constraints.dependent_property
    def support(self) -> constraints.Constraint:
        """That of the components; their values are checked by the components themselves."""
        result: constraints.Constraint = self._component_distribution.support
        return result

    def _padded(self, value: Tensor) -> Tensor:
        return value.reshape(*value.shape, *(1 for _ in self._event_shape))

    @property
    def mean(self) -> Tensor:
        weights = self._padded(self._mixture_distribution.probs)
        return (weights * self._component_distribution.mean).sum(-1 - len(self._event_shape))

    @property
    def variance(self) -> Tensor:
        weights, dim = self._padded(self._mixture_distribution.probs), -1 - len(self._event_shape)
        inside = (weights * self._component_distribution.variance).sum(dim)
        apart = (self._component_distribution.mean - self.mean.unsqueeze(dim)).square()
        return inside + (weights * apart).sum(dim)

    def cdf(self, value: Tensor) -> Tensor:
        each = self._component_distribution.cdf(value.unsqueeze(-1 - len(self._event_shape)))
        return (each * self._mixture_distribution.probs).sum(-1)

    def log_prob(self, value: Tensor) -> Tensor:
        each = self._component_distribution.log_prob(value.unsqueeze(-1 - len(self._event_shape)))
        return (each + self._mixture_distribution.logits.log_softmax(-1)).logsumexp(-1)

    def sample(self, sample_shape: Shape = ()) -> Tensor:
        with no_grad():
            dim = len(sample_shape) + len(self._batch_shape)
            chosen = self._padded(self._mixture_distribution.sample(sample_shape).unsqueeze(-1))
            drawn = self._component_distribution.sample(sample_shape)
            places = chosen.expand(*drawn.shape[:dim], 1, *self._event_shape)
            return drawn.gather(dim, places).squeeze(dim)

    def __repr__(self) -> str:
        return f"MixtureSameFamily(\n  {self._mixture_distribution},\n  {self._component_distribution})"

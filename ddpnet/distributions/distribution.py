"""Distribution: the base of all, with what each would repeat."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np

from ddpnet.autograd.grad_mode import enable_grad, no_grad
from ddpnet.distributions import constraints
from ddpnet.distributions.constraints import Constraint
from ddpnet.dtypes import get_default_dtype
from ddpnet.ops.creation import tensor
from ddpnet.size import Size
from ddpnet.tensor import Tensor

Number = int | float
Parameter = Tensor | Number
Shape = Sequence[int]
Constraints = dict[str, Constraint]


class Distribution:
    """A distribution of events of `event_shape`, for each place of `batch_shape` (`torch.distributions.Distribution`).

    A subclass names its parameters in `arg_constraints`; they are attributes, broadcast to the batch. ValueError for
    parameters and values that do not satisfy their constraints, unless `validate_args` is False.
    """

    has_rsample: ClassVar[bool] = False
    has_enumerate_support: ClassVar[bool] = False
    arg_constraints: ClassVar[Constraints]
    support: ClassVar[Any]
    _validate_args: bool = __debug__

    @staticmethod
    def set_default_validate_args(value: bool) -> None:
        """Whether distributions check what they are given, unless told otherwise."""
        if value not in (True, False):
            raise ValueError(f"expected True or False, got {value!r}")
        Distribution._validate_args = value

    def __init__(self, batch_shape: Shape = (), event_shape: Shape = (), validate_args: bool | None = None) -> None:
        self._batch_shape = Size(batch_shape)
        self._event_shape = Size(event_shape)
        if validate_args is not None:
            self._validate_args = validate_args
        if self._validate_args:
            for name, constraint in self._constraints().items():
                if name in vars(self) and not constraints.is_dependent(constraint):
                    self._check(constraint, vars(self)[name], name)

    def _constraints(self) -> dict[str, Constraint]:
        try:
            return self.arg_constraints
        except (AttributeError, NotImplementedError):
            warnings.warn(
                f"{type(self)} does not define `arg_constraints`. Please set `arg_constraints = {{}}` or initialize "
                "the distribution with `validate_args=False` to turn off validation.",
                stacklevel=4,
            )
            return {}

    def _check(self, constraint: Constraint, value: Tensor, name: str | None = None) -> None:
        if not bool(constraint.check(value).all()):
            kind = f"({type(value).__name__} of shape {tuple(value.shape)})"
            if name is None:
                told = f"value argument {kind} to be within the support ({constraint!r}) of the distribution {self!r}"
            else:
                told = f"parameter {name} {kind} of distribution {self!r} to satisfy the constraint {constraint!r}"
            raise ValueError(f"Expected {told}, but found invalid values:\n{value}")

    @property
    def batch_shape(self) -> Size:
        """The shape over which parameters are batched."""
        return self._batch_shape

    @property
    def event_shape(self) -> Size:
        """The shape of one event."""
        return self._event_shape

    def expand(self, batch_shape: Shape, _instance: Any = None) -> Any:
        """The same distribution for a larger batch: its parameters are expanded, without taking memory."""
        new = type(self).__new__(type(self)) if _instance is None else _instance
        batch_shape = Size(batch_shape)
        for name, value in vars(self).items():
            if name in self.arg_constraints:
                own = value.shape[len(value.shape) - self._parameter_dims(name) :]
                setattr(new, name, value.expand(*batch_shape, *own))
        Distribution.__init__(new, batch_shape, self._event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    def _parameter_dims(self, name: str) -> int:
        """How many of the last dimensions of a parameter are not the batch's."""
        return int(self.arg_constraints[name].event_dim)

    @property
    def mean(self) -> Tensor:
        """The mean."""
        raise NotImplementedError

    @property
    def mode(self) -> Tensor:
        """The most likely event."""
        raise NotImplementedError(f"{type(self)} does not implement mode")

    @property
    def variance(self) -> Tensor:
        """The variance."""
        raise NotImplementedError

    @property
    def stddev(self) -> Tensor:
        """The standard deviation."""
        return self.variance.sqrt()

    def sample(self, sample_shape: Shape = ()) -> Tensor:
        """Events of shape sample_shape + batch_shape + event_shape, without a gradient."""
        with no_grad():
            return self.rsample(sample_shape)

    def rsample(self, sample_shape: Shape = ()) -> Tensor:
        """As `sample`, but as a differentiable function of the parameters; NotImplementedError where there is none."""
        raise NotImplementedError(f"{type(self).__name__}.rsample: there is no differentiable sample; use sample()")

    def log_prob(self, value: Tensor) -> Tensor:
        """The logarithm of the probability, or its density, of events."""
        raise NotImplementedError

    def cdf(self, value: Tensor) -> Tensor:
        """The probability of an event up to `value`."""
        raise NotImplementedError

    def icdf(self, value: Tensor) -> Tensor:
        """The event up to which the probability is `value`."""
        raise NotImplementedError

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """All events, along a new first dimension; `expand`: for the whole batch."""
        raise NotImplementedError

    def entropy(self) -> Tensor:
        """The entropy, of the batch's shape."""
        raise NotImplementedError

    def perplexity(self) -> Tensor:
        """The exponential of the entropy."""
        return self.entropy().exp()

    def _extended_shape(self, sample_shape: Shape = ()) -> Size:
        return Size((*sample_shape, *self._batch_shape, *self._event_shape))

    def _validate_sample(self, value: Tensor) -> None:
        """ValueError for a value that is no tensor, of another shape, or outside the support."""
        if not isinstance(value, Tensor):
            raise ValueError("The value argument to log_prob must be a Tensor")
        if value.shape[value.dim() - len(self._event_shape) :] != self._event_shape:
            raise ValueError(
                f"The right-most size of value must match event_shape: {value.shape} vs {self._event_shape}."
            )
        expected = self._batch_shape + self._event_shape
        for ours, theirs in zip(reversed(value.shape), reversed(expected), strict=False):
            if ours != 1 and theirs != 1 and ours != theirs:
                raise ValueError(
                    f"Value is not broadcastable with batch_shape+event_shape: {value.shape} vs {expected}."
                )
        self._check(self.support, value)

    def __repr__(self) -> str:
        parameters = {name: vars(self)[name] for name in self.arg_constraints if name in vars(self)}
        described = [f"{name}: {x if x.numel() == 1 else x.size()}" for name, x in parameters.items()]
        return f"{type(self).__name__}({', '.join(described)})"


class lazy_property:
    """A parameter that is computed from another one when it is first asked for."""

    def __init__(self, wrapped: Callable[[Any], Tensor]) -> None:
        self.wrapped = wrapped
        self.__doc__ = wrapped.__doc__

    def __get__(self, instance: Any, owner: type) -> Any:
        if instance is None:
            return self
        with enable_grad():
            value = vars(instance)[self.wrapped.__name__] = self.wrapped(instance)
        return value


def broadcast_all(*values: Parameter) -> tuple[Tensor, ...]:
    """Tensors of one shape; numbers have the dtype and device of the first tensor. ValueError for anything else."""
    if not all(isinstance(value, Tensor | int | float) for value in values):
        raise ValueError("Input arguments must all be instances of Number, torch.Tensor")
    first = next((value for value in values if isinstance(value, Tensor)), None)
    dtype, device = (get_default_dtype(), None) if first is None else (first.dtype, first.device)
    tensors = [value if isinstance(value, Tensor) else tensor(value, dtype=dtype, device=device) for value in values]
    shape = np.broadcast_shapes(*(tuple(value.shape) for value in tensors))
    return tuple(value if value.shape == shape else value.expand(*shape) for value in tensors)


def of_numbers(*values: Parameter) -> bool:
    """Whether all parameters are numbers, so that the batch has no dimension."""
    return all(isinstance(value, int | float) for value in values)


def sum_rightmost(value: Tensor, dims: int) -> Tensor:
    """The sum over the last dimensions."""
    return value.sum(tuple(range(-dims, 0))) if dims else value

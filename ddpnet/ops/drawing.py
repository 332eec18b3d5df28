"""Random numbers: drawn on the host from the keyed streams, so that they are the same on any device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ddpnet import backend, dtypes, random
from ddpnet.dtypes import DType, category
from ddpnet.layouts import Layout, MemoryFormat
from ddpnet.ops.creation import DeviceLike, check_layout, checked_shape, into_out, like_options, place
from ddpnet.ops.expansion import broadcast_shapes
from ddpnet.ops.out import with_out
from ddpnet.random import Generator
from ddpnet.tensor import Tensor, method

__all__ = [
    "bernoulli",
    "multinomial",
    "normal",
    "poisson",
    "rand",
    "rand_like",
    "randint",
    "randint_like",
    "randn",
    "randn_like",
    "randperm",
]


def stream(generator: Generator | None) -> np.random.Generator:
    """The stream of the next call."""
    return (generator or random.default_generator()).draw()


def floating(kind: np.dtype[Any], name: str) -> Any:
    """float64 or float32, in which numbers of a dtype are drawn; NotImplementedError for integers."""
    if category(kind) < 2:
        raise NotImplementedError(f"\"{name}\" not implemented for '{dtypes.from_numpy(kind).scalar_name}'")
    return np.float64 if kind == np.float64 else np.float32


def _even(rng: np.random.Generator, shape: tuple[int, ...], kind: np.dtype[Any]) -> np.ndarray:
    drawn = np.asarray(rng.random(shape, floating(kind, "check_uniform_bounds")))
    result = drawn.astype(kind, copy=False)
    return (
        np.where(result >= kind.type(1), kind.type(1) - np.spacing(kind.type(1)) / 2, result).astype(kind)
        if kind.itemsize == 2
        else result
    )


def _normal(rng: np.random.Generator, shape: tuple[int, ...], kind: np.dtype[Any]) -> np.ndarray:
    return np.asarray(rng.standard_normal(shape, floating(kind, "normal_kernel_cpu"))).astype(kind, copy=False)


_Draw = Callable[[np.random.Generator, tuple[int, ...], np.dtype[Any]], np.ndarray]


def _drawn(name: str, draw: _Draw, text: str) -> Callable[..., Tensor]:
    def create(
        *size: Any,
        generator: Generator | None = None,
        dtype: DType | None = None,
        layout: Layout | None = None,
        device: DeviceLike = None,
        pin_memory: bool = False,
        requires_grad: bool = False,
        **named: Any,
    ) -> Tensor:
        if named:
            if size or set(named) != {"size"}:
                raise TypeError(f"{name}() got an unexpected keyword argument {next(iter(named))!r}")
            size = (named["size"],)
        check_layout(layout)
        shape = checked_shape(size)
        kind = (dtype or dtypes.get_default_dtype()).numpy
        return place(draw(stream(generator), shape, kind), device, requires_grad)

    create.__name__ = create.__qualname__ = name
    create.__doc__ = text
    return into_out(create)


def _drawn_like(name: str, draw: _Draw, text: str) -> Callable[..., Tensor]:
    def like(
        input: Tensor,
        *,
        generator: Generator | None = None,
        dtype: DType | None = None,
        layout: Layout | None = None,
        device: DeviceLike = None,
        pin_memory: bool = False,
        requires_grad: bool = False,
        memory_format: MemoryFormat | None = None,
    ) -> Tensor:
        kind, _, shape, _ = like_options(input, dtype, layout, device, memory_format)
        return place(draw(stream(generator), shape, kind), device or input.device, requires_grad)

    like.__name__ = like.__qualname__ = name
    like.__doc__ = text
    return like


rand = _drawn("rand", _even, "Numbers drawn evenly from [0, 1).")
randn = _drawn("randn", _normal, "Numbers drawn from the standard normal distribution.")
rand_like = _drawn_like(
    "rand_like", _even, "Numbers drawn evenly from [0, 1), with the shape and dtype of another tensor."
)
randn_like = _drawn_like("randn_like", _normal, "Standard normal numbers with the shape and dtype of another tensor.")


def integers(low: Any, high: Any, shape: tuple[int, ...], kind: np.dtype[Any], rng: np.random.Generator) -> np.ndarray:
    """Integers from `low` to before `high`; RuntimeError where there is none, or a dtype does not hold them."""
    low, high = int(low), int(high)
    if low >= high:
        raise RuntimeError(f"random_ expects 'from' to be less than 'to', but got from={low} >= to={high}")
    if category(kind) == 1:
        limits = np.iinfo(kind)
        if low < limits.min or high - 1 > limits.max:
            raise RuntimeError(f"from or to is out of bounds for {dtypes.from_numpy(kind).name}")
    return np.asarray(rng.integers(low, high, shape)).astype(kind)


@into_out
def randint(
    *bounds: Any,
    generator: Generator | None = None,
    dtype: DType | None = None,
    layout: Layout | None = None,
    device: DeviceLike = None,
    pin_memory: bool = False,
    requires_grad: bool = False,
    **named: Any,
) -> Tensor:
    """Integers from `low` (0 if left out) to before `high`: `randint(high, size)` or `randint(low, high, size)`."""
    check_layout(layout)
    given = list(bounds)
    size = named.pop("size") if "size" in named else given.pop() if given else None
    if "high" in named:
        given.append(named.pop("high"))
    low = named.pop("low", 0) if len(given) < 2 else given.pop(0)
    if named or len(given) != 1 or size is None or isinstance(size, int):
        raise TypeError("randint() expects (high, size) or (low, high, size)")
    kind = (dtype or dtypes.int64).numpy
    return place(integers(low, given[0], checked_shape((size,)), kind, stream(generator)), device, requires_grad)


def randint_like(
    input: Tensor,
    *bounds: Any,
    dtype: DType | None = None,
    layout: Layout | None = None,
    device: DeviceLike = None,
    pin_memory: bool = False,
    requires_grad: bool = False,
    memory_format: MemoryFormat | None = None,
    **named: Any,
) -> Tensor:
    """Integers with the shape and dtype of another tensor: `randint_like(input, high)` or `(input, low, high)`."""
    given = [int(bound) for bound in bounds]
    high = named.pop("high") if "high" in named else given.pop() if given else None
    low = named.pop("low", 0) if not given else given.pop()
    if named or given or high is None:
        raise TypeError("randint_like() expects (input, high) or (input, low, high)")
    kind, _, shape, _ = like_options(input, dtype, layout, device, memory_format)
    return place(integers(low, high, shape, kind, stream(None)), device or input.device, requires_grad)


@into_out
def randperm(
    n: int,
    *,
    generator: Generator | None = None,
    dtype: DType | None = None,
    layout: Layout | None = None,
    device: DeviceLike = None,
    pin_memory: bool = False,
    requires_grad: bool = False,
) -> Tensor:
    """The integers from 0 to before n in a random order, (n,)."""
    check_layout(layout)
    if n < 0:
        raise RuntimeError(f"n must be non-negative, got {n}")
    order = stream(generator).permutation(int(n))
    return place(order.astype((dtype or dtypes.int64).numpy, copy=False), device, requires_grad)


@with_out
def normal(
    mean: Any = 0.0,
    std: Any = 1.0,
    size: Any = None,
    *,
    generator: Generator | None = None,
    dtype: DType | None = None,
    layout: Layout | None = None,
    device: DeviceLike = None,
    pin_memory: bool = False,
    requires_grad: bool = False,
) -> Tensor:
    """Normally distributed numbers: of the broadcast shape of the tensors among `mean` and `std`, or of `size`."""
    check_layout(layout)
    low = std.array.min() if isinstance(std, Tensor) and std.array.size else std
    if not isinstance(low, Tensor) and low < 0:
        raise RuntimeError(f"normal expects std >= 0.0, but found std {low}")
    tensors = [value for value in (mean, std) if isinstance(value, Tensor)]
    if not tensors:
        if size is None:
            raise TypeError("normal() of two numbers expects a size")
        drawn = randn(size, generator=generator, dtype=dtype, device=device)
        return (drawn * std + mean).requires_grad_(requires_grad)
    if size is not None or dtype is not None:
        raise TypeError("normal() of tensors takes no size and no dtype")
    shape = broadcast_shapes(*(value.shape for value in tensors))
    drawn = randn(shape, generator=generator, dtype=tensors[0].dtype, device=tensors[0].device)
    return drawn * _plain(std) + _plain(mean)


def _plain(value: Any) -> Any:
    return value.detach() if isinstance(value, Tensor) else value


def probabilities(p: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Probabilities broadcast to a shape; RuntimeError outside of [0, 1]."""
    array = backend.host(p.array).astype(np.float64) if isinstance(p, Tensor) else np.asarray(p, np.float64)
    if not ((array >= 0) & (array <= 1)).all():
        raise RuntimeError("Expected p_in >= 0 && p_in <= 1 to be true, but got false.")
    return np.broadcast_to(array, shape)


@with_out
@method
def bernoulli(input: Tensor, p: Any = None, *, generator: Generator | None = None) -> Tensor:
    """1 with the probability that the element (or `p`) says, else 0."""
    if p is None:
        floating(input.array.dtype, "bernoulli_tensor_cpu_p_")
    chance = probabilities(input if p is None else p, input.array.shape)
    drawn = stream(generator).random(input.array.shape) < chance
    return place(np.asarray(drawn).astype(input.array.dtype), input.device, False)


@with_out
@method
def multinomial(
    input: Tensor, num_samples: int, replacement: bool = False, *, generator: Generator | None = None
) -> Tensor:
    """int64 (..., num_samples): categories drawn in proportion to the numbers of a vector, or of each row."""
    if input.ndim not in (1, 2):
        raise RuntimeError("prob_dist must be 1 or 2 dim")
    if category(input.array.dtype) < 2:
        raise RuntimeError(f"multinomial only supports floating-point dtypes for input, got: {input.dtype.scalar_name}")
    if num_samples <= 0:
        raise RuntimeError("cannot sample n_sample <= 0 samples")
    weights = np.atleast_2d(backend.host(input.array).astype(np.float64))
    if not replacement and num_samples > weights.shape[1]:
        raise RuntimeError("cannot sample n_sample > prob_dist.size(-1) samples without replacement")
    if not np.isfinite(weights).all() or (weights < 0).any():
        raise RuntimeError("probability tensor contains either `inf`, `nan` or element < 0")
    if weights.shape[0] and not (weights.sum(1) > 0).all():
        raise RuntimeError("invalid multinomial distribution (sum of probabilities <= 0)")
    rng = stream(generator)
    drawn = (_with_replacement if replacement else _without_replacement)(rng, weights, num_samples)
    return place(drawn.reshape(*input.array.shape[:-1], num_samples), input.device, False)


def _with_replacement(rng: np.random.Generator, weights: np.ndarray, count: int) -> np.ndarray:
    ends = weights.cumsum(1)
    points = rng.random((len(weights), count)) * ends[:, -1:]
    rows = [np.searchsorted(end, point, side="right") for end, point in zip(ends, points, strict=True)]
    last = [np.flatnonzero(row)[-1] for row in weights]
    return np.minimum(np.array(rows, np.int64).reshape(len(weights), count), np.array(last, np.int64).reshape(-1, 1))


def _without_replacement(rng: np.random.Generator, weights: np.ndarray, count: int) -> np.ndarray:
    """The first arrivals of exponential clocks whose rates are the weights."""
    with np.errstate(divide="ignore"):
        times = rng.standard_exponential(weights.shape) / weights
    return np.argsort(times, axis=1, kind="stable")[:, :count].astype(np.int64)


@method
def poisson(input: Tensor, generator: Generator | None = None) -> Tensor:
    """Poisson-distributed numbers with the elements as rates."""
    floating(input.array.dtype, "poisson_cpu")
    rates = backend.host(input.array).astype(np.float64)
    if not (rates >= 0).all():
        raise RuntimeError("invalid Poisson rate, expected rate to be non-negative")
    return place(np.asarray(stream(generator).poisson(rates)).astype(input.array.dtype), input.device, False)

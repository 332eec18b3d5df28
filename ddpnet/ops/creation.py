"""New tensors: from data, filled, counted, drawn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ddpnet import backend, dtypes, random
from ddpnet.backend import Array, Device
from ddpnet.dtypes import DType
from ddpnet.ops.shape import extents
from ddpnet.random import Generator
from ddpnet.tensor import Tensor, method

DeviceLike = Device | str | None


def tensor(data: Any, *, dtype: DType | None = None, device: DeviceLike = None, requires_grad: bool = False) -> Tensor:
    """A tensor with a copy of numbers, nested sequences of them, an array or a tensor.

    Python floats have the default dtype, integers int64. ValueError where the sequences have different lengths.
    """
    return _place(np.array(_array(data, dtype)), device, requires_grad)


def as_tensor(data: Any, dtype: DType | None = None, device: DeviceLike = None) -> Tensor:
    """As `tensor`, but without a copy where the data is an array or tensor that already fits."""
    if isinstance(data, Tensor):
        return data.to(device=device, dtype=dtype)
    return _place(_array(data, dtype), device, False)


def from_numpy(ndarray: np.ndarray) -> Tensor:
    """A tensor that shares the memory of a NumPy array; TypeError for dtypes that tensors do not have."""
    if not isinstance(ndarray, np.ndarray):
        raise TypeError(f"expected np.ndarray (got {type(ndarray).__name__})")
    dtypes.from_numpy(ndarray.dtype)
    return Tensor(ndarray)


def _array(data: Any, dtype: DType | None) -> np.ndarray:
    if isinstance(data, Tensor):
        data = backend.host(data.array)
    elif isinstance(data, list | tuple):
        data = _plain(data)
    wanted = None if dtype is None else dtype.numpy
    try:
        array = np.asarray(data)
    except ValueError as error:
        raise ValueError(f"expected nested sequences of equal lengths: {error}") from None
    if wanted is None and not isinstance(data, np.ndarray | np.generic) and array.dtype == np.float64:
        wanted = dtypes.get_default_dtype().numpy
    array = array if wanted is None else array.astype(wanted, copy=False)
    dtypes.from_numpy(array.dtype)
    return array


def _plain(data: Any) -> Any:
    """Nested sequences with arrays in place of tensors."""
    if isinstance(data, list | tuple):
        return [_plain(value) for value in data]
    return backend.host(data.array) if isinstance(data, Tensor) else data


def _place(array: np.ndarray, device: DeviceLike, requires_grad: bool) -> Tensor:
    result = Tensor(array if device is None else backend.move(array, Device(device)))
    result.requires_grad = requires_grad
    return result


def _shape(size: tuple[Any, ...]) -> tuple[int, ...]:
    shape = extents(size)
    if min(shape, default=0) < 0:
        raise RuntimeError(f"Trying to create tensor with negative dimension {min(shape)}: {list(shape)}")
    return shape


def _filled(fill: Callable[[Any, tuple[int, ...], np.dtype[Any]], Array]) -> Callable[..., Tensor]:
    def create(
        *size: Any,
        dtype: DType | None = None,
        device: DeviceLike = None,
        requires_grad: bool = False,
    ) -> Tensor:
        xp = backend.module_for(Device(device or "cpu"))
        result = Tensor(fill(xp, _shape(size), (dtype or dtypes.get_default_dtype()).numpy))
        result.requires_grad = requires_grad
        return result

    return create


zeros = _filled(lambda xp, shape, dtype: xp.zeros(shape, dtype))
ones = _filled(lambda xp, shape, dtype: xp.ones(shape, dtype))
empty = _filled(lambda xp, shape, dtype: xp.empty(shape, dtype))


def full(
    size: Any,
    fill_value: Any,
    *,
    dtype: DType | None = None,
    device: DeviceLike = None,
    requires_grad: bool = False,
) -> Tensor:
    """A tensor of one value, whose type decides the dtype if none is given."""
    xp = backend.module_for(Device(device or "cpu"))
    kind = dtypes.of_number(fill_value) if dtype is None else dtype.numpy
    result = Tensor(xp.full(_shape((size,)), fill_value, kind))
    result.requires_grad = requires_grad
    return result


def _like(create: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def like(
        input: Tensor, *, dtype: DType | None = None, device: DeviceLike = None, requires_grad: bool = False
    ) -> Tensor:
        return create(
            input.array.shape,
            dtype=dtype or input.dtype,
            device=device or input.device,
            requires_grad=requires_grad,
        )

    return like


zeros_like, ones_like, empty_like = _like(zeros), _like(ones), _like(empty)


def full_like(input: Tensor, fill_value: Any, *, dtype: DType | None = None, device: DeviceLike = None) -> Tensor:
    """A tensor of one value with the shape, dtype and device of another."""
    return full(input.array.shape, fill_value, dtype=dtype or input.dtype, device=device or input.device)


def arange(
    start: float,
    end: float | None = None,
    step: float = 1,
    *,
    dtype: DType | None = None,
    device: DeviceLike = None,
    requires_grad: bool = False,
) -> Tensor:
    """start, start + step, ... before `end`; int64 if all three are integers."""
    if end is None:
        start, end = 0, start
    kind = dtype
    if kind is None:
        whole = all(isinstance(value, int) for value in (start, end, step))
        kind = dtypes.int64 if whole else dtypes.get_default_dtype()
    return _place(np.arange(start, end, step).astype(kind.numpy), device, requires_grad)


def linspace(
    start: float,
    end: float,
    steps: int,
    *,
    dtype: DType | None = None,
    device: DeviceLike = None,
    requires_grad: bool = False,
) -> Tensor:
    """`steps` numbers from `start` to `end`, both included."""
    kind = dtype or dtypes.get_default_dtype()
    return _place(np.linspace(start, end, steps).astype(kind.numpy), device, requires_grad)


def eye(
    n: int,
    m: int | None = None,
    *,
    dtype: DType | None = None,
    device: DeviceLike = None,
    requires_grad: bool = False,
) -> Tensor:
    """Ones on the diagonal of an (n, m) matrix of zeros."""
    return _place(np.eye(n, m, dtype=(dtype or dtypes.get_default_dtype()).numpy), device, requires_grad)


# Drawn from a generator: on the host, so that the numbers are the same on any device


def _drawn(draw: Callable[[np.random.Generator, tuple[int, ...], Any], np.ndarray]) -> Callable[..., Tensor]:
    def create(
        *size: Any,
        generator: Generator | None = None,
        dtype: DType | None = None,
        device: DeviceLike = None,
        requires_grad: bool = False,
    ) -> Tensor:
        rng = (generator or random.default_generator()).draw()
        kind = (dtype or dtypes.get_default_dtype()).numpy
        values = np.asarray(draw(rng, _shape(size), np.float64 if kind == np.float64 else np.float32))
        return _place(values.astype(kind, copy=False), device, requires_grad)

    return create


rand = _drawn(lambda rng, shape, kind: rng.random(shape, kind))
randn = _drawn(lambda rng, shape, kind: rng.standard_normal(shape, kind))
rand_like, randn_like = _like(rand), _like(randn)


def randint(
    low: int,
    high: Any = None,
    size: Any = None,
    *,
    generator: Generator | None = None,
    dtype: DType | None = None,
    device: DeviceLike = None,
) -> Tensor:
    """Integers from `low` (0 if left out) to before `high`: `randint(high, size)` or `randint(low, high, size)`."""
    if size is None:
        low, high, size = 0, low, high
    rng = (generator or random.default_generator()).draw()
    return _place(rng.integers(low, high, _shape((size,))).astype((dtype or dtypes.int64).numpy), device, False)


def randperm(n: int, *, generator: Generator | None = None, device: DeviceLike = None) -> Tensor:
    """The integers from 0 to before n in a random order, int64 (n,)."""
    return _place((generator or random.default_generator()).draw().permutation(n), device, False)


def normal(mean: float, std: float, size: Any, *, generator: Generator | None = None) -> Tensor:
    """Normally distributed numbers."""
    return randn(size, generator=generator) * std + mean


# Filled in place


@method
def fill_(self: Tensor, value: Any) -> Tensor:
    """Set all elements to one value."""
    self[...] = value
    return self


@method
def zero_(self: Tensor) -> Tensor:
    """Set all elements to zero."""
    return self.fill_(0)


@method
def uniform_(self: Tensor, from_: float = 0, to: float = 1, *, generator: Generator | None = None) -> Tensor:
    """Set the elements to numbers drawn evenly from [from_, to)."""
    rng = (generator or random.default_generator()).draw()
    return _fill_from(self, rng.random(self.array.shape, np.float32) * np.float32(to - from_) + np.float32(from_))


@method
def normal_(self: Tensor, mean: float = 0, std: float = 1, *, generator: Generator | None = None) -> Tensor:
    """Set the elements to normally distributed numbers."""
    rng = (generator or random.default_generator()).draw()
    return _fill_from(self, rng.standard_normal(self.array.shape, np.float32) * np.float32(std) + np.float32(mean))


def _fill_from(self: Tensor, values: np.ndarray) -> Tensor:
    return self.copy_(Tensor(backend.move(np.asarray(values), self.device)))


@method
def new_zeros(self: Tensor, *size: Any, dtype: DType | None = None, device: DeviceLike = None) -> Tensor:
    """Zeros with the dtype and device of this tensor."""
    return zeros(*size, dtype=dtype or self.dtype, device=device or self.device)


@method
def new_tensor(self: Tensor, data: Any, *, dtype: DType | None = None, device: DeviceLike = None) -> Tensor:
    """`tensor(data)` with the dtype and device of this tensor."""
    return tensor(data, dtype=dtype or self.dtype, device=device or self.device)

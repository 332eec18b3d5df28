"""New tensors: from data, filled with one value, or like another tensor."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from ddpnet import backend, dtypes
from ddpnet.backend import Array, Device
from ddpnet.dtypes import DType
from ddpnet.layouts import Layout, MemoryFormat, memory_order, strided
from ddpnet.ops.nesting import array_of
from ddpnet.ops.out import with_out
from ddpnet.ops.shape import extents
from ddpnet.tensor import Tensor

__all__ = [
    "as_tensor",
    "empty",
    "empty_like",
    "full",
    "full_like",
    "ones",
    "ones_like",
    "scalar_tensor",
    "tensor",
    "zeros",
    "zeros_like",
]

DeviceLike = Device | str | int | None

_Function = TypeVar("_Function", bound=Callable[..., Any])


def device_of(device: DeviceLike) -> Device | None:
    """The device that an argument names; a number is a GPU's."""
    if device is None or isinstance(device, Device):
        return device
    return Device("cuda", device) if isinstance(device, int) else Device(device)


def check_layout(layout: Layout | None) -> None:
    """TypeError for a layout that is none."""
    if layout not in (None, strided):
        raise TypeError(f"layout: expected torch.strided, got {layout!r}")


def into_out(function: _Function) -> _Function:
    """Decorator: a function that makes a tensor takes `out=`, whose dtype it then has."""
    written = with_out(function)

    @functools.wraps(function)
    def called(*args: Any, out: Tensor | None = None, **options: Any) -> Any:
        if out is None:
            return function(*args, **options)
        if options.get("dtype") not in (None, out.dtype):
            raise RuntimeError(f"dtype {options['dtype']} does not match dtype of out parameter ({out.dtype})")
        with_grad = options.pop("requires_grad", False)
        return written(*args, out=out, **{**options, "dtype": out.dtype}).requires_grad_(with_grad or out.requires_grad)

    return called  # type: ignore[return-value]


def tensor(
    data: Any,
    *,
    dtype: DType | None = None,
    device: DeviceLike = None,
    requires_grad: bool = False,
    pin_memory: bool = False,
) -> Tensor:
    """A tensor with a copy of numbers, nested sequences of them, an array or a tensor.

    Python floats have the default dtype, integers int64. ValueError where the sequences have different lengths.
    """
    if device is None and isinstance(data, Tensor):
        device = data.device
    return place(np.array(array_of(data, dtype)), device, requires_grad)


def as_tensor(data: Any, dtype: DType | None = None, device: DeviceLike = None) -> Tensor:
    """As `tensor`, but without a copy where the data is an array or tensor that already fits."""
    if isinstance(data, Tensor):
        return data.to(device=device, dtype=dtype)
    if backend.is_array(data) and not isinstance(data, np.ndarray):
        return Tensor(data).to(device=device, dtype=dtype)
    return place(array_of(data, dtype), device, False)


def scalar_tensor(
    s: Any,
    *,
    dtype: DType | None = None,
    layout: Layout | None = None,
    device: DeviceLike = None,
    pin_memory: bool = False,
    requires_grad: bool = False,
) -> Tensor:
    """A 0-d tensor of a number, in the default dtype if none is given."""
    check_layout(layout)
    value = s.item() if isinstance(s, Tensor) else s
    return place(filled(np, (), value, (dtype or dtypes.get_default_dtype()).numpy), device, requires_grad)


def place(array: np.ndarray, device: DeviceLike, requires_grad: bool) -> Tensor:
    """A tensor of an array of the host, on a device."""
    result = Tensor(array if device is None else backend.move(array, device_of(device) or backend.CPU))
    if requires_grad:
        result.requires_grad = True
    return result


def checked_shape(size: tuple[Any, ...]) -> tuple[int, ...]:
    """The shape of `f(2, 3)` and `f((2, 3))` alike; RuntimeError for negative extents."""
    shape = extents(size)
    if shape and min(shape) < 0:
        raise RuntimeError(f"Trying to create tensor with negative dimension {min(shape)}: {list(shape)}")
    return shape


def _filled(name: str, text: str) -> Callable[..., Tensor]:
    def create(
        *size: Any,
        dtype: DType | None = None,
        layout: Layout | None = None,
        device: DeviceLike = None,
        pin_memory: bool = False,
        requires_grad: bool = False,
        memory_format: MemoryFormat | None = None,
        **named: Any,
    ) -> Tensor:
        if named:
            size = _size_of(size, named, name)
        check_layout(layout)
        shape = checked_shape(size)
        xp = np if device is None else backend.module_for(device_of(device) or backend.CPU)
        kind = (dtype or dtypes.get_default_dtype()).numpy
        order = memory_order(memory_format, len(shape))
        if order is None:
            result = Tensor(getattr(xp, name)(shape, kind))
        else:
            back = np.argsort(order)
            result = Tensor(getattr(xp, name)([shape[axis] for axis in order], kind).transpose(back))
        if requires_grad:
            result.requires_grad = True
        return result

    create.__name__ = create.__qualname__ = name
    create.__doc__ = text
    return into_out(create)


def _size_of(size: tuple[Any, ...], named: dict[str, Any], name: str) -> tuple[Any, ...]:
    if size or set(named) != {"size"}:
        raise TypeError(f"{name}() got an unexpected keyword argument {next(iter(named))!r}")
    return (named["size"],)


zeros = _filled("zeros", "A tensor of zeros.")
ones = _filled("ones", "A tensor of ones.")
empty = _filled("empty", "A tensor of any values.")


@into_out
def full(
    size: Any,
    fill_value: Any,
    *,
    dtype: DType | None = None,
    layout: Layout | None = None,
    device: DeviceLike = None,
    pin_memory: bool = False,
    requires_grad: bool = False,
) -> Tensor:
    """A tensor of one value, whose type decides the dtype if none is given."""
    check_layout(layout)
    if isinstance(size, int):
        raise TypeError("full(): argument 'size' (position 1) must be tuple of ints, not int")
    value = fill_value.item() if isinstance(fill_value, Tensor) else fill_value
    kind = dtypes.of_number(value) if dtype is None else dtype.numpy
    if dtype is None and isinstance(fill_value, Tensor):
        kind = fill_value.array.dtype
    xp = backend.module_for(device_of(device) or backend.CPU)
    return place_on(filled(xp, checked_shape((size,)), value, kind), requires_grad)


def filled(xp: Any, shape: tuple[int, ...], value: Any, kind: np.dtype[Any]) -> Array:
    """An array of one number; RuntimeError where an integer type does not hold it."""
    if kind.kind in "iu" and not isinstance(value, int):
        value = int(value)
    if kind.kind == "u" and value < 0:
        value %= 2 ** (8 * kind.itemsize)
    try:
        return xp.full(shape, value, kind)
    except OverflowError as error:
        raise RuntimeError(f"value cannot be converted to type {kind.name} without overflow") from error


def place_on(array: Array, requires_grad: bool) -> Tensor:
    """A tensor of an array where it is."""
    result = Tensor(array)
    if requires_grad:
        result.requires_grad = True
    return result


def like_options(
    input: Tensor,
    dtype: DType | None,
    layout: Layout | None,
    device: DeviceLike,
    memory_format: MemoryFormat | None,
) -> tuple[np.dtype[Any], Any, tuple[int, ...], tuple[int, ...] | None]:
    """(dtype, array module, shape, order of dimensions in memory) of a tensor that is like another."""
    check_layout(layout)
    xp = backend.array_module(input.array) if device is None else backend.module_for(device_of(device) or backend.CPU)
    shape = input.array.shape
    order = memory_order(memory_format, len(shape))
    if order is None and not input.array.flags.c_contiguous and 0 not in input.array.strides:
        preserved = memory_format is None or memory_format.name == "preserve_format"
        order = (
            tuple(np.argsort([-step for step in input.array.strides], kind="stable").tolist()) if preserved else None
        )
    return input.array.dtype if dtype is None else dtype.numpy, xp, shape, order


def _like(name: str, text: str) -> Callable[..., Tensor]:
    def like(
        input: Tensor,
        *,
        dtype: DType | None = None,
        layout: Layout | None = None,
        device: DeviceLike = None,
        pin_memory: bool = False,
        requires_grad: bool = False,
        memory_format: MemoryFormat | None = None,
    ) -> Tensor:
        kind, xp, shape, order = like_options(input, dtype, layout, device, memory_format)
        if order is None:
            return place_on(getattr(xp, name)(shape, kind), requires_grad)
        back = np.argsort(order)
        return place_on(getattr(xp, name)([shape[axis] for axis in order], kind).transpose(back), requires_grad)

    like.__name__ = like.__qualname__ = f"{name}_like"
    like.__doc__ = text
    return into_out_like(like)


def into_out_like(function: _Function) -> _Function:
    """As `into_out`: the dtype of `out=` is decided by the input."""
    return with_out(function)


zeros_like = _like("zeros", "Zeros with the shape, dtype and device of another tensor.")
ones_like = _like("ones", "Ones with the shape, dtype and device of another tensor.")
empty_like = _like("empty", "Any values with the shape, dtype and device of another tensor.")


@with_out
def full_like(
    input: Tensor,
    fill_value: Any,
    *,
    dtype: DType | None = None,
    layout: Layout | None = None,
    device: DeviceLike = None,
    pin_memory: bool = False,
    requires_grad: bool = False,
    memory_format: MemoryFormat | None = None,
) -> Tensor:
    """A tensor of one value with the shape, dtype and device of another."""
    kind, xp, shape, _ = like_options(input, dtype, layout, device, memory_format)
    value = fill_value.item() if isinstance(fill_value, Tensor) else fill_value
    return place_on(filled(xp, shape, value, kind), requires_grad)

"""Copies and conversions: between dtypes, between devices, and the common dtype of two operands."""

from __future__ import annotations

from typing import Any

import numpy as np

from ddpnet import backend, dtypes
from ddpnet.autograd.grad_mode import mode
from ddpnet.backend import Device
from ddpnet.dtypes import DType, category
from ddpnet.layouts import memory_order, preserve_format
from ddpnet.ops.memory import Ordered, contiguous
from ddpnet.ops.op import Op
from ddpnet.tensor import Tensor, method

__all__ = [
    "clone",
    "result_type",
]

Number = int | float | bool
Operand = Tensor | Number


def promoted(a: Any, b: Any) -> tuple[Any, Any]:
    """Two operands of one dtype, by PyTorch's rules: a tensor with dimensions outranks one without, and that a Python
    number, unless the other's category (bool, integer, floating point) is higher. TypeError for anything else."""
    if not isinstance(b, Tensor):
        return _with_number(a, b)
    if not isinstance(a, Tensor):
        return _with_number(b, a)[::-1]
    p, q = a.array.dtype, b.array.dtype
    if p == q:
        return a, b
    common = common_dtype(a, b)
    return cast(a, common), cast(b, common)


def _with_number(a: Any, number: Any) -> tuple[Tensor, Any]:
    """NumPy treats Python numbers as PyTorch does, except beside a lower category or bfloat16, and except integers that
    do not fit: those wrap around."""
    if not isinstance(a, Tensor):
        a = _tensor_of(a)
    dtype = a.array.dtype
    if type(number) in _PLAIN and dtype.kind == "f":
        return a, number
    if isinstance(number, np.generic | np.ndarray):
        number = number.item()
    kind = _kind(number)
    if kind > category(dtype):
        a = cast(a, dtypes.of_number(number))
        dtype = a.array.dtype
    return a, fitting(number, dtype)


_PLAIN = (float, int)


def fitting(number: Any, dtype: np.dtype[Any]) -> Any:
    """A number as NumPy takes it beside arrays of `dtype`: integers wrapped around, bfloat16 rounded."""
    if dtype.kind == "V":
        return dtype.type(number)
    if dtype.kind in "iu" and not 0 <= number <= 127:
        if number != number or not -(2**63) <= number < 2**64:
            raise OverflowError("int too big to convert")
        return np.asarray(int(number) % 2**64, np.uint64).astype(dtype).item()
    return number


def _kind(number: Any) -> int:
    if isinstance(number, float):
        return 2
    if isinstance(number, bool):
        return 0
    if isinstance(number, int):
        return 1
    raise TypeError(f"expected a Tensor or a number, got {type(number).__name__}")


def beside(number: Any, dtype: np.dtype[Any], neighbour: Tensor) -> Tensor:
    """A number as a tensor without dimensions, on the device of another tensor."""
    return Tensor(backend.array_module(neighbour.array).asarray(number, dtype))


def as_operand(value: Any, dtype: np.dtype[Any], neighbour: Tensor) -> Tensor:
    """A tensor or number as a tensor of `dtype`."""
    if isinstance(value, Tensor):
        return cast(value, dtype)
    return beside(exact(value, dtype), dtype, neighbour)


def exact(value: Any, dtype: np.dtype[Any]) -> Any:
    """A number in a dtype; RuntimeError for an integer that does not fit."""
    if isinstance(value, complex):
        raise RuntimeError(f"value cannot be converted to type {dtype.name} without overflow")
    if dtype.kind not in "iu":
        return np.asarray(value).astype(dtype)
    limits = np.iinfo(dtype)
    low = -limits.max if dtype.kind == "u" else limits.min
    if value != value or not low <= int(value) <= limits.max:
        raise RuntimeError(f"value cannot be converted to type {dtype.name}_t without overflow")
    return np.asarray(fitting(int(value), dtype), dtype)


def _tensor_of(number: Any) -> Tensor:
    """A Python number as a tensor without dimensions."""
    _kind(number)
    return Tensor(np.asarray(number, dtypes.of_number(number)))


def common_dtype(*operands: Any) -> np.dtype[Any]:
    """The dtype that an operation on tensors and numbers gives, by the rules of `promoted`."""
    ranks: list[np.dtype[Any] | None] = [None, None, None]  # with dimensions, without, Python numbers
    for x in operands:
        if isinstance(x, Tensor):
            rank, dtype = int(x.array.ndim == 0), x.array.dtype
        else:
            _kind(x)
            rank, dtype = 2, dtypes.of_number(x)
        known = ranks[rank]
        ranks[rank] = dtype if known is None else dtypes.promote(known, dtype)
    result: np.dtype[Any] | None = None
    for candidate in ranks:
        if candidate is not None and (result is None or category(candidate) > category(result)):
            result = candidate
    assert result is not None
    return result


def result_type(tensor1: Operand, tensor2: Operand) -> DType:
    """The dtype that an operation on two tensors or numbers gives."""
    return dtypes.from_numpy(common_dtype(tensor1, tensor2))


def tensors(name: str, *operands: Any) -> None:
    """TypeError where an operand is not a tensor."""
    for position, x in enumerate(operands):
        if not isinstance(x, Tensor):
            raise TypeError(f"{name}(): argument {position + 1} must be Tensor, not {type(x).__name__}")


def cast(a: Tensor, dtype: np.dtype[Any]) -> Tensor:
    """`a` with elements of `dtype`: itself if it has them."""
    if a.array.dtype == dtype:
        return a
    return ToCopy.apply(a if category(dtype) == 2 else a.detach(), dtype=dtype)


def refuse(refused: int | None, name: str, *operands: Any) -> None:
    """NotImplementedError for tensors of a dtype category (`dtypes.category`) that an operation is not made for."""
    for x in operands:
        if isinstance(x, Tensor) and category(x.array.dtype) == refused:
            raise NotImplementedError(f"\"{name}_cpu\" not implemented for '{x.dtype.scalar_name}'")


def floating(a: Any) -> Any:
    """The operand of a function that has no integer values: integers become the default dtype."""
    if not isinstance(a, Tensor):
        raise TypeError(f"expected a Tensor, got {type(a).__name__}")
    return cast(a, dtypes.get_default_dtype().numpy) if a.array.dtype.kind in "biu" else a


class ToCopy(Op):
    """A copy in another dtype; the engine converts the gradient back."""

    def forward(self, x, dtype):
        return x.astype(dtype)

    def backward(self, g):
        return g


class Clone(Op):
    def forward(self, x):
        return x.copy("K")

    def backward(self, g):
        return g


@method
def clone(input: Tensor, memory_format: Any = None) -> Tensor:
    """A copy that gradients flow through, laid out in memory as the tensor is unless `memory_format` says otherwise."""
    if memory_format in (None, preserve_format):
        return Clone.apply(input)
    return Ordered.apply(input, order=memory_order(memory_format, input.ndim) or tuple(range(input.ndim)))


class ToDevice(Op):
    """A copy on another device; the gradient goes back to where the input is."""

    graph_name = "ToCopyBackward0"

    def forward(self, x, device):
        self.source = backend.device_of(x)
        return backend.move(x, device)

    def backward(self, g):
        return backend.move(g, self.source)


@method
def to(input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """The tensor in another dtype or on another device: `to(dtype)`, `to(device, dtype)`, `to(other)`; itself where
    nothing changes and no `copy` is asked for."""
    device, dtype, copy = parse_target(*args, **kwargs)
    result = input
    memory_format = kwargs.get("memory_format")
    if device is not None and backend.device_of(input.array) != device:
        result = ToDevice.apply(result, device=device)
    if dtype is not None:
        result = cast(result, dtype.numpy)
    if copy and result is input:
        return clone(input, memory_format)
    return contiguous_as(result, memory_format)


def contiguous_as(input: Tensor, memory_format: Any) -> Tensor:
    """The tensor laid out in memory as is said; as it is where nothing is."""
    return input if memory_format in (None, preserve_format) else contiguous(input, memory_format)


def parse_target(
    *args: Any,
    device: Any = None,
    dtype: DType | None = None,
    non_blocking: bool = False,
    copy: bool = False,
    memory_format: Any = None,
) -> tuple[Device | None, DType | None, bool]:
    """(device, dtype, copy) of the arguments of `Tensor.to` and `Module.to`; TypeError for anything else."""
    for value in args:
        if isinstance(value, Tensor):
            device, dtype = value.device, value.dtype
        elif isinstance(value, DType):
            dtype = value
        elif isinstance(value, str | Device):
            device = value
        elif type(value) is int:
            device = Device("cuda", value)
        elif not isinstance(value, bool):
            raise TypeError(f"to() received an invalid argument of type {type(value).__name__}")
    return None if device is None else Device(device), dtype, copy


@method
def numpy(input: Tensor, *, force: bool = False) -> np.ndarray:
    """The values as a NumPy array that shares their memory; RuntimeError with gradients, TypeError on a GPU: with
    `force` a detached copy on the host instead."""
    if force:
        return backend.host(input.array)
    if mode.enabled and input.requires_grad:
        raise RuntimeError("Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead.")
    if not isinstance(input.array, np.ndarray):
        raise TypeError(
            f"can't convert {input.device} device type tensor to numpy. Use Tensor.cpu() to copy the tensor to host "
            "memory first."
        )
    return input.array


@method
def type_as(input: Tensor, other: Tensor) -> Tensor:
    """The tensor with the dtype of `other`."""
    return cast(input, other.array.dtype)


@method
def cpu(input: Tensor, memory_format: Any = None) -> Tensor:
    """The tensor in host memory."""
    return contiguous_as(to(input, "cpu"), memory_format)


@method
def cuda(input: Tensor, device: Any = None, non_blocking: bool = False, memory_format: Any = None) -> Tensor:
    """The tensor on a GPU."""
    where = device if isinstance(device, str | Device) else Device("cuda", device)
    return contiguous_as(to(input, where), memory_format)


def _conversion(dtype: DType, name: str) -> None:
    def convert(self: Tensor, memory_format: Any = None) -> Tensor:
        return contiguous_as(cast(self, dtype.numpy), memory_format)

    convert.__name__, convert.__doc__ = name, f"The tensor as {dtype.name}."
    method(convert)


for _dtype, _name in (
    (dtypes.float32, "float"),
    (dtypes.float64, "double"),
    (dtypes.float16, "half"),
    (dtypes.bfloat16, "bfloat16"),
    (dtypes.int64, "long"),
    (dtypes.int32, "int"),
    (dtypes.int16, "short"),
    (dtypes.int8, "char"),
    (dtypes.uint8, "byte"),
    (dtypes.bool_, "bool"),
):
    _conversion(_dtype, _name)

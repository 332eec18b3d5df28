"""Copies and conversions: between dtypes, between devices, and the common dtype of two operands."""

from __future__ import annotations

from typing import Any

import numpy as np

from ddpnet import backend, dtypes
from ddpnet.autograd.grad_mode import mode
from ddpnet.backend import Device
from ddpnet.dtypes import DType, category
from ddpnet.ops.op import Op
from ddpnet.tensor import Tensor, method

Number = int | float | bool
Operand = Tensor | Number


def promoted(a: Any, b: Any) -> tuple[Any, Any]:
    """Two operands of one dtype, by PyTorch's rules: a tensor with dimensions outranks one without, and that a Python
    number, unless the other's category (bool, integer, floating point) is higher."""
    if not isinstance(b, Tensor):
        return _with_number(a, b)
    if not isinstance(a, Tensor):
        return _with_number(b, a)[::-1]
    p, q = a.array.dtype, b.array.dtype
    if p == q:
        return a, b
    if (a.array.ndim == 0) == (b.array.ndim == 0):
        common = dtypes.promote(p, q)
    else:
        strong, weak = (q, p) if a.array.ndim == 0 else (p, q)
        common = weak if category(weak) > category(strong) else strong
    return cast(a, common), cast(b, common)


def _with_number(a: Tensor, number: Any) -> tuple[Tensor, Any]:
    """NumPy treats Python numbers as PyTorch does, except beside a lower category, and beside bfloat16."""
    if isinstance(number, np.generic | np.ndarray):
        number = number.item()
    kind = 2 if isinstance(number, float) else 0 if isinstance(number, bool) else 1
    if kind > category(a.array.dtype):
        a = cast(a, dtypes.of_number(number))
    return a, a.array.dtype.type(number) if a.array.dtype.kind == "V" else number


def cast(a: Tensor, dtype: np.dtype[Any]) -> Tensor:
    """`a` with elements of `dtype`: itself if it has them."""
    return a if a.array.dtype == dtype else ToCopy.apply(a, dtype=dtype)


def refuse(refused: int | None, name: str, *operands: Any) -> None:
    """NotImplementedError for tensors of a dtype category (`dtypes.category`) that an operation is not made for."""
    for x in operands:
        if isinstance(x, Tensor) and category(x.array.dtype) == refused:
            raise NotImplementedError(f"{name} is not implemented for {x.dtype.name}")


def floating(a: Any) -> Any:
    """The operand of a function that has no integer values: integers become the default dtype."""
    return cast(a, dtypes.get_default_dtype().numpy) if category(a.array.dtype) < 2 else a


class ToCopy(Op):
    """A copy in another dtype; the engine converts the gradient back."""

    def forward(self, x, dtype):
        return x.astype(dtype)

    def backward(self, g):
        return g


class Clone(Op):
    def forward(self, x):
        return x.copy()

    def backward(self, g):
        return g


@method
def clone(input: Tensor, memory_format: Any = None) -> Tensor:
    """A copy that gradients flow through."""
    return Clone.apply(input)


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
    if device is not None and backend.device_of(input.array) != device:
        result = ToDevice.apply(result, device=device)
    if dtype is not None:
        result = cast(result, dtype.numpy)
    return clone(input) if copy and result is input else result


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
        elif not isinstance(value, bool):
            raise TypeError(f"to() received an invalid argument of type {type(value).__name__}")
    return None if device is None else Device(device), dtype, copy


@method
def numpy(input: Tensor) -> np.ndarray:
    """The values as a NumPy array that shares their memory; RuntimeError with gradients, TypeError on a GPU."""
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
def cpu(input: Tensor) -> Tensor:
    """The tensor in host memory."""
    return to(input, "cpu")


@method
def cuda(input: Tensor, device: int | None = None) -> Tensor:
    """The tensor on a GPU."""
    return to(input, Device("cuda", device))


def _conversion(dtype: DType, name: str) -> None:
    def convert(self: Tensor) -> Tensor:
        return cast(self, dtype.numpy)

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

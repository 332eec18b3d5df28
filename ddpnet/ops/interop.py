"""Tensors beside other libraries' arrays and Python's own protocols: DLPack, NumPy, numbers, copies."""

from __future__ import annotations

from typing import Any

import numpy as np

from ddpnet import backend, dtypes
from ddpnet.dtypes import DType
from ddpnet.ops.comparison import eq
from ddpnet.ops.conversion import to
from ddpnet.size import Size
from ddpnet.tensor import Tensor, method

__all__ = [
    "from_dlpack",
    "is_same_size",
    "is_tensor",
    "numel",
    "typename",
]


def is_tensor(obj: Any) -> bool:
    """Whether `obj` is a tensor."""
    return isinstance(obj, Tensor)


def numel(input: Tensor) -> int:
    """The number of elements."""
    return input.numel()


def typename(obj: Any) -> str:
    """The name of an object's type; of a tensor with its dtype."""
    if isinstance(obj, Tensor):
        return str(obj.type())
    kind = obj.__class__
    return (
        kind.__qualname__
        if kind.__module__ in ("builtins", "__builtin__")
        else f"{kind.__module__}.{kind.__qualname__}"
    )


class _Capsule:
    """A capsule of host memory as an object that hands it out."""

    def __init__(self, capsule: Any) -> None:
        self.capsule = capsule

    def __dlpack__(self, **options: Any) -> Any:
        return self.capsule

    def __dlpack_device__(self) -> tuple[int, int]:
        return (1, 0)


def from_dlpack(ext_tensor: Any) -> Tensor:
    """A tensor that shares the memory of another library's array (an object with `__dlpack__`)."""
    if isinstance(ext_tensor, Tensor):
        return ext_tensor.detach()
    if not hasattr(ext_tensor, "__dlpack__"):
        ext_tensor = _Capsule(ext_tensor)
    kind = ext_tensor.__dlpack_device__()[0] if hasattr(ext_tensor, "__dlpack_device__") else 1
    library = np if int(kind) == 1 else backend.cupy()
    array = library.from_dlpack(ext_tensor)
    if library is np and not array.flags.writeable:
        array = _writeable(array)
    dtypes.from_numpy(array.dtype)
    return Tensor(array)


def _writeable(array: np.ndarray) -> np.ndarray:
    """The same memory as an array that may be written: NumPy marks what comes by DLPack without flags as read-only."""
    interface = {**array.__array_interface__, "data": (array.ctypes.data, False)}
    holder = type("Holder", (), {"__array_interface__": interface, "owner": array})()
    return np.asarray(holder)


@method
def __dlpack__(self: Tensor, **options: Any) -> Any:
    """The memory as a DLPack capsule; BufferError for a tensor that requires gradients."""
    if self.requires_grad:
        raise BufferError("Can't export tensors that require gradient, use tensor.detach()")
    if self.array.dtype.kind == "V":
        raise BufferError("bfloat16 has no form in NumPy's DLPack: use tensor.float()")
    options.pop("stream", None) if isinstance(self.array, np.ndarray) else None
    return self.array.__dlpack__(**options)


@method
def __dlpack_device__(self: Tensor) -> tuple[int, int]:
    """(type, number) of the device in DLPack's terms."""
    kind, number = self.array.__dlpack_device__()
    return int(kind), int(number)


@method
def __contains__(self: Tensor, element: Any) -> bool:
    """Whether an element equals a number, or elements of a tensor that is broadcast."""
    if isinstance(element, Tensor | int | float):
        return bool(eq(self, element).array.any())
    raise RuntimeError(f"Tensor.__contains__ only supports Tensor or scalar, but you passed in a {type(element)}.")


@method
def __reversed__(self: Tensor) -> Tensor:
    """The tensor with its first dimension in reverse order."""
    return self.flip(0) if self.ndim else self


@method
def __copy__(self: Tensor) -> Tensor:
    """Another tensor with the same memory, and no history."""
    copy = type(self).__new__(type(self))
    Tensor.__init__(copy, self.array)
    copy._requires_grad = self.requires_grad
    copy.grad = self.grad
    for name, value in getattr(self, "__dict__", {}).items():
        setattr(copy, name, value)
    return copy


_NAMES = {
    f"{dtype.scalar_name}Tensor": dtype
    for dtype in (
        *(dtypes.bool_, dtypes.uint8, dtypes.int8, dtypes.int16, dtypes.int32, dtypes.int64),
        *(dtypes.float16, dtypes.bfloat16, dtypes.float32, dtypes.float64),
    )
}


def _type(self: Tensor, dtype: Any = None, non_blocking: bool = False) -> Any:
    """The name of the tensor's type ("torch.FloatTensor"), or the tensor as another: a dtype, a name or a type."""
    if dtype is None:
        return f"torch.{'cuda.' if self.is_cuda else ''}{self.dtype.scalar_name}Tensor"
    if isinstance(dtype, DType):
        return to(self, dtype)
    name = dtype if isinstance(dtype, str) else str(getattr(dtype, "type_name", dtype))
    *places, kind = name.split(".")
    if kind not in _NAMES or places not in (["torch"], ["torch", "cuda"]):
        raise ValueError(f"invalid type: '{name}'")
    return to(self, "cuda" if len(places) == 2 else "cpu", _NAMES[kind])


Tensor.type = _type  # type: ignore[attr-defined]


@method
def new(self: Tensor, *data: Any) -> Tensor:
    """A tensor of this dtype: of a shape (with any values), or of a sequence (old; see `new_empty`, `new_tensor`)."""
    if len(data) == 1 and not isinstance(data[0], int | Size):
        return self.new_tensor(data[0])
    return self.new_empty(*(data or (0,)))


@method
def dim_order(self: Tensor) -> tuple[int, ...]:
    """The dimensions from the slowest to the fastest in memory."""
    return tuple(sorted(range(self.ndim), key=lambda axis: -self.array.strides[axis]))


@method
def is_same_size(self: Tensor, other: Tensor) -> bool:
    """Whether the shapes are equal."""
    return bool(self.array.shape == other.array.shape)


@method
def get_device(self: Tensor) -> int:
    """The number of the GPU; -1 on the CPU."""
    return -1 if self.device.index is None else self.device.index


@method
def pin_memory(self: Tensor, device: Any = None) -> Tensor:
    """The tensor itself: memory is pinned by the data loader, where it is copied to a GPU."""
    return self


@method
def share_memory_(self: Tensor) -> Tensor:
    """NotImplementedError: tensors do not move to memory that processes share; threads share them as they are."""
    raise NotImplementedError("share_memory_() is not supported: send tensor.numpy() to other processes")


@method
def is_shared(self: Tensor) -> bool:
    """Whether the memory is shared between processes: it never is."""
    return False


@method
def is_pinned(self: Tensor, device: Any = None) -> bool:
    """Whether the memory is page-locked: it never is."""
    return False


@method
def is_complex(self: Tensor) -> bool:
    """Whether the dtype is complex: it never is."""
    return False


@method
def is_signed(self: Tensor) -> bool:
    """Whether the dtype holds negative numbers."""
    return self.dtype.is_signed


@method
def is_set_to(self: Tensor, tensor: Tensor) -> bool:
    """Whether both have the same memory, shape and strides."""
    return bool(
        self.data_ptr() == tensor.data_ptr()
        and self.array.shape == tensor.array.shape
        and self.stride() == tensor.stride()
    )


def _constant(name: str, value: Any, text: str) -> None:
    setattr(Tensor, name, property(lambda self: value, doc=text))


for _name in ("is_sparse", "is_sparse_csr", "is_quantized", "is_mkldnn", "is_meta", "is_nested", "is_mps", "is_xpu"):
    _constant(_name, False, "Never: there are no such tensors here.")
Tensor.is_cpu = property(lambda self: not self.is_cuda)  # type: ignore[attr-defined]
Tensor.name = property(lambda self: None)  # type: ignore[attr-defined]

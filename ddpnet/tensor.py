"""Tensor: an array, its gradient, and the node of the graph that made it.

What a tensor can do is written beside the operations: `@method` makes a function of `ops/` or `autograd/` a method.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from ddpnet import backend, dtypes
from ddpnet.backend import Array, Device
from ddpnet.dtypes import DType
from ddpnet.memory import Version, ViewOf
from ddpnet.size import Size

Hooks = dict[int, Callable[..., Any]]
"""Functions by the number of their handle, in the order in which they were registered."""


class Tensor:
    """A multi-dimensional array with a place in the graph (`torch.Tensor`).

    `Tensor(array)` holds a NumPy or CuPy array without copying it; anything else becomes an array of the default
    dtype, and integers are a shape, as in PyTorch: `Tensor(2, 3)`.
    """

    __slots__ = (
        "__weakref__",
        "_requires_grad",
        "_version",
        "_view",
        "accumulator",
        "array",
        "grad",
        "grad_fn",
        "hooks",
        "output_nr",
        "pending",
    )

    array: Array
    grad: Tensor | None
    grad_fn: Any
    output_nr: int
    hooks: dict[str, Hooks] | None
    accumulator: Any
    pending: Any
    """Computes the array when it is asked for, where there is none: `ops/pending.py`."""
    _requires_grad: bool
    _version: Version | None
    _view: ViewOf | None

    def __init__(self, *data: Any) -> None:
        first = data[0] if len(data) == 1 else None
        if type(first) is np.ndarray:
            self.array = first
        elif isinstance(first, np.generic):
            self.array = np.asarray(first)
        elif first is not None and backend.is_array(first):
            self.array = first
        else:
            self.array = _legacy_array(data)
        self.grad = self.grad_fn = self.hooks = self.accumulator = self.pending = self._version = self._view = None
        self.output_nr = 0
        self._requires_grad = False

    def __getattr__(self, name: str) -> Any:
        if name == "array":
            pending = self.pending
            if pending is not None:
                pending.compute()
            return object.__getattribute__(self, name)
        return object.__getattribute__(self, name)  # which raises again, and says why

    if TYPE_CHECKING:  # methods and operators come from `@method`

        def __add__(self, other: Any) -> Tensor: ...
        def __radd__(self, other: Any) -> Tensor: ...
        def __sub__(self, other: Any) -> Tensor: ...
        def __rsub__(self, other: Any) -> Tensor: ...
        def __mul__(self, other: Any) -> Tensor: ...
        def __rmul__(self, other: Any) -> Tensor: ...
        def __truediv__(self, other: Any) -> Tensor: ...
        def __neg__(self) -> Tensor: ...
        def __pos__(self) -> Tensor: ...
        def __abs__(self) -> Tensor: ...
        def __invert__(self) -> Tensor: ...
        def __matmul__(self, other: Any) -> Tensor: ...
        def __getitem__(self, key: Any) -> Tensor: ...
        def __setitem__(self, key: Any, value: Any) -> None: ...

    # What it is

    @property
    def shape(self) -> Size:
        """The extent of each dimension."""
        pending = self.pending
        return tuple.__new__(Size, (self if pending is None else pending).array.shape)

    @property
    def ndim(self) -> int:
        """The number of dimensions."""
        return int(self.array.ndim)

    @property
    def dtype(self) -> DType:
        """The type of the elements."""
        return dtypes.from_numpy(self.array.dtype)

    @property
    def device(self) -> Device:
        """Where the array lives."""
        return backend.device_of(self.array)

    @property
    def is_cuda(self) -> bool:
        """Whether the array lives on a GPU."""
        return self.device.type == "cuda"

    @property
    def is_leaf(self) -> bool:
        """Whether no recorded operation made it."""
        return self.grad_fn is None

    @property
    def itemsize(self) -> int:
        """Bytes an element."""
        return int(self.array.itemsize)

    @property
    def nbytes(self) -> int:
        """Bytes of all elements."""
        return int(self.array.nbytes)

    def size(self, dim: int | None = None) -> Any:
        """The shape, or the extent of one dimension."""
        return self.shape if dim is None else self.shape[dim]

    def dim(self) -> int:
        """The number of dimensions."""
        return self.ndim

    ndimension = dim

    def numel(self) -> int:
        """The number of elements."""
        return int(self.array.size)

    nelement = numel

    def element_size(self) -> int:
        """Bytes an element."""
        return self.itemsize

    def is_floating_point(self) -> bool:
        """Whether the dtype is a floating-point type."""
        return self.dtype.is_floating_point

    def data_ptr(self) -> int:
        """The address of the first element."""
        if isinstance(self.array, np.ndarray):
            return int(self.array.ctypes.data)
        return int(self.array.data.ptr)

    # Its place in the graph

    @property
    def requires_grad(self) -> bool:
        """Whether gradients flow to it: a leaf of which that was asked, or made from one; or it is a view of such."""
        return self._requires_grad or (self._view is not None and self._view.base._requires_grad)

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        if self.grad_fn is not None and not value:
            raise RuntimeError(
                "you can only change requires_grad flags of leaf variables. If you want to use a computed variable "
                "in a subgraph that doesn't require differentiation use var_no_grad = var.detach()."
            )
        if value and dtypes.category(self.array.dtype) != 2:
            raise RuntimeError("only Tensors of floating point and complex dtype can require gradients")
        self._requires_grad = bool(value)

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        """Set `requires_grad` and return this tensor."""
        self.requires_grad = requires_grad
        return self

    @property
    def version(self) -> Version:
        """The counter of in-place changes, shared with views."""
        if self._version is None:
            self._version = Version()
        return self._version

    @property
    def data(self) -> Tensor:
        """The same memory without history: changing it is not seen by the graph's checks."""
        return Tensor(self.array.view())

    @data.setter
    def data(self, value: Tensor) -> None:
        self.array, self.pending = value.array, None

    def detach(self) -> Tensor:
        """The same memory without history; in-place changes are still seen by the graph's checks."""
        result = Tensor(self.array.view())
        result._version = self.version
        return result

    def detach_(self) -> Tensor:
        """Forget this tensor's history; RuntimeError for a view."""
        if self._view is not None:
            raise RuntimeError(
                "Can't detach views in-place. Use detach() instead. If you are using DistributedDataParallel (DDP) for "
                "training, and gradient_as_bucket_view is set as True, gradients are views of DDP buckets, and hence "
                "detach_() cannot be called on these gradients."
            )
        self.grad_fn, self.output_nr, self._requires_grad = None, 0, False
        return self

    @property
    def _base(self) -> Tensor | None:
        """The tensor that this one is a view of."""
        return None if self._view is None else self._view.base

    def changed(self) -> None:
        """Note that the memory was written in place, for the check of saved tensors before backward."""
        if self._version is not None:
            self._version.value += 1

    # To Python and NumPy

    def item(self) -> Any:
        """The value of a tensor with one element, as a Python number; RuntimeError for more or fewer."""
        if self.array.size != 1:
            raise RuntimeError(f"a Tensor with {self.array.size} elements cannot be converted to Scalar")
        value = self.array.item()
        return float(value) if dtypes.category(self.array.dtype) == 2 else value

    def tolist(self) -> Any:
        """The values as nested lists of Python numbers."""
        array = backend.host(self.array)
        return (array.astype(np.float32) if array.dtype.kind == "V" else array).tolist()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.numpy(), dtype=dtype, copy=copy)

    def __len__(self) -> int:
        if self.array.ndim == 0:
            raise TypeError("len() of a 0-d tensor")
        return int(self.array.shape[0])

    def __iter__(self) -> Iterator[Tensor]:
        if self.array.ndim == 0:
            raise TypeError("iteration over a 0-d tensor")
        return iter(self.unbind(0))

    def __bool__(self) -> bool:
        if self.array.size != 1:
            what = "no values" if self.array.size == 0 else "more than one value"
            raise RuntimeError(f"Boolean value of Tensor with {what} is ambiguous")
        return bool(self.array.item())

    def _number(self) -> Any:
        """The value of one element for Python's conversions; ValueError for more or fewer."""
        if self.array.size != 1:
            raise ValueError("only one element tensors can be converted to Python scalars")
        return self.item()

    def __float__(self) -> float:
        return float(self._number())

    def __int__(self) -> int:
        return int(self._number())

    def __complex__(self) -> complex:
        return complex(self._number())

    def __index__(self) -> int:
        if dtypes.category(self.array.dtype) == 2 or self.array.size != 1:
            raise TypeError("only integer tensors of a single element can be converted to an index")
        return int(self.array.item())

    def __format__(self, specification: str) -> str:
        if self.array.ndim == 0:
            return format(self.item(), specification)
        return object.__format__(self, specification)

    def __hash__(self) -> int:
        return id(self)

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise TypeError(
            "tensors are not pickled: save them with safetensors, or pass tensor.detach().numpy() to other processes"
        )

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        if self.grad_fn is not None:
            raise RuntimeError(
                "Only Tensors created explicitly by the user (graph leaves) support the deepcopy protocol: use detach()"
            )
        copy = type(self).__new__(type(self))
        Tensor.__init__(copy, self.array.copy())
        copy._requires_grad = self._requires_grad
        copy.grad = None if self.grad is None else Tensor(self.grad.array.copy())
        memo[id(self)] = copy
        return copy


_new = object.__new__


def tensor_of(array: Array) -> Tensor:
    """`Tensor(array)` for what is an array, or a scalar of NumPy's: 0.15 instead of 0.28 µs."""
    if type(array) is not np.ndarray:
        return Tensor(array)
    tensor: Tensor = _new(Tensor)
    tensor.array = array
    tensor.grad = tensor.grad_fn = tensor.hooks = tensor.accumulator = None
    tensor.pending = tensor._version = tensor._view = None
    tensor.output_nr = 0
    tensor._requires_grad = False
    return tensor


def _legacy_array(data: tuple[Any, ...]) -> Array:
    """What `torch.Tensor(...)` makes of its arguments: a shape of integers, or one sequence or tensor."""
    dtype = dtypes.get_default_dtype().numpy
    if all(isinstance(extent, int) for extent in data):
        return np.zeros(data or (0,), dtype)
    if len(data) != 1:
        raise TypeError(f"Tensor(): expected a shape of integers or one sequence, got {len(data)} arguments")
    (values,) = data
    if isinstance(values, Tensor):
        return values.array.astype(dtype)
    return np.zeros(values, dtype) if isinstance(values, Size) else np.array(values, dtype)


_Function = TypeVar("_Function", bound=Callable[..., Any])


def method(function: _Function) -> _Function:
    """Decorator: the function is a method of Tensor, too."""
    setattr(Tensor, function.__name__, function)
    return function

"""PyTorch's old constructors, a type for each dtype: `FloatTensor(2, 3)`, `LongTensor([1, 2])`."""

from __future__ import annotations

from typing import Any

import numpy as np

from ddpnet import dtypes
from ddpnet.dtypes import DType
from ddpnet.ops.conversion import cast
from ddpnet.ops.creation import tensor
from ddpnet.size import Size
from ddpnet.tensor import Tensor

__all__ = [
    "BFloat16Tensor",
    "BoolTensor",
    "ByteTensor",
    "CharTensor",
    "DoubleTensor",
    "FloatTensor",
    "HalfTensor",
    "IntTensor",
    "LongTensor",
    "ShortTensor",
]


class TensorType(type):
    """What the constructors are: a type whose instances are the tensors of one dtype in host memory."""

    dtype: DType
    type_name: str

    def __instancecheck__(cls, value: object) -> bool:
        return isinstance(value, Tensor) and value.dtype is cls.dtype and not value.is_cuda

    def __call__(cls, *data: Any, device: Any = None) -> Tensor:
        """A tensor of a shape (with any values), of a sequence, or of another tensor's values."""
        if device not in (None, "cpu") and str(device) != "cpu":
            raise RuntimeError(f"legacy constructor expects device type: cpu but device type: {device} was passed")
        if len(data) == 1 and not isinstance(data[0], int | Size):
            (values,) = data
            if isinstance(values, Tensor):
                if values.dtype is not cls.dtype:
                    raise TypeError(f"{cls.__name__}() expects a tensor of {cls.dtype}, got {values.dtype}")
                return cast(values.detach(), cls.dtype.numpy)
            return tensor(values, dtype=cls.dtype)
        shape = tuple(data[0]) if data and isinstance(data[0], Size) else data or (0,)
        if not all(isinstance(extent, int) for extent in shape):
            raise TypeError(f"{cls.__name__}() expects a shape of integers or one sequence, got {data}")
        return Tensor(np.zeros(shape, cls.dtype.numpy))

    def __repr__(cls) -> str:
        return f"<class '{cls.type_name}'>"


def _constructor(dtype: DType) -> Any:
    name = f"{dtype.scalar_name}Tensor"
    return TensorType(name, (), {"dtype": dtype, "type_name": f"torch.{name}", "__module__": "torch"})


BFloat16Tensor, BoolTensor, ByteTensor = map(_constructor, (dtypes.bfloat16, dtypes.bool_, dtypes.uint8))
CharTensor, DoubleTensor, FloatTensor = map(_constructor, (dtypes.int8, dtypes.float64, dtypes.float32))
HalfTensor, IntTensor, LongTensor = map(_constructor, (dtypes.float16, dtypes.int32, dtypes.int64))
ShortTensor = _constructor(dtypes.int16)

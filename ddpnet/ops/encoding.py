"""Classes as vectors."""

from __future__ import annotations

import numpy as np

from ddpnet.backend import array_module
from ddpnet.tensor import Tensor

__all__: list[str] = []


def one_hot(tensor: Tensor, num_classes: int = -1) -> Tensor:
    """int64 (..., classes): 1 at the class that an index (int64) names, else 0; -1 stands for the largest plus one."""
    if tensor.array.dtype != np.int64:
        raise RuntimeError(f"one_hot is only applicable to index tensor of type LongTensor, got {tensor.dtype}")
    index = tensor.array
    if index.size == 0:
        if num_classes <= 0:
            raise RuntimeError("Can not infer total number of classes from empty tensor.")
        return Tensor(array_module(index).zeros((*index.shape, num_classes), np.int64))
    if int(index.min()) < 0:
        raise RuntimeError("Class values must be non-negative.")
    if num_classes == -1:
        num_classes = int(index.max()) + 1
    elif num_classes < 1:
        raise RuntimeError("num_classes should be positive")
    elif int(index.max()) >= num_classes:
        raise RuntimeError("Class values must be smaller than num_classes.")
    classes = array_module(index).arange(num_classes)
    return Tensor((index[..., None] == classes).astype(np.int64))

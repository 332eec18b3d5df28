"""Between tensors and what is sent: contiguous NumPy arrays."""

from __future__ import annotations

from typing import Any

import numpy as np

from ddpnet.backend import array_module, host
from ddpnet.tensor import Tensor


def on_host(tensor: Tensor) -> np.ndarray:
    """The elements as a contiguous array (numel,): the tensor's own memory where that is possible."""
    return np.ascontiguousarray(host(tensor.array)).reshape(-1)


def fill(tensor: Tensor, values: np.ndarray) -> None:
    """Write elements of the tensor's dtype, in whatever shape, into its memory."""
    xp = array_module(tensor.array)
    tensor.array[...] = xp.asarray(values.reshape(tensor.array.shape))
    tensor.changed()


def kind(tensor: Tensor) -> str:
    """Dtype and shape, as messages show them: `float32 (3, 4)`."""
    return f"{tensor.array.dtype} {tuple(tensor.array.shape)}"


def check_tensor(value: Any, name: str) -> None:
    """TypeError for what is no Tensor."""
    if not isinstance(value, Tensor):
        raise TypeError(
            f"Invalid function argument. Expected parameter `{name}` of type torch.Tensor\n"
            f"             but got {type(value)} instead."
        )


def check_tensors(value: Any, name: str) -> None:
    """TypeError for what is no list of Tensors."""
    start = f"Invalid function argument. Expected parameter `{name}` of type List[torch.Tensor]\n"
    if not isinstance(value, list):
        raise TypeError(f"{start}             but got {type(value)} instead.")
    if not all(isinstance(tensor, Tensor) for tensor in value):
        raise TypeError(f"{start}             but got {type(value)} with elements of type {[type(t) for t in value]}.")

"""`Variable`, PyTorch's name of a Tensor with gradients before version 0.4, which old programs still use."""

from __future__ import annotations

from typing import Any

from ddpnet.tensor import Tensor


class _VariableMeta(type):
    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, Tensor)


class Variable(metaclass=_VariableMeta):
    """`Variable(tensor)` is the tensor, with `requires_grad` set if asked for."""

    def __new__(cls, data: Any, requires_grad: bool = False, volatile: bool = False) -> Any:
        return data.requires_grad_() if requires_grad else data

"""Parameter and Buffer: tensors that a module registers when they are assigned as attributes."""

from __future__ import annotations

from typing import Any

from ddpnet import printing
from ddpnet.ops.creation import tensor
from ddpnet.tensor import Tensor


class Parameter(Tensor):
    """A leaf that is trained; it shares the memory of `data`."""

    def __init__(self, data: Any = None, requires_grad: bool = True) -> None:
        super().__init__(_array(data))
        self.requires_grad = requires_grad

    def __repr__(self) -> str:
        return "Parameter containing:\n" + printing.tensor_text(self)


class Buffer(Tensor):
    """A tensor that belongs to a module's state but is not trained; saved if it is `persistent`."""

    def __init__(self, data: Any = None, *, persistent: bool = True) -> None:
        super().__init__(_array(data))
        self.persistent = persistent

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        copy = super().__deepcopy__(memo)
        copy.persistent = self.persistent  # type: ignore[attr-defined]
        return copy


def _array(data: Any) -> Any:
    if data is None:
        data = ()
    return data.array if isinstance(data, Tensor) else tensor(data).array

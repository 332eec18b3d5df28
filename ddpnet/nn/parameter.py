"""Parameter: a tensor that a module registers when it is assigned as an attribute."""

from __future__ import annotations

from typing import Any

from ddpnet import printing
from ddpnet.ops.creation import tensor
from ddpnet.tensor import Tensor


class Parameter(Tensor):
    """A leaf that is trained; it shares the memory of `data`."""

    def __init__(self, data: Any = (), requires_grad: bool = True) -> None:
        super().__init__(data.array if isinstance(data, Tensor) else tensor(data).array)
        self.requires_grad = requires_grad

    def __repr__(self) -> str:
        return "Parameter containing:\n" + printing.tensor_text(self)

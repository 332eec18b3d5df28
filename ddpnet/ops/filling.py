"""Tensors set to one value in place."""

from __future__ import annotations

from typing import Any

from ddpnet.autograd.grad_mode import mode
from ddpnet.backend import array_module
from ddpnet.ops.conversion import cast
from ddpnet.ops.creation import filled
from ddpnet.ops.inplace import assign, check_writable
from ddpnet.ops.op import Op
from ddpnet.tensor import Tensor, method

__all__ = [
    "fill",
]


class Fill(Op):
    """One value, a number, everywhere."""

    graph_name = "FillBackward2"

    def forward(self, x, value):
        xp = array_module(x)
        return xp.broadcast_to(filled(xp, (), value, x.dtype), x.shape)

    def backward(self, g):
        return array_module(g).zeros_like(g)


class Zero(Fill):
    pass


class FillWith(Op):
    """One value, a 0-d tensor, everywhere."""

    graph_name = "FillBackward3"

    def forward(self, x, value):
        return array_module(x).broadcast_to(value, x.shape)

    def backward(self, g):
        return array_module(g).zeros_like(g) if self.needs[0] else None, g


@method
def fill_(self: Tensor, value: Any) -> Tensor:
    """Set all elements to one value: a number, or a 0-d tensor."""
    return _filled(self, value, Fill)


@method
def zero_(self: Tensor) -> Tensor:
    """Set all elements to zero."""
    return _filled(self, 0, Zero)


def _filled(self: Tensor, value: Any, operation: type[Fill]) -> Tensor:
    if self.array.size == 0 and not self.requires_grad:
        return self
    check_writable(self, one_value=True)
    if isinstance(value, Tensor):
        value = _as_value(self, value)
    if mode.enabled and (self.requires_grad or (isinstance(value, Tensor) and value.requires_grad)):
        made = FillWith.apply(self, value) if isinstance(value, Tensor) else operation.apply(self, value=value)
        return assign(self, made)
    array = self.array
    array[...] = value.array if isinstance(value, Tensor) else filled(array_module(array), (), value, array.dtype)
    self.changed()
    return self


def _as_value(self: Tensor, value: Tensor) -> Tensor:
    """A 0-d tensor in the dtype and on the device of another tensor; RuntimeError for one with dimensions."""
    if value.ndim:
        raise RuntimeError(f"fill_ only supports 0-dimension value tensor but got tensor with {value.ndim} dimensions.")
    return cast(value if self.is_floating_point() else value.detach(), self.array.dtype).to(self.device)


def fill(input: Tensor, value: Any) -> Tensor:
    """A tensor like another, filled with one value."""
    if isinstance(value, Tensor):
        return FillWith.apply(input, _as_value(input, value)).clone()
    return Fill.apply(input, value=value).clone()

"""Operations whose maths is done in float32 when their tensors are float16 or bfloat16."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np

from ddpnet.kernels.precision import is_half
from ddpnet.ops.conversion import cast
from ddpnet.ops.op import Op
from ddpnet.tensor import Tensor

_Operation = TypeVar("_Operation", bound=type[Op])

_FLOAT32 = np.dtype(np.float32)


def in_float32(operation: _Operation) -> _Operation:
    """Class decorator: halves are widened before `forward` and `backward`, and the results rounded once.

    What is saved are the halves themselves, so that it keeps its place in the graph.
    """
    forward = operation.forward

    def wide_forward(self: Any, x: Any, *others: Any, **options: Any) -> Any:
        if x.dtype.itemsize != 2 or not is_half(x):
            return _as_array(self, forward(self, x, *others, **options))
        given = (x, *others)
        wide = tuple(_widened(a) for a in given)
        result = _as_array(self, forward(self, *wide, **options))
        results = result if type(result) is tuple else (result,)
        narrow = tuple(y.astype(x.dtype) if y.dtype == _FLOAT32 else y for y in results)
        original = {id(a): b for a, b in zip((*wide, *results), (*given, *narrow), strict=True)}
        self.saved = tuple(original.get(id(a), a) for a in self.saved)
        return narrow if type(result) is tuple else narrow[0]

    operation.forward = wide_forward
    for name in ("backward", "differentiable_backward"):
        if name in vars(operation):
            setattr(operation, name, _wide_backward(vars(operation)[name]))
    return operation


def _as_array(node: Any, result: Any) -> Any:
    """NumPy gives scalars for arrays without dimensions; what was saved of the result has to be the result itself."""
    if not isinstance(result, np.generic):
        return result
    array = np.asarray(result)
    node.saved = tuple(array if kept is result else kept for kept in node.saved)
    return array


def _wide_backward(backward: Any) -> Any:
    def wide_backward(self: Any, *gradients: Any) -> Any:
        first = gradients[0].array if isinstance(gradients[0], Tensor) else gradients[0]
        if first.dtype.itemsize != 2 or not is_half(first):
            return backward(self, *gradients)
        saved, self.saved = self.saved, tuple(_widened(a) for a in self.saved)
        try:
            return backward(self, *(_widened(g) for g in gradients))
        finally:
            self.saved = saved

    return wide_backward


def _widened(value: Any) -> Any:
    if isinstance(value, Tensor):
        return cast(value, _FLOAT32) if is_half(value.array) else value
    return value.astype(_FLOAT32) if is_half(value) else value

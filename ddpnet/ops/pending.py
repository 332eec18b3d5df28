"""A ReLU that is not computed until somebody looks, so that max-pooling can compute it with its own pass.

Its input and its result have no array meanwhile: whoever asks either for it (`Tensor.__getattr__`) gets it computed
first. So nobody sees that it waited, and nobody can have changed the input before.
"""

from __future__ import annotations

import sys
import threading
import weakref

import numpy as np

from ddpnet.autograd.grad_mode import mode
from ddpnet.backend import Array
from ddpnet.kernels import kernels_for
from ddpnet.ops.op import Op
from ddpnet.tensor import Tensor, tensor_of

_SMALLEST = 4096
"""Elements from which on a ReLU waits: at 4,096 that saves 2 of 23 µs before a pooling, and costs 0.4 of 7 without."""


def can_wait(x: Tensor) -> bool:
    """Whether `x` is a result of images in float32 whose memory no one else has, in a program that is not observed."""
    array = x.array
    if type(array) is not np.ndarray or array.ndim != 4 or array.size < _SMALLEST or array.dtype.char != "f":
        return False
    if array.base is not None or not array.flags.c_contiguous or x._view is not None:
        return False
    if mode.observer is not None or mode.tape is not None:
        return False
    del array
    return (x.grad_fn is not None or not x._requires_grad) and _references(x) == _ONE_REFERENCE


def _references(x: Tensor) -> int:
    """To the array of `x`: from tensors, views, nodes, from whoever else holds it, and here."""
    return sys.getrefcount(x.array)


_ONE_REFERENCE = _references(Tensor(np.empty(1)))


def postponed(relu: type[Op], x: Tensor) -> Tensor:
    """The result for `x`, without an array."""
    y = tensor_of(x.array)
    node = None
    if mode.enabled and x._requires_grad:
        node = relu()
        node.wait(x, y)
    x.pending = y.pending = Pending(x, y, node)
    del x.array, y.array
    return y


_computing = threading.Lock()


class Pending:
    """What one ReLU needs, as long as it is not computed."""

    __slots__ = ("array", "is_done", "node", "x", "y")

    def __init__(self, x: Tensor, y: Tensor, node: Op | None) -> None:
        self.array: Array = x.array
        self.is_done = False
        self.x, self.y, self.node = weakref.ref(x), weakref.ref(y), node

    def compute(self) -> None:
        """Give both tensors their arrays, if there still are these tensors, and the result to the node: from now on the
        input may change. Threads that look at once see the same."""
        x, y = self.x(), self.y()
        with _computing:
            if self.is_done:
                return
            result = tensor_of(kernels_for(self.array).relu_forward(self.array))
            if y is not None and y.pending is self:
                y.array, y.pending = result.array, None
                result = y
            if self.node is not None:
                self.node.end_wait(result)
            if x is not None and x.pending is self:
                x.array, x.pending = self.array, None
            self.is_done = True

    def is_for(self, tensor: Tensor) -> bool:
        """Whether a tensor is the result, not the input."""
        return self.y() is tensor

    def unrectified(self, y: Tensor) -> Tensor:
        """A tensor with the place of the result `y` in the graph and the array of the input, for an operation that
        computes the ReLU itself."""
        raw = tensor_of(self.array)
        raw.grad_fn, raw.output_nr, raw._requires_grad = y.grad_fn, y.output_nr, y._requires_grad
        return raw

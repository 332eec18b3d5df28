"""Op: the base of every differentiable operation, with what all of them would repeat.

A subclass writes `forward` above `backward`, on raw arrays:

    class Exp(Op):
        def forward(self, x):
            y = np.exp(x)
            self.save(y)
            return y

        def backward(self, g):
            (y,) = self.saved
            return g * y

`forward` gets the inputs (arrays; Python numbers stay numbers) and the options by name. `backward` gets the gradient of
each output and returns one gradient for each input: new arrays, views, or the argument itself; None where
`self.needs[i]` is false or nothing flows. The engine sums over broadcast dimensions and restores dtypes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from ddpnet.autograd.grad_mode import mode
from ddpnet.autograd.graph import NOWHERE, Node, edge_to
from ddpnet.backend import Array, shares_memory
from ddpnet.tensor import Tensor, Version


class Op(Node):
    """An operation; an instance is one use of it, and its node in the graph."""

    graph_name: ClassVar[str | None] = None
    """PyTorch's name of the node where it is not that of the class with `Backward0` behind."""
    view: ClassVar[bool] = False
    """Whether the output shares the memory of the first input."""
    differentiable: ClassVar[tuple[bool, ...]] = (True,)
    """For each output, whether gradients flow through it."""

    saved: Any = ()
    needs: tuple[bool, ...]
    """For each input, whether a gradient is wanted."""
    _versions: Sequence[tuple[Version, int, Array]] = ()
    _inputs: Sequence[tuple[tuple[int, ...], np.dtype[Any]] | None]
    _outputs: Sequence[tuple[tuple[int, ...], np.dtype[Any]]] | None = None

    def __init_subclass__(cls) -> None:
        cls.__qualname__ = cls.__name__
        cls.__name__ = cls.graph_name or f"{cls.__name__}Backward0"
        cls.outputs = len(cls.differentiable)

    forward: Any
    backward: Any

    def save(self, *arrays: Array) -> None:
        """Keep arrays for `backward`. An input or output is saved as it came, so that its changes are noticed."""
        self.saved = arrays

    @classmethod
    def apply(cls, *inputs: Any, **options: Any) -> Any:
        """Compute, and record if a gradient is wanted; returns a Tensor, or a tuple of them."""
        node = cls.__new__(cls)
        enabled = mode.enabled
        node.needs = tuple([enabled and isinstance(x, Tensor) and x._requires_grad for x in inputs])
        arrays = [x.array if isinstance(x, Tensor) else x for x in inputs]
        try:
            with np.errstate(all="ignore"):
                result = node.forward(*arrays, **options)
        except ValueError as error:  # NumPy's word for shapes that do not fit
            raise RuntimeError(str(error)) from error
        outputs = tuple([Tensor(y) for y in result]) if type(result) is tuple else (Tensor(result),)
        if cls.view and shares_memory(arrays[0], outputs[0].array):
            inputs[0].version.share(inputs[0], *outputs)
        if True in node.needs:
            node._record(inputs, outputs)
        return outputs if type(result) is tuple else outputs[0]

    def _record(self, inputs: tuple[Any, ...], outputs: tuple[Tensor, ...]) -> None:
        self.edges = tuple([edge_to(x) if need else NOWHERE for x, need in zip(inputs, self.needs, strict=True)])
        Node.__init__(self)
        self._inputs = [
            (x.array.shape, x.array.dtype) if need else None for x, need in zip(inputs, self.needs, strict=True)
        ]
        if len(outputs) > 1:
            self._outputs = [(y.array.shape, y.array.dtype) for y in outputs]
        for number, output in enumerate(outputs):
            if self.differentiable[number]:
                output.grad_fn, output.output_nr, output._requires_grad = self, number, True
        if self.saved:
            self._watch(inputs + outputs)

    def _watch(self, tensors: tuple[Any, ...]) -> None:
        """Note the versions of the inputs and outputs that were saved."""
        saved = [id(array) for array in self.saved]
        self._versions = [
            (x.version, x.version.value, x.array) for x in tensors if isinstance(x, Tensor) and id(x.array) in saved
        ]

    def propagate(self, gradients: list[Array | None]) -> Sequence[Array | None]:
        """Check what was saved, call `backward`, and bring its gradients to the shapes and dtypes of the inputs."""
        if self.saved is None:
            raise RuntimeError(
                "Trying to backward through the graph a second time (or directly access saved tensors after they "
                "have already been freed). Saved intermediate values of the graph are freed when you call .backward() "
                "or autograd.grad(). Specify retain_graph=True if you need to backward through the graph a second "
                f"time. (node: {self.name()})"
            )
        for version, value, array in self._versions:
            if version.value != value:
                raise RuntimeError(
                    "one of the variables needed for gradient computation has been modified by an inplace operation: "
                    f"a tensor of shape {list(array.shape)} saved by {self.name()} is at version {version.value}; "
                    f"expected version {value} instead. Change a copy (tensor.clone()), or change it after backward()."
                )
        if self._outputs is not None:
            gradients = [
                np.zeros_like(next(g for g in gradients if g is not None), shape=shape, dtype=dtype) if g is None else g
                for g, (shape, dtype) in zip(gradients, self._outputs, strict=True)
            ]
        results = self.backward(*gradients)
        if type(results) is not tuple:
            results = (results,)
        return [
            None if meta is None or g is None else _fit(g, *meta) for g, meta in zip(results, self._inputs, strict=True)
        ]

    def release(self) -> None:
        """Forget what was saved; a second backward that needs it raises."""
        if self.saved:
            self.saved, self._versions = None, ()

    def rescue(self, array: Array) -> None:
        """Go on with a copy of `array`, which is about to be overwritten, if it was saved."""
        self.saved = tuple(array.copy() if kept is array else kept for kept in self.saved)
        self._versions = [watched for watched in self._versions if watched[2] is not array]


def _fit(gradient: Array, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """`gradient` summed over the dimensions along which an input of `shape` was broadcast, in the input's dtype."""
    if isinstance(gradient, np.generic):
        gradient = np.asarray(gradient)
    if gradient.shape != shape:
        lead = gradient.ndim - len(shape)
        gradient = gradient.sum(axis=tuple(range(lead)))
        spread = tuple(axis for axis, extent in enumerate(shape) if extent != gradient.shape[axis])
        if spread:
            gradient = gradient.sum(axis=spread, keepdims=True)
        if isinstance(gradient, np.generic):
            gradient = np.asarray(gradient)
    return gradient if gradient.dtype == dtype else gradient.astype(dtype)

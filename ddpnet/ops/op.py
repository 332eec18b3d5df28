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

With `create_graph` the same `backward` is called with Tensors: the gradients, and what was saved of the inputs and
outputs. So one written with operators and with the functions of `array_module(g)` can be derived again. Where the fast
way is another (a kernel, an update in place, an intermediate result), `differentiable_backward` below it is written
with functions of Tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np

from ddpnet import numpy_warnings
from ddpnet.autograd.grad_mode import mode
from ddpnet.autograd.graph import NOWHERE, Node, edge_to, tensor_at
from ddpnet.backend import Array, is_array, shares_memory
from ddpnet.dtypes import category, from_numpy
from ddpnet.memory import Version, ViewOf
from ddpnet.tensor import Tensor, tensor_of

_Kept = tuple[Array, int, Version | None, int]
"""A saved array that belongs to a tensor; the number of the input, or, from the number of inputs on, of the output; its
version, and what that has to be at backward. A private copy has no version: it cannot change."""


FREED = (
    "Trying to backward through the graph a second time (or directly access saved tensors after they have already been "
    "freed). Saved intermediate values of the graph are freed when you call .backward() or autograd.grad(). Specify "
    "retain_graph=True if you need to backward through the graph a second time."
)


class Op(Node):
    """An operation; an instance is one use of it, and its node in the graph."""

    graph_name: ClassVar[str | None] = None
    """PyTorch's name of the node where it is not that of the class with `Backward0` behind."""
    view: ClassVar[bool] = False
    """Whether the output shares the memory of the first input."""
    dense: ClassVar[bool] = False
    """Whether the output lies in the order of its indices even where the inputs do not, as with PyTorch."""
    differentiable: ClassVar[tuple[bool, ...]] = (True,)
    """For each output, whether gradients flow through it; `backward` gets None for one through which they do not."""
    joints: ClassVar[dict[Any, Any]] = {}
    """See `fusion.py`, which alone sets it."""

    saved: Any = ()
    restore: Callable[[], None] | None = None
    """Computes again what was saved, in a checkpoint."""
    _kept: Sequence[_Kept] = ()
    _inputs: Sequence[tuple[tuple[int, ...], np.dtype[Any]] | None]
    _outputs: Sequence[tuple[tuple[int, ...], np.dtype[Any]]] | None = None

    def __init_subclass__(cls) -> None:
        cls.__qualname__ = cls.__name__
        cls.__name__ = cls.graph_name or f"{cls.__name__}Backward0"
        cls.outputs = len(cls.differentiable)

    forward: Any
    backward: Any

    def differentiable_backward(self, *gradients: Any) -> Any:
        """`backward` with Tensors, recorded; `self.saved` has Tensors, too."""
        return self.backward(*gradients)

    def is_by_row(self, most: int, *inputs: Any, **options: Any) -> bool:
        """Whether each row of the output (its first dimension) follows from the same row of one of the inputs alone,
        with the same bits whatever the other rows are, and for any number of them from that of the input to `most`;
        and, if it is needed, its gradient from its own."""
        return False

    def save(self, *arrays: Array) -> None:
        """Keep arrays for `backward`. An input or output is saved as it came, so that its changes are noticed."""
        self.saved = arrays

    @classmethod
    def apply(cls, *inputs: Any, **options: Any) -> Any:
        """Compute, and record if a gradient is wanted; returns a Tensor, or a tuple of them."""
        node = cls.__new__(cls)
        recording = mode.enabled
        arrays: list[Any] = []
        needs: list[bool] = []
        for x in inputs:
            if isinstance(x, Tensor):
                arrays.append(x.array)
                needs.append(recording and x._requires_grad)
            else:
                arrays.append(x)
                needs.append(False)
        node.needs = tuple(needs)
        before = numpy_warnings.off()
        try:
            result = node.forward(*arrays, **options)
        except ValueError as error:  # NumPy's word for shapes that do not fit
            raise RuntimeError(str(error)) from error
        finally:
            numpy_warnings.restore(before)
        made = result if type(result) is tuple else (result,)
        outputs = tuple([tensor_of(y) for y in cls._results(made, arrays)])
        if cls.view and True in [shares_memory(arrays[0], y.array) or not y.array.size for y in outputs]:
            kind = "no_grad" if not recording else "several" if made is result else ""
            ViewOf.connect(inputs[0], outputs, cls, options, kind)
        if True in needs:
            node._record(inputs, outputs, made)
        if mode.tape is not None:
            mode.tape.note(node, inputs, options, result, outputs)
        return outputs if made is result else outputs[0]

    @classmethod
    def _results(cls, made: tuple[Array, ...], inputs: list[Any]) -> tuple[Array, ...]:
        """What `forward` made, with copies where it has the memory of an input though the operation is no view."""
        results = made
        if not cls.view:
            for y in made:
                if y.base is not None or y is inputs[0]:
                    results = tuple([_apart(y, inputs) for y in made])
                    break
        if cls.dense:
            results = tuple([y if y.flags.c_contiguous else y.copy() for y in results])
        return results

    def _record(self, inputs: tuple[Any, ...], outputs: tuple[Tensor, ...], made: tuple[Array, ...]) -> None:
        edges: list[tuple[Node | None, int]] = []
        metas: list[tuple[tuple[int, ...], np.dtype[Any]] | None] = []
        for x, need in zip(inputs, self.needs, strict=True):
            if need:
                edges.append(edge_to(x))
                metas.append((x.array.shape, x.array.dtype))
            else:
                edges.append(NOWHERE)
                metas.append(None)
        self.edges, self._inputs = tuple(edges), metas
        Node.__init__(self)
        if len(outputs) > 1:
            self._outputs = [(y.array.shape, y.array.dtype) for y in outputs]
        for number, output in enumerate(outputs):
            if self.differentiable[number] and output.array.dtype.kind in "fV":
                output.grad_fn, output.output_nr, output._requires_grad = self, number, True
            if output.array is not made[number]:  # a scalar of NumPy's became an array, or a copy was made
                self.saved = tuple([output.array if kept is made[number] else kept for kept in self.saved])
        if self.saved:
            self._watch(inputs + outputs)
        if self.joints and mode.observer is None:
            joint = self.joints.get(type(edges[0][0]))
            self.joint = None if joint is None else joint(self, outputs)

    def _watch(self, tensors: tuple[Any, ...]) -> None:
        """Note which inputs and outputs were saved, and their versions."""
        kept = []
        for place, x in enumerate(tensors):
            if isinstance(x, Tensor):
                for array in self.saved:
                    if array is x.array:
                        version = x.version
                        kept.append((array, place, version, version.value))
                        break
        self._kept = kept

    def wait(self, x: Tensor, y: Tensor) -> None:
        """Be the node of `y`, which is computed from `x` later. What is saved until then is the input, which nobody can
        change before."""
        self.needs = (True,)
        self._record((x,), (y,), (y.array,))
        self.saved, self._kept = (x.array,), [(x.array, 0, None, 0)]

    def end_wait(self, y: Tensor) -> None:
        """The result is there: it is what is saved, unless that is freed already."""
        if self.saved:
            self.saved = (y.array,)
            self._watch((None, y))

    def propagate(self, gradients: list[Array | None]) -> Sequence[Array | None]:
        """Check what was saved, call `backward`, and bring its gradients to the shapes and dtypes of the inputs."""
        self.check_saved()
        if self._outputs is not None:
            gradients = [
                np.zeros_like(next(g for g in gradients if g is not None), shape=shape, dtype=dtype)
                if g is None and flows
                else g
                for g, flows, (shape, dtype) in zip(gradients, self.differentiable, self._outputs, strict=True)
            ]
        results = self.backward(*gradients)
        if type(results) is not tuple:
            results = (results,)
        fitted: list[Array | None] = []
        for g, meta in zip(results, self._inputs, strict=True):
            if g is None or meta is None:
                fitted.append(None)
            elif type(g) is np.ndarray and g.shape == meta[0] and g.dtype is meta[1]:
                fitted.append(g)
            else:
                fitted.append(_fit(g, *meta))
        return fitted

    def propagate_recorded(self, gradients: list[Tensor | None]) -> Sequence[Tensor | None]:
        """As `propagate`, with Tensors."""
        self.check_saved()
        if self._outputs is not None:
            some = next(g for g in gradients if g is not None)
            gradients = [
                some.new_zeros(shape, dtype=from_numpy(dtype)) if g is None else g
                for g, (shape, dtype) in zip(gradients, self._outputs, strict=True)
            ]
        arrays, self.saved = self.saved, self._saved_tensors()
        try:
            results = self.differentiable_backward(*gradients)
        finally:
            self.saved = arrays
        if type(results) is not tuple:
            results = (results,)
        return [
            None if meta is None or g is None else self._fit_recorded(g, *meta)
            for g, meta in zip(results, self._inputs, strict=True)
        ]

    def check_saved(self) -> None:
        """RuntimeError where what was saved is freed or changed."""
        if self.saved is None and self.restore is not None:
            self.restore()
        if self.saved is None:
            raise RuntimeError(f"{FREED} (node: {self.name()})")
        for array, place, version, value in self._kept:
            if version is not None and version.value != value:
                which = "an input" if place < len(self.edges) else "the output"
                raise RuntimeError(
                    "one of the variables needed for gradient computation has been modified by an inplace operation: "
                    f"{which} of shape {list(array.shape)} saved by {self.name()} is at version {version.value}; "
                    f"expected version {value} instead. Change a copy (tensor.clone()), or change it after backward()."
                )

    def _saved_tensors(self) -> tuple[Any, ...]:
        """What was saved, with Tensors in place of arrays: inputs and outputs have their place in the graph."""
        own_way = type(self).differentiable_backward is not Op.differentiable_backward
        places = {id(array): place for array, place, _, _ in reversed(self._kept)}

        def tensor(kept: Any) -> Any:
            if not is_array(kept):
                return kept
            place = places.get(id(kept))
            if place is None:
                if category(kept.dtype) == 2 and not own_way:
                    raise NotImplementedError(
                        f"the gradient of {self.name()} cannot be derived again (create_graph=True): it is computed "
                        "from an intermediate result"
                    )
                return Tensor(kept)
            edge = self.edges[place] if place < len(self.edges) else (self, place - len(self.edges))
            return Tensor(kept) if edge[0] is None else tensor_at(kept, edge)

        return tuple(tensor(kept) for kept in self.saved)

    def _fit_recorded(self, gradient: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Tensor:
        """`_fit` for Tensors."""
        if not isinstance(gradient, Tensor):
            raise NotImplementedError(f"the gradient of {self.name()} cannot be derived again (create_graph=True)")
        if gradient.array.shape != shape:
            lead = gradient.ndim - len(shape)
            spread = [lead + i for i, extent in enumerate(shape) if extent != gradient.array.shape[lead + i]]
            gradient = gradient.sum((*range(lead), *spread), keepdim=True).reshape(shape)
        return gradient if gradient.array.dtype == dtype else gradient.to(from_numpy(dtype))

    def release(self) -> None:
        """Forget what was saved; a second backward that needs it raises."""
        if self.saved:
            self.saved, self._kept, self.joint = None, (), None

    def saves_over(self, target: Tensor, result: Tensor) -> None:
        """The values of `result` go to the memory of `target`, the first input, now: what was saved of its old values
        is copied, and what was saved of the result is found at `target` from now on."""
        if not self.saved:
            return
        old, new = target.array, result.array
        copy = old.copy() if any(kept is old for kept in self.saved) else None
        self.saved = tuple(copy if kept is old else old if kept is new else kept for kept in self.saved)
        moved: list[_Kept] = []
        for array, place, version, value in self._kept:
            if array is old and place == 0:
                moved.append((copy, place, None, 0))
            elif array is new:
                moved.append((old, place, target.version, target.version.value + 1))
            else:  # the same tensor as a second operand: PyTorch refuses it at backward, as changed
                moved.append((copy if array is old else array, place, version, value))
        self._kept = moved


def _apart(result: Array, inputs: list[Any]) -> Array:
    """`result`, or a copy if it has the memory of an input: only what is declared a view may."""
    return result.copy() if True in [is_array(x) and shares_memory(result, x) for x in inputs] else result


def _fit(gradient: Array, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """`gradient` summed over the dimensions along which an input of `shape` was broadcast, in the input's dtype."""
    if isinstance(gradient, np.generic):
        gradient = np.asarray(gradient)
    if gradient.shape != shape:
        lead = gradient.ndim - len(shape)
        if gradient.dtype.itemsize == 2:
            gradient = gradient.astype(np.float32)
        gradient = gradient.sum(axis=tuple(range(lead)))
        spread = tuple(axis for axis, extent in enumerate(shape) if extent != gradient.shape[axis])
        if spread:
            gradient = gradient.sum(axis=spread, keepdims=True)
        if isinstance(gradient, np.generic):
            gradient = np.asarray(gradient)
    return gradient if gradient.dtype == dtype else gradient.astype(dtype)

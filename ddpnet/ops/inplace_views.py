"""Tensors that take another shape, order or memory in place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ddpnet.autograd.grad_mode import mode
from ddpnet.backend import array_module
from ddpnet.layouts import MemoryFormat, memory_order
from ddpnet.ops.shape import named_or, squeeze, t, transpose, unsqueeze
from ddpnet.ops.striding import as_strided, storage, storage_offset
from ddpnet.ops.transposition import swapaxes, swapdims
from ddpnet.tensor import Tensor, method

__all__: list[str] = []


def _twin(function: Callable[..., Tensor], name: str) -> None:
    def change(self: Tensor, *args: Any, **options: Any) -> Tensor:
        return _become(self, function(self, *args, **options))

    change.__name__, change.__doc__ = f"{name}_", f"In-place `{name}`: the tensor becomes the view."
    method(change)


def _become(self: Tensor, view: Tensor) -> Tensor:
    """`self` takes the shape, the order and the history of a view of it."""
    if view is self:
        return self
    recorded = mode.enabled and self.requires_grad
    if recorded and self.grad_fn is None and self._view is None:
        raise RuntimeError("a leaf Variable that requires grad is being used in an in-place operation.")
    if self._view is not None:
        self._view = view._view
    elif recorded and any(other is not view for other in self.version.views_of(self)):
        raise NotImplementedError(
            "a tensor that requires grad and has views cannot change its shape in place: use the view that the "
            "function without the underscore gives"
        )
    self.array = view.array
    if recorded:
        self.grad_fn, self.output_nr = view.grad_fn, view.output_nr
    self.changed()
    return self


for _function, _name in (
    (as_strided, "as_strided"),
    (squeeze, "squeeze"),
    (swapaxes, "swapaxes"),
    (swapdims, "swapdims"),
    (t, "t"),
    (transpose, "transpose"),
    (unsqueeze, "unsqueeze"),
):
    _twin(_function, _name)


@method
def resize_(self: Tensor, *sizes: Any, memory_format: MemoryFormat | None = None, **named: Any) -> Tensor:
    """Give the tensor another shape: the elements that are there stay in the order of memory, new ones have any value.
    RuntimeError with gradients."""
    shape = named_or(sizes, named, "sizes", "resize_")
    if self.requires_grad:
        raise RuntimeError("cannot resize variables that require grad")
    if min(shape, default=0) < 0:
        raise RuntimeError(f"requested resize to {list(shape)} has a negative dimension")
    if memory_order(memory_format, len(shape)) is not None:
        raise NotImplementedError("resize_: memory_format is not supported but for torch.contiguous_format")
    if shape == self.array.shape:
        return self
    count = 1
    for extent in shape:
        count *= extent
    line, start = storage(self.array), storage_offset(self.array)
    if count <= line.size - start:
        self.array = line[start : start + count].reshape(shape)
    else:
        larger = array_module(self.array).empty(start + count, self.array.dtype)
        larger[: line.size] = line
        self.array = larger[start:].reshape(shape)
    self.changed()
    return self


@method
def resize_as_(self: Tensor, the_template: Tensor, *, memory_format: MemoryFormat | None = None) -> Tensor:
    """`resize_` to the shape of another tensor."""
    return self.resize_(the_template.array.shape, memory_format=memory_format)


@method
def set_(self: Tensor, source: Tensor | None = None) -> Tensor:
    """Take the memory and shape of another tensor, or none."""
    if source is not None and source.array.dtype != self.array.dtype:
        raise RuntimeError(f"Could not set tensor of type {source.dtype} to a tensor of type {self.dtype}")
    if self.requires_grad and mode.enabled:
        raise RuntimeError("set_(): a tensor that requires grad cannot take other memory")
    self.array = array_module(self.array).empty(0, self.array.dtype) if source is None else source.array
    self.changed()
    return self


@method
def apply_(self: Tensor, callable: Callable[[Any], Any]) -> Tensor:
    """Replace each element by what a Python function gives for it; slow."""
    if self.requires_grad:
        raise RuntimeError("apply_() can't be called on a Variable that requires grad. Use `var.detach().apply_(...)`")
    if self.is_cuda:
        raise TypeError("apply_ is only implemented on CPU tensors")
    for place in array_module(self.array).ndindex(self.array.shape):
        self.array[place] = callable(self.array[place].item())
    self.changed()
    return self


@method
def map_(self: Tensor, tensor: Tensor, callable: Callable[[Any, Any], Any]) -> Tensor:
    """Replace each element by what a Python function gives for it and that of another tensor; slow."""
    if self.requires_grad or tensor.requires_grad:
        raise RuntimeError("Can't call map_() on Variable that requires grad. Use var.detach().map_() instead.")
    other = array_module(self.array).broadcast_to(tensor.array, self.array.shape)
    for place in array_module(self.array).ndindex(self.array.shape):
        self.array[place] = callable(self.array[place].item(), other[place].item())
    self.changed()
    return self

"""Values chosen along one dimension with their indices: what `max`, `sort`, `topk`, `median` and `cummax` share."""

from __future__ import annotations

from typing import Any

from ddpnet.backend import array_module
from ddpnet.ops.op import Op
from ddpnet.ops.reduction import wide
from ddpnet.tensor import Tensor


class TakeAlong(Op):
    """x[..., index, ...] along a dimension; the index has the result's shape."""

    graph_name = "GatherBackward0"

    def forward(self, x, index, dim):
        self.extent, self.dim = x.shape[dim], dim
        self.save(index)
        return array_module(x).take_along_axis(x, index, dim)

    def backward(self, g):
        return _put(g, self.saved[0], self.extent, self.dim), None

    def differentiable_backward(self, g):
        return PutAlong.apply(g, self.saved[0], extent=self.extent, dim=self.dim), None


class PutAlong(Op):
    """Zeros to which values are added at an index along a dimension."""

    graph_name = "ScatterAddBackward0"

    def forward(self, g, index, extent, dim):
        self.dim = dim
        self.save(index)
        return _put(g, index, extent, dim)

    def backward(self, g):
        return array_module(g).take_along_axis(g, self.saved[0], self.dim), None

    def differentiable_backward(self, g):
        return TakeAlong.apply(g, self.saved[0], dim=self.dim), None


def _put(g: Any, index: Any, extent: int, dim: int, once: bool = False) -> Any:
    """Zeros with `extent` places along `dim`, to which `g` is added at `index`; `once`: no place comes twice."""
    xp = array_module(g)
    shape = list(g.shape)
    shape[dim] = extent
    if once:
        dx = xp.zeros(shape, g.dtype)
        xp.put_along_axis(dx, index, g, dim)
        return dx
    high = wide(g)
    dx = xp.zeros(shape, high.dtype)
    at = list(xp.ogrid[tuple(slice(n) for n in index.shape)])
    at[dim] = index
    xp.add.at(dx, tuple(at), high)
    return dx.astype(g.dtype, copy=False)


class _Along(Op):
    """(values, indices); the gradient of a value goes to the place of its index."""

    differentiable = (True, False)
    once = True
    """Whether no place is chosen twice."""
    squeezed = False
    """Whether the dimension went from the results."""

    def chosen(self, x, index, dim):
        """The elements of `x`, which has dimensions, at `index`."""
        self.extent, self.dim = x.shape[dim], dim
        self.save(index)
        return array_module(x).take_along_axis(x, index, dim), index

    def backward(self, g, _):
        (index,) = self.saved
        xp = array_module(g)
        if self.squeezed:
            g, index = xp.expand_dims(g, self.dim), xp.expand_dims(index, self.dim)
        return _put(g.reshape(index.shape), index, self.extent, self.dim, self.once)

    def differentiable_backward(self, g, _):
        index = Tensor(self.saved[0].array)
        if self.squeezed:
            g, index = g.unsqueeze(self.dim), index.unsqueeze(self.dim)
        return PutAlong.apply(g.reshape(index.shape), index, extent=self.extent, dim=self.dim)


class ChosenAlong(_Along):
    """One element along a dimension; a subclass writes `choose`, its index."""

    choose: Any

    def forward(self, x, dim, keepdim):
        xp = array_module(x)
        if x.ndim == 0:
            values, index = self.chosen(x.reshape(1), xp.zeros(1, int), 0)
            return values.reshape(()), index.reshape(())
        index = xp.asarray(self.choose(wide(x), dim)).astype(int, copy=False)
        values, places = self.chosen(x, xp.expand_dims(index, dim), dim)
        if keepdim:
            return values, places
        self.squeezed = True
        self.save(index)
        return values.squeeze(dim), index


class PlacesAlong(_Along):
    """Several elements along a dimension; a subclass writes `choose`, their index, from x and its options."""

    choose: Any

    def forward(self, x, dim, **options):
        if x.ndim == 0:
            values, index = self.chosen(x.reshape(1), self.choose(wide(x.reshape(1)), 0, **options), 0)
            return values.reshape(()), index.reshape(())
        return self.chosen(x, self.choose(wide(x), dim, **options), dim)

"""Dimensions in another order, by their names in PyTorch and NumPy: views."""

from __future__ import annotations

from typing import Any

from ddpnet.ops.dims import one_axis
from ddpnet.ops.shape import Alias, permute, transpose
from ddpnet.tensor import Tensor, method

__all__ = [
    "adjoint",
    "moveaxis",
    "movedim",
    "swapaxes",
    "swapdims",
]


@method
def swapaxes(input: Tensor, axis0: int, axis1: int) -> Tensor:
    """`transpose` by NumPy's name."""
    return transpose(input, axis0, axis1)


@method
def swapdims(input: Tensor, dim0: int, dim1: int) -> Tensor:
    """`transpose` by another name."""
    return transpose(input, dim0, dim1)


@method
def adjoint(input: Tensor) -> Tensor:
    """The last two dimensions exchanged, of a tensor that has them."""
    if input.ndim < 2:
        raise RuntimeError(
            f"tensor.adjoint() is only supported on matrices or batches of matrices. Got {input.ndim}-D tensor."
        )
    return transpose(input, -2, -1)


def _matrix_transpose(self: Tensor) -> Tensor:
    if self.ndim == 0:
        return permute(self)
    if self.ndim < 2:
        raise RuntimeError(f"tensor.mT is only supported on matrices or batches of matrices. Got {self.ndim}-D tensor.")
    return transpose(self, -2, -1)


def _hermitian(self: Tensor) -> Tensor:
    if self.ndim not in (0, 2):
        raise RuntimeError(
            f"tensor.H is only supported on matrices (2-D tensors). Got {self.ndim}-D tensor. For batches of matrices, "
            "consider using tensor.mH"
        )
    return transpose(self, 0, 1) if self.ndim else self


Tensor.T = property(lambda self: permute(self, tuple(range(self.ndim))[::-1]))  # type: ignore[attr-defined]
Tensor.mT = Tensor.mH = property(_matrix_transpose)  # type: ignore[attr-defined]
Tensor.H = property(_hermitian)  # type: ignore[attr-defined]


@method
def movedim(input: Tensor, source: Any, destination: Any) -> Tensor:
    """A view with dimensions moved to other places; the others keep their order."""
    sources = [source] if isinstance(source, int) else list(source)
    destinations = [destination] if isinstance(destination, int) else list(destination)
    if len(sources) != len(destinations):
        raise RuntimeError(
            f"movedim: Invalid source or destination dims: source ({sources} dims) should contain the same number of "
            f"dims as destination ({destinations} dims)"
        )
    start = [one_axis(dim, input.ndim) for dim in sources]
    end = [one_axis(dim, input.ndim) for dim in destinations]
    for which, given in (("source", start), ("destination", end)):
        if len(set(given)) != len(given):
            raise RuntimeError(f"movedim: repeated dim in `{which}` ({given})")
    if not input.ndim:
        return Alias.apply(input, shape=())
    order: list[int] = [axis for axis in range(input.ndim) if axis not in start]
    for at, axis in sorted(zip(end, start, strict=True)):
        order.insert(at, axis)
    return permute(input, tuple(order))


@method
def moveaxis(input: Tensor, source: Any, destination: Any) -> Tensor:
    """`movedim` by NumPy's name."""
    return movedim(input, source, destination)

"""Which dimensions an operation works on."""

from __future__ import annotations

from collections.abc import Sequence

Dims = int | Sequence[int] | None


def axes(dim: Dims, ndim: int) -> tuple[int, ...]:
    """The dimensions to reduce, counted from 0; all of them for None or (). IndexError for one that is not there."""
    if dim is None or dim == () or dim == []:
        return tuple(range(ndim))
    return tuple(one_axis(d, ndim) for d in ((dim,) if isinstance(dim, int) else dim))


def one_axis(dim: int, ndim: int) -> int:
    """A dimension counted from 0; IndexError if there is none of that number."""
    extent = max(ndim, 1)
    if not -extent <= dim < extent:
        raise IndexError(
            f"Dimension out of range (expected to be in range of [{-extent}, {extent - 1}], but got {dim})"
        )
    return dim % extent

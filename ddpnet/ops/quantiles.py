"""Quantiles, between the elements by several rules."""

from __future__ import annotations

from typing import Any

import numpy as np

from ddpnet.backend import array_module
from ddpnet.ops.autocasting import autocasts
from ddpnet.ops.creation import as_tensor
from ddpnet.ops.dims import one_axis
from ddpnet.ops.keywords import numpy_names
from ddpnet.ops.out import with_out
from ddpnet.ops.positions import TakeAlong
from ddpnet.ops.sorting import sort
from ddpnet.tensor import Tensor, method

__all__ = [
    "nanquantile",
    "quantile",
]

_INTERPOLATIONS = ("linear", "lower", "higher", "midpoint", "nearest")


def _quantile(input: Tensor, q: Any, dim: int | None, keepdim: bool, interpolation: str, skip: bool) -> Tensor:
    name = "nanquantile" if skip else "quantile"
    x = input
    if x.array.size == 0:
        raise RuntimeError(f"{name}() input tensor must be non-empty")
    if x.array.dtype not in (np.float32, np.float64):
        raise RuntimeError(f"{name}() input tensor must be either float or double dtype")
    if isinstance(q, Tensor) and q.array.dtype != x.array.dtype:
        raise RuntimeError(f"{name}() q tensor must be same dtype as the input tensor")
    if interpolation not in _INTERPOLATIONS:
        raise RuntimeError(
            f"{name}() interpolation must be one of linear, lower, higher, midpoint or nearest, but got {interpolation}"
        )
    places = q if isinstance(q, Tensor) else as_tensor(float(q), dtype=x.dtype)
    if places.ndim > 1:
        raise RuntimeError(f"{name}() q must be a scalar or 1D tensor")
    if ((places.array < 0) | (places.array > 1)).any():
        raise RuntimeError(f"{name}() q must be in the range [0, 1] but got {q}")
    axis = None if dim is None else one_axis(dim, x.ndim)
    shape = [1 if axis in (None, d) else extent for d, extent in enumerate(x.shape)]
    last = x.reshape(-1) if axis is None or x.ndim == 0 else x.permute([d for d in range(x.ndim) if d != axis] + [axis])
    ordered = sort(last, -1).values
    lead = tuple(ordered.shape[:-1])
    count = (ordered.array == ordered.array).sum(axis=-1, keepdims=True)
    whole = ordered.shape[-1]
    xp = array_module(x.array)
    if not skip:
        where_nan = count < whole
        count = xp.full_like(count, whole)
    ranks = places.reshape(-1) * Tensor(xp.maximum(count - 1, 0).astype(x.array.dtype))
    if not skip and where_nan.any():
        ranks = ranks.masked_fill(Tensor(where_nan), whole - 1)
    if interpolation in ("lower", "higher", "nearest"):
        rounded = {"lower": xp.floor, "higher": xp.ceil, "nearest": xp.rint}[interpolation](ranks.array)
        result = TakeAlong.apply(ordered, Tensor(rounded.astype(int)), dim=len(lead))
    else:
        low = xp.floor(ranks.array)
        weight = ranks - Tensor(low) if interpolation == "linear" else 0.5 * Tensor(xp.ones_like(low))
        below = TakeAlong.apply(ordered, Tensor(low.astype(int)), dim=len(lead))
        above = TakeAlong.apply(ordered, Tensor(xp.ceil(ranks.array).astype(int)), dim=len(lead))
        result = below + weight * (above - below)
    result = result.permute([len(lead), *range(len(lead))]).reshape([places.array.size, *(shape if keepdim else lead)])
    return result if places.ndim else result.squeeze(0)


@with_out
@method
@numpy_names
@autocasts("float32", "cpu")
def quantile(
    input: Tensor, q: Any, dim: int | None = None, keepdim: bool = False, *, interpolation: str = "linear"
) -> Tensor:
    """The quantiles `q` (a number, or a vector: the result's first dimension) of all elements or along a dimension."""
    return _quantile(input, q, dim, keepdim, interpolation, False)


@with_out
@method
@numpy_names
@autocasts("float32", "cpu")
def nanquantile(
    input: Tensor, q: Any, dim: int | None = None, keepdim: bool = False, *, interpolation: str = "linear"
) -> Tensor:
    """As `quantile`, of the elements that are numbers."""
    return _quantile(input, q, dim, keepdim, interpolation, True)

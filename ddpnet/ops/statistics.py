"""Covariances, histograms with their edges, and slopes of sampled functions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ddpnet.backend import array_module
from ddpnet.dtypes import category
from ddpnet.ops.creation import as_tensor
from ddpnet.ops.dims import one_axis
from ddpnet.ops.joining import cat
from ddpnet.ops.linalg import mm
from ddpnet.ops.out import with_out
from ddpnet.ops.reduction import mean, sum
from ddpnet.ops.return_types import named
from ddpnet.tensor import Tensor, method

__all__ = [
    "corrcoef",
    "cov",
    "gradient",
    "histogram",
]


@method
def cov(
    input: Tensor, *, correction: int = 1, fweights: Tensor | None = None, aweights: Tensor | None = None
) -> Tensor:
    """The covariances of the rows of a matrix (variables), whose columns are observations.

    `fweights` says how often each was observed (integers), `aweights` how much it counts.
    """
    if input.ndim > 2:
        raise RuntimeError(f"cov(): expected input to have two or fewer dimensions but got an input with {input.ndim}")
    if input.array.dtype == np.bool_:
        raise RuntimeError("cov(): bool dtype is not supported for input")
    x = input if input.ndim == 2 else input.reshape(1, -1)
    count = x.shape[1]
    for weights, name, kinds in ((fweights, "fweights", (1,)), (aweights, "aweights", (2,))):
        if weights is None:
            continue
        if weights.ndim > 1 or weights.array.size != count:
            raise RuntimeError(f"cov(): expected {name} to have the same numel as there are input observations")
        if category(weights.array.dtype) not in kinds:
            raise RuntimeError(
                f"cov(): expected {name} to have {'integral' if kinds == (1,) else 'floating point'} dtype"
            )
        if weights.array.size and weights.array.min() < 0:
            raise RuntimeError(f"cov(): {name} cannot be negative")
    weight: Any = fweights if aweights is None else aweights if fweights is None else fweights * aweights
    if weight is None:
        x = x if category(x.array.dtype) == 2 else x.float()
        divisor: Any = max(count - correction, 0)
        centred = x - mean(x, 1, True)
        scaled = centred
    else:
        total = sum(weight)
        centred = x - (sum(x * weight, 1, True) / total)
        scaled = centred * weight
        lost = correction if aweights is None else correction * sum(weight * aweights) / total
        divisor = (total - lost).clamp(min=0)
    return (mm(centred, scaled.transpose(0, 1).to(centred.dtype)) / divisor).squeeze()


@method
def corrcoef(input: Tensor) -> Tensor:
    """The correlations of the rows of a matrix (variables), whose columns are observations."""
    if input.ndim > 2:
        raise RuntimeError(
            f"corrcoef(): expected input to have two or fewer dimensions but got an input with {input.ndim}"
        )
    c = cov(input)
    if c.ndim == 0:
        return c / c
    deviation = c.diagonal().sqrt()
    return (c / deviation.unsqueeze(1) / deviation.unsqueeze(0)).clamp(-1, 1)


@named("histogram")
class Histogram(NamedTuple):
    """What `histogram` gives."""

    hist: Tensor
    bin_edges: Tensor


@with_out
@method
def histogram(
    input: Tensor,
    bins: int | Tensor,
    *,
    range: Sequence[float] | None = None,
    weight: Tensor | None = None,
    density: bool = False,
) -> Histogram:
    """(how many elements, or how much weight, in each bin; the edges): `bins` equal ones of `range`, or their edges."""
    x = input.array
    if x.dtype not in (np.float32, np.float64):
        raise NotImplementedError(f'"histogram_cpu" not implemented for {input.dtype.scalar_name!r}')
    if weight is not None and weight.array.shape != x.shape:
        raise RuntimeError("torch.histogram(): if weight tensor is provided it should have the same shape as the input")
    if isinstance(bins, Tensor):
        if bins.array.dtype != x.dtype:
            raise RuntimeError("torch.histogram(): input tensor and bins tensors should have the same dtype")
        edges: Any = bins.array
    elif bins <= 0:
        raise RuntimeError(f"torch.histogram(): bins must be > 0, but got {bins}")
    else:
        low, high = (x.min(), x.max()) if range is None and x.size else (0.0, 1.0) if range is None else range
        if low > high:
            raise RuntimeError("torch.histogram(): max must be larger than min")
        low, high = (low, high) if low != high else (low - 0.5, high + 0.5)
        edges = array_module(x).linspace(low, high, bins + 1).astype(x.dtype)
    counts, _ = array_module(x).histogram(
        x.reshape(-1), edges, weights=None if weight is None else weight.array.reshape(-1), density=density
    )
    return Histogram(Tensor(counts.astype(x.dtype)), Tensor(edges))


def gradient(input: Tensor, *, spacing: Any = 1, dim: Any = None, edge_order: int = 1) -> tuple[Tensor, ...]:
    """The slopes along each dimension (or those given) of values on a grid, by central differences.

    `spacing` is a distance, one for each dimension, or the coordinates along each.
    """
    dims = range(input.ndim) if dim is None else (dim,) if isinstance(dim, int) else tuple(dim)
    axes = [one_axis(d, input.ndim) for d in dims]
    if len(set(axes)) < len(axes):
        raise RuntimeError("dim appears multiple times in the list of dims")
    if edge_order not in (1, 2):
        raise RuntimeError("torch.gradient only supports edge_order=1 and edge_order=2.")
    spacing = 1 if spacing is None else spacing
    steps = list(spacing) if isinstance(spacing, list | tuple) else [spacing] * len(axes)
    if len(steps) != len(axes):
        raise RuntimeError(
            f"torch.gradient expected spacing to be unspecified, a scalar, or a list of length {len(axes)}, but got a "
            f"list of length {len(steps)}"
        )
    for axis in axes:
        if input.shape[axis] <= edge_order:
            raise RuntimeError("torch.gradient expected each dimension size to be at least edge_order+1")
    return tuple(_slope(input, step, axis, edge_order) for step, axis in zip(steps, axes, strict=True))


def _slope(x: Tensor, step: Any, axis: int, edge_order: int) -> Tensor:
    count = x.shape[axis]
    x = x if category(x.array.dtype) == 2 else x.float()
    shape = [-1 if d == axis else 1 for d in range(x.ndim)]
    if isinstance(step, Tensor) and step.ndim:
        if step.shape[0] != count:
            raise RuntimeError("torch.gradient expected each coordinate tensor to have the length of its dimension")
        points = step
    else:
        points = as_tensor(np.arange(count), dtype=x.dtype, device=x.device) * step
    widths = (points[1:] - points[:-1]).reshape(shape)

    def part(y: Tensor, start: int, length: int) -> Tensor:
        taken: Tensor = y.narrow(axis, start, length)
        return taken

    rises = (part(x, 1, count - 1) - part(x, 0, count - 1)) / widths
    first, last = part(rises, 0, 1), part(rises, count - 2, 1)
    if count == 2:
        return cat([first, last], axis)
    left, right = part(widths, 0, count - 2), part(widths, 1, count - 2)
    inner = (part(rises, 0, count - 2) * right + part(rises, 1, count - 2) * left) / (left + right)
    if edge_order == 2:  # where the parabola through three points goes on
        a, b = part(widths, 0, 1), part(widths, 1, 1)
        first = first + (first - part(rises, 1, 1)) * a / (a + b)
        a, b = part(widths, count - 2, 1), part(widths, count - 3, 1)
        last = last + (last - part(rises, count - 3, 1)) * a / (a + b)
    return cat([first, inner, last], axis)

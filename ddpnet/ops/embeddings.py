"""Rows of a table chosen by integers: embeddings, and their sums, means and maxima over bags."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from ddpnet.backend import array_module
from ddpnet.kernels import kernels_for
from ddpnet.kernels.precision import is_half
from ddpnet.ops.conversion import cast
from ddpnet.ops.op import Op
from ddpnet.tensor import Tensor

__all__: list[str] = []


class Embedding(Op):
    """w[index]; the row `padding` gets no gradient; with `by_frequency` it is divided by how often a row was chosen."""

    def forward(self, w, index, padding, by_frequency):
        _check_range(index, len(w))
        self.index, self.rows, self.padding = index, len(w), padding
        self.share = None
        if by_frequency:
            xp = array_module(w)
            counts = xp.bincount(index.reshape(-1), minlength=self.rows)
            self.share = (1 / xp.maximum(counts, 1)).astype(w.dtype)[index]
        return w.take(index, axis=0)

    def backward(self, g):
        g = g if self.share is None else g * self.share[..., None]
        return sum_rows(g, self.index, self.rows, self.padding), None

    def differentiable_backward(self, g):
        g = g if self.share is None else g * Tensor(self.share[..., None])
        return SumRows.apply(g, index=self.index, rows=self.rows, padding=self.padding), None


class SumRows(Op):
    """(rows, D): for each row the sum of the g (..., D) whose `index` (...) it is; the transpose of `Embedding`."""

    def forward(self, g, index, rows, padding):
        self.index, self.padding = index, padding
        return sum_rows(g, index, rows, padding)

    def backward(self, g):
        return self.counted(g) * g.take(self.index, axis=0) if self.padding is not None else g.take(self.index, axis=0)

    def differentiable_backward(self, g):
        back = Embedding.apply(g, self.index, padding=self.padding, by_frequency=False)
        return back if self.padding is None else back * Tensor(self.counted(g.array))

    def counted(self, g):
        return (self.index != self.padding)[..., None].astype(g.dtype)


def sum_rows(g: Any, index: Any, rows: int, padding: int | None) -> Any:
    """The arrays of `SumRows`."""
    total = kernels_for(g).sum_rows(g.reshape(-1, g.shape[-1]), index.reshape(-1), rows)
    if padding is not None:
        total[padding] = 0
    return total


def _checked_index(input: Tensor, weight: Tensor, name: str) -> Any:
    if input.array.dtype not in (np.int64, np.int32):
        raise RuntimeError(
            "Expected tensor for argument #1 'indices' to have one of the following scalar types: Long, Int; but got "
            f"{input.dtype.scalar_name} instead (while checking arguments for {name})"
        )
    return input.array


def _check_range(index: Any, rows: int) -> None:
    """IndexError for a row that is not there; in the operation, so that it is looked at again in a replay."""
    if index.size and (index.min() < 0 or index.max() >= rows):
        raise IndexError("index out of range in self")


def _renormalize(weight: Tensor, index: Any, max_norm: float, norm_type: float) -> None:
    """Scale the rows that are used to a norm of at most `max_norm`, in place and unrecorded."""
    w = weight.array
    xp = array_module(w)
    used = xp.unique(index)
    norms = (xp.abs(w[used]) ** norm_type).sum(axis=1) ** (1 / norm_type)
    norms = xp.abs(w[used]).max(axis=1, initial=0) if norm_type == np.inf else norms
    factor = xp.where(norms > max_norm, max_norm / (norms + 1e-7), 1).astype(w.dtype)
    w[used] *= factor[:, None]
    weight.changed()


def _padding_row(padding_idx: int | None, rows: int) -> int | None:
    if padding_idx is None:
        return None
    if not -rows <= padding_idx < rows:
        raise AssertionError("Padding_idx must be within num_embeddings")
    return padding_idx % rows


def embedding(
    input: Tensor,
    weight: Tensor,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Tensor:
    """weight[input] (..., D) for integers `input` and weight (rows, D).

    The row `padding_idx` gets no gradient. With `max_norm` the rows that are used are scaled down to it, in place.
    IndexError for a row that is not there; NotImplementedError for sparse gradients.
    """
    if sparse:
        raise NotImplementedError("embedding: sparse=True (sparse gradients) is not supported")
    if weight.ndim != 2:
        raise RuntimeError("'weight' must be 2-D")
    padding = _padding_row(padding_idx, weight.array.shape[0])
    index = _checked_index(input, weight, "embedding")
    if max_norm is not None:
        _check_range(index, weight.array.shape[0])
        _renormalize(weight, index, max_norm, norm_type)
    return Embedding.apply(weight, input, padding=padding, by_frequency=scale_grad_by_freq)


def embedding_bag(
    input: Tensor,
    weight: Tensor,
    offsets: Tensor | None = None,
    max_norm: float | None = None,
    norm_type: float = 2,
    scale_grad_by_freq: bool = False,
    mode: str = "mean",
    sparse: bool = False,
    per_sample_weights: Tensor | None = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> Tensor:
    """The sum, mean or max of the rows of weight (rows, D) in each bag, (bags, D); empty bags give 0.

    `input` is (bags, n), or (all,) with the first places of the bags in `offsets`. `per_sample_weights`, of input's
    shape, multiplies the rows (mode "sum"). Rows `padding_idx` do not count. ValueError for shapes that do not fit.
    """
    if sparse:
        raise NotImplementedError("embedding_bag: sparse=True (sparse gradients) is not supported")
    if weight.array.dtype == np.int64 and input.is_floating_point():
        warnings.warn(
            "Argument order of nn.functional.embedding_bag was changed. Usage `embedding_bag(weight, input, ...)` is "
            "deprecated, and should now be `embedding_bag(input, weight, ...)`.",
            stacklevel=2,
        )
        weight, input = input, weight
    _check_bag(input, weight, offsets, scale_grad_by_freq, mode, per_sample_weights)
    index = _checked_index(input, weight, "embedding_bag")
    _check_range(index, weight.array.shape[0])
    xp = array_module(index)
    bags, count = _bags(xp, index, offsets, include_last_offset)
    index = index.reshape(-1)
    if max_norm is not None:
        _renormalize(weight, index, max_norm, norm_type)
    padding = _padding_row(padding_idx, weight.array.shape[0])
    scale = None if per_sample_weights is None else per_sample_weights.reshape(-1)
    if padding is not None:
        kept = index != padding
        index, bags = index[kept], bags[kept]
        scale = None if scale is None else scale[Tensor(kept)]
    if mode == "max":
        return _largest(weight, index, bags, count)
    table = cast(weight, np.dtype(np.float32)) if is_half(weight.array) else weight
    rows: Tensor = Embedding.apply(table, index, padding=None, by_frequency=scale_grad_by_freq)
    if scale is not None:
        rows = rows * scale.unsqueeze(1)
    total: Tensor = SumRows.apply(rows, index=bags, rows=count, padding=None)
    if mode == "mean":
        sizes = xp.maximum(xp.bincount(bags, minlength=count), 1)
        total = total / Tensor(sizes[:, None].astype(total.array.dtype))
    return cast(total, weight.array.dtype)


def _check_bag(
    input: Tensor, weight: Tensor, offsets: Tensor | None, by_frequency: bool, mode: str, scale: Tensor | None
) -> None:
    if scale is not None and scale.array.shape != input.array.shape:
        raise ValueError(
            f"embedding_bag: If per_sample_weights ({scale.shape}) is not None, then it must have the same shape as "
            f"the input ({input.shape})"
        )
    if weight.ndim != 2:
        raise ValueError(f"weight has to be a 2D Tensor, but got Tensor of dimension {weight.ndim}")
    if input.ndim == 2 and offsets is not None:
        raise ValueError(
            "if input is 2D, then offsets has to be None, as input is treated is a mini-batch of fixed length "
            f"sequences. However, found offsets of type {type(offsets)}"
        )
    if input.ndim == 1 and (offsets is None or offsets.ndim != 1):
        raise ValueError(f"offsets has to be a 1D Tensor{' but got None' if offsets is None else ''}")
    if input.ndim not in (1, 2):
        raise ValueError(f"input has to be 1D or 2D Tensor, but got Tensor of dimension {input.ndim}")
    if mode not in ("sum", "mean", "max"):
        raise ValueError("mode has to be one of sum, mean or max")
    if mode == "max" and by_frequency:
        raise ValueError("max mode does not support scaling the gradient by the frequency")
    if scale is not None and mode != "sum":
        raise NotImplementedError(
            "embedding_bag: per_sample_weights was not None. per_sample_weights is only supported for mode='sum' "
            f"(got mode='{mode}'). Please open a feature request on GitHub."
        )


def _bags(xp: Any, index: Any, offsets: Tensor | None, include_last: bool) -> tuple[Any, int]:
    """The bag of each index, and the number of bags."""
    if offsets is None:
        return xp.repeat(xp.arange(index.shape[0]), index.shape[1]), index.shape[0]
    starts = offsets.array
    if include_last and not len(starts):
        raise RuntimeError("include_last_offset: number of offset should be at least 1")
    if len(starts) and (starts[0] != 0 or starts[-1] > len(index)):
        raise RuntimeError(
            f"offsets: expected the first to be 0 and the last at most {len(index)}, got {starts[0]} and {starts[-1]}"
        )
    starts = starts[:-1] if include_last else starts
    return xp.searchsorted(starts, xp.arange(len(index)), side="right") - 1, len(starts)


def _largest(weight: Tensor, index: Any, bags: Any, count: int) -> Tensor:
    """The largest elements of the rows of each bag, (count, D); gradients go to the first that are largest."""
    w = weight.array
    xp = array_module(w)
    if not len(index):
        return weight.sum() * 0 + Tensor(xp.zeros((count, w.shape[1]), w.dtype))
    sizes = xp.bincount(bags, minlength=count)
    place = xp.arange(len(index)) - (xp.cumsum(sizes) - sizes)[bags]
    table = xp.full((count, max(int(sizes.max()), 1)), -1, np.int64)
    table[bags, place] = index
    values = xp.where((table < 0)[:, :, None], -np.inf, w[table])
    chosen = xp.take_along_axis(table, values.argmax(axis=1), axis=1)  # (count, D)
    filled = Tensor((sizes > 0)[:, None].astype(w.dtype))
    return weight.gather(0, Tensor(xp.maximum(chosen, 0))) * filled

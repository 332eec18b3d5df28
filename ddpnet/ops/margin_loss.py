"""Losses of pairs, triplets and classes that have to be apart by a margin."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ddpnet.backend import array_module
from ddpnet.ops.activation import Relu, refuse_integers
from ddpnet.ops.autocasting import autocasts
from ddpnet.ops.choice import clamp, minimum, where
from ddpnet.ops.classification_loss import Picked
from ddpnet.ops.distance import pairwise_distance
from ddpnet.ops.loss import check_reduction, reduced
from ddpnet.tensor import Tensor

__all__: list[str] = []


@autocasts("float32")
def cosine_embedding_loss(
    input1: Tensor,
    input2: Tensor,
    target: Tensor,
    margin: float = 0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """1 - cos where `target` (N,) or () is 1, max(0, cos - margin) where it is -1, for vectors (N, D) or (D,)."""
    reduction = check_reduction(reduction, size_average, reduce)
    if target.ndim > 1:
        raise RuntimeError("0D or 1D target tensor expected, multi-target not supported")
    if not input1.ndim == input2.ndim == target.ndim + 1:
        raise RuntimeError(
            f"{target.ndim}D target tensor expects {target.ndim + 1}D input tensors, but found inputs with sizes "
            f"{list(input1.shape)} and {list(input2.shape)}."
        )
    tiny = 1e-12
    squares = ((input1 * input1).sum(-1) + tiny) * ((input2 * input2).sum(-1) + tiny)
    cosine = (input1 * input2).sum(-1) / squares.sqrt()
    apart = clamp(cosine - margin, min=0)
    loss = where(target.eq(1), 1 - cosine, where(target.eq(-1), apart, apart * 0))
    return reduced(loss, reduction)


@autocasts("float32")
def hinge_embedding_loss(
    input: Tensor,
    target: Tensor,
    margin: float = 1.0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """x where `target` is 1, max(0, margin - x) where it is -1."""
    reduction = check_reduction(reduction, size_average, reduce)
    apart = where(target.ne(1), clamp(margin - input, min=0), 0)
    return reduced(apart + where(target.ne(-1), input, 0), reduction)


@autocasts("float32")
def margin_ranking_loss(
    input1: Tensor,
    input2: Tensor,
    target: Tensor,
    margin: float = 0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """max(0, margin - target * (input1 - input2)): with target 1 the first should be larger, with -1 the second."""
    reduction = check_reduction(reduction, size_average, reduce)
    if not input1.ndim == input2.ndim == target.ndim:
        raise RuntimeError(
            "margin_ranking_loss : All input tensors should have same dimension but got sizes: "
            f"input1: {input1.shape}, input2: {input2.shape}, target: {target.shape} "
        )
    return reduced(clamp(-target * (input1 - input2) + margin, min=0), reduction)


@autocasts("float32")
def triplet_margin_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    margin: float = 1.0,
    p: float = 2,
    eps: float = 1e-6,
    swap: bool = False,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """max(0, margin + d(anchor, positive) - d(anchor, negative)) for the distances of `pairwise_distance`."""
    reduction = check_reduction(reduction, size_average, reduce)
    if margin <= 0:
        raise ValueError(f"margin must be greater than 0, got {margin}")
    return _triplet(anchor, positive, negative, lambda a, b: pairwise_distance(a, b, p, eps), margin, swap, reduction)


def triplet_margin_with_distance_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    *,
    distance_function: Callable[[Tensor, Tensor], Tensor] | None = None,
    margin: float = 1.0,
    swap: bool = False,
    reduction: str = "mean",
) -> Tensor:
    """`triplet_margin_loss` with a distance of one's own."""
    check_reduction(reduction)
    if margin <= 0:
        raise ValueError(f"margin must be greater than 0, got {margin}")
    return _triplet(anchor, positive, negative, distance_function or pairwise_distance, margin, swap, reduction)


def _triplet(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    distance: Callable[[Tensor, Tensor], Tensor],
    margin: float,
    swap: bool,
    reduction: str,
) -> Tensor:
    """With `swap` the negative is compared with whichever of anchor and positive is nearer (Balntas et al., 2016)."""
    if not anchor.ndim == positive.ndim == negative.ndim:
        raise RuntimeError(
            "The anchor, positive, and negative tensors are expected to have the same number of dimensions, but got: "
            f"anchor {anchor.ndim}D, positive {positive.ndim}D, and negative {negative.ndim}D inputs"
        )
    near, far = distance(anchor, positive), distance(anchor, negative)
    if swap:
        far = minimum(far, distance(positive, negative))
    return reduced(clamp(margin + near - far, min=0), reduction)


def _rows(name: str, input: Tensor) -> tuple[int, int]:
    """(samples, classes) of (N, C), (C,) or () scores; RuntimeError for other shapes."""
    shape = input.array.shape
    if len(shape) > 2 or 0 in shape[-1:]:
        raise RuntimeError(
            f"Expected non-empty vector or matrix with optional 0-dim batch size, but got: {list(shape)} ({name})"
        )
    return (shape[0], shape[1]) if len(shape) == 2 else (1, int(np.prod(shape, dtype=np.int64)))


@autocasts("float32")
def multi_margin_loss(
    input: Tensor,
    target: Tensor,
    p: int = 1,
    margin: float = 1.0,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """The mean over the other classes of max(0, margin - x[target] + x)^p; input (N, C) or (C,), target (N,) or ()."""
    reduction = check_reduction(reduction, size_average, reduce)
    if p not in (1, 2):
        raise ValueError("only p == 1 and p == 2 supported")
    if weight is not None and weight.ndim != 1:
        raise ValueError("weight must be one-dimensional")
    refuse_integers("multi_margin_loss", input)
    count, width = _rows("multi_margin_loss", input)
    if target.ndim > 1 or target.array.size != count:
        raise RuntimeError(f"inconsistent target size, expected {count} but got {list(target.shape)}")
    if weight is not None and weight.array.size != width:
        raise RuntimeError(f"inconsistent weight size, expected {width} but got {list(weight.shape)}")
    x, classes = input.reshape(count, width), target.array.reshape(count)
    xp = array_module(classes)
    if ((classes < 0) | (classes >= width)).any():
        raise RuntimeError("target out of range")
    others = Tensor((xp.arange(width) != classes[:, None]).astype(x.array.dtype))
    short = Relu.apply(x - Picked.apply(x, classes=classes).unsqueeze(1) + margin) * others
    loss = (short if p == 1 else short * short).sum(1) / width
    if weight is not None:
        loss = loss * Tensor(weight.array[classes])
    return reduced(loss.reshape(target.array.shape if input.ndim == 2 else ()), reduction)


@autocasts("float32")
def multilabel_margin_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """The sum over classes t of the target and others j of max(0, 1 - x[t] + x[j]) / C; input (N, C) or (C,).

    `target`, of input's shape, lists the classes of each sample up to the first -1.
    """
    reduction = check_reduction(reduction, size_average, reduce)
    refuse_integers("multilabel_margin_loss", input)
    count, width = _rows("multilabel_margin_loss", input)
    if target.array.shape != input.array.shape:
        raise RuntimeError(f"inconsistent target size: {list(target.shape)} for input of size: {list(input.shape)}")
    x, classes = input.reshape(count, width), target.array.reshape(count, width)
    xp = array_module(classes)
    listed = xp.cumsum(classes < 0, axis=1) == 0
    if (listed & (classes >= width)).any():
        raise RuntimeError("target is out of range")
    classes = xp.where(listed, classes, 0)
    named = ((classes[:, :, None] == xp.arange(width)) & listed[:, :, None]).any(axis=1)
    pairs = Tensor((listed[:, :, None] & ~named[:, None, :]).astype(x.array.dtype))
    chosen = x.gather(1, Tensor(classes))
    loss = (Relu.apply(1 - chosen.unsqueeze(2) + x.unsqueeze(1)) * pairs).sum((1, 2)) / width
    return reduced(loss if input.ndim == 2 else loss.reshape(()), reduction)

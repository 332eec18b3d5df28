"""Losses: a number that says how far an output is from its target."""

from __future__ import annotations

import warnings

import numpy as np

from ddpnet.backend import array_module
from ddpnet.dtypes import category
from ddpnet.ops.activation import log_softmax
from ddpnet.ops.conversion import promoted
from ddpnet.ops.creation import full_like
from ddpnet.ops.op import Op
from ddpnet.tensor import Tensor

REDUCTIONS = ("mean", "sum", "none")


def check_reduction(reduction: str) -> None:
    """ValueError for a name that is not one of REDUCTIONS."""
    if reduction not in REDUCTIONS:
        raise ValueError(f"{reduction} is not a valid value for reduction; expected one of {', '.join(REDUCTIONS)}")


class MseLoss(Op):
    def forward(self, x, target, reduction):
        difference = x - target
        self.reduction = reduction
        self.save(difference)
        square = difference * difference
        return square.mean() if reduction == "mean" else square.sum() if reduction == "sum" else square

    def backward(self, g):
        (difference,) = self.saved
        scale = 2 / difference.size if self.reduction == "mean" else 2
        dx = difference * (g * difference.dtype.type(scale))
        return dx if self.needs[0] else None, -dx if self.needs[1] else None


class L1Loss(Op):
    graph_name = "AbsBackward0"

    def forward(self, x, target, reduction):
        difference = x - target
        self.reduction = reduction
        self.save(difference)
        size = np.abs(difference)
        return size.mean() if reduction == "mean" else size.sum() if reduction == "sum" else size

    def backward(self, g):
        (difference,) = self.saved
        scale = 1 / difference.size if self.reduction == "mean" else 1
        dx = np.sign(difference) * (g * difference.dtype.type(scale))
        return dx if self.needs[0] else None, -dx if self.needs[1] else None


class NllLoss(Op):
    """-weight[t] * x[n, t] for x (N, C) and classes t (N,), over the targets that are not ignored."""

    def forward(self, x, target, weight, ignore_index, reduction):
        xp = array_module(x)
        counted = target != ignore_index
        places = xp.arange(len(x)), xp.where(counted, target, 0)
        factor = counted.astype(x.dtype) if weight is None else weight[places[1]] * counted
        loss = -x[places] * factor
        self.shape, self.reduction = x.shape, reduction
        self.total = factor.sum() if reduction == "mean" else None
        self.save(places, factor)
        return loss.sum() / self.total if reduction == "mean" else loss.sum() if reduction == "sum" else loss

    def backward(self, g):
        places, factor = self.saved
        xp = array_module(g)
        value = -factor * g
        if self.reduction == "mean":
            value = xp.where(factor == 0, 0, value / self.total)
        dx = xp.zeros(self.shape, factor.dtype)
        dx[places] = value
        return dx, None


def mse_loss(input: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """The squared difference: its mean, its sum, or itself."""
    check_reduction(reduction)
    _warn_if_broadcast(input, target)
    return MseLoss.apply(*promoted(input, target), reduction=reduction)


def l1_loss(input: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """The absolute difference: its mean, its sum, or itself."""
    check_reduction(reduction)
    _warn_if_broadcast(input, target)
    return L1Loss.apply(*promoted(input, target), reduction=reduction)


def _warn_if_broadcast(input: Tensor, target: Tensor) -> None:
    if input.array.shape != target.array.shape:
        warnings.warn(
            f"Using a target size ({target.shape}) that is different to the input size ({input.shape}). This will "
            "likely lead to incorrect results due to broadcasting. Please ensure they have the same size.",
            stacklevel=3,
        )


def nll_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> Tensor:
    """The negative log-likelihood of classes: input (N, C, ...) or (C,) log-probabilities, target (N, ...) or ().

    `weight` (C,) weighs the classes (and the mean by them). IndexError for a class that is not there.
    """
    check_reduction(reduction)
    if input.ndim == 1:
        loss = nll_loss(input.unsqueeze(0), target.unsqueeze(0), weight, ignore_index, reduction)
        return loss.squeeze(0) if reduction == "none" else loss
    _check_classes(input, target, weight, ignore_index)
    if input.ndim > 2:
        rows = input.permute(0, *range(2, input.ndim), 1).reshape(-1, input.array.shape[1])
        loss = nll_loss(rows, target.reshape(-1), weight, ignore_index, reduction)
        return loss.reshape(target.array.shape) if reduction == "none" else loss
    return NllLoss.apply(
        input,
        target,
        weight=None if weight is None else weight.array,
        ignore_index=ignore_index,
        reduction=reduction,
    )


def _check_classes(input: Tensor, target: Tensor, weight: Tensor | None, ignore_index: int) -> None:
    x, t = input.array, target.array
    if x.ndim < 1 or x.shape[:1] + x.shape[2:] != t.shape:
        raise ValueError(
            f"Expected input of shape (N, C, ...) and target of shape (N, ...), got input {list(x.shape)} and target "
            f"{list(t.shape)}"
        )
    if category(t.dtype) != 1:
        raise RuntimeError(f"expected scalar type Long for the classes of the target, but got {target.dtype.name}")
    if weight is not None and weight.array.shape != x.shape[1:2]:
        raise RuntimeError(
            f"weight tensor should be defined either for all {x.shape[1]} classes or no classes but got weight tensor "
            f"of shape: {list(weight.array.shape)}"
        )
    bad = ((t < 0) | (t >= x.shape[1])) & (t != ignore_index)
    if bad.any():
        raise IndexError(f"Target {t[bad].reshape(-1)[0]} is out of bounds: expected classes 0 to {x.shape[1] - 1}.")


def cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """The cross-entropy of logits (N, C, ...) or (C,) with classes (N, ...), or with probabilities of input's shape."""
    check_reduction(reduction)
    axis = 0 if input.ndim == 1 else 1
    scores = log_softmax(input, axis)
    weights = None if weight is None else weight.reshape(-1, *(1,) * (scores.ndim - axis - 1))
    if category(target.array.dtype) == 2 and target.array.shape == input.array.shape:
        return _with_probabilities(scores, target, weights, reduction, label_smoothing, axis)
    exact = nll_loss(scores, target, weight, ignore_index, reduction)
    if label_smoothing == 0:
        return exact
    even = -(scores if weights is None else scores * weights).mean(axis).masked_fill(target.eq(ignore_index), 0)
    if reduction != "none":
        even = even.sum()
    if reduction == "mean":
        even = even / nll_loss(full_like(scores, -1), target, weight, ignore_index, "sum")  # the weight of all targets
    return exact * (1 - label_smoothing) + even * label_smoothing


def _with_probabilities(
    scores: Tensor, target: Tensor, weights: Tensor | None, reduction: str, label_smoothing: float, axis: int
) -> Tensor:
    if label_smoothing:
        target = target * (1 - label_smoothing) + label_smoothing / scores.shape[axis]
    if weights is not None:
        target = target * weights
    loss = -(scores * target).sum(axis)
    if reduction == "none":
        return loss
    return loss.sum() / (loss.numel() if reduction == "mean" else 1)

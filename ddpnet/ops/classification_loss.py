"""Losses of classes and of probabilities: cross-entropies."""

from __future__ import annotations

from typing import Any

import numpy as np

from ddpnet.backend import array_module
from ddpnet.dtypes import category
from ddpnet.kernels import kernels_for
from ddpnet.ops.activation import Linked, refuse_integers
from ddpnet.ops.autocasting import autocasts
from ddpnet.ops.loss import check_reduction, reduced
from ddpnet.ops.op import Op
from ddpnet.ops.precision import in_float32
from ddpnet.ops.softmaxes import Softmax, log_softmax
from ddpnet.tensor import Tensor

__all__: list[str] = []

_CLASS_DTYPES = np.dtype(np.int64), np.dtype(np.uint8)


class Picked(Op):
    """x[n, classes[n]] for x (N, C)."""

    def forward(self, x, classes):
        self.classes, self.width = classes, x.shape[1]
        return x[array_module(x).arange(len(x)), classes]

    def backward(self, g):
        return spread_over_classes(g, self.classes, self.width)

    def differentiable_backward(self, g):
        return Spread.apply(g, classes=self.classes, width=self.width)


class Spread(Op):
    """(N, C) of zeros, but for v[n] at classes[n]: the transpose of `Picked`."""

    def forward(self, v, classes, width):
        self.classes = classes
        return spread_over_classes(v, classes, width)

    def backward(self, g):
        return g[array_module(g).arange(len(g)), self.classes]

    def differentiable_backward(self, g):
        return Picked.apply(g, classes=self.classes)


def spread_over_classes(v: Any, classes: Any, width: int) -> Any:
    """The arrays of `Spread`."""
    xp = array_module(v)
    dx = xp.zeros((len(v), width), v.dtype)
    dx[xp.arange(len(v)), classes] = v
    return dx


class _ClassLoss(Op):
    """A loss of x (N, C) and classes (N,), over the targets that are not ignored; each counts by its factor."""

    factor: Any
    total: Any

    def count(self, x, target, weight, ignore_index, reduction):
        xp = array_module(x)
        _check_range(target, x.shape[1], ignore_index)
        counted = target != ignore_index
        self.classes = target if counted.all() else xp.where(counted, target, 0)
        self.factor = counted.astype(x.dtype) if weight is None else weight.astype(x.dtype)[self.classes] * counted
        self.width, self.reduction = x.shape[1], reduction
        self.total = self.factor.sum() if reduction == "mean" else None

    def total_of(self, losses):
        if self.reduction == "none":
            return losses
        return losses.sum() / self.total if self.reduction == "mean" else losses.sum()

    def shares(self, g):
        """The gradient of each sample's log-probability, negative; 0 where all are ignored."""
        if self.reduction == "mean":
            return self.factor * (g / array_module(self.factor).where(self.total == 0, 1, self.total))
        return self.factor * g

    def recorded_shares(self, g):
        """`shares` of a Tensor."""
        shares = Tensor(self.factor) * g
        return shares / float(self.total if self.total != 0 else 1) if self.reduction == "mean" else shares


@in_float32
class NllLoss(_ClassLoss):
    """-weight[t] * x[n, t] for the classes t."""

    def forward(self, x, target, weight, ignore_index, reduction):
        self.count(x, target, weight, ignore_index, reduction)
        self.save(x)
        return self.total_of(-x[array_module(x).arange(len(x)), self.classes] * self.factor)

    def backward(self, g):
        return spread_over_classes(-self.shares(g), self.classes, self.width), None

    def differentiable_backward(self, g):
        (x,) = self.saved
        dx = Spread.apply(-self.recorded_shares(g), classes=self.classes, width=self.width)
        return Linked.apply(dx, x), None


@in_float32
class CrossEntropy(_ClassLoss):
    """`NllLoss` of the log-softmax of x, in one pass, which writes the gradient for a loss of gradient 1 as well."""

    graph_name = "NllLossBackward0"
    slopes: Any = None
    uncounted: Any = None
    """What `count` gets when somebody needs it, where the mean was computed without."""

    def forward(self, x, target, weight, ignore_index, reduction):
        self.save(x)
        if weight is None and reduction == "mean":
            found = kernels_for(x).mean_cross_entropy(x, target, ignore_index, self.needs[0])
            if found is not None:
                self.uncounted = target, weight, ignore_index, reduction
                mean, self.slopes = found
                return mean
        self.count(x, target, weight, ignore_index, reduction)
        losses = self.losses_and_slopes(x) if self.needs[0] else kernels_for(x).cross_entropy(x, self.classes)
        return self.total_of(losses * self.factor)

    def losses_and_slopes(self, x):
        shares = self.shares(1).astype(x.dtype)
        losses, self.slopes = kernels_for(x).cross_entropy_with_slopes(x, self.classes, shares)
        return losses

    def backward(self, g):
        (x,) = self.saved
        if self.slopes is None:  # given away by an earlier backward of the same graph
            self.count_now(x)
            self.losses_and_slopes(x)
        slopes, self.slopes = self.slopes, None
        return kernels_for(slopes).scale_rows(slopes, g), None

    def count_now(self, x):
        if self.uncounted is not None:
            self.count(x, *self.uncounted)
            self.uncounted = None

    def release(self) -> None:
        self.slopes = None
        super().release()

    def differentiable_backward(self, g):
        (x,) = self.saved
        self.count_now(x.array)
        shares = self.recorded_shares(g)
        p = Softmax.apply(x, dim=1) * shares.unsqueeze(1)
        return p - Spread.apply(shares, classes=self.classes, width=self.width), None


@autocasts("float32")
def nll_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """The negative log-likelihood of classes: input (N, C, ...) or (C,) log-probabilities, target (N, ...) or ().

    `weight` (C,) weighs the classes (and the mean by them). IndexError for a class that is not there.
    """
    reduction = check_reduction(reduction, size_average, reduce)
    return _of_classes(NllLoss, input, target, weight, ignore_index, reduction)


def _of_classes(
    loss: type[Op], input: Tensor, target: Tensor, weight: Tensor | None, ignore_index: int, reduction: str
) -> Tensor:
    """A loss of x (N, C) applied to x (N, C, ...) or (C,)."""
    _check_classes(input, target, weight, ignore_index)
    rows, classes = input, target
    if input.ndim == 1:
        rows, classes = input.unsqueeze(0), target.reshape(1)
    elif input.ndim > 2:
        rows = input.permute(0, *range(2, input.ndim), 1).reshape(-1, input.array.shape[1])
        classes = target.reshape(-1)
    result: Tensor = loss.apply(
        rows,
        classes,
        weight=None if weight is None else weight.array,
        ignore_index=ignore_index,
        reduction=reduction,
    )
    return result if reduction != "none" or input.ndim == 2 else result.reshape(target.array.shape)


def _check_classes(input: Tensor, target: Tensor, weight: Tensor | None, ignore_index: int) -> None:
    x, t = input.array, target.array
    refuse_integers("nll_loss", input)
    axis = 0 if x.ndim == 1 else 1
    if x.ndim > 1 and t.ndim and x.shape[0] != t.shape[0]:
        raise ValueError(f"Expected input batch_size ({x.shape[0]}) to match target batch_size ({t.shape[0]}).")
    if x.ndim < 1 or (x.shape[:axis] + x.shape[axis + 1 :] != t.shape and not (x.ndim == 1 and t.shape == (1,))):
        raise (ValueError if x.ndim < 1 or t.ndim == 0 else RuntimeError)(
            f"Expected input of shape (N, C, ...) and target of shape (N, ...), got input {list(x.shape)} and target "
            f"{list(t.shape)}"
        )
    if t.dtype not in _CLASS_DTYPES:
        raise RuntimeError(f"expected scalar type Long for the classes of the target, but got {target.dtype.name}")
    count = x.shape[axis]
    if weight is not None and weight.array.dtype != x.dtype:
        raise RuntimeError(
            f"expected scalar type {input.dtype.scalar_name} but found {weight.dtype.scalar_name} (the weights)"
        )
    if weight is not None and weight.array.shape != (count,):
        raise RuntimeError(
            f"weight tensor should be defined either for all {count} classes or no classes but got weight tensor "
            f"of shape: {list(weight.array.shape)}"
        )


def _check_range(t: Any, count: int, ignore_index: int) -> None:
    """IndexError for a target that is no class; in the operation, so that it is looked at again in a replay."""
    if t.size and (t.min() < 0 or t.max() >= count):
        bad = ((t < 0) | (t >= count)) & (t != ignore_index)
        if bad.any():
            raise IndexError(f"Target {t[bad].reshape(-1)[0]} is out of bounds: expected classes 0 to {count - 1}.")


@autocasts("float32")
def cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """The cross-entropy of logits (N, C, ...) or (C,) with classes (N, ...), or with probabilities of input's shape."""
    reduction = check_reduction(reduction, size_average, reduce)
    if not 0 <= label_smoothing <= 1:
        raise RuntimeError(f"label_smoothing must be between 0.0 and 1.0. Got: {label_smoothing}")
    if target.array.shape == input.array.shape:
        if category(target.array.dtype) < 2:
            raise RuntimeError(
                f"Expected floating point type for target with class probabilities, got {target.dtype.scalar_name}"
            )
        if ignore_index >= 0:
            raise RuntimeError("ignore_index is not supported for floating point target")
        return _with_probabilities(input, target, weight, reduction, label_smoothing)
    if label_smoothing == 0:
        return _of_classes(CrossEntropy, input, target, weight, ignore_index, reduction)
    return _smoothed(input, target, weight, ignore_index, reduction, label_smoothing)


def _smoothed(
    input: Tensor, target: Tensor, weight: Tensor | None, ignore_index: int, reduction: str, label_smoothing: float
) -> Tensor:
    axis = 0 if input.ndim == 1 else 1
    scores = log_softmax(input, axis)
    exact = nll_loss(scores, target, weight, ignore_index=ignore_index, reduction=reduction)
    ignored = Tensor(target.array == ignore_index)
    even = -(scores if weight is None else scores * _along(weight, scores, axis)).sum(axis).masked_fill(ignored, 0)
    if reduction == "mean":
        kept = target.array[~ignored.array]
        total = kept.size if weight is None else weight.detach().array[kept].sum().item()
        even = even.sum() / total
    elif reduction == "sum":
        even = even.sum()
    return exact * (1 - label_smoothing) + even * (label_smoothing / input.array.shape[axis])


def _along(weight: Tensor, scores: Tensor, axis: int) -> Tensor:
    """The weights of the classes as they lie in `scores`."""
    return weight.reshape(-1, *(1,) * (scores.ndim - axis - 1))


def _with_probabilities(
    input: Tensor, target: Tensor, weight: Tensor | None, reduction: str, label_smoothing: float
) -> Tensor:
    axis = 0 if input.ndim == 1 else 1
    scores = log_softmax(input, axis)
    if label_smoothing:
        target = target * (1 - label_smoothing) + label_smoothing / scores.shape[axis]
    if weight is not None:
        if weight.array.shape != (input.array.shape[axis],):
            raise RuntimeError(
                "cross_entropy: weight tensor should be defined either for all "
                f"{input.array.shape[axis]} classes or no classes but got weight tensor of shape: "
                f"{list(weight.array.shape)}"
            )
        target = target * _along(weight, scores, axis)
    loss = -(scores * target).sum(axis)
    if reduction == "none":
        return loss
    return loss.sum() / loss.numel() if reduction == "mean" and loss.numel() else reduced(loss, reduction)

"""Losses of numbers: how far an output is from the number it should be."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np

from ddpnet.autograd.grad_mode import no_grad
from ddpnet.backend import array_module
from ddpnet.ops.activation import Linked, refuse_integers
from ddpnet.ops.autocasting import autocasts
from ddpnet.ops.conversion import promoted
from ddpnet.ops.creation import full_like
from ddpnet.ops.op import Op
from ddpnet.ops.precision import in_float32
from ddpnet.tensor import Tensor

__all__: list[str] = []

REDUCTIONS = ("mean", "sum", "none")


def check_reduction(reduction: str, size_average: bool | None = None, reduce: bool | None = None) -> str:
    """The name of the reduction that the arguments mean; the last two are PyTorch's deprecated ones. ValueError for a
    name that is not one of REDUCTIONS."""
    if size_average is not None or reduce is not None:
        reduction = "none" if reduce is False else "sum" if size_average is False else "mean"
        warnings.warn(
            f"size_average and reduce args will be deprecated, please use reduction='{reduction}' instead.",
            stacklevel=3,
        )
    if reduction not in REDUCTIONS:
        raise ValueError(f"{reduction} is not a valid value for reduction; expected one of {', '.join(REDUCTIONS)}")
    return reduction


def reduced(losses: Any, reduction: str) -> Any:
    """The mean (nan of nothing), the sum or the losses themselves: of an array, or recorded of a Tensor."""
    if reduction == "none":
        return losses
    if isinstance(losses, Tensor):
        return losses.mean() if reduction == "mean" else losses.sum()
    return losses.sum() / losses.size if reduction == "mean" else losses.sum()


def warn_if_broadcast(input: Tensor, target: Tensor) -> None:
    """A warning where the shapes differ."""
    if input.array.shape != target.array.shape:
        warnings.warn(
            f"Using a target size ({target.shape}) that is different to the input size ({input.shape}). This will "
            "likely lead to incorrect results due to broadcasting. Please ensure they have the same size.",
            stacklevel=3,
        )


class _DifferenceLoss(Op):
    """A function of input - target: subclasses write it, and its slope but for a constant `factor`."""

    factor = 1.0
    value: Any
    slope: Any

    def forward(self, x, target, reduction, bound=1.0):
        self.bound = bound
        difference = x - target
        self.scale = self.factor / (difference.size or 1) if reduction == "mean" else self.factor
        self.save(x, target, difference)
        return reduced(self.value(difference), reduction)

    def backward(self, g):
        dx = self.slope(self.saved[2]) * (g * self.scale)
        return dx if self.needs[0] else None, -dx if self.needs[1] else None

    def differentiable_backward(self, g):
        x, target, _ = self.saved
        dx = self.slope(x - target) * (g * self.scale)
        return dx, -dx


@in_float32
class MseLoss(_DifferenceLoss):
    factor = 2.0

    def value(self, d):
        return d * d

    def slope(self, d):
        return d


@in_float32
class L1Loss(_DifferenceLoss):
    graph_name = "AbsBackward0"

    def value(self, d):
        return np.abs(d)

    def slope(self, d):
        sign = array_module(d).sign(d)
        return Linked.apply(sign, d) if isinstance(d, Tensor) else sign


@in_float32
class SmoothL1Loss(_DifferenceLoss):
    """Quadratic where |d| is below `bound` (Girshick, 2015)."""

    def value(self, d):
        size = np.abs(d)
        return array_module(d).where(size < self.bound, d * d * (0.5 / self.bound), size - 0.5 * self.bound)

    def slope(self, d):
        xp = array_module(d)
        return xp.where(abs(d) < self.bound, d * (1 / self.bound), xp.sign(d))


@in_float32
class HuberLoss(_DifferenceLoss):
    """Quadratic where |d| is at most `bound` (Huber, 1964)."""

    def value(self, d):
        size = np.abs(d)
        return array_module(d).where(size <= self.bound, d * d * 0.5, (size - 0.5 * self.bound) * self.bound)

    def slope(self, d):
        xp = array_module(d)
        return xp.where(abs(d) <= self.bound, d, xp.sign(d) * self.bound)


@in_float32
class KlDiv(Op):
    """t * (log(t) - x), or with `log_target` exp(t) * (t - x)."""

    def forward(self, x, t, reduction, log_target):
        self.log_target = log_target
        self.scale = 1 / (x.size or 1) if reduction == "mean" else 1
        self.save(x, t)
        if log_target:
            return reduced(np.exp(t) * (t - x), reduction)
        return reduced(array_module(x).where(t == 0, 0, t * np.log(t)) - t * x, reduction)

    def backward(self, g):
        x, t = self.saved
        xp = array_module(g)
        g = g * self.scale
        if self.log_target:
            return -xp.exp(t) * g, xp.exp(t) * (t - x + 1) * g if self.needs[1] else None
        return -t * g, (xp.log(t) + t / t - x) * g if self.needs[1] else None


def _weighted(losses: Tensor, weight: Tensor, input: Tensor, reduction: str, mean_by_weight: bool) -> Tensor:
    if weight.array.shape != input.array.shape:
        raise ValueError("Weights and input must have the same size.")
    losses = losses * weight
    if reduction == "mean" and mean_by_weight:
        return losses.sum() / weight.sum()
    return reduced(losses, reduction)


@autocasts("float32")
def mse_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    weight: Tensor | None = None,
) -> Tensor:
    """The squared difference: its mean, its sum, or itself; the mean is weighted by `weight`."""
    reduction = check_reduction(reduction, size_average, reduce)
    warn_if_broadcast(input, target)
    x, y = promoted(input, target)
    refuse_integers("mse_loss", x)
    if weight is not None:
        return _weighted(MseLoss.apply(x, y, reduction="none"), weight, input, reduction, True)
    return MseLoss.apply(x, y, reduction=reduction)


@autocasts("float32")
def l1_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    weight: Tensor | None = None,
) -> Tensor:
    """The absolute difference: its mean, its sum, or itself; the mean is weighted by `weight`."""
    reduction = check_reduction(reduction, size_average, reduce)
    warn_if_broadcast(input, target)
    x, y = promoted(input, target)
    if x.dtype.is_floating_point and weight is None:
        return L1Loss.apply(x, y, reduction=reduction)
    losses = (x - y).abs()
    return reduced(losses, reduction) if weight is None else _weighted(losses, weight, input, reduction, True)


@autocasts("float32")
def smooth_l1_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    beta: float = 1.0,
) -> Tensor:
    """0.5 d^2 / beta where |d| is below `beta`, else |d| - 0.5 beta, for the difference d."""
    reduction = check_reduction(reduction, size_average, reduce)
    warn_if_broadcast(input, target)
    if beta < 0:
        raise RuntimeError("smooth_l1_loss does not support negative values for beta.")
    x, y = promoted(input, target)
    if beta == 0:
        return L1Loss.apply(x, y, reduction=reduction)
    refuse_integers("smooth_l1_loss", x)
    return SmoothL1Loss.apply(x, y, reduction=reduction, bound=beta)


@autocasts("float32")
def huber_loss(
    input: Tensor, target: Tensor, reduction: str = "mean", delta: float = 1.0, weight: Tensor | None = None
) -> Tensor:
    """0.5 d^2 where |d| is at most `delta`, else delta (|d| - 0.5 delta), for the difference d; times `weight`."""
    check_reduction(reduction)
    warn_if_broadcast(input, target)
    if delta <= 0:
        raise RuntimeError("huber_loss does not support non-positive values for delta.")
    x, y = promoted(input, target)
    refuse_integers("huber_loss", x)
    if weight is not None:
        losses = HuberLoss.apply(x, y, reduction="none", bound=delta)
        return _weighted(losses, weight, input, reduction, False)
    return HuberLoss.apply(x, y, reduction=reduction, bound=delta)


@autocasts("float32")
def kl_div(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    log_target: bool = False,
) -> Tensor:
    """How far probabilities with logarithms `input` are from `target` (Kullback and Leibler): t * (log(t) - input).

    `reduction` may be "batchmean": the sum divided by the extent of the first dimension.
    """
    by_batch = reduction == "batchmean" and size_average is None and reduce is None
    if reduction == "mean" and size_average is None and reduce is None:
        warnings.warn(
            "reduction: 'mean' divides the total loss by both the batch size and the support size."
            "'batchmean' divides only by the batch size, and aligns with the KL div math definition."
            "'mean' will be changed to behave the same as 'batchmean' in the next major release.",
            stacklevel=2,
        )
    reduction = check_reduction("sum" if by_batch else reduction, size_average, reduce)
    x, y = promoted(input, target)
    refuse_integers("kl_div", x)
    if x.array.shape != y.array.shape:
        shape = np.broadcast_shapes(x.array.shape, y.array.shape)
        x, y = x.expand(shape), y.expand(shape)
    loss: Tensor = KlDiv.apply(x, y, reduction=reduction, log_target=log_target)
    return loss / input.array.shape[0] if by_batch and input.ndim else loss


@autocasts("float32")
def poisson_nll_loss(
    input: Tensor,
    target: Tensor,
    log_input: bool = True,
    full: bool = False,
    size_average: bool | None = None,
    eps: float = 1e-8,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """The negative log-likelihood of counts `target` whose rate is `input`, or exp(input) with `log_input`.

    `full` adds Stirling's approximation of log(target!) for targets above 1.
    """
    reduction = check_reduction(reduction, size_average, reduce)
    loss = input.exp() - target * input if log_input else input - target * (input + eps).log()
    if full:
        stirling = target * target.log() - target + 0.5 * (2 * math.pi * target).log()
        loss = loss + stirling.masked_fill(target.le(1), 0)
    return reduced(loss, reduction)


def gaussian_nll_loss(
    input: Tensor,
    target: Tensor,
    var: Tensor | float,
    full: bool = False,
    eps: float = 1e-6,
    reduction: str = "mean",
) -> Tensor:
    """The negative log-likelihood of `target` under normal numbers of mean `input` and variance `var`, at least `eps`.

    `var` has the shape of `input`, or 1 in its last dimension, or lacks that. `full` adds the constant.
    """
    variance = var if isinstance(var, Tensor) else full_like(input.detach(), var)
    if (variance.array < 0).any():
        raise ValueError("var has negative entry/entries")
    if variance.array.shape != input.array.shape:
        if input.array.shape[:-1] == variance.array.shape:
            variance = variance.unsqueeze(-1)
        elif input.ndim != variance.ndim or (
            sum(b for a, b in zip(input.array.shape, variance.array.shape, strict=True) if a != b) != 1
        ):
            raise ValueError("var is of incorrect size")
    check_reduction(reduction)
    variance = variance.clone()
    with no_grad():
        variance.clamp_(min=eps)
    loss = 0.5 * (variance.log() + (input - target).square() / variance)
    return reduced(loss + 0.5 * math.log(2 * math.pi) if full else loss, reduction)

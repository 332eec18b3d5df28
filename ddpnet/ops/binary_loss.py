"""Losses of probabilities of two cases, and of several independent ones."""

from __future__ import annotations

import numpy as np

from ddpnet.backend import array_module
from ddpnet.kernels.precision import is_half
from ddpnet.ops.activation import refuse_integers
from ddpnet.ops.autocasting import autocasts
from ddpnet.ops.conversion import promoted
from ddpnet.ops.loss import check_reduction, reduced
from ddpnet.ops.op import Op
from ddpnet.ops.precision import in_float32
from ddpnet.ops.smooth_activation import LogSigmoid, logistic, logsigmoid
from ddpnet.tensor import Tensor

__all__: list[str] = []


@in_float32
class BinaryCrossEntropy(Op):
    """-w * (t * log(x) + (1 - t) * log(1 - x)), with logarithms of at least -100."""

    def forward(self, x, t, w, reduction):
        self.scale = 1 / (x.size or 1) if reduction == "mean" else 1
        self.save(x, t, w)
        y = (t - 1) * np.maximum(np.log1p(-x), -100) - t * np.maximum(np.log(x), -100)
        return reduced(y if w is None else y * w, reduction)

    def backward(self, g):
        x, t, w = self.saved
        xp = array_module(g)
        g = g * self.scale if w is None else g * self.scale * w
        spread = x * (1 - x)
        dx = g * (x - t) / xp.where(spread > 1e-12, spread, 1e-12)
        if not self.needs[1]:
            return dx, None, None
        of_one, of_zero = xp.log(x), xp.log(1 - x)
        return dx, g * (xp.where(of_zero > -100, of_zero, -100) - xp.where(of_one > -100, of_one, -100)), None


@in_float32
class BinaryCrossEntropyWithLogits(Op):
    """`BinaryCrossEntropy` of the sigmoid of x; the positive cases count by `p`."""

    def forward(self, x, t, w, p, reduction):
        self.save(x, t, w, p)
        y = np.log1p(np.exp(-np.abs(x))) - np.minimum(x, 0)  # -log(sigmoid(x))
        if p is not None:
            y = y * ((p - 1) * t + 1)
        y = y + (1 - t) * x
        if w is not None:
            y = y * w
        self.scale = 1 / (y.size or 1) if reduction == "mean" else 1
        return reduced(y, reduction)

    def backward(self, g):
        x, t, w, p = self.saved
        g = g * self.scale if w is None else g * self.scale * w
        s = logistic(x)
        dx = g * (s - t) if p is None else g * ((1 - t) - ((p - 1) * t + 1) * (1 - s))
        if not self.needs[1]:
            return dx, None, None, None
        if p is None:
            return dx, -x * g, None, None
        below = LogSigmoid.apply(x) if isinstance(x, Tensor) else -np.log1p(np.exp(-np.abs(x))) + np.minimum(x, 0)
        return dx, g * ((1 - p) * below - x), None, None


class SoftMarginLoss(Op):
    """log(1 + z) with z = exp(-t * x), infinite where z is."""

    def forward(self, x, t, reduction):
        self.scale = 1 / (x.size or 1) if reduction == "mean" else 1
        self.save(x, t)
        return reduced(np.log1p(np.exp(-t * x)), reduction)

    def backward(self, g):
        x, t = self.saved
        z = array_module(g).exp(-t * x)
        return g * self.scale * (-t * z / (z + 1)), None


@autocasts("float32", "cpu")
def binary_cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """The cross-entropy of probabilities `input` with `target`, both between 0 and 1 and of one shape."""
    reduction = check_reduction(reduction, size_average, reduce)
    if target.array.shape != input.array.shape:
        raise ValueError(
            f"Using a target size ({target.shape}) that is different to the input size ({input.shape}) is deprecated. "
            "Please ensure they have the same size."
        )
    refuse_integers("binary_cross_entropy", input)
    if target.array.dtype != input.array.dtype:
        raise RuntimeError(f"Found dtype {target.dtype.scalar_name} but expected {input.dtype.scalar_name}")
    x = input.array
    if x.size and not ((x >= 0) & (x <= 1)).all():
        raise RuntimeError("all elements of input should be between 0 and 1")
    return BinaryCrossEntropy.apply(input, target, weight, reduction=reduction)


@autocasts("float32")
def binary_cross_entropy_with_logits(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    pos_weight: Tensor | None = None,
) -> Tensor:
    """The cross-entropy of the sigmoid of `input` with `target`; positive cases count by `pos_weight`."""
    reduction = check_reduction(reduction, size_average, reduce)
    if target.array.shape != input.array.shape:
        raise ValueError(f"Target size ({target.shape}) must be the same as input size ({input.shape})")
    x, y = promoted(input, target)
    refuse_integers("binary_cross_entropy_with_logits", x)
    if is_half(x.array):  # rounded step by step, as PyTorch's
        likely = logsigmoid(x) if pos_weight is None else logsigmoid(x) * ((pos_weight - 1) * y + 1)
        loss = (1 - y) * x - likely
        return reduced(loss if weight is None else loss * weight, reduction)
    return BinaryCrossEntropyWithLogits.apply(x, y, weight, pos_weight, reduction=reduction)


@autocasts("float32")
def soft_margin_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """log(1 + exp(-target * input)) for targets 1 and -1."""
    reduction = check_reduction(reduction, size_average, reduce)
    refuse_integers("soft_margin_loss", input)
    x, y = promoted(input, target)
    return SoftMarginLoss.apply(x, y, reduction=reduction)


def multilabel_soft_margin_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """The mean over the last dimension of `binary_cross_entropy_with_logits`."""
    reduction = check_reduction(reduction, size_average, reduce)
    loss = -(target * logsigmoid(input) + (1 - target) * logsigmoid(-input))
    if weight is not None:
        loss = loss * weight
    return reduced(loss.sum(-1) / input.array.shape[-1], reduction)

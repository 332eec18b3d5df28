"""Losses as modules."""

from __future__ import annotations

from ddpnet.nn.module import Module
from ddpnet.ops import loss
from ddpnet.tensor import Tensor


class _Loss(Module):
    def __init__(self, reduction: str = "mean") -> None:
        super().__init__()
        loss.check_reduction(reduction)
        self.reduction = reduction


class MSELoss(_Loss):
    """The squared difference: its mean, its sum, or itself."""

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return loss.mse_loss(input, target, self.reduction)


class L1Loss(_Loss):
    """The absolute difference: its mean, its sum, or itself."""

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return loss.l1_loss(input, target, self.reduction)


class NLLLoss(_Loss):
    """The negative log-likelihood of classes, from log-probabilities (N, C, ...)."""

    def __init__(self, weight: Tensor | None = None, ignore_index: int = -100, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.register_buffer("weight", weight)
        self.ignore_index = ignore_index

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return loss.nll_loss(input, target, self.weight, self.ignore_index, self.reduction)


class CrossEntropyLoss(_Loss):
    """The cross-entropy of logits (N, C, ...) with classes (N, ...) or probabilities (N, C, ...)."""

    def __init__(
        self,
        weight: Tensor | None = None,
        ignore_index: int = -100,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(reduction)
        self.register_buffer("weight", weight)
        self.ignore_index, self.label_smoothing = ignore_index, label_smoothing

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return loss.cross_entropy(input, target, self.weight, self.ignore_index, self.reduction, self.label_smoothing)

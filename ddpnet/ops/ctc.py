"""Connectionist temporal classification (Graves et al., 2006): a sequence of labels without their places in time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ddpnet.backend import array_module, host
from ddpnet.kernels import kernels_for
from ddpnet.ops.activation import refuse_integers
from ddpnet.ops.autocasting import autocasts
from ddpnet.ops.loss import check_reduction
from ddpnet.ops.op import Op
from ddpnet.tensor import Tensor

__all__: list[str] = []


class CtcLoss(Op):
    """-log of the probability of each sequence, (N,), for x (T, N, C); see the kernel for `path`, `ends`, `lengths`."""

    def forward(self, x, path, ends, lengths, zero_infinity):
        self.places, self.zero_infinity = (path, ends, lengths), zero_infinity
        self.losses, self.alpha = kernels_for(x).ctc_forward(x, *self.places)
        self.save(x)
        if not zero_infinity:
            return self.losses.copy()
        return array_module(x).where(self.losses == np.inf, x.dtype.type(0), self.losses)

    def backward(self, g):
        (x,) = self.saved
        return self.gradient(g, x)

    def differentiable_backward(self, g):
        (x,) = self.saved
        return CtcLossGradient.apply(g, x, source=self)

    def gradient(self, g, x):
        """The arrays of `backward`."""
        dx = kernels_for(g).ctc_backward(g, x, self.losses, self.alpha, *self.places)
        if not self.zero_infinity:
            return dx
        return array_module(g).where((self.losses == np.inf)[:, None], x.dtype.type(0), dx)


class CtcLossGradient(Op):
    """The gradient of a `CtcLoss`, of which PyTorch has no derivative, either."""

    graph_name = "CtcLossBackwardBackward0"

    def forward(self, g, x, source):
        return source.gradient(g, x)

    def backward(self, g):
        raise NotImplementedError("derivative for aten::_ctc_loss_backward is not implemented")


def _integers(values: Tensor | Sequence[int] | int, name: str) -> np.ndarray:
    given = host(values.array) if isinstance(values, Tensor) else np.asarray(values)
    if given.dtype.kind not in "iu" and given.size:
        raise RuntimeError(f"{name} must be integral")
    return np.asarray(given, np.int64).reshape(-1)


def _padded(targets: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """The labels (N, S) of targets that are padded already, or one after the other (sum of lengths,)."""
    if targets.ndim == 2:
        if targets.shape[0] != len(lengths) or targets.shape[1] < lengths.max(initial=0):
            raise RuntimeError(
                f"Expected tensor to have size at least {lengths.max(initial=0)} at dimension 1, but got size "
                f"{targets.shape[1]} for argument #2 'targets' (while checking arguments for ctc_loss_cpu)"
            )
        return targets[:, : lengths.max(initial=0)]
    if targets.ndim != 1 or len(targets) != lengths.sum():
        raise RuntimeError(f"Expected targets of {lengths.sum()} labels in one dimension, got {list(targets.shape)}")
    padded = np.zeros((len(lengths), lengths.max(initial=0)), np.int64)
    padded[np.arange(padded.shape[1]) < lengths[:, None]] = targets
    return padded


@autocasts("float32")
def ctc_loss(
    log_probs: Tensor,
    targets: Tensor,
    input_lengths: Tensor | Sequence[int],
    target_lengths: Tensor | Sequence[int],
    blank: int = 0,
    reduction: str = "mean",
    zero_infinity: bool = False,
) -> Tensor:
    """-log P(targets) under label probabilities at each time, summed over all ways to place the labels in time.

    log_probs (T, N, C) or (T, C); targets (N, S), or one after the other (sum of target_lengths,), never `blank`. The
    mean is that of the losses divided by their target lengths. With `zero_infinity` targets that do not fit count 0.
    RuntimeError for lengths and labels that cannot be. As in PyTorch, the gradient is that through a log-softmax.
    """
    check_reduction(reduction)
    refuse_integers("ctc_loss", log_probs)
    batched = log_probs.ndim == 3
    if log_probs.ndim not in (2, 3):
        raise RuntimeError(f"log_probs: expected (T, N, C) or (T, C), got {list(log_probs.shape)}")
    x = log_probs if batched else log_probs.unsqueeze(1)
    steps, count, width = x.array.shape
    lengths = _integers(input_lengths, "input_lengths")
    label_counts = _integers(target_lengths, "target_lengths")
    if not 0 <= blank < width:
        raise RuntimeError("blank must be in label range")
    if len(lengths) != count or len(label_counts) != count:
        which = "input_lengths" if len(lengths) != count else "target_lengths"
        raise RuntimeError(f"{which} must be of size batch_size")
    if lengths.max(initial=0) > steps or lengths.min(initial=0) < 0:
        raise RuntimeError(f"Expected input_lengths to have value at most {steps}, but got value {lengths.max()}")
    labels = _padded(host(targets.array), label_counts)
    path = np.full((count, 2 * labels.shape[1] + 1), blank, np.int64)
    path[:, 1::2] = labels
    path[np.arange(path.shape[1]) > 2 * label_counts[:, None]] = blank
    if path.size and not ((path >= 0) & (path < width)).all():
        raise RuntimeError(f"targets: expected labels from 0 to {width - 1}")
    xp = array_module(x.array)
    loss: Tensor = CtcLoss.apply(
        x,
        path=xp.asarray(path),
        ends=xp.asarray(2 * label_counts + 1),
        lengths=xp.asarray(lengths),
        zero_infinity=zero_infinity,
    )
    if reduction == "mean":
        return (loss / Tensor(xp.asarray(np.maximum(label_counts, 1)).astype(x.array.dtype))).mean()
    return loss.sum() if reduction == "sum" else loss if batched else loss.squeeze(0)

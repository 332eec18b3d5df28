"""Batch normalisation (Ioffe and Szegedy, 2015)."""

from __future__ import annotations

from ddpnet.kernels import kernels_for
from ddpnet.ops.op import Op
from ddpnet.tensor import Tensor


class BatchNorm(Op):
    """Per channel of x (N, C, ...): (x - mean) * invstd * weight + bias."""

    graph_name = "NativeBatchNormBackward0"

    def forward(self, x, weight, bias, mean, invstd, training):
        self.training = training
        self.save(x, weight, mean, invstd)
        return kernels_for(x).batch_norm_apply(x, mean, invstd, weight, bias)

    def backward(self, g):
        x, weight, mean, invstd = self.saved
        dx, dw, db = kernels_for(x).batch_norm_backward(g, x, mean, invstd, weight, self.training)
        return dx, dw if self.needs[1] else None, db if self.needs[2] else None


def batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Normalise each channel of input (N, C, ...), with its own statistics while training, else the running ones.

    While training the running mean and (unbiased) variance move towards the batch's by `momentum`. ValueError for one
    value a channel while training.
    """
    x = input.array
    channels = x.shape[1]
    count = x.size // max(channels, 1)
    given = {"running_mean": running_mean, "running_var": running_var, "weight": weight, "bias": bias}
    for name, tensor in given.items():
        if tensor is not None and tensor.array.shape != (channels,):
            raise RuntimeError(f"{name} should contain {channels} elements not {tensor.array.size}")
    if not training:
        if running_mean is None or running_var is None:
            raise RuntimeError("Expected running_mean and running_var to be defined when training=False")
        mean, var = running_mean.array, running_var.array
    else:
        if count == 1:
            raise ValueError(f"Expected more than 1 value per channel when training, got input size {list(x.shape)}")
        mean, var = kernels_for(x).batch_norm_statistics(x)
        if running_mean is not None and running_var is not None:
            _move(running_mean, mean, momentum)
            _move(running_var, var * (count / max(count - 1, 1)), momentum)
    invstd = 1 / (var + eps) ** 0.5
    return BatchNorm.apply(input, weight, bias, mean=mean, invstd=invstd, training=training)


def _move(running: Tensor, batch: object, momentum: float) -> None:
    running.array[...] = (1 - momentum) * running.array + momentum * batch  # type: ignore[operator]
    running.changed()

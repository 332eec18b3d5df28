"""Normalisation by the statistics of channels: batch norm (Ioffe and Szegedy, 2015), instance norm (Ulyanov et al.,
2016), and across channels (Krizhevsky et al., 2012)."""

from __future__ import annotations

from typing import Any

import numpy as np

from ddpnet.backend import array_module
from ddpnet.kernels import kernels_for
from ddpnet.kernels.precision import is_half
from ddpnet.ops.conversion import refuse
from ddpnet.ops.op import Op
from ddpnet.tensor import Tensor

__all__: list[str] = []


class BatchNorm(Op):
    """Per channel of x (N, C, ...): (x - mean) * invstd * weight + bias."""

    graph_name = "NativeBatchNormBackward0"

    def forward(self, x, weight, bias, mean, invstd, training, eps):
        self.training, self.eps = training, eps
        self.save(x, weight, mean, invstd)
        return kernels_for(x).batch_norm_apply(x, mean, invstd, weight, bias)

    def backward(self, g):
        x, weight, mean, invstd = self.saved
        dx, dw, db = kernels_for(x).batch_norm_backward(g, x, mean, invstd, weight, self.training)
        return dx, dw if self.needs[1] else None, db if self.needs[2] else None

    def differentiable_backward(self, g):
        x, weight, mean, invstd = self.saved
        dims = (0, *range(2, x.ndim))
        along = (1, -1, *(1,) * (x.ndim - 2))
        if self.training:  # the statistics depend on x
            mean = x.mean(dims, True)
            deviation = x - mean
            invstd = ((deviation * deviation).mean(dims, True) + self.eps) ** -0.5
            standard = deviation * invstd
        else:
            invstd = invstd.reshape(along)
            standard = (x - mean.reshape(along)) * invstd
            g = Beside.apply(g, x)
        dx = g if weight is None else g * weight.reshape(along)
        if self.training:
            dx = dx - dx.mean(dims, True) - standard * (dx * standard).mean(dims, True)
        dw, db = AffineGradients.apply(g, standard, dims=dims) if True in self.needs[1:] else (None, None)
        return dx * invstd, dw, db


class Beside(Op):
    """g, as a result that can be derived by x as well, if only with zeros: PyTorch's gradient in evaluation is."""

    graph_name = "NativeBatchNormBackwardBackward0"

    def forward(self, g, x):
        return g.copy()

    def backward(self, gg):
        return gg, array_module(gg).zeros_like(gg) if self.needs[1] else None


class AffineGradients(Op):
    """The gradients of weight and bias: the sums of g * standard and of g over `dims`."""

    graph_name = "NativeBatchNormBackwardBackward0"
    differentiable = (True, True)

    def forward(self, g, standard, dims):
        self.along = tuple(1 if axis in dims else extent for axis, extent in enumerate(g.shape))
        self.save(g, standard)
        return (g * standard).sum(axis=dims), g.sum(axis=dims)

    def backward(self, dw, db):
        g, standard = self.saved
        dw = dw.reshape(self.along)
        return dw * standard + db.reshape(self.along), dw * g


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
    refuse(0, "batch_norm", input)
    refuse(1, "batch_norm", input)
    x = input.array
    if not x.size:
        y = input.clone()
        y = y if weight is None else y * weight[0]
        return y if bias is None else y + bias[0]
    if x.ndim < 2:
        raise RuntimeError(f"batch_norm: expected input (N, C, ...), got {list(x.shape)}")
    channels = x.shape[1]
    _check_channels(channels, running_mean=running_mean, running_var=running_var, weight=weight, bias=bias)
    if not training:
        if running_mean is None or running_var is None:
            raise RuntimeError("Expected running_mean and running_var to be defined when training=False")
        mean, var = _wide(running_mean.array), _wide(running_var.array)
    else:
        if x.size == channels:
            raise ValueError(f"Expected more than 1 value per channel when training, got input size {input.shape}")
        if eps <= 0:
            raise ValueError(f"batch_norm eps must be positive during training, but got {eps}")
        mean, var = kernels_for(x).batch_norm_statistics(_wide(x))
        if running_mean is not None:
            _move(running_mean, mean, momentum)
        if running_var is not None:
            count = x.size // max(channels, 1)
            _move(running_var, var * (count / max(count - 1, 1)), momentum)
    return BatchNorm.apply(input, weight, bias, mean=mean, invstd=1 / (var + eps) ** 0.5, training=training, eps=eps)


def _check_channels(channels: int, **given: Tensor | None) -> None:
    for name, tensor in given.items():
        if tensor is not None and tensor.array.shape != (channels,):
            raise RuntimeError(f"{name} should contain {channels} elements not {tensor.array.size}")


def _wide(x: Any) -> Any:
    """float16 and bfloat16 as float32: statistics are not rounded to two bytes."""
    return x.astype(np.float32) if is_half(x) else x


def _move(running: Tensor, batch: Any, momentum: float) -> None:
    running.array[...] = (1 - momentum) * _wide(running.array) + momentum * batch
    running.changed()


def instance_norm(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Normalise each channel of each sample of input (N, C, ...) by itself, or by the running statistics.

    The running ones move towards the mean of the samples' statistics by `momentum`. ValueError for one value a channel.
    """
    if not use_input_stats:
        return batch_norm(input, running_mean, running_var, weight, bias, False, momentum, eps)
    shape = input.array.shape
    if len(shape) < 2:
        raise RuntimeError(f"instance_norm: expected input (N, C, ...), got {list(shape)}")
    samples, channels = shape[:2]
    if int(np.prod(shape[2:])) == 1:
        raise ValueError(f"Expected more than 1 spatial element when training, got input size {input.shape}")
    _check_channels(channels, running_mean=running_mean, running_var=running_var, weight=weight, bias=bias)
    mean, var = (
        None if x is None else _repeated(x.detach(), samples).clone()  # to be moved by the batch norm
        for x in (running_mean, running_var)
    )
    affine = [None if x is None else _repeated(x, samples) for x in (weight, bias)]
    y = batch_norm(
        input.reshape(1, samples * channels, *shape[2:]), mean, var, affine[0], affine[1], True, momentum, eps
    )
    for running, moved in ((running_mean, mean), (running_var, var)):
        if running is not None and moved is not None:
            running.array[...] = _wide(moved.array).reshape(samples, channels).mean(axis=0)
            running.changed()
    return y.reshape(shape)


def _repeated(x: Tensor, samples: int) -> Tensor:
    """x (C,) once for each sample, (samples * C,)."""
    channels = len(x)
    return x.unsqueeze(0).expand(samples, channels).reshape(samples * channels)


def local_response_norm(input: Tensor, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> Tensor:
    """input (N, C, ...) divided by (k + alpha * the mean of squares over `size` channels around) ** beta."""
    if input.ndim < 3:
        raise ValueError(f"Expected 3D or higher dimensionality input (got {input.ndim} dimensions)")
    if not input.array.size:
        return input
    squares, channels, before = input * input, input.array.shape[1], size // 2
    total: Any = None
    for shift in range(-before, size - before):  # channel c + shift, where there is one
        first, last = max(0, -shift), min(channels, channels - shift)
        if first < last:
            part = _padded(squares[:, first + shift : last + shift], first, channels - last)
            total = part if total is None else total + part
    mean = total / size if input.is_floating_point() else total // size
    return input / (mean * alpha + k) ** beta


class Pad(Op):
    """x (N, C, ...) with channels of zeros before and after."""

    graph_name = "ConstantPadNdBackward0"

    def forward(self, x, before, after):
        self.before, self.after = before, after
        y = np.zeros_like(x, shape=(x.shape[0], before + x.shape[1] + after, *x.shape[2:]))
        y[:, before : before + x.shape[1]] = x
        return y

    def backward(self, g):
        return g[:, self.before : g.shape[1] - self.after]


def _padded(x: Tensor, before: int, after: int) -> Tensor:
    return Pad.apply(x, before=before, after=after) if before or after else x

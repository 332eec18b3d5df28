"""Normalisation within a sample: layer norm (Ba et al., 2016), RMS norm (Zhang and Sennrich, 2019), group norm (Wu and
He, 2018)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ddpnet.backend import array_module
from ddpnet.kernels import kernels_for
from ddpnet.kernels.precision import is_half
from ddpnet.ops.autocasting import autocasts
from ddpnet.ops.conversion import cast, refuse
from ddpnet.ops.normalization import AffineGradients
from ddpnet.ops.op import Op
from ddpnet.tensor import Tensor

__all__ = [
    "group_norm",
    "layer_norm",
    "rms_norm",
]


class LayerNorm(Op):
    """Each row, the last dimensions of the weight's shape, with mean 0 and variance 1, times weight, plus bias."""

    graph_name = "NativeLayerNormBackward0"
    centered = True

    def forward(self, x, weight, bias, shape, eps):
        self.shape, self.eps = shape, eps
        n = math.prod(shape)
        flat = [None if p is None else p.reshape(n) for p in (weight, bias)]
        rows = x.reshape(x.size // max(n, 1), n)
        y, mean, rstd = kernels_for(x).row_norm_forward(
            rows.astype(np.float32) if is_half(x) else rows, *flat, eps, self.centered
        )
        self.save(x, weight, mean, rstd)
        return y.reshape(x.shape).astype(x.dtype, copy=False)

    def backward(self, g):
        x, weight, mean, rstd = self.saved
        rows = (len(mean), -1) if len(mean) else (0, math.prod(self.shape))
        w = None if weight is None else weight.reshape(-1)
        dx, dw, db = kernels_for(x).row_norm_backward(g.reshape(rows), x.reshape(rows), mean, rstd, w, self.centered)
        return (
            dx.reshape(x.shape),
            dw.reshape(self.shape) if self.needs[1] else None,
            db.reshape(self.shape) if self.needs[2] else None,
        )

    def differentiable_backward(self, g):
        x, weight, _, _ = self.saved
        dims = tuple(range(x.ndim - len(self.shape), x.ndim))
        lead = tuple(range(x.ndim - len(self.shape)))
        deviation = x - x.mean(dims, True) if self.centered else x
        rstd = ((deviation * deviation).mean(dims, True) + self.eps) ** -0.5
        standard = deviation * rstd
        scaled = g if weight is None else g * weight
        dx = scaled - standard * (scaled * standard).mean(dims, True)
        if self.centered:
            dx = dx - scaled.mean(dims, True)
        dw, db = AffineGradients.apply(g, standard, dims=lead) if True in self.needs[1:] else (None, None)
        return dx * rstd, dw, db


class RmsNorm(LayerNorm):
    graph_name = "FusedRmsNormBackward0"
    centered = False


class GroupNorm(Op):
    """Each group of channels of each sample with mean 0 and variance 1, times weight (C,), plus bias (C,).

    For the kernels the channels of all samples are channels of one: (1, N * C, ...).
    """

    graph_name = "NativeGroupNormBackward0"

    def forward(self, x, weight, bias, groups, eps):
        self.groups, self.eps = groups, eps
        samples, channels = x.shape[:2]
        inner, each = math.prod(x.shape[2:]), channels // groups
        kernels = kernels_for(x)
        mean, var = kernels.batch_norm_statistics(x.reshape(1, samples * groups, each * inner))
        invstd = 1 / (var + eps) ** 0.5
        mean, invstd = (s.repeat(each).astype(x.dtype, copy=False) for s in (mean, invstd))
        self.save(x, weight, mean, invstd)
        flat = x.reshape(1, samples * channels, inner)
        return kernels.batch_norm_apply(flat, mean, invstd, *self._tiled(samples, weight, bias)).reshape(x.shape)

    @staticmethod
    def _tiled(samples, *affine):
        return [None if p is None else array_module(p).tile(p, samples) for p in affine]

    def backward(self, g):
        x, weight, mean, invstd = self.saved
        samples, channels = x.shape[:2]
        inner, each = math.prod(x.shape[2:]), channels // self.groups
        kernels, flat = kernels_for(x), (1, samples * channels, inner)
        (w,) = self._tiled(samples, weight)
        dx, dw, db = kernels.batch_norm_backward(g.reshape(flat), x.reshape(flat), mean, invstd, w, False)
        # The statistics' part, slope * standardised x + offset, is once more a factor and a term for each channel.
        slope, offset = (
            ((s if w is None else s * w).reshape(samples * self.groups, each).sum(axis=1) / (each * inner)).repeat(each)
            for s in (dw, db)
        )
        dx += kernels.batch_norm_apply(x.reshape(flat), mean, -invstd * invstd * slope, None, -invstd * offset)
        dw, db = (s.reshape(samples, channels).sum(axis=0) for s in (dw, db))
        return dx.reshape(x.shape), dw if self.needs[1] else None, db if self.needs[2] else None

    def differentiable_backward(self, g):
        x, weight, _, _ = self.saved
        shape = x.shape
        along = (shape[1], *(1,) * (x.ndim - 2))
        grouped = (shape[0], self.groups, math.prod(shape[1:]) // self.groups)
        rows = x.reshape(grouped)
        deviation = rows - rows.mean(2, True)
        rstd = ((deviation * deviation).mean(2, True) + self.eps) ** -0.5
        standard = deviation * rstd
        scaled = (g if weight is None else g * weight.reshape(along)).reshape(grouped)
        dx = scaled - scaled.mean(2, True) - standard * (scaled * standard).mean(2, True)
        dw, db = None, None
        if True in self.needs[1:]:
            dw, db = AffineGradients.apply(g, standard.reshape(shape), dims=(0, *range(2, x.ndim)))
        return (dx * rstd).reshape(shape), dw, db


def _check(input: Tensor, normalized_shape: Sequence[int], name: str, **given: Tensor | None) -> tuple[int, ...]:
    refuse(0, name, input)
    refuse(1, name, input)
    shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
    if not shape:
        raise RuntimeError(f"Expected normalized_shape to be at least 1-dimensional, got {list(shape)}")
    for kind, tensor in given.items():
        if tensor is not None and tensor.array.shape != shape:
            raise RuntimeError(
                f"Expected {kind} to be of same shape as normalized_shape, but got {kind} of shape "
                f"{list(tensor.array.shape)} and normalized_shape = {list(shape)}"
            )
    if input.array.shape[-len(shape) :] != shape:
        raise RuntimeError(
            f"Given normalized_shape={list(shape)}, expected input with shape [*, {', '.join(map(str, shape))}], but "
            f"got input of size{list(input.array.shape)}"
        )
    return shape


@autocasts("float32", "cuda")
def layer_norm(
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Normalise over the last dimensions, which are `normalized_shape`; weight and bias have this shape.

    RuntimeError where shapes do not fit.
    """
    shape = _check(input, normalized_shape, "layer_norm", weight=weight, bias=bias)
    return LayerNorm.apply(input, weight, bias, shape=shape, eps=eps)


def rms_norm(
    input: Tensor, normalized_shape: Sequence[int], weight: Tensor | None = None, eps: float | None = None
) -> Tensor:
    """input / sqrt(mean of squares + eps) * weight over the last dimensions, which are `normalized_shape`.

    `eps` is the spacing of the dtype's numbers at 1 unless given.
    """
    shape = _check(input, normalized_shape, "rms_norm", weight=weight)
    if eps is None:
        eps = float(np.finfo(np.float32 if is_half(input.array) else input.array.dtype).eps)
    return RmsNorm.apply(input, weight, None, shape=shape, eps=eps)


@autocasts("float32", "cuda")
def group_norm(
    input: Tensor, num_groups: int, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    """Normalise each of `num_groups` groups of the channels of each sample of input (N, C, ...); weight, bias (C,).

    RuntimeError where the channels do not divide; ValueError for one value a group.
    """
    refuse(0, "group_norm", input)
    refuse(1, "group_norm", input)
    shape = input.array.shape
    if len(shape) < 2:
        raise RuntimeError(f"Expected at least 2 dimensions for input tensor but received {len(shape)}")
    samples, channels = shape[:2]
    if num_groups <= 0 or channels % num_groups:
        raise RuntimeError(
            f"Expected number of channels in input to be divisible by num_groups, but got input of shape {list(shape)} "
            f"and num_groups={num_groups}"
        )
    for name, tensor in (("weight", weight), ("bias", bias)):
        if tensor is not None and tensor.array.shape != (channels,):
            raise RuntimeError(
                f"Expected {name} to be a vector of size equal to the number of channels in input, but got {name} of "
                f"shape {list(tensor.array.shape)} and input of shape {list(shape)}"
            )
    extent = channels // num_groups * math.prod(shape[2:])
    if samples * extent == 1:
        raise ValueError(f"Expected more than 1 value per channel when training, got input size {list(shape)}")
    if not is_half(input.array):
        return GroupNorm.apply(input, weight, bias, groups=num_groups, eps=eps)
    wide = [None if x is None else cast(x, np.dtype(np.float32)) for x in (input, weight, bias)]
    return cast(GroupNorm.apply(*wide, groups=num_groups, eps=eps), input.array.dtype)

"""Dropout: elements or whole channels are zero at random while training.

The choices are drawn on the host from the keyed stream: the same on any device.
"""

from __future__ import annotations

import math
import warnings

import numpy as np

from ddpnet import random
from ddpnet.backend import array_module
from ddpnet.dtypes import category
from ddpnet.ops.activation import placed
from ddpnet.ops.op import Op
from ddpnet.tensor import Tensor

__all__ = [
    "alpha_dropout",
    "alpha_dropout_",
    "dropout",
    "dropout_",
    "feature_alpha_dropout",
    "feature_alpha_dropout_",
    "feature_dropout",
    "feature_dropout_",
]


class Dropout(Op):
    graph_name = "NativeDropoutBackward0"

    def forward(self, x, p, rng):
        keep = host_mask(rng, x.shape, p)
        scale = 1 / (1 - p) if p < 1 else 0.0
        wide = np.float64 if x.dtype == np.float64 else np.float32
        mask = array_module(x).asarray(keep * np.asarray(scale, wide)).astype(x.dtype)
        self.save(mask)
        return x * mask

    def backward(self, g):
        (mask,) = self.saved
        return g * mask

    def differentiable_backward(self, g):
        (mask,) = self.saved
        return g * mask


def host_mask(rng: np.random.Generator, shape: tuple[int, ...], p: float) -> np.ndarray:
    """bool of `shape`: false with probability `p`."""
    return rng.random(shape, dtype=np.float32) >= np.float32(p)


def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """While training: zero with probability `p`, else x / (1 - p), drawn from the default generator."""
    if _idle(input, p, training):
        return input
    return placed(input, Dropout.apply(input, p=p, rng=random.default_generator().draw()), inplace)


def _idle(input: Tensor, p: float, training: bool) -> bool:
    """Whether nothing is to be done. ValueError for a `p` that is no probability, RuntimeError for integers."""
    if not 0 <= p <= 1:
        raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")
    if not training or p == 0 or not input.array.size:
        return True
    if category(input.array.dtype) < 2:
        raise RuntimeError(f"result type Float can't be cast to the desired output type {input.dtype.scalar_name}")
    return False


def _channel_mask(input: Tensor, p: float) -> np.ndarray:
    """bool (N, C, 1, ...): false with probability `p`."""
    if input.ndim < 2:
        raise RuntimeError("Feature dropout requires at least 2 dimensions in the input")
    shape = (*input.array.shape[:2], *(1,) * (input.ndim - 2))
    return host_mask(random.default_generator().draw(), shape, p)


def feature_dropout(input: Tensor, p: float, train: bool) -> Tensor:
    """While training: channels (N, C) are zero with probability `p`, else divided by (1 - p)."""
    if _idle(input, p, train):
        return input
    x = input.array
    factor = _channel_mask(input, p) * (1 / (1 - p) if p < 1 else 0.0)
    return input * Tensor(array_module(x).asarray(factor).astype(x.dtype))


def dropout1d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """`feature_dropout` of (N, C, L) or (C, L)."""
    if 0 <= p <= 1 and input.ndim not in (2, 3):
        raise RuntimeError(
            f"dropout1d: Expected 2D or 3D input, but received a {input.ndim}D input. Note that dropout1d exists to "
            "provide channel-wise dropout on inputs with 1 spatial dimension, a channel dimension, and an optional "
            "batch dimension (i.e. 2D or 3D inputs)."
        )
    return _of_batch(input, p, training, inplace, 3)


def dropout2d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """`feature_dropout` of (N, C, H, W)."""
    if input.ndim not in (3, 4):
        _warn_of_shape("dropout2d", input.ndim, 2, "3D or 4D")
    if input.ndim == 3:
        warnings.warn(
            "dropout2d: Received a 3D input to dropout2d and assuming that channel-wise 1D dropout behavior is desired "
            "- input is interpreted as shape (N, C, L), where C is the channel dim. This behavior will change in a "
            "future release to interpret the input as one without a batch dimension, i.e. shape (C, H, W). To maintain "
            "the 1D channel-wise dropout behavior, please switch to using dropout1d instead.",
            stacklevel=2,
        )
    result = feature_dropout(input, p, training)
    return input if result is input else placed(input, result, inplace)


def dropout3d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """`feature_dropout` of (N, C, D, H, W) or (C, D, H, W)."""
    if input.ndim not in (4, 5):
        _warn_of_shape("dropout3d", input.ndim, 3, "4D or 5D")
    return _of_batch(input, p, training, inplace, 5)


def _warn_of_shape(name: str, ndim: int, spatial: int, expected: str) -> None:
    warnings.warn(
        f"{name}: Received a {ndim}-D input to {name}, which is deprecated and will result in an error in a future "
        f"release. To retain the behavior and silence this warning, please use dropout instead. Note that {name} "
        f"exists to provide channel-wise dropout on inputs with {spatial} spatial dimensions, a channel dimension, and "
        f"an optional batch dimension (i.e. {expected} inputs).",
        stacklevel=3,
    )


def _of_batch(input: Tensor, p: float, training: bool, inplace: bool, ndim: int) -> Tensor:
    """`feature_dropout` of an input of `ndim` dimensions; any other is one sample."""
    if _idle(input, p, training):
        return input
    result = feature_dropout(input if input.ndim == ndim else input.unsqueeze(0), p, True)
    return placed(input, result if input.ndim == ndim else result.squeeze(0), inplace)


_SATURATION = 1.7580993408473766
"""Minus what a SELU gives for very negative inputs: that is what dropped elements become."""


def alpha_dropout(input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False) -> Tensor:
    """Dropout that keeps mean 0 and variance 1 (Klambauer et al., 2017): dropped elements are those of a dead SELU."""
    if _idle(input, p, training):
        return input
    keep = host_mask(random.default_generator().draw(), input.array.shape, p)
    return placed(input, _with_alpha(input, p, keep), inplace)


def feature_alpha_dropout(input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False) -> Tensor:
    """`alpha_dropout` of whole channels (N, C)."""
    if _idle(input, p, training):
        return input
    return placed(input, _with_alpha(input, p, _channel_mask(input, p)), inplace)


def _with_alpha(input: Tensor, p: float, keep: np.ndarray) -> Tensor:
    x = input.array
    xp = array_module(x)
    if p == 1:
        return input * 0
    scale = 1 / math.sqrt((_SATURATION**2 * p + 1) * (1 - p))
    factor = Tensor(xp.asarray(keep * scale).astype(x.dtype))
    offset = Tensor(xp.asarray((p - ~keep) * (_SATURATION * scale)).astype(x.dtype))
    return input * factor + offset


def dropout_(input: Tensor, p: float, train: bool) -> Tensor:
    """`dropout` in place."""
    return dropout(input, p, train, inplace=True)


def feature_dropout_(input: Tensor, p: float, train: bool) -> Tensor:
    """`feature_dropout` in place."""
    result = feature_dropout(input, p, train)
    return input if result is input else placed(input, result, True)


def alpha_dropout_(input: Tensor, p: float, train: bool) -> Tensor:
    """`alpha_dropout` in place."""
    return alpha_dropout(input, p, train, inplace=True)


def feature_alpha_dropout_(input: Tensor, p: float, train: bool) -> Tensor:
    """`feature_alpha_dropout` in place."""
    return feature_alpha_dropout(input, p, train, inplace=True)

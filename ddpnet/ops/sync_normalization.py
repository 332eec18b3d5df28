"""Batch normalisation whose statistics are those of several inputs, most of which are elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ddpnet.backend import array_module, host
from ddpnet.kernels import kernels_for
from ddpnet.kernels.precision import is_half
from ddpnet.ops.op import Op

Meet = Callable[..., np.ndarray]
"""`meet(values, merge)`: what all inputs' owners gave, merged pair by pair, by addition if left out; the same array for
all of them."""

__all__: list[str] = []


class SyncNormalization(Op):
    """Per channel of x (N, C, ...): (x - mean) * invstd * weight + bias, with statistics over `count` values a channel
    of which some are x's.

    The losses of the owners count in proportion to their `share`: by that a gradient from here is multiplied later.
    """

    graph_name = "SyncBatchNormBackward"

    def forward(self, x, weight, bias, mean, invstd, count, meet, share):
        self.count, self.meet, self.share = count, meet, share
        self.save(x, weight, mean, invstd)
        return kernels_for(x).batch_norm_apply(x, mean, invstd, weight, bias) if x.size else x.copy()

    def backward(self, g):
        x, weight, mean, invstd = self.saved
        xp, kernels, kind = array_module(x), kernels_for(x), mean.dtype
        x, g = x.astype(kind, copy=False), g.astype(kind, copy=False)
        weight = None if weight is None else weight.astype(kind, copy=False)
        if x.size:
            dx, dw, db = kernels.batch_norm_backward(g, x, mean, invstd, weight, False)
        else:
            dx, dw, db = g, xp.zeros_like(mean), xp.zeros_like(mean)
        if self.needs[0]:
            sums = self.meet(np.stack([host(db), host(dw)]).astype(np.float64) * self.share)
            if x.size:  # through the statistics, x acts on the losses of all owners
                offset, slope = xp.asarray(sums / (self.count * self.share)).astype(kind)
                scale = invstd if weight is None else invstd * weight
                dx = dx - kernels.batch_norm_apply(x, mean, invstd, scale * slope, scale * offset)
        return dx, dw if self.needs[1] else None, db if self.needs[2] else None

    def differentiable_backward(self, *gradients):
        raise NotImplementedError("the gradient of SyncBatchNorm cannot be derived again (create_graph=True)")


def joint_statistics(x: Any, meet: Meet) -> tuple[Any, Any, float]:
    """Mean and biased variance of each channel over all owners' inputs, float32 or float64, and the values a channel.

    ValueError for one value a channel.
    """
    xp, channels = array_module(x), x.shape[1]
    mine = np.zeros((3, channels))
    if x.size:
        mean, var = kernels_for(x).batch_norm_statistics(x.astype(np.float64))
        count = x.size // channels
        mine[0], mine[1], mine[2] = count, host(mean), host(var) * count
    counts, means, squares = meet(mine, _joined)
    count = float(counts[0])
    if count <= 1:
        raise ValueError(f"Expected more than 1 value per channel when training, got input size {int(count)}")
    kind = np.float32 if is_half(x) else x.dtype
    return xp.asarray(means.astype(kind)), xp.asarray((squares / count).astype(kind)), count


def _joined(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Counts, means and sums of squared deviations (3, C) of two sets, for their union (Chan et al., 1979)."""
    count = a[0] + b[0]
    part = b[0] / np.maximum(count, 1)
    distance = b[1] - a[1]
    return np.stack([count, a[1] + distance * part, a[2] + b[2] + distance * distance * a[0] * part])

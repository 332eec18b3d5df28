"""Every differentiable operation, one file a family; importing this gives Tensor its methods."""

from ddpnet.ops import (
    activation,
    convolution,
    creation,
    elementwise,
    indexing,
    linalg,
    loss,
    normalization,
    pooling,
    reduction,
    shape,
)

__all__ = [
    "activation",
    "convolution",
    "creation",
    "elementwise",
    "indexing",
    "linalg",
    "loss",
    "normalization",
    "pooling",
    "reduction",
    "shape",
]

"""Every differentiable operation, one file a family; importing this gives Tensor its methods."""

from ddpnet.ops import (
    activation,
    comparison,
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
    "comparison",
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

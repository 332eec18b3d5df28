"""The operations of layers as functions (`torch.nn.functional`)."""

from __future__ import annotations

from typing import Any

from ddpnet.ops import activation
from ddpnet.ops.activation import dropout, leaky_relu, log_softmax, sigmoid, softmax, tanh
from ddpnet.ops.convolution import conv2d
from ddpnet.ops.linalg import linear
from ddpnet.ops.loss import cross_entropy, l1_loss, mse_loss, nll_loss
from ddpnet.ops.normalization import batch_norm
from ddpnet.ops.pooling import avg_pool2d, max_pool2d
from ddpnet.tensor import Tensor


def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """max(x, 0)."""
    result: Any = input.relu_() if inplace else activation.relu(input)
    return result


__all__ = [
    "avg_pool2d",
    "batch_norm",
    "conv2d",
    "cross_entropy",
    "dropout",
    "l1_loss",
    "leaky_relu",
    "linear",
    "log_softmax",
    "max_pool2d",
    "mse_loss",
    "nll_loss",
    "relu",
    "sigmoid",
    "softmax",
    "tanh",
]

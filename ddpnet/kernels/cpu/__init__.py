"""Inner loops on NumPy arrays: matrix products by BLAS, the rest compiled by Numba."""

from ddpnet.kernels.cpu.convolution import conv2d_backward, conv2d_forward
from ddpnet.kernels.cpu.elementwise import relu_backward
from ddpnet.kernels.cpu.normalization import batch_norm_apply, batch_norm_backward, batch_norm_statistics
from ddpnet.kernels.cpu.optimizers import adam_step, rmsprop_step, sgd_step
from ddpnet.kernels.cpu.pooling import (
    avg_pool2d_backward,
    avg_pool2d_forward,
    max_pool2d_backward,
    max_pool2d_forward,
)

__all__ = [
    "adam_step",
    "avg_pool2d_backward",
    "avg_pool2d_forward",
    "batch_norm_apply",
    "batch_norm_backward",
    "batch_norm_statistics",
    "conv2d_backward",
    "conv2d_forward",
    "max_pool2d_backward",
    "max_pool2d_forward",
    "relu_backward",
    "rmsprop_step",
    "sgd_step",
]

"""Inner loops on CuPy arrays: matrix products by CuPy, the rest in CUDA C++."""

from ddpnet.kernels.cuda.convolution import conv2d_backward, conv2d_forward
from ddpnet.kernels.cuda.elementwise import relu_backward
from ddpnet.kernels.cuda.normalization import batch_norm_apply, batch_norm_backward, batch_norm_statistics
from ddpnet.kernels.cuda.optimizers import adam_step, rmsprop_step, sgd_step
from ddpnet.kernels.cuda.pooling import (
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

"""Inner loops on NumPy arrays: matrix products by BLAS, the rest compiled by Numba."""

from ddpnet.kernels.cpu.activation import gelu_backward, gelu_forward, normal_cdf, sigmoid, silu_backward, silu_forward
from ddpnet.kernels.cpu.attention import attention_backward, attention_forward, softmax_rows
from ddpnet.kernels.cpu.convolution import conv2d_backward, conv2d_forward
from ddpnet.kernels.cpu.ctc import ctc_backward, ctc_forward
from ddpnet.kernels.cpu.elementwise import relu_backward, relu_forward, select
from ddpnet.kernels.cpu.fingerprint import fingerprints, memory_table
from ddpnet.kernels.cpu.incomplete_gamma import incomplete_gamma
from ddpnet.kernels.cpu.layer_normalization import row_norm_backward, row_norm_forward
from ddpnet.kernels.cpu.normalization import batch_norm_apply, batch_norm_backward, batch_norm_statistics
from ddpnet.kernels.cpu.optimizers import adam_step, rmsprop_step, sgd_step
from ddpnet.kernels.cpu.partition import kth_places, top_places
from ddpnet.kernels.cpu.pooling import (
    avg_pool2d_backward,
    avg_pool2d_forward,
    max_pool2d_backward,
    max_pool2d_forward,
)
from ddpnet.kernels.cpu.recurrent import gru_step, gru_step_backward, lstm_step, lstm_step_backward, tanh_of_sum
from ddpnet.kernels.cpu.scattering import sum_rows
from ddpnet.kernels.cpu.softmax import (
    cross_entropy,
    cross_entropy_with_slopes,
    log_softmax_backward,
    log_softmax_forward,
    scale_rows,
    softmax_backward,
    softmax_forward,
)
from ddpnet.kernels.cpu.special_functions import (
    bessel_i,
    digamma,
    erf,
    erfc,
    erfcx,
    erfinv,
    lgamma,
    log_ndtr,
    ndtri,
    polygamma,
    zeta,
)

__all__ = [
    "adam_step",
    "attention_backward",
    "attention_forward",
    "avg_pool2d_backward",
    "avg_pool2d_forward",
    "batch_norm_apply",
    "batch_norm_backward",
    "batch_norm_statistics",
    "bessel_i",
    "conv2d_backward",
    "conv2d_forward",
    "cross_entropy",
    "cross_entropy_with_slopes",
    "ctc_backward",
    "ctc_forward",
    "digamma",
    "erf",
    "erfc",
    "erfcx",
    "erfinv",
    "fingerprints",
    "gelu_backward",
    "gelu_forward",
    "gru_step",
    "gru_step_backward",
    "incomplete_gamma",
    "kth_places",
    "lgamma",
    "log_ndtr",
    "log_softmax_backward",
    "log_softmax_forward",
    "lstm_step",
    "lstm_step_backward",
    "max_pool2d_backward",
    "max_pool2d_forward",
    "memory_table",
    "ndtri",
    "normal_cdf",
    "polygamma",
    "relu_backward",
    "relu_forward",
    "rmsprop_step",
    "row_norm_backward",
    "row_norm_forward",
    "scale_rows",
    "select",
    "sgd_step",
    "sigmoid",
    "silu_backward",
    "silu_forward",
    "softmax_backward",
    "softmax_forward",
    "softmax_rows",
    "sum_rows",
    "tanh_of_sum",
    "top_places",
    "zeta",
]

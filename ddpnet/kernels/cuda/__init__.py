"""Inner loops on CuPy arrays: matrix products by CuPy, the rest in CUDA C++."""

from ddpnet.kernels.cuda.activation import gelu_backward, gelu_forward, normal_cdf, sigmoid, silu_backward, silu_forward
from ddpnet.kernels.cuda.attention import attention_backward, attention_forward, softmax_rows
from ddpnet.kernels.cuda.convolution import conv2d_backward, conv2d_forward, goes_image_by_image
from ddpnet.kernels.cuda.ctc import ctc_backward, ctc_forward
from ddpnet.kernels.cuda.elementwise import relu_backward, relu_forward, select
from ddpnet.kernels.cuda.few_rows import few_rows_backward, few_rows_forward, goes_row_by_row
from ddpnet.kernels.cuda.fingerprint import fingerprints, memory_table
from ddpnet.kernels.cuda.incomplete_gamma import incomplete_gamma
from ddpnet.kernels.cuda.layer_normalization import row_norm_backward, row_norm_forward
from ddpnet.kernels.cuda.many_rows import many_rows_backward, many_rows_forward
from ddpnet.kernels.cuda.normalization import batch_norm_apply, batch_norm_backward, batch_norm_statistics
from ddpnet.kernels.cuda.optimizers import adam_step, rmsprop_step, sgd_step, sgd_steps
from ddpnet.kernels.cuda.partition import kth_places, top_places
from ddpnet.kernels.cuda.pooling import (
    avg_pool2d_backward,
    avg_pool2d_forward,
    max_pool2d_backward,
    max_pool2d_forward,
    relu_max_pool2d_forward,
)
from ddpnet.kernels.cuda.recurrent import gru_step, gru_step_backward, lstm_step, lstm_step_backward, tanh_of_sum
from ddpnet.kernels.cuda.scattering import sum_rows
from ddpnet.kernels.cuda.shard_sums import weighted_sum
from ddpnet.kernels.cuda.small_products import repeated_product
from ddpnet.kernels.cuda.softmax import (
    cross_entropy,
    cross_entropy_with_slopes,
    log_softmax_backward,
    log_softmax_forward,
    mean_cross_entropy,
    scale_rows,
    softmax_backward,
    softmax_forward,
)
from ddpnet.kernels.cuda.special_functions import (
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
    "few_rows_backward",
    "few_rows_forward",
    "fingerprints",
    "gelu_backward",
    "gelu_forward",
    "goes_image_by_image",
    "goes_row_by_row",
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
    "many_rows_backward",
    "many_rows_forward",
    "max_pool2d_backward",
    "max_pool2d_forward",
    "mean_cross_entropy",
    "memory_table",
    "ndtri",
    "normal_cdf",
    "polygamma",
    "relu_backward",
    "relu_forward",
    "relu_max_pool2d_forward",
    "repeated_product",
    "rmsprop_step",
    "row_norm_backward",
    "row_norm_forward",
    "scale_rows",
    "select",
    "sgd_step",
    "sgd_steps",
    "sigmoid",
    "silu_backward",
    "silu_forward",
    "softmax_backward",
    "softmax_forward",
    "softmax_rows",
    "sum_rows",
    "tanh_of_sum",
    "top_places",
    "weighted_sum",
    "zeta",
]

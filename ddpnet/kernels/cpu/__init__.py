"""Inner loops on NumPy arrays: matrix products by BLAS, the rest compiled by Numba.

A file is loaded when one of its kernels is asked for: making the compiled functions of all takes some 15 ms, and
loading Numba 120.
"""

import importlib
from typing import Any

_FILES = {
    "activation": "gelu_backward gelu_forward normal_cdf sigmoid silu_backward silu_forward",
    "attention": "attention_backward attention_forward softmax_rows",
    "convolution": "conv2d_backward conv2d_forward goes_image_by_image",
    "ctc": "ctc_backward ctc_forward",
    "elementwise": "relu_backward relu_forward select",
    "few_rows": "few_rows_backward few_rows_forward goes_row_by_row",
    "fingerprint": "fingerprints memory_table",
    "gamma": "incomplete_gamma",
    "layer_normalization": "row_norm_backward row_norm_forward",
    "many_rows": "many_rows_backward many_rows_forward",
    "normalization": "batch_norm_apply batch_norm_backward batch_norm_statistics",
    "optimizers": "adam_step rmsprop_step sgd_step sgd_steps",
    "partition": "kth_places top_places",
    "pooling": (
        "avg_pool2d_backward avg_pool2d_forward max_pool2d_backward max_pool2d_forward relu_max_pool2d_forward"
    ),
    "recurrent": "gru_step gru_step_backward lstm_step lstm_step_backward tanh_of_sum",
    "scattering": "sum_rows",
    "shard_sums": "weighted_sum",
    "small_products": "repeated_product",
    "softmax": (
        "cross_entropy cross_entropy_with_slopes log_softmax_backward log_softmax_forward "
        "mean_cross_entropy scale_rows softmax_backward softmax_forward"
    ),
    "special_functions": "bessel_i digamma erf erfc erfcx erfinv lgamma log_ndtr ndtri polygamma zeta",
}
"""The kernels of each file; none has the name of a file."""
_PLACES = {name: file for file, names in _FILES.items() for name in names.split()}

__all__ = sorted(_PLACES)


def __getattr__(name: str) -> Any:
    """Load the file of a kernel, and keep the kernel as a name of this package."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    kernel = getattr(importlib.import_module(f"{__name__}.{_PLACES[name]}"), name)
    globals()[name] = kernel
    return kernel

"""ddpnet: PyTorch's language on NumPy and CuPy arrays, data-parallel over MPI.

import ddpnet as torch
"""

import math as _math
from typing import TYPE_CHECKING as _TYPE_CHECKING

from ddpnet import allocator as _allocator
from ddpnet import blas as _blas
from ddpnet.alias import missing as _missing
from ddpnet.alias import pytorch_names as _pytorch_names

_blas.choose_core_type()  # before NumPy is loaded
_allocator.keep_freed_memory()

import ddpnet.autograd.functional
import ddpnet.cpu.amp
import ddpnet.cuda.amp  # noqa: F401 - cuda and cpu import neither of the two: they stand above autograd
from ddpnet import (
    amp,
    autograd,
    backend,
    backends,
    compiler,
    cpu,
    cuda,
    determinism,
    dtypes,
    linalg,
    mps,
    nn,
    ops,
    optim,
    special,
    threads,
    utils,
    version,
    xpu,
)
from ddpnet.amp import GradScaler, autocast
from ddpnet.autograd.anomaly_mode import is_anomaly_check_nan_enabled, is_anomaly_enabled
from ddpnet.autograd.autocast_mode import (
    autocast_decrement_nesting,
    autocast_increment_nesting,
    clear_autocast_cache,
    get_autocast_cpu_dtype,
    get_autocast_dtype,
    get_autocast_gpu_dtype,
    is_autocast_cache_enabled,
    is_autocast_cpu_enabled,
    is_autocast_enabled,
    set_autocast_cache_enabled,
    set_autocast_cpu_dtype,
    set_autocast_cpu_enabled,
    set_autocast_dtype,
    set_autocast_enabled,
    set_autocast_gpu_dtype,
)
from ddpnet.autograd.grad_mode import (
    enable_grad,
    inference_mode,
    is_grad_enabled,
    no_grad,
    set_grad_enabled,
)
from ddpnet.backend import Device as device
from ddpnet.compiler import compile
from ddpnet.determinism import *
from ddpnet.dtypes import DType as dtype
from ddpnet.dtypes import (
    bfloat16,
    can_cast,
    finfo,
    float16,
    float32,
    float64,
    get_default_dtype,
    iinfo,
    int8,
    int16,
    int32,
    int64,
    promote_types,
    set_default_dtype,
    uint8,
)
from ddpnet.dtypes import (
    bool_ as bool,
)
from ddpnet.layouts import Layout as layout
from ddpnet.layouts import MemoryFormat as memory_format
from ddpnet.layouts import channels_last, channels_last_3d, contiguous_format, preserve_format, strided
from ddpnet.ops import *
from ddpnet.printing import set_printoptions
from ddpnet.random import (
    Generator,
    get_rng_state,
    initial_seed,
    manual_seed,
    seed,
    set_rng_state,
)
from ddpnet.random import (
    default_generator as _default_generator,
)
from ddpnet.size import Size
from ddpnet.tensor import Tensor
from ddpnet.threads import *

__version__ = "0.1.0"

if _TYPE_CHECKING:
    from ddpnet import distributed, distributions, futures, profiler
    from ddpnet.serialization import load, save

_LATER = {
    "": {
        **{name: f"ddpnet.{name}" for name in ("distributed", "distributions", "futures", "profiler")},
        **{name: f"ddpnet.serialization:{name}" for name in ("load", "save")},
    },
    ".nn": {
        "parallel": "ddpnet.nn.parallel",
        "DataParallel": "ddpnet.nn.parallel:DataParallel",
        "SyncBatchNorm": "ddpnet.nn.sync_batchnorm:SyncBatchNorm",
    },
    ".utils": {"data": "ddpnet.utils.data"},
}
"""Loaded when first asked for, by namespace: a third of what the import takes, and not for everybody."""

half, float, double = float16, float32, float64
short, int, long = int16, int32, int64
default_generator = _default_generator()
e, inf, nan, pi, newaxis = _math.e, _math.inf, _math.nan, _math.pi, None

__all__ = [
    "Generator",
    "GradScaler",
    "Size",
    "Tensor",
    "amp",
    "autocast",
    "autocast_decrement_nesting",
    "autocast_increment_nesting",
    "autograd",
    "backend",
    "bfloat16",
    "bool",
    "can_cast",
    "channels_last",
    "channels_last_3d",
    "clear_autocast_cache",
    "contiguous_format",
    "cpu",
    "cuda",
    "default_generator",
    "device",
    "distributed",
    "double",
    "dtype",
    "dtypes",
    "e",
    "enable_grad",
    "finfo",
    "float",
    "float16",
    "float32",
    "float64",
    "futures",
    "get_autocast_cpu_dtype",
    "get_autocast_dtype",
    "get_autocast_gpu_dtype",
    "get_default_dtype",
    "get_rng_state",
    "half",
    "iinfo",
    "inf",
    "inference_mode",
    "initial_seed",
    "int",
    "int8",
    "int16",
    "int32",
    "int64",
    "is_anomaly_check_nan_enabled",
    "is_anomaly_enabled",
    "is_autocast_cache_enabled",
    "is_autocast_cpu_enabled",
    "is_autocast_enabled",
    "is_grad_enabled",
    "layout",
    "linalg",
    "load",
    "long",
    "manual_seed",
    "memory_format",
    "nan",
    "newaxis",
    "nn",
    "no_grad",
    "optim",
    "pi",
    "preserve_format",
    "profiler",
    "promote_types",
    "save",
    "seed",
    "set_autocast_cache_enabled",
    "set_autocast_cpu_dtype",
    "set_autocast_cpu_enabled",
    "set_autocast_dtype",
    "set_autocast_enabled",
    "set_autocast_gpu_dtype",
    "set_default_dtype",
    "set_grad_enabled",
    "set_printoptions",
    "set_rng_state",
    "short",
    "special",
    "strided",
    "uint8",
    "utils",
]
__all__ += ["backends", "compile", "compiler", "distributions", "mps", "version", "xpu"]
__all__ += determinism.__all__
__all__ += threads.__all__
__all__ += ops.__all__

_missing.explain_package("ddpnet", "torch", _LATER)
_missing.explain_members(Tensor, "torch.Tensor", _pytorch_names.TENSOR)

"""ddpnet: PyTorch's language on NumPy and CuPy arrays, data-parallel over MPI.

    import ddpnet as torch
"""

from ddpnet import blas as _blas

_blas.choose_core_type()  # before NumPy is loaded

from ddpnet import autograd, backend, distributed, dtypes, nn, optim, utils  # noqa: E402
from ddpnet.nn import parallel as _parallel  # noqa: E402
from ddpnet.autograd.grad_mode import (  # noqa: E402
    enable_grad,
    inference_mode,
    is_grad_enabled,
    no_grad,
    set_grad_enabled,
)
from ddpnet.backend import Device as device  # noqa: E402
from ddpnet.dtypes import DType as dtype  # noqa: E402
from ddpnet.dtypes import (  # noqa: E402
    bfloat16,
    bool,
    float16,
    float32,
    float64,
    get_default_dtype,
    int8,
    int16,
    int32,
    int64,
    set_default_dtype,
    uint8,
)
from ddpnet.ops.activation import dropout, log_softmax, relu, sigmoid, softmax, tanh  # noqa: E402
from ddpnet.ops.convolution import conv2d  # noqa: E402
from ddpnet.ops.creation import (  # noqa: E402
    arange,
    as_tensor,
    empty,
    empty_like,
    eye,
    from_numpy,
    full,
    full_like,
    linspace,
    normal,
    ones,
    ones_like,
    rand,
    rand_like,
    randint,
    randn,
    randn_like,
    randperm,
    tensor,
    zeros,
    zeros_like,
)
from ddpnet.ops.conversion import clone  # noqa: E402
from ddpnet.ops.elementwise import (  # noqa: E402
    abs,
    add,
    allclose,
    clamp,
    div,
    eq,
    equal,
    exp,
    ge,
    gt,
    isfinite,
    isnan,
    le,
    log,
    logical_not,
    lt,
    maximum,
    minimum,
    mul,
    ne,
    neg,
    pow,
    sqrt,
    square,
    sub,
    where,
)
from ddpnet.ops.indexing import gather, index_select  # noqa: E402
from ddpnet.ops.linalg import addmm, bmm, dot, matmul, mm  # noqa: E402
from ddpnet.ops.pooling import avg_pool2d, max_pool2d  # noqa: E402
from ddpnet.ops.reduction import all, any, argmax, argmin, max, mean, min, norm, std, sum, var  # noqa: E402
from ddpnet.ops.shape import (  # noqa: E402
    cat,
    chunk,
    flatten,
    permute,
    reshape,
    split,
    squeeze,
    stack,
    t,
    transpose,
    unbind,
    unsqueeze,
)
from ddpnet.printing import set_printoptions  # noqa: E402
from ddpnet.random import (  # noqa: E402
    Generator,
    get_rng_state,
    initial_seed,
    manual_seed,
    seed,
    set_rng_state,
)
from ddpnet.tensor import Size, Tensor  # noqa: E402

__version__ = "0.1.0"

half, float, double = float16, float32, float64
short, int, long = int16, int32, int64

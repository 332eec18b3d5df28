"""The softmax functions as `nn.functional` has them: their dimension may be left out, with a warning."""

from __future__ import annotations

import warnings

from ddpnet.dtypes import DType
from ddpnet.ops import softmaxes
from ddpnet.tensor import Tensor


def _dimension(name: str, input: Tensor, dim: int | None, stacklevel: int) -> int:
    if dim is not None:
        return dim
    warnings.warn(
        f"Implicit dimension choice for {name} has been deprecated. Change the call to include dim=X as an argument.",
        stacklevel=stacklevel,
    )
    return 0 if input.ndim in (0, 1, 3) else 1


def softmax(input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: DType | None = None) -> Tensor:
    """exp(x) divided by its sum along `dim`."""
    return softmaxes.softmax(input, _dimension("softmax", input, dim, _stacklevel), dtype)


def softmin(input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: DType | None = None) -> Tensor:
    """The softmax of -x along `dim`."""
    return softmaxes.softmin(input, _dimension("softmin", input, dim, _stacklevel), dtype)


def log_softmax(input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: DType | None = None) -> Tensor:
    """The logarithm of the softmax along `dim`."""
    return softmaxes.log_softmax(input, _dimension("log_softmax", input, dim, _stacklevel), dtype)

"""The same bytes, read as elements of another dtype."""

from __future__ import annotations

from ddpnet.dtypes import DType
from ddpnet.ops.op import Op
from ddpnet.tensor import Tensor


class ViewDtype(Op):
    """The same bytes, read as elements of another dtype; no gradient flows."""

    graph_name = "ViewBackward1"
    view = True
    differentiable = (False,)

    def forward(self, x, dtype):
        return x.view(dtype)

    def backward(self, g):
        return None


def view_dtype(input: Tensor, dtype: DType) -> Tensor:
    """A view of the bytes as elements of `dtype`; the last dimension changes with their size."""
    array = input.array
    before, after = array.itemsize, dtype.itemsize
    if before != after:
        if array.ndim == 0:
            raise RuntimeError(f"self.dim() cannot be 0 to view {input.dtype} as {dtype} (different element sizes)")
        if array.strides[-1] != before and array.shape[-1] > 1:
            raise RuntimeError("self.stride(-1) must be 1 to view as a dtype of another element size")
        if array.shape[-1] * before % after:
            raise RuntimeError(
                f"self.size(-1) must be divisible by {after // before} to view {input.dtype} as {dtype} (different "
                f"element sizes), but got {array.shape[-1]}"
            )
    return ViewDtype.apply(input, dtype=dtype.numpy)

"""Products of two vectors with a matrix between them."""

from __future__ import annotations

from ddpnet.ops.autocasting import autocasts
from ddpnet.tensor import Tensor

__all__ = [
    "bilinear",
]


@autocasts("given", "cpu")
@autocasts("widest", "cuda")
def bilinear(input1: Tensor, input2: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """y[..., k] = input1 @ weight[k] @ input2 + bias[k] for input1 (..., A), input2 (..., B), weight (K, A, B).

    RuntimeError for shapes that do not fit.
    """
    if input1.ndim != input2.ndim or input1.array.shape[:-1] != input2.array.shape[:-1]:
        raise RuntimeError(
            f"bilinear(): input batch dimensions do not match: got {list(input1.shape)} and {list(input2.shape)}"
        )
    if weight.ndim != 3 or input1.ndim < 1:
        raise RuntimeError(f"bilinear(): expected a weight of 3 dimensions, got {list(weight.shape)}")
    out, left, right = weight.array.shape
    if input1.array.shape[-1] != left or input2.array.shape[-1] != right:
        raise RuntimeError(
            f"bilinear(): inputs of {input1.shape[-1]} and {input2.shape[-1]} features do not match the weight "
            f"{list(weight.shape)}"
        )
    if bias is not None and bias.array.shape != (out,):
        raise RuntimeError(
            f"bilinear(): bias size does not match weight size: got {list(bias.shape)} but expected {out}"
        )
    batch = input1.array.shape[:-1]
    x, z = input1.reshape(-1, left), input2.reshape(-1, right)
    between = (x @ weight.permute(1, 0, 2).reshape(left, out * right)).reshape(-1, out, right)
    y = (between @ z.unsqueeze(2)).reshape(*batch, out)
    return y if bias is None else y + bias

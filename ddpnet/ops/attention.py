"""Scaled dot-product attention (Vaswani et al., 2017)."""

from __future__ import annotations

import math

import numpy as np

from ddpnet import dtypes, random
from ddpnet.backend import array_module
from ddpnet.kernels import kernels_for
from ddpnet.ops.autocasting import autocasts
from ddpnet.ops.dropouts import host_mask
from ddpnet.ops.op import Op
from ddpnet.ops.softmaxes import softmax
from ddpnet.tensor import Tensor

__all__: list[str] = []


class Attention(Op):
    """softmax(q @ k.T * scale + bias) @ v over stacks of one shape; see the kernel for the masks."""

    graph_name = "ScaledDotProductFlashAttentionForCpuBackward0"

    def forward(self, q, k, v, bias, allowed, keep, scale, keep_scale, causal):
        self.allowed, self.keep, self.bias = allowed, keep, bias
        self.scale, self.keep_scale, self.causal = scale, keep_scale, causal
        shape = (*q.shape[:-1], k.shape[-2])
        masks = [None if m is None else array_module(m).broadcast_to(m, shape) for m in (allowed, bias, keep)]
        y, p = kernels_for(q).attention_forward(q, k, v, *masks, scale, keep_scale, causal)
        self.save(q, k, v, bias, p)
        return y

    def backward(self, g):
        q, k, v, _, p = self.saved
        dq, dk, dv, ds = kernels_for(q).attention_backward(
            g, q, k, v, p, self.keep, self.scale, self.keep_scale, self.causal
        )
        return dq, dk, dv, ds if self.needs[3] else None

    def differentiable_backward(self, g):
        q, k, v, bias, _ = self.saved
        scores = q @ k.transpose(-1, -2) * self.scale
        allowed = self.allowed
        if self.causal:
            tri = array_module(q.array).tri(*scores.shape[-2:], dtype=np.bool_)
            allowed = tri if allowed is None else allowed & tri
        if bias is not None:
            finite = bias.array > -np.inf
            allowed = finite if allowed is None else allowed & finite
            scores = scores + bias.masked_fill(Tensor(~finite), 0.0)
        if allowed is not None:
            scores = scores.masked_fill(Tensor(~allowed), float(np.finfo(scores.array.dtype).min))
        p = softmax(scores, -1)
        if allowed is not None:  # rows that see nothing
            p = p * Tensor(allowed)
        kept = None if self.keep is None else Tensor(self.keep.astype(p.array.dtype)) * self.keep_scale
        dv = (p if kept is None else p * kept).transpose(-1, -2) @ g
        dp = g @ v.transpose(-1, -2)
        dp = dp if kept is None else dp * kept
        ds = p * (dp - (dp * p).sum(-1, True))
        dq, dk = ds @ k * self.scale, ds.transpose(-1, -2) @ q * self.scale
        return dq, dk, dv, ds if self.needs[3] else None


@autocasts("lower")
def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """softmax(query @ key.T * scale + mask) @ value for query (..., L, E), key (..., S, E), value (..., S, V).

    `attn_mask` is broadcast to (..., L, S): bool, true where there is attention, or numbers that are added. `is_causal`
    lets row i see columns up to i. With `enable_gqa` a head of key and value serves several of the query's. Weights are
    dropped with probability `dropout_p`. A row that sees nothing gives 0. RuntimeError where shapes or dtypes differ.
    """
    _check(query, key, value, attn_mask, dropout_p)
    if enable_gqa:
        heads = query.array.shape[-3]
        key, value = _repeated(key, heads), _repeated(value, heads)
    stack = np.broadcast_shapes(*(x.array.shape[:-2] for x in (query, key, value)))
    query, key, value = (
        x if x.array.shape[:-2] == stack else x.expand(*stack, *x.array.shape[-2:]) for x in (query, key, value)
    )
    shape = (*stack, query.array.shape[-2], key.array.shape[-2])
    bias = allowed = None
    if attn_mask is not None:
        if dtypes.category(attn_mask.array.dtype) == 0:
            allowed = attn_mask.array
        else:
            bias = attn_mask
        if np.broadcast_shapes(attn_mask.array.shape, shape) != shape:
            raise RuntimeError(f"attn_mask of shape {list(attn_mask.array.shape)} does not broadcast to {list(shape)}")
    keep, keep_scale = None, 1.0
    if dropout_p > 0:
        drawn = host_mask(random.default_generator().draw(), shape, dropout_p)
        keep = array_module(query.array).asarray(drawn)
        keep_scale = 1 / (1 - dropout_p) if dropout_p < 1 else 0.0
    scale = 1 / math.sqrt(max(query.array.shape[-1], 1)) if scale is None else scale
    return Attention.apply(
        query, key, value, bias, allowed=allowed, keep=keep, scale=scale, keep_scale=keep_scale, causal=is_causal
    )


def _check(query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None, dropout_p: float) -> None:
    q, k, v = query.array, key.array, value.array
    if min(q.ndim, k.ndim, v.ndim) < 2:
        raise RuntimeError(
            "Expected query, key, and value to all be  at least 2 dimensional, but got query.dim: "
            f"{q.ndim} key.dim: {k.ndim} and value.dim: {v.ndim} instead."
        )
    if not q.dtype == k.dtype == v.dtype:
        raise RuntimeError(
            "Expected query, key, and value to have the same dtype, but got query.dtype: "
            f"{query.dtype.name} key.dtype: {key.dtype.name} and value.dtype: {value.dtype.name} instead."
        )
    if dtypes.category(q.dtype) < 2:
        raise RuntimeError(f"expected floating-point query, key and value, got {query.dtype.name}")
    if q.shape[-1] != k.shape[-1] or k.shape[-2] != v.shape[-2]:
        raise RuntimeError(
            f"attention: query {list(q.shape)} and key {list(k.shape)} need the same last dimension, key and value "
            f"{list(v.shape)} the same one before it"
        )
    if not 0 <= dropout_p <= 1:
        raise RuntimeError(f"dropout probability has to be between 0 and 1, but got {dropout_p}")
    if attn_mask is not None:
        mask = attn_mask.array.dtype
        if mask != np.bool_ and mask != np.float32 and mask != q.dtype:
            raise RuntimeError(
                "Expected attn_mask dtype to be bool or float or to match query dtype, but got attn_mask.dtype: "
                f"{attn_mask.dtype.name} and  query.dtype: {query.dtype.name} instead."
            )


def _repeated(x: Tensor, heads: int) -> Tensor:
    """Each head of x (..., H, S, E) as often as it takes to have `heads` of them."""
    *stack, own, length, width = x.array.shape
    if own == heads:
        return x
    if own == 0 or heads % own:
        raise RuntimeError(
            f"Number of heads in key and value must divide the number of heads in query, got {own}, {heads}"
        )
    return x.unsqueeze(-3).expand(*stack, own, heads // own, length, width).reshape(*stack, heads, length, width)

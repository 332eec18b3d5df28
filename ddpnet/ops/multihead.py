"""Multi-head attention with its projections, as a function of its weights (Vaswani et al., 2017)."""

from __future__ import annotations

import math
from typing import Any

from ddpnet import dtypes
from ddpnet.dtypes import DType
from ddpnet.ops.attention import scaled_dot_product_attention
from ddpnet.ops.creation import full, zeros
from ddpnet.ops.dropouts import dropout
from ddpnet.ops.joining import cat
from ddpnet.ops.linalg import matmul
from ddpnet.ops.linear import linear
from ddpnet.ops.softmaxes import softmax
from ddpnet.tensor import Tensor

__all__: list[str] = []


def canonical_mask(mask: Tensor | None, name: str, dtype: DType) -> Tensor | None:
    """A mask that is added: bool becomes 0 where false and -inf where true; AssertionError for integers."""
    if mask is None or mask.is_floating_point():
        return mask
    if dtypes.category(mask.array.dtype) != 0:
        raise AssertionError(f"only bool and floating types of {name} are supported")
    return zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill(mask, -math.inf)


def multi_head_attention_forward(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    embed_dim_to_check: int,
    num_heads: int,
    in_proj_weight: Tensor | None,
    in_proj_bias: Tensor | None,
    bias_k: Tensor | None,
    bias_v: Tensor | None,
    add_zero_attn: bool,
    dropout_p: float,
    out_proj_weight: Tensor,
    out_proj_bias: Tensor | None,
    training: bool = True,
    key_padding_mask: Tensor | None = None,
    need_weights: bool = True,
    attn_mask: Tensor | None = None,
    use_separate_proj_weight: bool = False,
    q_proj_weight: Tensor | None = None,
    k_proj_weight: Tensor | None = None,
    v_proj_weight: Tensor | None = None,
    static_k: Tensor | None = None,
    static_v: Tensor | None = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """(output, weights) for query (L, N, E), key (S, N, K), value (S, N, V), or all without N.

    `key_padding_mask` (N, S): true where a key is not seen; `attn_mask` (L, S) or (N * num_heads, L, S): true where
    there is no attention, or numbers that are added. The weights are (N, L, S), or unless averaged
    (N, num_heads, L, S).
    """
    batched = _is_batched(query, key, value, key_padding_mask, attn_mask, num_heads)
    if not batched:
        query, key, value = (x.unsqueeze(1) for x in (query, key, value))
        key_padding_mask = None if key_padding_mask is None else key_padding_mask.unsqueeze(0)
    length, samples, width = query.array.shape
    if is_causal and attn_mask is None:
        raise RuntimeError("Need attn_mask if specifying the is_causal hint.")
    padding = canonical_mask(key_padding_mask, "key_padding_mask", query.dtype)
    if is_causal and padding is None and not need_weights:
        attn_mask = None
    else:
        attn_mask = canonical_mask(attn_mask, "attn_mask", query.dtype)
        is_causal = is_causal and padding is None
    if width != embed_dim_to_check:
        raise AssertionError(f"was expecting embedding dimension of {embed_dim_to_check}, but got {width}")
    head = width // num_heads
    if head * num_heads != width:
        raise AssertionError(f"embed_dim {width} not divisible by num_heads {num_heads}")
    _check_keys(key, value, use_separate_proj_weight)
    separate = (q_proj_weight, k_proj_weight, v_proj_weight) if use_separate_proj_weight else None
    q, k, v = _projected(query, key, value, in_proj_weight, in_proj_bias, separate)
    attn_mask = _checked(attn_mask, length, key.array.shape[0], samples * num_heads)
    if bias_k is not None and bias_v is not None:
        if static_k is not None or static_v is not None:
            raise AssertionError("bias cannot be added to static key or value.")
        k, v = (cat((x, b.expand(1, samples, x.array.shape[2]))) for x, b in ((k, bias_k), (v, bias_v)))
        attn_mask, padding = _wider(attn_mask), _wider(padding)
    elif bias_k is not None or bias_v is not None:
        raise AssertionError("bias_k and bias_v need to be given together")
    q = q.reshape(length, samples * num_heads, head).transpose(0, 1)
    k, v = (
        x.reshape(x.array.shape[0], samples * num_heads, head).transpose(0, 1) if static is None else static
        for x, static in ((k, static_k), (v, static_v))
    )
    if add_zero_attn:
        k, v = (cat((x, zeros(len(x), 1, head, dtype=x.dtype, device=x.device)), 1) for x in (k, v))
        attn_mask, padding = _wider(attn_mask), _wider(padding)
    columns = k.array.shape[1]
    if padding is not None:
        spread = padding.reshape(samples, 1, 1, columns).expand(samples, num_heads, 1, columns)
        spread = spread.reshape(samples * num_heads, 1, columns)
        attn_mask = spread if attn_mask is None else attn_mask + spread
    probability = dropout_p if training else 0.0
    if need_weights:
        scores = matmul(q * math.sqrt(1 / head), k.transpose(-2, -1))
        weights = softmax(scores if attn_mask is None else scores + attn_mask, -1)
        weights = dropout(weights, probability) if probability > 0 else weights
        y = matmul(weights, v)
    else:
        shape = (samples, num_heads)
        mask = attn_mask
        if mask is not None:
            mask = mask if len(mask) == 1 else mask.reshape(*shape, -1, columns)
        q, k, v = (x.reshape(*shape, -1, head) for x in (q, k, v))
        y = scaled_dot_product_attention(q, k, v, mask, probability, is_causal)
        y = y.reshape(samples * num_heads, length, head)
    y = linear(y.transpose(0, 1).reshape(length * samples, width), out_proj_weight, out_proj_bias)
    y = y.reshape(length, samples, -1)
    shown: Tensor | None = None
    if need_weights:
        shown = weights.reshape(samples, num_heads, length, columns)
        shown = shown.mean(1) if average_attn_weights else shown
    if batched:
        return y, shown
    return y.squeeze(1), None if shown is None else shown.squeeze(0)


def _is_batched(
    query: Tensor, key: Tensor, value: Tensor, padding: Tensor | None, mask: Tensor | None, num_heads: int
) -> bool:
    """AssertionError for dimensions that do not belong together."""
    if query.ndim not in (2, 3):
        raise AssertionError(
            f"query should be unbatched 2D or batched 3D tensor but received {query.ndim}-D query tensor"
        )
    batched = query.ndim == 3
    kind = "batched (3-D)" if batched else "unbatched (2-D)"
    if key.ndim != query.ndim or value.ndim != query.ndim:
        raise AssertionError(
            f"For {kind} `query`, expected `key` and `value` to be {query.ndim}-D but found {key.ndim}-D and "
            f"{value.ndim}-D tensors respectively"
        )
    if padding is not None and padding.ndim != query.ndim - 1:
        raise AssertionError(
            f"For {kind} `query`, expected `key_padding_mask` to be `None` or {query.ndim - 1}-D but found "
            f"{padding.ndim}-D tensor instead"
        )
    if mask is not None:
        if mask.ndim not in (2, 3):
            raise AssertionError(
                f"For {kind} `query`, expected `attn_mask` to be `None`, 2-D or 3-D but found {mask.ndim}-D tensor "
                "instead"
            )
        if not batched and mask.ndim == 3:
            expected = (num_heads, query.array.shape[0], key.array.shape[0])
            if mask.array.shape != expected:
                raise AssertionError(f"Expected `attn_mask` shape to be {expected} but got {mask.shape}")
    return batched


def _check_keys(key: Tensor, value: Tensor, separate: bool) -> None:
    if separate:
        if key.array.shape[:2] != value.array.shape[:2]:
            raise AssertionError(
                f"key's sequence and batch dims {key.shape[:2]} do not match value's {value.shape[:2]}"
            )
    elif key.array.shape != value.array.shape:
        raise AssertionError(f"key shape {key.shape} does not match value shape {value.shape}")


def _projected(
    query: Tensor, key: Tensor, value: Tensor, weight: Tensor | None, bias: Tensor | None, separate: Any
) -> tuple[Tensor, ...]:
    """Queries, keys and values, each of the query's width; one product where they are of one tensor."""
    width = query.array.shape[-1]
    biases = (None, None, None) if bias is None else bias.chunk(3)
    if separate is not None:
        for name, part in zip("qkv", separate, strict=True):
            if part is None:
                raise AssertionError(f"use_separate_proj_weight is True but {name}_proj_weight is None")
        inputs = zip((query, key, value), separate, biases, strict=True)
        return tuple(linear(x, w, b) for x, w, b in inputs)
    if weight is None:
        raise AssertionError("use_separate_proj_weight is False but in_proj_weight is None")
    if query is key and key is value:
        return tuple(linear(query, weight, bias).chunk(3, -1))
    if key is value:
        q = linear(query, weight[:width], biases[0])
        return (q, *linear(key, weight[width:], None if bias is None else bias[width:]).chunk(2, -1))
    inputs = zip((query, key, value), weight.chunk(3), biases, strict=True)
    return tuple(linear(x, w, b) for x, w, b in inputs)


def _checked(mask: Tensor | None, length: int, columns: int, heads: int) -> Tensor | None:
    """A mask of three dimensions."""
    if mask is None:
        return None
    expected = (length, columns) if mask.ndim == 2 else (heads, length, columns)
    if mask.array.shape != expected:
        raise RuntimeError(
            f"The shape of the {mask.ndim}D attn_mask is {tuple(mask.array.shape)}, but should be {expected}."
        )
    return mask.unsqueeze(0) if mask.ndim == 2 else mask


def _wider(mask: Tensor | None) -> Tensor | None:
    """One more column, which is seen."""
    if mask is None:
        return None
    return cat((mask, full((*mask.array.shape[:-1], 1), 0.0, dtype=mask.dtype, device=mask.device)), -1)

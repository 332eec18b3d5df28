"""Stacks of transformer layers, and the whole transformer (Vaswani et al., 2017)."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np

from ddpnet.autograd.grad_mode import is_grad_enabled
from ddpnet.backend import host
from ddpnet.dtypes import DType, get_default_dtype
from ddpnet.nn import functional, init
from ddpnet.nn.containers import ModuleList
from ddpnet.nn.module import Module
from ddpnet.nn.normalization import LayerNorm
from ddpnet.nn.transformer_layers import Activation, TransformerDecoderLayer, TransformerEncoderLayer
from ddpnet.ops.creation import DeviceLike, tensor
from ddpnet.ops.multihead import canonical_mask
from ddpnet.tensor import Tensor


def _causal_mask(extent: int, device: DeviceLike = None, dtype: DType | None = None) -> Tensor:
    """(extent, extent): -inf above the diagonal, else 0."""
    values = np.triu(np.full((extent, extent), -math.inf), 1)
    return tensor(values, dtype=dtype or get_default_dtype(), device=device)


def _is_causal(mask: Tensor | None, is_causal: bool | None, extent: int) -> bool:
    """Whether attention is causal: as told, or by a look at the mask."""
    if is_causal is not None or mask is None:
        return bool(is_causal)
    values = host(mask.array)
    if values.shape[-2:] != (extent, extent) or values.dtype == np.bool_:
        return False
    expected = np.triu(np.full((extent, extent), -math.inf), 1)
    return bool((values.astype(np.float64) == expected).all())


def _length(x: Tensor, batch_first: bool) -> int:
    shape = x.array.shape
    return int(shape[1] if batch_first and len(shape) == 3 else shape[0])


class TransformerEncoder(Module):
    """A stack of copies of an encoder layer, and a norm behind it if one is given."""

    def __init__(
        self,
        encoder_layer: Module,
        num_layers: int,
        norm: Module | None = None,
        enable_nested_tensor: bool = True,
        mask_check: bool = True,
    ) -> None:
        super().__init__()
        self.layers = ModuleList([copy.deepcopy(encoder_layer) for _ in range(num_layers)])
        self.num_layers, self.norm = num_layers, norm
        self.enable_nested_tensor, self.mask_check = enable_nested_tensor, mask_check

    def forward(
        self,
        src: Tensor,
        mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        is_causal: bool | None = None,
    ) -> Tensor:
        padding = canonical_mask(src_key_padding_mask, "src_key_padding_mask", src.dtype)
        mask = canonical_mask(mask, "mask", src.dtype)
        batch_first = self.layers[0].self_attn.batch_first
        causal = _is_causal(mask, is_causal, _length(src, batch_first))
        y = src
        for layer in self.layers:
            y = layer(y, src_mask=mask, is_causal=causal, src_key_padding_mask=padding)
        if padding is not None and mask is None and self._leaves_out_padding(src, padding):
            y = y.masked_fill(Tensor(padding.array != 0).unsqueeze(-1), 0.0)
        return y if self.norm is None else self.norm(y)

    def _leaves_out_padding(self, src: Tensor, padding: Tensor) -> bool:
        """Whether PyTorch would take the way without padding (nested tensors), after which the padding is zeros."""
        layer = self.layers[0]
        recorded = is_grad_enabled() and (src.requires_grad or any(p.requires_grad for p in layer.parameters()))
        if (
            not self.enable_nested_tensor
            or not isinstance(layer, TransformerEncoderLayer)
            or layer.training
            or recorded
        ):
            return False
        attention, seen = layer.self_attn, host(padding.array) == 0
        return (
            src.ndim == 3
            and not layer.norm_first
            and attention.batch_first
            and attention.in_proj_weight is not None
            and attention.in_proj_bias is not None
            and attention.num_heads % 2 == 0
            and layer.activation in (functional.relu, functional.gelu)
            and layer.norm1.eps == layer.norm2.eps
            and not (self.mask_check and (seen[:, 1:] & ~seen[:, :-1]).any())
        )


class TransformerDecoder(Module):
    """A stack of copies of a decoder layer, and a norm behind it if one is given."""

    def __init__(self, decoder_layer: Module, num_layers: int, norm: Module | None = None) -> None:
        super().__init__()
        self.layers = ModuleList([copy.deepcopy(decoder_layer) for _ in range(num_layers)])
        self.num_layers, self.norm = num_layers, norm

    def forward(
        self,
        tgt: Tensor,
        memory: Tensor,
        tgt_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        tgt_key_padding_mask: Tensor | None = None,
        memory_key_padding_mask: Tensor | None = None,
        tgt_is_causal: bool | None = None,
        memory_is_causal: bool = False,
    ) -> Tensor:
        causal = _is_causal(tgt_mask, tgt_is_causal, _length(tgt, self.layers[0].self_attn.batch_first))
        y = tgt
        for layer in self.layers:
            y = layer(
                y,
                memory,
                tgt_mask=tgt_mask,
                memory_mask=memory_mask,
                tgt_key_padding_mask=tgt_key_padding_mask,
                memory_key_padding_mask=memory_key_padding_mask,
                tgt_is_causal=causal,
                memory_is_causal=memory_is_causal,
            )
        return y if self.norm is None else self.norm(y)


class Transformer(Module):
    """Encoder and decoder: source (S, N, d_model) and target (T, N, d_model) to (T, N, d_model)."""

    def __init__(
        self,
        d_model: int = 512,
        nhead: int = 8,
        num_encoder_layers: int = 6,
        num_decoder_layers: int = 6,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: Activation = "relu",
        custom_encoder: Any | None = None,
        custom_decoder: Any | None = None,
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        device: DeviceLike = None,
        dtype: DType | None = None,
    ) -> None:
        super().__init__()
        options = (d_model, nhead, dim_feedforward, dropout, activation, layer_norm_eps, batch_first, norm_first, bias)
        place = {"device": device, "dtype": dtype}
        if custom_encoder is not None:
            self.encoder = custom_encoder
        else:
            layer = TransformerEncoderLayer(*options, **place)  # type: ignore[arg-type]
            norm = LayerNorm(d_model, layer_norm_eps, bias=bias, **place)  # type: ignore[arg-type]
            self.encoder = TransformerEncoder(layer, num_encoder_layers, norm)
        if custom_decoder is not None:
            self.decoder = custom_decoder
        else:
            inner = TransformerDecoderLayer(*options, **place)  # type: ignore[arg-type]
            norm = LayerNorm(d_model, layer_norm_eps, bias=bias, **place)  # type: ignore[arg-type]
            self.decoder = TransformerDecoder(inner, num_decoder_layers, norm)
        self._reset_parameters()
        self.d_model, self.nhead, self.batch_first = d_model, nhead, batch_first

    def _reset_parameters(self) -> None:
        for parameter in self.parameters():
            if parameter.ndim > 1:
                init.xavier_uniform_(parameter)

    def forward(
        self,
        src: Tensor,
        tgt: Tensor,
        src_mask: Tensor | None = None,
        tgt_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        tgt_key_padding_mask: Tensor | None = None,
        memory_key_padding_mask: Tensor | None = None,
        src_is_causal: bool | None = None,
        tgt_is_causal: bool | None = None,
        memory_is_causal: bool = False,
    ) -> Tensor:
        batch = 0 if self.batch_first else 1
        if src.ndim == 3 and src.array.shape[batch] != tgt.array.shape[batch]:
            raise RuntimeError("the batch number of src and tgt must be equal")
        if src.array.shape[-1] != self.d_model or tgt.array.shape[-1] != self.d_model:
            raise RuntimeError("the feature number of src and tgt must be equal to d_model")
        memory = self.encoder(src, mask=src_mask, src_key_padding_mask=src_key_padding_mask, is_causal=src_is_causal)
        result: Tensor = self.decoder(
            tgt,
            memory,
            tgt_mask=tgt_mask,
            memory_mask=memory_mask,
            tgt_key_padding_mask=tgt_key_padding_mask,
            memory_key_padding_mask=memory_key_padding_mask,
            tgt_is_causal=tgt_is_causal,
            memory_is_causal=memory_is_causal,
        )
        return result

    @staticmethod
    def generate_square_subsequent_mask(sz: int, device: DeviceLike = None, dtype: DType | None = None) -> Tensor:
        """(sz, sz): -inf above the diagonal, else 0, so that a position sees none that comes after it."""
        return _causal_mask(sz, device, dtype)

"""Switches of CUDA's libraries (`torch.backends.cuda`)."""

from __future__ import annotations

from ddpnet import cuda


class _Products:
    """How matrix products are computed: in the precision of their arguments."""

    def __init__(self) -> None:
        self.allow_tf32 = False
        self.allow_fp16_reduced_precision_reduction = False
        self.allow_bf16_reduced_precision_reduction = False
        self.fp32_precision = "none"


matmul = _Products()


def is_built() -> bool:
    """Whether a GPU can be used."""
    return cuda.is_available()


def flash_sdp_enabled() -> bool:
    """Whether attention is computed in blocks: no."""
    return False


def mem_efficient_sdp_enabled() -> bool:
    """Whether attention is computed without its weights in memory: no."""
    return False


def math_sdp_enabled() -> bool:
    """Whether attention is computed as it is written: yes."""
    return True

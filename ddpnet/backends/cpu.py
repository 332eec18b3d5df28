"""The processor (`torch.backends.cpu`)."""

from __future__ import annotations

from ddpnet import blas


def get_cpu_capability() -> str:
    """The widest vector instructions that kernels use, in PyTorch's words."""
    return "AVX512" if blas.has_avx512() else "DEFAULT"

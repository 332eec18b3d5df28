"""Memory shared with other libraries by DLPack."""

from __future__ import annotations

from typing import Any

from ddpnet.ops.interop import from_dlpack
from ddpnet.tensor import Tensor

__all__ = ["from_dlpack", "to_dlpack"]


def to_dlpack(tensor: Tensor) -> Any:
    """The memory of a tensor as a DLPack capsule."""
    return tensor.__dlpack__()

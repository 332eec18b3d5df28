"""How elements lie in memory: PyTorch's layout and memory formats, as far as arrays have them."""

from __future__ import annotations


class Layout:
    """`torch.layout`: strided is the only one."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"torch.{self.name}"


class MemoryFormat:
    """`torch.memory_format`: in which order the dimensions lie in memory."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"torch.{self.name}"


strided = Layout("strided")
contiguous_format = MemoryFormat("contiguous_format")
preserve_format = MemoryFormat("preserve_format")
channels_last = MemoryFormat("channels_last")
channels_last_3d = MemoryFormat("channels_last_3d")

CHANNELS_LAST = {channels_last: 4, channels_last_3d: 5}
"""The number of dimensions that a tensor with the channels last in memory has."""


def memory_order(memory_format: MemoryFormat | None, ndim: int) -> tuple[int, ...] | None:
    """The dimensions from the slowest to the fastest where the channels are last, else None; RuntimeError if `ndim`
    does not fit."""
    if memory_format not in CHANNELS_LAST:
        return None
    if ndim != CHANNELS_LAST[memory_format]:
        raise RuntimeError(f"required rank {CHANNELS_LAST[memory_format]} tensor to use {memory_format.name} format")
    return (0, *range(2, ndim), 1)

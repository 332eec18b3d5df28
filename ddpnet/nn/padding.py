"""Layers that put more around their inputs."""

from __future__ import annotations

from typing import ClassVar

from ddpnet.nn.module import Module
from ddpnet.ops.extents import Extents, extents_of
from ddpnet.ops.padding import pad
from ddpnet.tensor import Tensor

__all__ = [
    "CircularPad1d",
    "CircularPad2d",
    "CircularPad3d",
    "ConstantPad1d",
    "ConstantPad2d",
    "ConstantPad3d",
    "ReflectionPad1d",
    "ReflectionPad2d",
    "ReflectionPad3d",
    "ReplicationPad1d",
    "ReplicationPad2d",
    "ReplicationPad3d",
    "ZeroPad1d",
    "ZeroPad2d",
    "ZeroPad3d",
]


class _Pad(Module):
    mode: ClassVar[str]
    dims: ClassVar[int]

    def __init__(self, padding: Extents) -> None:
        super().__init__()
        self.padding = _widths(padding, self.dims)

    def forward(self, input: Tensor) -> Tensor:
        self._check_input_dim(input)
        return pad(input, self.padding, self.mode)

    def _check_input_dim(self, input: Tensor) -> None:
        """Only circular padding says in which dimensions it is."""

    def extra_repr(self) -> str:
        return f"{self.padding}"


def _widths(padding: Extents, dims: int) -> tuple[int, ...]:
    return extents_of(padding, 2 * dims, "padding") if isinstance(padding, int) else tuple(padding)


class _ConstantPad(_Pad):
    def __init__(self, padding: Extents, value: float) -> None:
        super().__init__(padding)
        self.value = value

    def forward(self, input: Tensor) -> Tensor:
        return pad(input, self.padding, "constant", self.value)

    def extra_repr(self) -> str:
        return f"padding={self.padding}, value={self.value}"


class _CircularPad(_Pad):
    mode = "circular"

    def _check_input_dim(self, input: Tensor) -> None:
        if input.ndim not in (self.dims + 1, self.dims + 2):
            raise ValueError(f"expected {self.dims + 1}D or {self.dims + 2}D input (got {input.ndim}D input)")


class ConstantPad1d(_ConstantPad):
    """`value` around (N, C, L); the padding is one width, or (before, behind) from the last dimension on."""

    dims = 1


class ConstantPad2d(_ConstantPad):
    """`value` around (N, C, H, W); the padding is one width, or (before, behind) from the last dimension on."""

    dims = 2


class ConstantPad3d(_ConstantPad):
    """`value` around (N, C, D, H, W); the padding is one width, or (before, behind) from the last dimension on."""

    dims = 3


class ZeroPad1d(ConstantPad1d):
    """Zeros around (N, C, L)."""

    def __init__(self, padding: Extents) -> None:
        super().__init__(padding, 0.0)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class ZeroPad2d(ConstantPad2d):
    """Zeros around (N, C, H, W)."""

    def __init__(self, padding: Extents) -> None:
        super().__init__(padding, 0.0)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class ZeroPad3d(ConstantPad3d):
    """Zeros around (N, C, D, H, W)."""

    def __init__(self, padding: Extents) -> None:
        super().__init__(padding, 0.0)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class ReflectionPad1d(_Pad):
    """(N, C, L) reflected at its edges, which are not repeated."""

    mode, dims = "reflect", 1


class ReflectionPad2d(_Pad):
    """(N, C, H, W) reflected at its edges, which are not repeated."""

    mode, dims = "reflect", 2


class ReflectionPad3d(_Pad):
    """(N, C, D, H, W) reflected at its edges, which are not repeated."""

    mode, dims = "reflect", 3


class ReplicationPad1d(_Pad):
    """(N, C, L) with its edges repeated."""

    mode, dims = "replicate", 1


class ReplicationPad2d(_Pad):
    """(N, C, H, W) with its edges repeated."""

    mode, dims = "replicate", 2


class ReplicationPad3d(_Pad):
    """(N, C, D, H, W) with its edges repeated."""

    mode, dims = "replicate", 3


class CircularPad1d(_CircularPad):
    """(N, C, L) continued on the other side."""

    dims = 1


class CircularPad2d(_CircularPad):
    """(N, C, H, W) continued on the other side."""

    dims = 2


class CircularPad3d(_CircularPad):
    """(N, C, D, H, W) continued on the other side."""

    dims = 3

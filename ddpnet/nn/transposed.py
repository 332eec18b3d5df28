"""Transposed convolution layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from ddpnet.dtypes import DType
from ddpnet.nn.conv import _ConvNd
from ddpnet.ops.creation import DeviceLike
from ddpnet.ops.extents import Extents
from ddpnet.ops.transposed_convolution import conv_transpose1d, conv_transpose2d, conv_transpose3d
from ddpnet.tensor import Tensor

__all__ = ["ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d"]


class _ConvTransposeNd(_ConvNd):
    """Transposed convolution of 1, 2 or 3 dimensions; a subclass says which."""

    transposed = True
    function: ClassVar[Callable[..., Tensor]]

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Extents,
        stride: Extents = 1,
        padding: Extents = 0,
        output_padding: Extents = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Extents = 1,
        padding_mode: str = "zeros",
        device: DeviceLike = None,
        dtype: DType | None = None,
    ) -> None:
        super().__init__()
        if isinstance(padding, str):
            raise TypeError(f"padding: expected an int or {self.dims} ints, got {padding!r}")
        if padding_mode != "zeros":
            raise ValueError(f'Only "zeros" padding mode is supported for {type(self).__name__}')
        sizes = (in_channels, out_channels, kernel_size, stride, padding, output_padding, dilation, groups)
        self._build(*sizes, bias, padding_mode, device, dtype)

    def forward(self, input: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        """`output_size`, the last dimensions of the output or all of them, chooses the output_padding."""
        more = self.output_padding if output_size is None else self._output_padding(input, output_size)
        convolve = type(self).function
        return convolve(input, self.weight, self.bias, self.stride, self.padding, more, self.groups, self.dilation)

    def _output_padding(self, input: Tensor, output_size: Sequence[int]) -> tuple[int, ...]:
        dims = self.dims
        leading = input.ndim - dims
        wanted = list(output_size)
        if len(wanted) == leading + dims:
            wanted = wanted[leading:]
        if len(wanted) != dims:
            raise ValueError(
                f"ConvTranspose{dims}D: for {input.ndim}D input, output_size must have {dims} or {leading + dims} "
                f"elements (got {len(wanted)})"
            )
        assert not isinstance(self.padding, str)
        along = zip(input.shape[leading:], self.stride, self.padding, self.dilation, self.kernel_size, strict=True)
        least = [(n - 1) * step - 2 * zeros + gap * (k - 1) + 1 for n, step, zeros, gap, k in along]
        most = [size + step - 1 for size, step in zip(least, self.stride, strict=True)]
        if any(not low <= size <= high for low, size, high in zip(least, wanted, most, strict=True)):
            raise ValueError(
                f"requested an output size of {list(output_size)}, but valid sizes range from {least} to {most} (for "
                f"an input of {list(input.shape[2:])})"
            )
        return tuple(size - low for size, low in zip(wanted, least, strict=True))


class ConvTranspose1d(_ConvTransposeNd):
    """One-dimensional transposed convolution: (N, in_channels, L) to (N, out_channels, L')."""

    dims = 1
    function = staticmethod(conv_transpose1d)


class ConvTranspose2d(_ConvTransposeNd):
    """Two-dimensional transposed convolution: (N, in_channels, H, W) to (N, out_channels, H', W')."""

    dims = 2
    function = staticmethod(conv_transpose2d)


class ConvTranspose3d(_ConvTransposeNd):
    """Three-dimensional transposed convolution: (N, in_channels, D, H, W) to (N, out_channels, D', H', W')."""

    dims = 3
    function = staticmethod(conv_transpose3d)

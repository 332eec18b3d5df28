"""Convolution layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from ddpnet.dtypes import DType
from ddpnet.nn import init
from ddpnet.nn.module import Module
from ddpnet.nn.parameter import Parameter
from ddpnet.ops.convolution import conv1d, conv2d, conv3d
from ddpnet.ops.creation import DeviceLike, empty
from ddpnet.ops.extents import Extents, extents_of
from ddpnet.ops.padding import pad
from ddpnet.tensor import Tensor

PADDING_MODES = ("zeros", "reflect", "replicate", "circular")


class _ConvNd(Module):
    """What convolutions and transposed convolutions of 1, 2 or 3 dimensions have in common."""

    dims: ClassVar[int]
    transposed: ClassVar[bool] = False

    def _build(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Extents,
        stride: Extents,
        padding: Extents | str,
        output_padding: Extents,
        dilation: Extents,
        groups: int,
        bias: bool,
        padding_mode: str,
        device: DeviceLike,
        dtype: DType | None,
    ) -> None:
        if groups <= 0:
            raise ValueError("groups must be a positive integer")
        if in_channels % groups:
            raise ValueError("in_channels must be divisible by groups")
        if out_channels % groups:
            raise ValueError("out_channels must be divisible by groups")
        if isinstance(padding, str):
            if padding not in ("same", "valid"):
                raise ValueError(f"Invalid padding string {padding!r}, should be one of 'same', 'valid'")
            if padding == "same" and any(step != 1 for step in extents_of(stride, self.dims, "stride")):
                raise ValueError("padding='same' is not supported for strided convolutions")
        if padding_mode not in PADDING_MODES:
            raise ValueError(
                f"padding_mode must be one of {list(PADDING_MODES)}, but got padding_mode='{padding_mode}'"
            )
        self.in_channels, self.out_channels = in_channels, out_channels
        self.kernel_size = extents_of(kernel_size, self.dims, "kernel_size")
        self.stride = extents_of(stride, self.dims, "stride")
        self.padding = padding if isinstance(padding, str) else extents_of(padding, self.dims, "padding")
        self.dilation = extents_of(dilation, self.dims, "dilation")
        self.output_padding = extents_of(output_padding, self.dims, "output_padding")
        self.groups, self.padding_mode = groups, padding_mode
        channels = (in_channels, out_channels // groups) if self.transposed else (out_channels, in_channels // groups)
        self.weight = Parameter(empty((*channels, *self.kernel_size), device=device, dtype=dtype))
        offset = Parameter(empty(out_channels, device=device, dtype=dtype)) if bias else None
        self.register_parameter("bias", offset)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new initial values."""
        init.default_(self.weight, self.bias)

    def extra_repr(self) -> str:
        none = (0,) * self.dims
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        if self.padding != none:
            text += f", padding={self.padding}"
        if self.dilation != (1,) * self.dims:
            text += f", dilation={self.dilation}"
        if self.output_padding != none:
            text += f", output_padding={self.output_padding}"
        if self.groups != 1:
            text += f", groups={self.groups}"
        if self.bias is None:
            text += ", bias=False"
        return text if self.padding_mode == "zeros" else text + f", padding_mode={self.padding_mode}"


class Convolution(_ConvNd):
    """Convolution of 1, 2 or 3 dimensions; a subclass says which."""

    function: ClassVar[Callable[..., Tensor]]

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Extents,
        stride: Extents = 1,
        padding: Extents | str = 0,
        dilation: Extents = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: DeviceLike = None,
        dtype: DType | None = None,
    ) -> None:
        super().__init__()
        sizes = (in_channels, out_channels, kernel_size, stride, padding, 0, dilation, groups)
        self._build(*sizes, bias, padding_mode, device, dtype)
        self._around = self._widths()

    def _widths(self) -> tuple[int, ...]:
        """What `pad` takes to add the padding first: (before, behind) from the last dimension on."""
        if isinstance(self.padding, str):
            same = self.padding == "same"
            total = [gap * (k - 1) if same else 0 for gap, k in zip(self.dilation, self.kernel_size, strict=True)]
            sides = [(zeros // 2, zeros - zeros // 2) for zeros in total]
        else:
            sides = [(zeros, zeros) for zeros in self.padding]
        return tuple(width for pair in sides[::-1] for width in pair)

    def forward(self, input: Tensor) -> Tensor:
        convolve, padding = type(self).function, self.padding
        if self.padding_mode != "zeros":
            input, padding = pad(input, self._around, self.padding_mode), (0,)
        return convolve(input, self.weight, self.bias, self.stride, padding, self.dilation, self.groups)


class Conv1d(Convolution):
    """One-dimensional convolution: (N, in_channels, L) to (N, out_channels, L')."""

    dims = 1
    function = staticmethod(conv1d)


class Conv2d(Convolution):
    """Two-dimensional convolution: (N, in_channels, H, W) to (N, out_channels, H', W')."""

    dims = 2
    function = staticmethod(conv2d)


class Conv3d(Convolution):
    """Three-dimensional convolution: (N, in_channels, D, H, W) to (N, out_channels, D', H', W')."""

    dims = 3
    function = staticmethod(conv3d)


__all__: list[str] = ["Conv1d", "Conv2d", "Conv3d"]

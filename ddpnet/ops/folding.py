"""Windows of images as columns, and columns added up to images."""

from __future__ import annotations

from ddpnet.backend import Array, array_module
from ddpnet.kernels.geometry import convolved_extent
from ddpnet.ops.extents import Extents, extents_of
from ddpnet.ops.op import Op
from ddpnet.ops.precision import in_float32
from ddpnet.tensor import Tensor

__all__: list[str] = []

Geometry = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], tuple[int, ...]]
"""Kernel, dilation, padding and stride, each (rows, columns)."""


class Im2col(Op):
    """(N, C, H, W) to (N, C * KH * KW, windows)."""

    def forward(self, x, geometry):
        self.size, self.geometry = x.shape[2:], geometry
        return columns(x, geometry)

    def backward(self, g):
        return images(g, self.size, self.geometry)

    def differentiable_backward(self, g):
        return Col2im.apply(g, size=self.size, geometry=self.geometry)


@in_float32
class Col2im(Op):
    """(N, C * KH * KW, windows) to (N, C, H, W), where windows overlap added up."""

    def forward(self, x, size, geometry):
        self.geometry = geometry
        return images(x, size, geometry)

    def backward(self, g):
        return columns(g, self.geometry)

    def differentiable_backward(self, g):
        return Im2col.apply(g, geometry=self.geometry)


def counts(size: tuple[int, ...], geometry: Geometry) -> list[int]:
    """Windows along each dimension."""
    kernel, dilation, padding, stride = geometry
    along = zip(size, kernel, stride, padding, dilation, strict=True)
    return [convolved_extent(*one) for one in along]


def columns(x: Array, geometry: Geometry) -> Array:
    """For each window a column of the elements in it; 0 for the padding."""
    (kh, kw), (dh, dw), (ph, pw), (sh, sw) = geometry
    rows, cols = counts(x.shape[2:], geometry)
    xp, (n, c) = array_module(x), x.shape[:2]
    if ph or pw:
        padded = xp.zeros((n, c, x.shape[2] + 2 * ph, x.shape[3] + 2 * pw), x.dtype)
        padded[:, :, ph : ph + x.shape[2], pw : pw + x.shape[3]] = x
        x = padded
    y = xp.empty((n, c, kh, kw, rows, cols), x.dtype)
    for i in range(kh):
        for j in range(kw):
            y[:, :, i, j] = x[
                :, :, i * dh : i * dh + (rows - 1) * sh + 1 : sh, j * dw : j * dw + (cols - 1) * sw + 1 : sw
            ]
    return y.reshape(n, c * kh * kw, rows * cols)


def images(y: Array, size: tuple[int, ...], geometry: Geometry) -> Array:
    """The columns added up where their elements came from."""
    (kh, kw), (dh, dw), (ph, pw), (sh, sw) = geometry
    rows, cols = counts(size, geometry)
    n, c = len(y), y.shape[1] // (kh * kw)
    y = y.reshape(n, c, kh, kw, rows, cols)
    x = array_module(y).zeros((n, c, size[0] + 2 * ph, size[1] + 2 * pw), y.dtype)
    for i in range(kh):
        for j in range(kw):
            x[:, :, i * dh : i * dh + (rows - 1) * sh + 1 : sh, j * dw : j * dw + (cols - 1) * sw + 1 : sw] += y[
                :, :, i, j
            ]
    return x[:, :, ph : ph + size[0], pw : pw + size[1]].copy() if ph or pw else x


def unfold(
    input: Tensor, kernel_size: Extents, dilation: Extents = 1, padding: Extents = 0, stride: Extents = 1
) -> Tensor:
    """The windows of input (N, C, H, W) or (C, H, W) as columns: (N, C * KH * KW, windows) or without N."""
    geometry = _geometry(kernel_size, dilation, padding, stride)
    shape = input.array.shape
    if len(shape) not in (3, 4) or 0 in shape[-3:]:
        raise RuntimeError(
            "Expected 3D or 4D (batch mode) tensor with possibly 0 batch size and other non-zero dimensions for input, "
            f"but got: {list(shape)}"
        )
    if min(counts(shape[-2:], geometry)) < 1:
        raise RuntimeError(
            f"Given input with spatial size {shape[-2:]}, kernel_size={geometry[0]}, dilation={geometry[1]}, "
            f"padding={geometry[2]}, stride={geometry[3]}, calculated shape of the array of sliding blocks as "
            f"{tuple(counts(shape[-2:], geometry))}, but its components must be at least one."
        )
    if len(shape) == 3:
        return Im2col.apply(input.unsqueeze(0), geometry=geometry).squeeze(0)
    return Im2col.apply(input, geometry=geometry)


def fold(
    input: Tensor,
    output_size: Extents,
    kernel_size: Extents,
    dilation: Extents = 1,
    padding: Extents = 0,
    stride: Extents = 1,
) -> Tensor:
    """Columns (N, C * KH * KW, windows), or without N, added up to images (N, C, *output_size)."""
    size, geometry = extents_of(output_size, 2, "output_size"), _geometry(kernel_size, dilation, padding, stride)
    shape, elements = input.array.shape, geometry[0][0] * geometry[0][1]
    if len(shape) not in (2, 3) or 0 in shape[-2:]:
        raise RuntimeError(
            "Expected 2D or 3D (batch mode) tensor for input with possibly 0 batch size and non-zero dimensions for "
            f"input, but got: {list(shape)}"
        )
    if min(size) < 1:
        raise RuntimeError(f"Expected output spatial size to be positive, but got: output_size={size}")
    if shape[-2] % elements:
        raise RuntimeError(
            f"Expected size of input's dimension 1 to be divisible by the product of kernel_size, but got "
            f"input.size(1)={shape[-2]} and kernel_size={geometry[0]}."
        )
    rows, cols = counts(size, geometry)
    if rows < 1 or cols < 1 or rows * cols != shape[-1]:
        raise RuntimeError(
            f"Given output_size={size}, kernel_size={geometry[0]}, dilation={geometry[1]}, padding={geometry[2]}, "
            f"stride={geometry[3]}, expected size of input's dimension 2 to match the calculated number of sliding "
            f"blocks {rows} * {cols} = {rows * cols}, but got input.size(2)={shape[-1]}."
        )
    if len(shape) == 2:
        return Col2im.apply(input.unsqueeze(0), size=size, geometry=geometry).squeeze(0)
    return Col2im.apply(input, size=size, geometry=geometry)


def _geometry(kernel_size: Extents, dilation: Extents, padding: Extents, stride: Extents) -> Geometry:
    kernel, gaps = extents_of(kernel_size, 2, "kernel_size"), extents_of(dilation, 2, "dilation")
    zeros, steps = extents_of(padding, 2, "padding"), extents_of(stride, 2, "stride")
    for values, name in ((kernel, "kernel size"), (gaps, "dilation"), (steps, "stride")):
        if min(values) < 1:
            raise RuntimeError(f"{name} should be greater than zero, but got {values}")
    if min(zeros) < 0:
        raise RuntimeError(f"padding should be non-negative, but got {zeros}")
    return kernel, gaps, zeros, steps

"""Images of other sizes: each output is a weighted sum of a few inputs along each dimension."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ddpnet.backend import Array, array_module
from ddpnet.dtypes import category
from ddpnet.kernels.precision import is_half
from ddpnet.ops.adaptive_pooling import adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d
from ddpnet.ops.autocasting import autocasts
from ddpnet.ops.op import Op
from ddpnet.ops.precision import in_float32
from ddpnet.ops.sampling_weights import MODES, Taps, taps
from ddpnet.tensor import Tensor

__all__: list[str] = []

Size = int | Sequence[int] | None
Factor = float | Sequence[float] | None


@in_float32
class Interpolate(Op):
    """Along each of the last dimensions `ways` has the indices of the inputs of each output, and their weights."""

    graph_name = "UpsampleBackward0"

    def forward(self, x, ways):
        self.ways, self.extents = ways, x.shape[x.ndim - len(ways) :]
        return resampled(x, ways)

    def backward(self, g):
        return gathered_back(g, self.ways, self.extents)

    def differentiable_backward(self, g):
        return InterpolateBack.apply(g, ways=self.ways, extents=self.extents)


@in_float32
class InterpolateBack(Op):
    """The gradient of Interpolate for inputs of `extents`."""

    graph_name = "UpsampleBackwardBackward0"

    def forward(self, g, ways, extents):
        self.ways = ways
        return gathered_back(g, ways, extents)

    def backward(self, u):
        return resampled(u, self.ways)

    def differentiable_backward(self, u):
        return Interpolate.apply(u, ways=self.ways)


def resampled(x: Array, ways: Sequence[Taps]) -> Array:
    """The weighted sums, one dimension after the other."""
    xp, y = array_module(x), x
    for axis, (places, weights) in enumerate(ways, x.ndim - len(ways)):
        factor = _whole_factor(places[0], x.shape[axis])
        if weights is None and factor:
            y = y.repeat(factor, axis)
            continue
        if weights is None:
            y = y.take(xp.asarray(places[0]), axis)
            continue
        shape = (-1, *(1,) * (x.ndim - axis - 1))
        total = None
        for place, weight in zip(places, weights, strict=True):
            part = y.take(xp.asarray(place), axis) * xp.asarray(weight.astype(x.dtype)).reshape(shape)
            total = part if total is None else xp.add(total, part, out=total)
        y = total
    return y


def gathered_back(g: Array, ways: Sequence[Taps], extents: tuple[int, ...]) -> Array:
    """Each element of g added, times its weights, to the inputs that it came from."""
    xp = array_module(g)
    for number, (places, weights) in enumerate(ways):
        axis, extent = g.ndim - len(ways) + number, extents[number]
        factor = _whole_factor(places[0], extent)
        if weights is None and factor:
            before = (slice(None),) * axis
            total = g[(*before, slice(0, None, factor))]
            for first in range(1, factor):  # a sum over so short a dimension takes NumPy several times longer
                total = total + g[(*before, slice(first, None, factor))]
            g = total
            continue
        matrix = np.zeros((places.shape[1], extent), g.dtype)
        values = np.ones(places.shape, g.dtype) if weights is None else weights.astype(g.dtype)
        for place, value in zip(places, values, strict=True):
            np.add.at(matrix, (np.arange(len(place)), place), value)
        g = xp.moveaxis(xp.matmul(xp.moveaxis(g, axis, -1), xp.asarray(matrix)), -1, axis)
    return xp.ascontiguousarray(g)


def _whole_factor(place: np.ndarray, extent: int) -> int:
    """How often each input is repeated if all are equally often and in order, else 0."""
    factor, rest = divmod(len(place), extent)
    return factor if not rest and bool((place == np.arange(len(place)) // max(factor, 1)).all()) else 0


@autocasts("float32", "cuda")
def interpolate(
    input: Tensor,
    size: Size = None,
    scale_factor: Factor = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Tensor:
    """Input (N, C, ...) with 1 to 3 further dimensions, in another size, or by a factor.

    `mode` is nearest, nearest-exact, linear, bilinear, bicubic, trilinear or area; `align_corners` lets the corners
    keep their values, `antialias` (bilinear and bicubic) widens the window as the image shrinks. ValueError where
    options do not go together, NotImplementedError for modes and dimensions that there are not.
    """
    dims = input.ndim - 2
    if align_corners is not None and mode in ("nearest", "area", "nearest-exact"):
        raise ValueError(
            "align_corners option can only be set with the interpolating modes: linear | bilinear | bicubic | trilinear"
        )
    sizes, factors = _target(input, size, scale_factor, dims)
    if recompute_scale_factor and factors is None:
        raise ValueError("recompute_scale_factor is not meaningful with an explicit size.")
    if recompute_scale_factor or mode == "area":
        factors = None
    if antialias and not (mode in ("bilinear", "bicubic") and input.ndim == 4):
        raise ValueError(
            "Anti-alias option is restricted to bilinear and bicubic modes and requires a 4-D tensor as input"
        )
    if mode not in MODES or dims not in MODES[mode]:
        raise NotImplementedError(
            "Input Error: Only 3D, 4D and 5D input Tensors supported, each for its modes (nearest | nearest-exact | "
            f"area for all, linear, bilinear | bicubic, trilinear); got {input.ndim}D for mode {mode!r}"
        )
    if mode == "area":
        return (adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d)[dims - 1](input, sizes)
    if min(sizes) < 1 or 0 in input.array.shape[1:]:
        raise RuntimeError(
            f"Input and output sizes should be greater than 0, but got input (of {list(input.shape)}) and output "
            f"{list(sizes)}"
        )
    return _resampled(input, sizes, factors or [None] * dims, mode, bool(align_corners), antialias)


def _target(input: Tensor, size: Size, scale_factor: Factor, dims: int) -> tuple[list[int], list[float] | None]:
    """(the extents of the output, the factors if these were given)."""
    if size is not None and scale_factor is not None:
        raise ValueError("only one of size or scale_factor should be defined")
    given: Any = size if size is not None else scale_factor
    if given is None:
        raise ValueError("either size or scale_factor should be defined")
    values = list(given) if isinstance(given, list | tuple) else [given] * dims
    if len(values) != dims:
        raise ValueError(
            "Input and output must have the same number of spatial dimensions, but got input with spatial dimensions "
            f"of {list(input.shape[2:])} and {'output size' if size is not None else 'scale_factor'} of {given}."
        )
    if size is not None:
        if any(isinstance(value, float) for value in values):
            raise TypeError(f"expected size to be one of int or a tuple of int, but got {size!r}")
        return [int(value) for value in values], None
    return [math.floor(n * float(s)) for n, s in zip(input.shape[2:], values, strict=True)], [float(s) for s in values]


def _resampled(
    input: Tensor, sizes: list[int], factors: Sequence[float | None], mode: str, align_corners: bool, antialias: bool
) -> Tensor:
    dtype = input.array.dtype
    exact = np.float64 if dtype in (np.float64, np.uint8) else np.float32
    along = zip(input.array.shape[2:], sizes, factors, strict=True)
    ways = tuple(taps(n, o, factor, mode, align_corners, antialias, exact) for n, o, factor in along)
    if is_half(input.array) and mode in ("linear", "trilinear"):
        ways = tuple(_with_half_weights(*way, dtype) for way in ways)
    if category(dtype) == 2 or (dtype == np.uint8 and mode.startswith("nearest")):
        return Interpolate.apply(input, ways=ways)
    if dtype == np.uint8 and mode in ("bilinear", "bicubic"):
        return Tensor(_resampled_bytes(input.array, ways))
    raise NotImplementedError(f'"upsample_{mode}" not implemented for {input.dtype.scalar_name!r}')


def _with_half_weights(places: np.ndarray, weights: Any, dtype: Any) -> Taps:
    """PyTorch rounds the share of the second neighbour to the input's type; only the sums are of float32."""
    share = weights[1].astype(dtype)
    return places, np.stack([dtype.type(1) - share, share]).astype(np.float32)


def _resampled_bytes(x: Array, ways: Sequence[Taps]) -> Array:
    """As `resampled`, from the last dimension on, with weights of 15 bits and bytes in between, as PyTorch does."""
    xp = array_module(x)
    for axis, (places, weights) in reversed(list(enumerate(ways, x.ndim - len(ways)))):
        assert weights is not None
        for number in range(len(places) - 1):  # a place that is taken several times has one weight
            again = places[number] == places[number + 1]
            weights[number + 1] += np.where(again, weights[number], 0)
            weights[number] *= ~again
        bits = next(p for p in range(22) if int(0.5 + float(weights.max()) * 2 ** (p + 1)) >= 2**15)
        whole = np.trunc(weights * 2**bits + np.copysign(0.5, weights)).astype(np.int32)
        shape = (-1, *(1,) * (x.ndim - axis - 1))
        total = 2 ** (bits - 1)
        for place, weight in zip(places, whole, strict=True):
            total = total + x.take(xp.asarray(place), axis) * xp.asarray(weight).reshape(shape)
        x = (total >> bits).clip(0, 255).astype(x.dtype)
    return x


@autocasts("float32", "cuda")
def upsample(
    input: Tensor,
    size: Size = None,
    scale_factor: Factor = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
) -> Tensor:
    """The old name of `interpolate`."""
    return interpolate(input, size, scale_factor, mode, align_corners)


def upsample_nearest(input: Tensor, size: Size = None, scale_factor: Factor = None) -> Tensor:
    """`interpolate` with mode 'nearest'."""
    return interpolate(input, size, scale_factor, mode="nearest")


def upsample_bilinear(input: Tensor, size: Size = None, scale_factor: Factor = None) -> Tensor:
    """`interpolate` with mode 'bilinear' and aligned corners."""
    return interpolate(input, size, scale_factor, mode="bilinear", align_corners=True)

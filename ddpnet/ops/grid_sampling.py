"""Images looked at in other places (Spatial Transformer Networks, Jaderberg et al. 2015)."""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from ddpnet.backend import array_module
from ddpnet.dtypes import category
from ddpnet.ops.autocasting import autocasts
from ddpnet.ops.choice import where
from ddpnet.ops.op import Op
from ddpnet.ops.pooling import PlaneGather, PlaneScatter, gathered, scattered
from ddpnet.ops.presence import present
from ddpnet.ops.sampling_weights import cubic_weights
from ddpnet.tensor import Tensor

__all__: list[str] = []


class NearestSample(Op):
    """The values of x at places of which small moves change nothing: the gradient of the grid is zero."""

    graph_name = "GridSampler2DBackward0"

    def forward(self, x, grid, places):
        self.shape, self.grid, self.places = x.shape, grid.shape, places
        return gathered(x, places, x.ndim - 2)

    def backward(self, g):
        dx = scattered(g, self.places, self.shape, g.ndim - 2)
        return dx, array_module(g).zeros(self.grid, g.dtype)

    def differentiable_backward(self, g):
        dx = PlaneScatter.apply(g, places=self.places, shape=self.shape, dims=g.ndim - 2)
        return present(self, dx), present(self, g.new_zeros(self.grid))


@autocasts("float32", "cpu")
def grid_sample(
    input: Tensor,
    grid: Tensor,
    mode: str = "bilinear",
    padding_mode: str = "zeros",
    align_corners: bool | None = None,
) -> Tensor:
    """The values of input (N, C, H, W) at the places grid (N, H', W', 2), (x, y) between -1 and 1; or with depth.

    `mode` is bilinear, nearest or bicubic; beyond the edges there are zeros, the values at the border, or a reflection.
    ValueError for other modes, RuntimeError for shapes and dtypes that do not fit.
    """
    if mode not in ("bilinear", "nearest", "bicubic"):
        raise ValueError(
            f"nn.functional.grid_sample(): expected mode to be 'bilinear', 'nearest' or 'bicubic', but got: '{mode}'"
        )
    if padding_mode not in ("zeros", "border", "reflection"):
        raise ValueError(
            "nn.functional.grid_sample(): expected padding_mode to be 'zeros', 'border', or 'reflection', but got: "
            f"'{padding_mode}'"
        )
    if align_corners is None:
        _warn_of_default()
    _check(input, grid, mode)
    return _sampled(input, grid, mode, padding_mode, bool(align_corners))


def _warn_of_default() -> None:
    warnings.warn(
        "Default grid_sample and affine_grid behavior has changed to align_corners=False since 1.3.0. Please specify "
        "align_corners=True if the old behavior is desired.",
        stacklevel=3,
    )


def _check(input: Tensor, grid: Tensor, mode: str) -> None:
    if input.array.dtype != grid.array.dtype:
        raise RuntimeError(
            f"grid_sampler(): expected input and grid to have same dtype, but input has {input.dtype} and grid has "
            f"{grid.dtype}"
        )
    if category(input.array.dtype) < 2:
        raise NotImplementedError(f'"grid_sampler" not implemented for {input.dtype.scalar_name!r}')
    dims = input.ndim - 2
    if dims not in (2, 3) or grid.ndim != input.ndim or len(input.array) != len(grid.array):
        raise RuntimeError(
            "grid_sampler(): expected 4D or 5D input and grid with the same number of dimensions and the same batch "
            f"size, but got input with sizes {list(input.shape)} and grid with sizes {list(grid.shape)}"
        )
    if grid.shape[-1] != dims:
        raise RuntimeError(
            f"grid_sampler(): expected grid to have size {dims} in last dimension, but got grid with sizes "
            f"{list(grid.shape)}"
        )
    if 0 in input.array.shape[2:]:
        raise RuntimeError(
            f"grid_sampler(): expected input to have non-empty spatial dimensions, but got {list(input.shape)}"
        )
    if mode == "bicubic" and dims == 3:
        raise RuntimeError("grid_sampler(): bicubic interpolation only supports 4D input")


def _sampled(x: Tensor, grid: Tensor, mode: str, padding_mode: str, align_corners: bool) -> Tensor:
    extents = x.array.shape[2:]
    dims = len(extents)
    places = []
    for axis, extent in enumerate(extents):
        coordinate = grid[..., dims - 1 - axis]  # x, the last dimension, is first
        coordinate = (coordinate + 1) * ((extent - 1) / 2) if align_corners else ((coordinate + 1) * extent - 1) / 2
        if mode != "bicubic":
            coordinate = _inside(coordinate, extent, padding_mode, align_corners)
        places.append(coordinate)
    if mode == "nearest":
        nearest = [array_module(place.array).rint(place.array) for place in places]
        return NearestSample.apply(x, grid, places=_flat_places(x, nearest))
    floors = [array_module(place.array).floor(place.array) for place in places]
    shares = [place - Tensor(floor) for place, floor in zip(places, floors, strict=True)]
    if mode == "bicubic":
        weights: list[Any] = [cubic_weights(share) for share in shares]
        first = -1
    else:
        weights, first = [(1 - share, share) for share in shares], 0
    total: Any = None
    for corner in itertools.product(range(len(weights[0])), repeat=dims):
        at = [floor + (number + first) for floor, number in zip(floors, corner, strict=True)]
        if mode == "bicubic":
            at = [
                _inside(Tensor(one), extent, padding_mode, align_corners).array
                for one, extent in zip(at, extents, strict=True)
            ]
        weight = math.prod(
            (way[number] for way, number in zip(weights[1:], corner[1:], strict=True)), start=weights[0][corner[0]]
        )
        part = _at(x, at) * weight.unsqueeze(1)
        total = part if total is None else total + part
    result: Tensor = total
    return result


def _inside(place: Tensor, extent: int, padding_mode: str, align_corners: bool) -> Tensor:
    """Places brought between the edges; no gradient flows where the border was taken."""
    if padding_mode == "zeros":
        return place
    if padding_mode == "reflection":
        low, span = (0.0, extent - 1.0) if align_corners else (-0.5, float(extent))
        if span == 0:
            place = place * 0
        else:
            beyond = (place - low).abs()
            xp = array_module(beyond.array)
            flips = xp.floor(beyond.array / place.array.dtype.type(span))
            rest = beyond - Tensor(flips * place.array.dtype.type(span))
            place = where(Tensor(flips % 2 == 0), rest + low, span + low - rest)
    edge = extent - 1
    values = place.array
    clipped = Tensor(array_module(values).clip(values, 0, edge).astype(values.dtype))
    return where(Tensor((values > 0) & (values < edge)), place, clipped)


def _at(x: Tensor, places: Sequence[Any]) -> Tensor:
    """The values of x (N, C, ...) at whole places, an array (N, ...) for each dimension; 0 outside."""
    return PlaneGather.apply(x, places=_flat_places(x, places), dims=x.ndim - 2)


def _flat_places(x: Tensor, places: Sequence[Any]) -> Any:
    """(N, C, ...) with the places in the flattened image; -1 outside."""
    xp = array_module(x.array)
    extents = x.array.shape[2:]
    flat, valid = 0, True
    for place, extent in zip(places, extents, strict=True):
        here = (place >= 0) & (place < extent)
        flat = flat * extent + xp.where(here, place, 0).astype(np.int64)
        valid = valid & here
    chosen = xp.where(valid, flat, -1)[:, None]
    return xp.broadcast_to(chosen, (chosen.shape[0], x.array.shape[1], *chosen.shape[2:]))


def affine_grid(theta: Tensor, size: Sequence[int], align_corners: bool | None = None) -> Tensor:
    """The places that `grid_sample` takes, of the affine maps theta (N, 2, 3) for images of `size` (N, C, H, W); or (N,
    3, 4) with depth."""
    if align_corners is None:
        _warn_of_default()
    extents = tuple(int(extent) for extent in size[2:])
    dims = len(extents)
    if category(theta.array.dtype) < 2:
        raise ValueError(f"Expected theta to have floating point type, but got {theta.dtype}")
    if dims not in (2, 3):
        raise NotImplementedError(
            "affine_grid only supports 4D and 5D sizes, for 2D and 3D affine transforms, respectively. Got size "
            f"{tuple(size)}."
        )
    if theta.array.shape[1:] != (dims, dims + 1) or theta.ndim != 3:
        raise ValueError(
            f"Expected a batch of {dims}D affine matrices of shape Nx{dims}x{dims + 1} for size {tuple(size)}. Got "
            f"{tuple(theta.shape)}."
        )
    if min(extents) < 1:
        raise ValueError(f"Expected non-zero, positive output size. Got {tuple(size)}")
    axes = [_from_minus_one(extent, bool(align_corners)) for extent in extents]
    parts = [*np.meshgrid(*axes, indexing="ij")[::-1], np.ones(extents)]
    base = np.stack(parts, axis=-1).reshape(1, math.prod(extents), dims + 1).astype(theta.array.dtype)
    grid = Tensor(array_module(theta.array).asarray(base)) @ theta.transpose(1, 2)
    return grid.reshape(theta.shape[0], *extents, dims)


def _from_minus_one(extent: int, align_corners: bool) -> np.ndarray:
    if extent == 1:
        return np.zeros(1)
    steps = np.linspace(-1, 1, extent)
    return steps if align_corners else steps * (extent - 1) / extent

"""Rows of padding, interpolation, folding, shuffling and sampling."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tables import Table, real, whole

TABLE = Table()
row = TABLE.row


def call(name: str, *args: Any, **options: Any) -> Callable[..., Any]:
    return lambda torch, x: getattr(torch.nn.functional, name)(x, *args, **options)


for widths in ((1, 2), (0, 3, 2, 1), (-1, 2), (1, 1, -2, -1), (0, 0, 0, 0, 1, 2)):
    row(f"pad {widths}", call("pad", widths), real(2, 3, 4))
row("pad with a value", call("pad", (1, 2), value=1.5), real(2, 3))
row("pad of nothing", call("pad", (1, 2)), real(2, 0))
row("pad of integers", call("pad", (1, 2), value=7), whole(0, 9, 2, 3))
row("constant_pad_nd", lambda torch, x: torch.constant_pad_nd(x, (1, 1), 2), real(2, 3))
for mode in ("reflect", "replicate", "circular"):
    row(f"pad {mode} 1", call("pad", (2, 1), mode), real(2, 3, 4))
    row(f"pad {mode} 2", call("pad", (2, 1, 0, 3), mode), real(2, 3, 4, 5))
    row(f"pad {mode} 3", call("pad", (1, 1, 2, 0, 1, 2), mode), real(2, 1, 3, 4, 3))
    row(f"pad {mode} without a batch", call("pad", (2, 1), mode), real(3, 4))
    row(f"pad {mode}, negative", call("pad", (-1, 2, 1, -2), mode), real(1, 2, 5, 6))
row("pad replicate, wide", call("pad", (7, 9), "replicate"), real(1, 2, 3))

for mode, extents in (("linear", (5,)), ("bilinear", (4, 5)), ("bicubic", (4, 5)), ("trilinear", (3, 4, 2))):
    for align in (False, True):
        options = {"mode": mode, "align_corners": align}
        row(f"{mode} {align} larger", call("interpolate", scale_factor=2, **options), real(2, 3, *extents))
        row(f"{mode} {align} by 1.7", call("interpolate", scale_factor=1.7, **options), real(2, 3, *extents))
        row(f"{mode} {align} smaller", call("interpolate", size=[2] * len(extents), **options), real(2, 3, *extents))
for mode in ("nearest", "nearest-exact", "area"):
    for extents in ((5,), (4, 5), (3, 4, 2)):
        row(f"{mode} larger {extents}", call("interpolate", scale_factor=2, mode=mode), real(2, 3, *extents))
        row(f"{mode} by 1.7 {extents}", call("interpolate", scale_factor=1.7, mode=mode), real(2, 3, *extents))
        row(f"{mode} to 3 {extents}", call("interpolate", size=3, mode=mode), real(2, 3, *extents))
options = {"scale_factor": (1.5, 0.6), "mode": "bilinear", "recompute_scale_factor": True}
row("recomputed factor", call("interpolate", **options), real(2, 3, 5, 7))
for mode in ("bilinear", "bicubic"):
    row(
        f"{mode} antialias", call("interpolate", size=(3, 9), mode=mode, antialias=True), real(1, 2, 8, 6), tolerance=10
    )

for options in ({}, {"stride": 2}, {"padding": 1, "dilation": 2}, {"stride": (1, 2), "padding": (0, 1)}):
    row(f"unfold {options}", call("unfold", (2, 3), **options), real(2, 3, 5, 6))
row("unfold without a batch", call("unfold", 2), real(3, 4, 4))
row("fold", call("fold", (4, 5), (2, 3)), real(2, 12, 9))
row("fold padding", call("fold", (4, 5), 2, stride=2, padding=1), real(2, 8, 9))
row("fold dilation, no batch", call("fold", (4, 5), 2, dilation=2), real(8, 6))

row("pixel_shuffle", call("pixel_shuffle", 2), real(2, 12, 3, 2))
row("pixel_shuffle, more dimensions", call("pixel_shuffle", 3), real(2, 1, 9, 2, 2))
row("pixel_unshuffle", call("pixel_unshuffle", 2), real(2, 3, 4, 6))
row("channel_shuffle", call("channel_shuffle", 3), real(2, 6, 2, 2))


def sampled(*args: Any) -> Callable[..., Any]:
    return lambda torch, x, grid: torch.nn.functional.grid_sample(x, grid, *args)


for mode in ("bilinear", "nearest", "bicubic"):
    for beyond in ("zeros", "border", "reflection"):
        for align in (False, True):
            row(
                f"grid_sample {mode} {beyond} {align}", sampled(mode, beyond, align), real(2, 3, 5, 4), real(2, 4, 3, 2)
            )
row("grid_sample 3d", sampled("bilinear", "border", True), real(2, 3, 3, 5, 4), real(2, 2, 4, 3, 3))
row("affine_grid", call("affine_grid", (2, 3, 4, 5), align_corners=False), real(2, 2, 3))
row("affine_grid, aligned", call("affine_grid", (2, 3, 4, 5), align_corners=True), real(2, 2, 3))
row("affine_grid 3d", call("affine_grid", (2, 3, 4, 2, 3), align_corners=False), real(2, 3, 4))

"""Rows of the family `normalization`, and of attention."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tables import Table, positive, real, truth

TABLE = Table()
row = TABLE.row


def functional(name: str, *args: Any, **options: Any) -> Callable[..., Any]:
    return lambda torch, x, *rest: getattr(torch.nn.functional, name)(x, *args, *rest, **options)


for shape, last in (((4, 5), (5,)), ((2, 3, 4), (3, 4)), ((2, 3, 4), (4,)), ((0, 3), (3,)), ((2, 19), (19,))):
    row(
        f"layer norm {shape} {last}",
        functional("layer_norm", last),
        real(*shape),
        real(*last),
        real(*last),
        tolerance=50,
    )
    row(f"layer norm, plain {shape} {last}", functional("layer_norm", last, eps=0.1), real(*shape), tolerance=10)
    row(f"rms norm {shape} {last}", functional("rms_norm", last), real(*shape), real(*last), tolerance=10)
    row(f"rms norm, plain {shape} {last}", functional("rms_norm", last, eps=0.1), real(*shape), tolerance=10)
for shape in ((3, 4), (2, 6, 5), (2, 4, 3, 2)):
    channels = (real(shape[1]), real(shape[1]))
    row(f"group norm {shape}", functional("group_norm", 2), real(*shape), *channels, tolerance=50)
    row(f"group norm, plain {shape}", functional("group_norm", 1), real(*shape), tolerance=50)


def instances(training: bool) -> Callable[..., Any]:
    mean, var = real(3), positive(3)

    def call(torch: Any, x: Any, w: Any, b: Any) -> Any:
        running = [torch.tensor(s, dtype=x.dtype, device=x.device) for s in (mean, var)]
        return (torch.nn.functional.instance_norm(x, *running, w, b, training, 0.3, 1e-3), *running)

    return call


for shape in ((2, 3, 5), (2, 3, 2, 3)):
    channels = (real(3), real(3))
    row(f"instance norm {shape}", instances(True), real(*shape), *channels, tolerance=100)
    row(f"instance norm by running statistics {shape}", instances(False), real(*shape), *channels)
row("instance norm, plain", functional("instance_norm"), real(2, 3, 4), tolerance=100)
for size in (1, 2, 3, 9):
    row(f"local response norm {size}", functional("local_response_norm", size, 0.5), real(2, 5, 3))
row("local response norm of images", functional("local_response_norm", 3, k=0.5), real(2, 5, 3, 2))


def attend(**options: Any) -> Callable[..., Any]:
    return lambda torch, q, k, v, mask=None: torch.nn.functional.scaled_dot_product_attention(q, k, v, mask, **options)


SEEN = truth(3, 5)
SEEN[0], SEEN[1] = False, True
qkv = (real(2, 4, 3, 6), real(2, 4, 5, 6), real(2, 4, 5, 2))
row("attention", attend(), *qkv)
row("attention, causal", attend(is_causal=True), *qkv)
row("attention, scale", attend(scale=0.3), *qkv)
row("attention, some seen", attend(), *qkv, SEEN)
row("attention, weighed", attend(), *qkv, real(4, 3, 5))
row(
    "attention, a row of -inf",
    attend(),
    *qkv,
    np.where(SEEN, 0.5, -np.inf).astype(np.float32)[None],
    smooth=False,
    strided=False,
)
row("attention of matrices", attend(is_causal=True), real(4, 3), real(4, 3), real(4, 3))
row("attention, broadcast", attend(), real(2, 4, 3, 6), real(1, 1, 5, 6), real(4, 5, 2))
row("attention, heads shared", attend(enable_gqa=True), real(2, 4, 3, 6), real(2, 2, 5, 6), real(2, 2, 5, 6))
row(
    "attention, long and causal",
    attend(is_causal=True),
    real(1, 150, 4),
    real(1, 150, 4),
    real(1, 150, 4),
    tolerance=10,
)

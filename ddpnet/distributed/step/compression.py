"""Gradient compression: what crosses from host to host in fewer bytes.

Narrow: each sum of the tree, from the shards' gradients on, is rounded to numbers that the narrow dtype has. So what is
sent is exact, and the bits do not depend on where the hosts' borders are. PowerSGD is in `low_rank`.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np


@dataclass(frozen=True)
class Narrow:
    """A floating-point dtype of two bytes; gradients are float32 while they are added."""

    name: str
    dtype: np.dtype[Any]

    def round(self, array: Any) -> None:
        """Round float32 numbers, in place, to the nearest that the dtype has; beyond its range they are infinite."""
        if isinstance(array, np.ndarray) and array.flags.c_contiguous:
            _kernel("round_to", self)(array.reshape(-1).view(np.uint32))
            return
        with np.errstate(all="ignore"):
            if self.dtype == np.float16:
                array[...] = array.astype(np.float16)
            else:  # CuPy has no bfloat16
                words = array.copy("C").view(np.uint32)
                words = (words + 0x7FFF + ((words >> 16) & 1)) & 0xFFFF0000
                array[...] = np.where(np.isnan(array), np.float32(np.nan), words.view(np.float32))

    def pack(self, array: np.ndarray) -> np.ndarray:
        """Numbers that the dtype has, float32 (n,), in two bytes each: uint16 (n,)."""
        packed = np.empty(array.size, np.uint16)
        _kernel("pack", self)(array.view(np.uint32), packed)
        return packed

    def unpack(self, packed: np.ndarray, out: np.ndarray) -> None:
        """Fill `out`, float32 (n,), with what was packed."""
        _kernel("unpack", self)(packed, out.view(np.uint32))


def _kernel(what: str, narrow: Narrow) -> Any:
    from ddpnet.kernels.cpu import rounding  # compiled where gradients are compressed, only there

    return getattr(rounding, f"{what}_{narrow.dtype.name}")


@dataclass(frozen=True)
class PowerSGD:
    """Gradients of two dimensions and more as products of matrices of this rank (Vogels et al., 2019).

    They are sent whole in the first `start_step` steps; and always if they would not shrink by more than
    `min_compression_rate`. ValueError for numbers that make no sense.
    """

    rank: int = 2
    start_step: int = 10
    min_compression_rate: float = 2.0

    def __post_init__(self) -> None:
        if self.rank < 1 or self.start_step < 0 or not self.min_compression_rate >= 1:
            raise ValueError(
                "PowerSGD: expected rank >= 1, start_step >= 0 and min_compression_rate >= 1, got "
                f"{self.rank}, {self.start_step} and {self.min_compression_rate}"
            )

    def shrinks(self, shape: tuple[int, ...]) -> bool:
        """Whether a gradient of this shape is sent as a product."""
        if len(shape) < 2:
            return False
        rows, columns = matrix_shape(shape)
        rank = min(self.rank, rows, columns)
        return (rows + columns) * rank * self.min_compression_rate < rows * columns


Compression = str | tuple[str, int] | PowerSGD
"""A name of `COMPRESSIONS`; ("powersgd", rank); or all of what PowerSGD takes."""

NARROW = {
    "fp16": Narrow("fp16", np.dtype(np.float16)),
    "bf16": Narrow("bf16", np.dtype(ml_dtypes.bfloat16)),
}

COMPRESSIONS = ("fp16", "bf16", "powersgd")
"""The names that a Reducer takes."""


def compression_of(wanted: Compression | None) -> Narrow | PowerSGD | None:
    """What a Reducer's `compression` means; ValueError, with the nearest name, for an unknown one."""
    if wanted is None or isinstance(wanted, PowerSGD):
        return wanted
    name, rank = wanted if isinstance(wanted, tuple) else (wanted, None)
    if name == "powersgd":
        return PowerSGD() if rank is None else PowerSGD(rank)
    if name in NARROW and rank is None:
        return NARROW[name]
    near = difflib.get_close_matches(str(name), COMPRESSIONS, n=1, cutoff=0.3)
    hint = f"did you mean {near[0]!r}? " if near and near[0] != name else ""
    raise ValueError(
        f"compression: unknown {wanted!r}: {hint}expected one of {', '.join(COMPRESSIONS)}, or ('powersgd', rank)"
    )


def matrix_shape(shape: tuple[int, ...]) -> tuple[int, int]:
    """A tensor as a matrix: the first dimension by all others."""
    return shape[0], int(np.prod(shape[1:], dtype=np.int64))

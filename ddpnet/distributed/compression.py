"""Gradient compression: what crosses from host to host in fewer bytes.

Each sum of the tree, from the shards' gradients on, is rounded to numbers that the narrow dtype has. So what is sent is
exact, and the bits do not depend on where the hosts' borders are.
"""

from __future__ import annotations

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
        array[...] = array.astype(self.dtype)


NARROW = {
    "fp16": Narrow("fp16", np.dtype(np.float16)),
    "bf16": Narrow("bf16", np.dtype(ml_dtypes.bfloat16)),
}

"""How tensors print: PyTorch's format, so that what users read looks as they know it."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np

from ddpnet import backend, dtypes
from ddpnet.tensor import Tensor

LINE_WIDTH = 80
EDGE_ITEMS = 3
THRESHOLD = 1000


@dataclass
class Options:
    """What `set_printoptions` changes."""

    precision: int = 4
    threshold: int = THRESHOLD
    edgeitems: int = EDGE_ITEMS
    linewidth: int = LINE_WIDTH
    sci_mode: bool | None = None


options = Options()


PROFILES = {
    "default": {"precision": 4, "threshold": THRESHOLD, "edgeitems": EDGE_ITEMS, "linewidth": LINE_WIDTH},
    "short": {"precision": 2, "threshold": THRESHOLD, "edgeitems": 2, "linewidth": LINE_WIDTH},
    "full": {"precision": 4, "threshold": sys.maxsize, "edgeitems": EDGE_ITEMS, "linewidth": LINE_WIDTH},
}


def set_printoptions(
    precision: int | None = None,
    threshold: float | None = None,
    edgeitems: int | None = None,
    linewidth: int | None = None,
    profile: str | None = None,
    sci_mode: bool | None = None,
) -> None:
    """Change how tensors print: all of a profile ("default", "short", "full"), or what is given; `sci_mode` None lets
    the numbers decide."""
    if profile is not None and profile not in PROFILES:
        raise ValueError(f"profile: expected one of {', '.join(PROFILES)}, got {profile!r}")
    given = {"precision": precision, "threshold": threshold, "edgeitems": edgeitems, "linewidth": linewidth}
    changes: dict[str, Any] = {**PROFILES.get(profile or "", {}), **{k: v for k, v in given.items() if v is not None}}
    for name, value in changes.items():
        setattr(options, name, value)
    options.sci_mode = sci_mode


class _Format:
    """How the numbers of one tensor are written: one width for all, taken from the finite ones that are not 0."""

    def __init__(self, values: np.ndarray) -> None:
        self.code: str | None = None
        self.whole = False
        if values.dtype.kind == "f":
            values = values[np.isfinite(values) & (values != 0)].astype(np.float64)
            self._choose_code(np.abs(values))
        self.width = max((len(self.number(value)) for value in values.reshape(-1).tolist()), default=1)

    def _choose_code(self, sizes: np.ndarray) -> None:
        """Fixed point, or scientific where the numbers are very large, very small or very uneven."""
        self.whole = bool((sizes == np.ceil(sizes)).all())
        uneven = sizes.size > 0 and (sizes.max() / sizes.min() > 1000 or sizes.max() > 1e8 or sizes.min() < 1e-4)
        scientific = uneven if options.sci_mode is None else options.sci_mode and sizes.size > 0
        self.whole = self.whole and not scientific
        self.code = f".{options.precision}e" if scientific else ".0f" if self.whole else f".{options.precision}f"

    def number(self, value: Any) -> str:
        """A number in its shortest form; whole floating-point numbers end in a point."""
        if self.code is None:
            return str(value)
        return format(value, self.code) + ("." if self.whole and math.isfinite(value) else "")

    def padded(self, value: Any) -> str:
        """A number, with spaces before it to the common width."""
        return self.number(value).rjust(self.width)


def _shown(values: np.ndarray) -> np.ndarray:
    """The numbers that are printed of a long tensor: those at the edges, from which the width is taken."""
    for axis, extent in enumerate(values.shape):
        if extent > 2 * options.edgeitems:
            edges = np.r_[0 : options.edgeitems, extent - options.edgeitems : extent]
            values = values.take(edges, axis)
    return values


def _body(values: np.ndarray, indent: int, form: _Format, summarize: bool) -> str:
    if values.ndim == 0:
        return form.padded(values.item())
    cut = summarize and len(values) > 2 * options.edgeitems
    edge = options.edgeitems
    if values.ndim == 1:
        return _row(values, indent, form, cut)
    rows = [*values[:edge], None, *values[-edge:]] if cut else list(values)
    texts = ["..." if row is None else _body(row, indent + 1, form, summarize) for row in rows]
    return "[" + ("," + "\n" * (values.ndim - 1) + " " * (indent + 1)).join(texts) + "]"


def _row(values: np.ndarray, indent: int, form: _Format, cut: bool) -> str:
    numbers = values.tolist()
    edge = options.edgeitems
    texts = [form.padded(value) for value in (numbers[:edge] + numbers[-edge:] if cut else numbers)]
    if cut:
        texts.insert(edge, " ...")
    a_line = max(1, (options.linewidth - indent) // (form.width + 2))
    lines = [", ".join(texts[at : at + a_line]) for at in range(0, len(texts), a_line)]
    return "[" + (",\n" + " " * (indent + 1)).join(lines) + "]"


def tensor_text(tensor: Tensor, prefix: str = "tensor(") -> str:
    """What `repr` shows: the numbers, and what is not the default of device, dtype and history."""
    array = backend.host(tensor.array)
    dtype = tensor.dtype
    notes = [f"device='{tensor.device}'"] if tensor.is_cuda else []
    usual = (dtypes.get_default_dtype(), dtypes.int64, dtypes.bool_)
    if array.size == 0:
        body = "[]"
        if array.ndim != 1:
            notes.append(f"size={tuple(array.shape)}")
        unusual = dtype is not dtypes.get_default_dtype()
    else:
        values = array.astype(np.float32) if array.dtype.kind == "V" else array
        summarize = values.size > options.threshold
        body = _body(values, len(prefix), _Format(_shown(values) if summarize else values), summarize)
        unusual = dtype not in usual
    if unusual:
        notes.append(f"dtype={dtype!r}")
    if tensor.grad_fn is not None:
        notes.append(f"grad_fn=<{tensor.grad_fn.name()}>")
    elif tensor.requires_grad:
        notes.append("requires_grad=True")
    return _with_notes(prefix + body, notes, len(prefix)) + ")"


def _with_notes(text: str, notes: list[str], indent: int) -> str:
    """Each note behind the numbers, or on a line of its own where the line would be too long."""
    line = len(text) - text.rfind("\n") + 1
    for note in notes:
        if line + len(note) + 2 > options.linewidth:
            text += ",\n" + " " * indent + note
            line = indent + len(note)
        else:
            text += ", " + note
            line += len(note) + 2
    return text


Tensor.__repr__ = tensor_text  # type: ignore[method-assign, assignment]

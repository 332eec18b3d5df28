"""What stands in brackets: an index as a view's key, and a key of arrays for what is left."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from ddpnet.backend import array_module, is_array
from ddpnet.tensor import Tensor

_ALL = slice(None)


def parse(key: Any, array: Any) -> tuple[tuple[Any, ...] | None, tuple[Any, ...] | None, str]:
    """(key of numbers, slices and None, key of arrays and slices for what that gives, what the last change was).

    Numbers are dealt with first, as PyTorch does; NumPy would count them among the arrays. Either key is None where
    there is nothing to do. IndexError for what cannot be an index, ValueError for steps that are not positive.
    """
    parts = _parts(key)
    shape = array.shape
    taken = sum(_consumed(part) for part in parts)
    if taken > len(shape):
        raise IndexError(
            f"too many indices for tensor of dimension {len(shape)}"
            if shape
            else "invalid index of a 0-dim tensor. Use `tensor.item()` in Python or `tensor.item<T>()` in C++ to "
            "convert a 0-dim tensor to a number"
        )
    basic: list[Any] = []
    arrays: list[Any] = []
    found, last, axis = False, "", 0
    for part in parts:
        if part is None:
            basic.append(None)
            arrays.append(_ALL)
            last = "insert"
        elif part is Ellipsis:
            rest = len(shape) - taken
            taken = len(shape)
            basic += [_ALL] * rest
            arrays += [_ALL] * rest
            axis += rest
        elif type(part) is slice:
            part = _checked(part)
            basic.append(part)
            arrays.append(_ALL)
            last = last if _is_all(part, shape[axis]) else "slice"
            axis += 1
        elif type(part) is int:
            if not -shape[axis] <= part < shape[axis]:
                raise IndexError(f"index {part} is out of bounds for dimension {axis} with size {shape[axis]}")
            basic.append(part)
            last = "select"
            axis += 1
        elif type(part) is bool:
            basic.append(None)
            arrays.append(array_module(array).asarray([part]))
            last, found = "insert", True
        else:
            if part.dtype.kind == "b" and part.shape != shape[axis : axis + part.ndim]:
                raise IndexError(
                    f"The shape of the mask {list(part.shape)} at index {_mismatch(part.shape, shape[axis:])} does not "
                    f"match the shape of the indexed tensor {list(shape)} at index {axis}"
                )
            basic += [_ALL] * part.ndim if part.dtype.kind == "b" else [_ALL]
            arrays.append(part)
            axis += part.ndim if part.dtype.kind == "b" else 1
            found = True
    view = (*basic, Ellipsis) if last else None
    return view, _broadcastable(arrays, array) if found else None, last


def _is_all(part: slice, extent: int) -> bool:
    """Whether a slice leaves a dimension as it is, for PyTorch's name of the node."""
    return not part.start and part.step is None and (part.stop is None or part.stop >= extent)


def _mismatch(mask: tuple[int, ...], shape: tuple[int, ...]) -> int:
    return next(i for i, extent in enumerate(mask) if i >= len(shape) or extent != shape[i])


def _checked(part: slice) -> slice:
    """The slice with plain numbers; ValueError for a step that is not positive."""
    if part.step is None and type(part.start) in _PLAIN and type(part.stop) in _PLAIN:
        return part
    start, stop, step = (None if end is None else operator.index(end) for end in (part.start, part.stop, part.step))
    if step is not None and step <= 0:
        raise ValueError("step must be greater than zero")
    return slice(start, stop, None if step == 1 else step)


_PLAIN = (int, type(None))


def _parts(key: Any) -> list[Any]:
    """The parts of a key: None, `...`, slices, int, bool, and arrays of numbers or of truth values."""
    if type(key) is not tuple:
        key = tuple(key) if isinstance(key, list) and _is_tuple(key) else (key,)
    parts = [part if part is None or type(part) in _READY else _part(part) for part in key]
    if sum(part is Ellipsis for part in parts) > 1:
        raise IndexError("an index can only have a single ellipsis ('...')")
    return parts


_READY = (int, slice, bool, type(Ellipsis))


def _is_tuple(key: list[Any]) -> bool:
    """Whether PyTorch takes a list for a tuple."""
    return len(key) < 32 and any(
        isinstance(part, Tensor | list | tuple | range | slice) or part is None or part is Ellipsis for part in key
    )


def _part(part: Any) -> Any:
    if isinstance(part, Tensor):
        part = part.array
    elif isinstance(part, list | tuple | range):
        part = _from_sequence(part)
    elif isinstance(part, np.bool_ | np.integer):
        return part.item()
    elif isinstance(part, str):
        raise TypeError("new(): invalid data type 'str'")
    elif not is_array(part):
        if isinstance(part, int):
            return int(part)
        raise IndexError(
            "only integers, slices (`:`), ellipsis (`...`), None and long or byte Variables are valid indices "
            f"(got {type(part).__name__})"
        )
    if part.dtype.kind not in "biu" or part.dtype.name in ("int8", "int16"):
        raise IndexError("tensors used as indices must be long, int, byte or bool tensors")
    if part.dtype == np.uint8:
        part = part.astype(bool)
    return part.item() if part.ndim == 0 else part


def _from_sequence(part: Any) -> Any:
    def plain(value: Any) -> Any:
        if isinstance(value, list | tuple):
            return [plain(item) for item in value]
        return value.tolist() if isinstance(value, Tensor) else value

    array = np.asarray(plain(part) if not isinstance(part, range) else part)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"an index of type {array.dtype} is not one of numbers")
    return array.astype(np.int64) if array.size == 0 else array


def _consumed(part: Any) -> int:
    if part is None or part is Ellipsis or type(part) is bool:
        return 0
    if type(part) is slice or type(part) is int:
        return 1
    return part.ndim if part.dtype.kind == "b" else 1


def _broadcastable(arrays: list[Any], array: Any) -> tuple[Any, ...]:
    """The key, with masks as numbers where there are several arrays; IndexError where these do not fit together."""
    xp = array_module(array)
    places = [place for place, part in enumerate(arrays) if type(part) is not slice]
    if xp is not np:
        arrays = [part if type(part) is slice else xp.asarray(part) for part in arrays]
    if len(places) == 1:
        return tuple(arrays)
    key: list[Any] = []
    for part in arrays:
        key += [part] if type(part) is slice or part.dtype.kind != "b" else part.nonzero()
    shapes = [part.shape for part in key if type(part) is not slice]
    try:
        np.broadcast_shapes(*shapes)
    except ValueError:
        raise IndexError(
            "shape mismatch: indexing tensors could not be broadcast together with shapes "
            + ", ".join(str(list(shape)) for shape in shapes)
        ) from None
    return tuple(key)

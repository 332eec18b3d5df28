"""`torch.save` and `torch.load`: tensors and plain data in one safetensors file, and no code in it.

The tensors lie in the file under their paths (those of a state dict under its keys), so that any safetensors reader
finds them; the dicts, lists and numbers around them are JSON in the file's metadata.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Mapping
from typing import IO, Any

import numpy as np

from ddpnet import backend, dtypes
from ddpnet.backend import Device
from ddpnet.checkpoint import arrays as stored
from ddpnet.checkpoint import plain
from ddpnet.tensor import Tensor

__all__ = ["load", "save"]

STRUCTURE = "ddpnet.structure"
"""The name in the metadata of what lies around the tensors."""
LONGEST_HEADER = 100_000_000
"""Bytes; as in the safetensors library."""

PathOrFile = str | os.PathLike[str] | IO[bytes]

_CONVERT = (
    "is a pickle, which could run any code, and is not read here. Convert it where PyTorch is installed: "
    'safetensors.torch.save_file(torch.load("FILE", map_location="cpu", weights_only=True), "FILE.safetensors") for a '
    'state dict, then torch.load("FILE.safetensors") here.'
)


def save(obj: object, f: PathOrFile) -> None:
    """Write a tensor, or dicts, lists and tuples of tensors, numbers, strings and None.

    TypeError, naming the place, for anything else: of a module, save `module.state_dict()`.
    """
    found: dict[str, np.ndarray] = {}
    structure = plain.to_json(_with_arrays(obj, ""), found, name="" if not isinstance(obj, Tensor) else "tensor")
    if "__metadata__" in found:
        raise ValueError("'__metadata__' cannot be the name of a tensor in a safetensors file")
    metadata = {"format": "pt", STRUCTURE: json.dumps(structure, allow_nan=False)}
    data = stored.to_bytes(found, metadata)
    if isinstance(f, str | os.PathLike):
        with open(f, "wb") as file:
            file.write(data)
    else:
        f.write(data)


def _with_arrays(value: Any, path: str) -> Any:
    """The data with arrays in place of tensors, and Python numbers in place of NumPy's."""
    if isinstance(value, Tensor):
        return backend.host(value.array)
    if isinstance(value, np.ndarray):
        raise TypeError(f"{path or 'value'}: NumPy arrays are saved as tensors: use torch.from_numpy(array)")
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, dict):
        return {key: _with_arrays(item, f"{path}.{key}" if path else str(key)) for key, item in value.items()}
    if isinstance(value, list | tuple):
        items = [_with_arrays(item, f"{path}.{i}" if path else str(i)) for i, item in enumerate(value)]
        return items if isinstance(value, list) else tuple(items)
    if hasattr(value, "state_dict"):
        raise TypeError(
            f"{path or 'value'}: a {type(value).__name__} is not saved as a whole: save its state_dict() and load that"
        )
    return value


def load(f: PathOrFile, map_location: Any = None, *, weights_only: bool | None = None, mmap: bool | None = None) -> Any:
    """What `save` wrote, or the tensors of any safetensors file as a dict by name.

    `map_location` is a device, a dict of devices by device, or a function of (tensor, "cpu") that gives the tensor to
    use. Nothing is ever run, so `weights_only` changes nothing. Sizes are checked before memory is taken. RuntimeError
    for PyTorch's own pickles, ValueError for what is no safetensors file.
    """
    if mmap:
        raise NotImplementedError("load: mmap=True is not supported; the file is read")
    if weights_only not in (None, True, False):
        raise TypeError(f"weights_only: expected a bool, got {weights_only!r}")
    if isinstance(f, str | os.PathLike):
        with open(f, "rb") as file:
            return _read(file, os.fspath(f), map_location)
    return _read(f, getattr(f, "name", "the file"), map_location)


def _read(file: IO[bytes], name: str, map_location: Any) -> Any:
    start = file.tell()
    size = file.seek(0, io.SEEK_END) - start
    file.seek(start)
    header, length = _header(file, name, size)
    metadata = header.pop("__metadata__", {})
    entries = _checked(header, name, size - length)
    found: dict[str, Any] = {}
    for key, dtype, shape, at in entries:
        array = np.empty(shape, dtype)
        file.seek(start + length + at)
        if array.nbytes and file.readinto(array.reshape(-1).view(np.uint8).data) != array.nbytes:  # type: ignore[attr-defined]
            raise ValueError(f"{name}: the file ends early")
        found[key] = _moved(Tensor(array), map_location)
    if not isinstance(metadata, dict) or STRUCTURE not in metadata:
        return {key: found[key] for key in header}
    try:
        return plain.from_json(plain.decode(metadata[STRUCTURE]), found)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{name}: the structure in the metadata is damaged: {error}") from error


def _header(file: IO[bytes], name: str, size: int) -> tuple[dict[str, Any], int]:
    """The header of a safetensors file, and the number of bytes before the tensors."""
    first = file.read(9)
    length = int.from_bytes(first[:8], "little")
    if size < 10 or first[8:] != b"{" or not 2 <= length <= min(size - 8, LONGEST_HEADER):
        if first[:2] == b"PK" or (first[:1] == b"\x80" and first[1:2] in b"\x01\x02\x03\x04\x05"):
            raise RuntimeError(f"{name} {_CONVERT}")
        raise ValueError(f"{name}: expected a safetensors file, as torch.save writes")
    try:
        header = plain.decode(b"{" + file.read(length - 1))
    except ValueError as error:
        raise ValueError(f"{name}: the header is damaged: {error}") from error
    return header, length + 8


def _checked(header: Mapping[str, Any], name: str, size: int) -> list[tuple[str, np.dtype[Any], tuple[int, ...], int]]:
    """(name, dtype, shape, first byte) of each tensor in the order of the file; ValueError unless their bytes are, one
    after the other, those of the file."""
    entries = []
    for key, entry in header.items():
        try:
            dtype, shape, (begin, end) = stored.dtype_of(entry["dtype"]), tuple(entry["shape"]), entry["data_offsets"]
        except (TypeError, KeyError, ValueError) as error:
            raise ValueError(f"{name}: {key}: the header is damaged: {error!r}") from error
        if not all(type(number) is int and number >= 0 for number in (*shape, begin, end)):
            raise ValueError(f"{name}: {key}: sizes are not numbers")
        count = 1
        for extent in shape:
            count *= extent
        if end - begin != count * dtype.itemsize:
            raise ValueError(f"{name}: {key}: {end - begin} bytes for shape {list(shape)} of {dtype}")
        dtypes.from_numpy(dtype)
        entries.append((key, dtype, shape, begin, end))
    at = 0
    for key, _, _, begin, end in sorted(entries, key=lambda entry: entry[3:]):
        if begin != at:
            raise ValueError(f"{name}: {key}: its bytes begin at {begin}, expected {at}")
        at = end
    if at != size:
        raise ValueError(f"{name}: {size} bytes of tensors, expected {at}")
    return [(key, dtype, shape, begin) for key, dtype, shape, begin, _ in entries]


def _moved(tensor: Tensor, map_location: Any) -> Tensor:
    if callable(map_location):
        moved = map_location(tensor, "cpu")
        return tensor if moved is None else moved
    if isinstance(map_location, Mapping):
        map_location = map_location.get("cpu", map_location.get(Device("cpu")))
    return tensor if map_location is None else tensor.to(map_location)

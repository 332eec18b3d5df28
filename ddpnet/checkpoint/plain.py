"""Python data as JSON and back without loss: what JSON cannot say is an object whose one key begins with `$`.

    {"$float": "7ff8000000000000"}     the 64 bits of an infinity or a not-a-number
    {"$tuple": [0.9, 0.999]}           a tuple
    {"$dict": [[0, "a"], [1, "b"]]}    a dict with keys that are not strings, or that begin with `$`
    {"$array": "state.0.momentum"}     an array, by its name among the arrays that are stored beside the JSON

Other floats are JSON numbers in Python's shortest form, which gives the same bits when read.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from typing import Any, NoReturn

import numpy as np


def to_json(value: object, arrays: dict[str, np.ndarray] | None = None, *, name: str = "") -> Any:
    """`value` in terms of JSON; arrays inside it go to `arrays` under their path.

    TypeError, naming the place, for anything but None, bool, int, float, str, list, tuple, dict and, if
    `arrays` is given, arrays. ValueError if two arrays would have the same path.
    """
    kind = type(value)
    if value is None or kind in (bool, int, str):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else {"$float": struct.pack(">d", value).hex()}
    if isinstance(value, list | tuple):
        items = [to_json(item, arrays, name=_path(name, i)) for i, item in enumerate(value)]
        return items if isinstance(value, list) else {"$tuple": items}
    if isinstance(value, dict):
        pairs = [(key, to_json(item, arrays, name=_path(name, key))) for key, item in value.items()]
        if all(type(key) is str and not key.startswith("$") for key in value):
            return dict(pairs)
        return {"$dict": [[to_json(key, name=f"{name} key"), item] for key, item in pairs]}
    if isinstance(value, np.ndarray) and arrays is not None:
        if name in arrays:
            raise ValueError(f"{name}: two arrays would be saved under this name")
        arrays[name] = value
        return {"$array": name}
    raise TypeError(f"{name or 'value'}: cannot be saved: expected plain data, got {kind.__name__}")


def from_json(data: Any, arrays: Mapping[str, np.ndarray] | None = None) -> Any:
    """What `to_json` was given; ValueError for what it does not write, an array that is missing among them."""
    if isinstance(data, list):
        return [from_json(item, arrays) for item in data]
    if not isinstance(data, dict):
        return data
    tags = [key for key in data if key.startswith("$")]
    if not tags:
        return {key: from_json(item, arrays) for key, item in data.items()}
    if len(data) != 1:
        raise ValueError(f"unexpected key {tags[0]!r}")
    return _from_tag(tags[0], data[tags[0]], arrays)


def _from_tag(tag: str, content: Any, arrays: Mapping[str, np.ndarray] | None) -> Any:
    try:
        if tag == "$float":
            return struct.unpack(">d", bytes.fromhex(content))[0]
        if tag == "$tuple":
            return tuple(from_json(content, arrays))
        if tag == "$dict":
            return {from_json(key): from_json(item, arrays) for key, item in content}
        if tag == "$array" and arrays is not None:
            return arrays[content]
    except (TypeError, KeyError, struct.error) as error:
        raise ValueError(f"unexpected content of {tag!r}: {error}") from error
    raise ValueError(f"unexpected key {tag!r}")


def encode(data: Any) -> bytes:
    """JSON data as text, always the same for the same data."""
    return (json.dumps(data, indent=1, allow_nan=False, ensure_ascii=True) + "\n").encode()


def decode(text: bytes) -> Any:
    """The data of a JSON text; ValueError for anything that the standard does not know, or nested too deeply."""
    try:
        return json.loads(text, parse_constant=_refuse)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _path(name: str, key: object) -> str:
    return f"{name}.{key}" if name else str(key)

"""The state of an optimizer that is cut over ranks, put together again: text for what it is, bytes for the numbers."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import numpy as np

from ddpnet import dtypes
from ddpnet.backend import host
from ddpnet.distributed.transport.communicator import Communicator, as_bytes
from ddpnet.optim.state import SHAPED
from ddpnet.tensor import Tensor

Owned = tuple[int, int, dict[str, Any]]
"""The number of a parameter, the first of its elements that this rank owns, and its state here: tensors of one
dimension for those elements; 0-d tensors and plain values that belong to the whole parameter."""


def gathered(
    comm: Communicator, owned: Iterable[Owned], shapes: list[tuple[int, ...]], to: int | None, what: str
) -> Any:
    """The state of all parameters by their number, on rank `to` or (None) on every rank; None on the others."""
    text, numbers = _described(owned)
    receivers = range(comm.size) if to is None else (to,)
    mine = comm.rank in receivers
    sizes = comm.all_gather(np.array([text.size, numbers.size]), what)
    peers = [peer for peer in range(comm.size) if peer != comm.rank]
    inbox = {peer: (np.empty(sizes[peer][0], np.uint8), np.empty(sizes[peer][1], np.uint8)) for peer in peers if mine}
    comm.exchange(
        [(peer, array) for peer in peers if peer in receivers for array in (text, numbers) if array.size],
        [(peer, array) for peer in inbox for array in inbox[peer] if array.size],
        what=what,
    )
    if not mine:
        return None
    return _assembled([(text, numbers) if rank == comm.rank else inbox[rank] for rank in range(comm.size)], shapes)


def _described(owned: Iterable[Owned]) -> tuple[np.ndarray, np.ndarray]:
    """What this rank owns: JSON as bytes, and the bytes of all tensors in its order."""
    lines: list[Any] = []
    arrays: list[np.ndarray] = []
    for number, start, state in owned:
        for name, value in state.items():
            if isinstance(value, Tensor):
                lines.append([number, name, start, value.dtype.name, value.numel() if value.ndim else None])
                arrays.append(as_bytes(np.ascontiguousarray(host(value.array))))
            else:
                lines.append([number, name, start, None, value])
    text = np.frombuffer(json.dumps(lines).encode(), np.uint8)
    return text, np.concatenate(arrays) if arrays else np.empty(0, np.uint8)


def _assembled(parts: list[tuple[np.ndarray, np.ndarray]], shapes: list[tuple[int, ...]]) -> dict[int, dict[str, Any]]:
    state: dict[int, dict[str, Any]] = {}
    for text, numbers in parts:
        at = 0
        for number, name, start, dtype, value in json.loads(text.tobytes()):
            entry = state.setdefault(number, {})
            if dtype is None:
                entry[name] = value
                continue
            kind, shape = getattr(dtypes, dtype).numpy, shapes[number]
            size = 1 if value is None else value
            stop = at + size * kind.itemsize
            came = numbers[at:stop].view(kind)
            at = stop
            if value is None:
                entry[name] = Tensor(came.reshape(()).copy())
                continue
            if name not in entry:
                entry[name] = Tensor(np.empty(shape, kind))
            entry[name].array.reshape(-1)[start : start + size] = came
    return dict(sorted(state.items()))


def piece_of_state(state: dict[str, Any], shape: tuple[int, ...], start: int, stop: int) -> dict[str, Any]:
    """The state of the elements `start` to `stop` of a parameter of `shape`, from that of all its elements.

    ValueError for an entry that should have the parameter's shape and has not.
    """
    return {name: _piece(name, value, shape, start, stop) for name, value in state.items()}


def _piece(name: str, value: Any, shape: tuple[int, ...], start: int, stop: int) -> Any:
    if not isinstance(value, Tensor):
        return value
    if name in SHAPED and value.array.shape != shape:
        raise ValueError(f"optimizer state {name!r}: expected shape {list(shape)}, got {list(value.shape)}")
    if name in SHAPED or (shape and value.array.shape == shape):
        return Tensor(value.array.reshape(-1)[start:stop])
    return value

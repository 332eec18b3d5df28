"""Batches on their way to another process: arrays are copied through anonymous memory, the rest is pickled.

Nothing else in ddpnet is pickled. Here it is what `multiprocessing` itself does: a dataset, a batch or an exception is
whatever the user made it, both ends are processes of one run, and the pipe between them has no name: nothing that comes
from a file or a network is ever unpickled.
Anonymous memory (`memfd_create`, Linux) has no name and belongs to whoever holds it: nothing is left behind, whichever
process is killed.
"""

from __future__ import annotations

import io
import os
import pickle
from collections.abc import Sequence
from multiprocessing.connection import Connection
from multiprocessing.reduction import ForkingPickler, recv_handle, send_handle
from typing import Any

import numpy as np

from ddpnet.dtypes import DType
from ddpnet.tensor import Tensor

_LARGE = 1 << 15
"""Bytes from which on a message leaves the pipe, whose reader may be busy, for memory of its own."""
_ALIGNMENT = 64


class _Pickler(ForkingPickler):
    """Pickles tensors, too: their elements as bytes beside the pickle, as NumPy's are."""

    def reducer_override(self, value: Any) -> Any:
        if not isinstance(value, Tensor):
            return NotImplemented
        if value.grad_fn is not None:
            raise RuntimeError(
                "Cowardly refusing to serialize non-leaf tensor which requires_grad, since autograd does not support "
                "crossing process boundaries.  If you just want to transfer the data, call detach() on the tensor "
                "before serializing (e.g., putting it on the queue)."
            )
        if not isinstance(value.array, np.ndarray):
            raise RuntimeError("a tensor on a GPU cannot be sent to another process: collate on the CPU, then move it")
        raw = np.ascontiguousarray(value.array).reshape(-1).view(np.uint8)
        return _unpickled, (type(value), raw, value.dtype, value.array.shape, value.requires_grad)


def _unpickled(
    kind: type[Tensor], raw: np.ndarray, dtype: DType, shape: tuple[int, ...], requires_grad: bool
) -> Tensor:
    tensor = kind.__new__(kind)
    Tensor.__init__(tensor, raw.view(dtype.numpy).reshape(shape))
    return tensor.requires_grad_(requires_grad)


def packed(value: Any) -> bytes:
    """`value` as bytes, for `unpacked`; whatever pickle raises for what it cannot take."""
    file = io.BytesIO()
    _Pickler(file, pickle.HIGHEST_PROTOCOL).dump(value)
    return file.getvalue()


def unpacked(data: bytes) -> Any:
    """What `packed` was given."""
    return pickle.loads(data)


def send(connection: Connection, value: Any) -> None:
    """Send `value` to a process that calls `receive`; nothing is sent if it cannot be pickled."""
    buffers: list[pickle.PickleBuffer] = []
    file = io.BytesIO()
    _Pickler(file, pickle.HIGHEST_PROTOCOL, True, buffers.append).dump(value)
    parts: list[Any] = [file.getbuffer(), *(buffer.raw() for buffer in buffers)]
    sizes = [len(memoryview(part)) for part in parts]
    if sum(sizes) < _LARGE or not hasattr(os, "memfd_create"):
        connection.send((sizes, b"".join(_aligned(parts, sizes))))
        return
    handle = os.memfd_create("ddpnet-batch", os.MFD_CLOEXEC)
    try:
        with open(handle, "wb", buffering=0, closefd=False) as memory:
            for part in _aligned(parts, sizes):
                _write(memory, memoryview(part))
        connection.send((sizes, None))
        send_handle(connection, handle, None)
    finally:
        os.close(handle)


def receive(connection: Connection) -> Any:
    """What the other end sent; EOFError or ConnectionError if it is gone."""
    sizes, content = connection.recv()
    ends = np.cumsum([size + _padding(size) for size in sizes]).tolist()
    memory: Any = np.empty(ends[-1], np.uint8) if content is None else np.frombuffer(bytearray(content), np.uint8)
    if content is None:
        with open(recv_handle(connection), "rb", buffering=0) as file:
            _read(file, memoryview(memory))
    starts = [0, *ends[:-1]]
    parts = [memoryview(memory)[start : start + size] for start, size in zip(starts, sizes, strict=True)]
    return pickle.loads(parts[0], buffers=parts[1:])


def _aligned(parts: Sequence[Any], sizes: Sequence[int]) -> list[Any]:
    """The parts, each with what brings the next to an address that fits any element."""
    return [piece for part, size in zip(parts, sizes, strict=True) for piece in (part, bytes(_padding(size)))]


def _padding(size: int) -> int:
    return -size % _ALIGNMENT


def _write(file: io.FileIO, data: memoryview) -> None:
    while data:
        data = data[file.write(data) :]


def _read(file: io.FileIO, target: memoryview) -> None:
    file.seek(0)
    while target:
        count = file.readinto(target)
        if not count:
            raise EOFError("a batch ended early")
        target = target[count:]

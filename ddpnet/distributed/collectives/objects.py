"""Python objects between ranks (`torch.distributed`'s *_object functions), without pickles: JSON-like data only.

None, bool, int, float (inf and nan, too), str, list, tuple, and dict with str keys come out as they went in.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from ddpnet.distributed.collectives.groups import Group, ProcessGroup, find, group_rank
from ddpnet.distributed.collectives.point_to_point import LARGEST_TAG
from ddpnet.distributed.errors import ArgumentError, DistBackendError
from ddpnet.distributed.transport.communicator import Communicator

_TAG = LARGEST_TAG + 2


def all_gather_object(object_list: list[Any], obj: Any, group: Group = None) -> None:
    """Fill `object_list`, of one place a rank, with the objects of all ranks."""
    mine = find(group, "all_gather_object")
    packed: list[np.ndarray] = []

    def check() -> str:
        _check_list(object_list, mine, "all_gather_object: object_list")
        packed.append(_packed(obj, "obj"))
        return ""

    def act(what: str) -> list[Any]:
        for rank, content in enumerate(_gathered(mine.comm, packed[0], None, what)):
            object_list[rank] = _unpacked(content)
        return object_list

    mine.call("all_gather_object", check, act)


def gather_object(
    obj: Any,
    object_gather_list: list[Any] | None = None,
    dst: int | None = None,
    group: Group = None,
    group_dst: int | None = None,
) -> None:
    """Fill the list of rank `dst` (by default 0) with the objects of all ranks; the others give no list."""
    mine = find(group, "gather_object")
    dst = 0 if dst is None and group_dst is None else dst
    packed: list[np.ndarray] = []

    def check() -> str:
        root = group_rank(mine, "gather_object", dst, group_dst)
        if mine.rank() == root:
            if not object_gather_list:
                raise ValueError("Argument ``gather_list`` must be specified on destination rank.")
            _check_list(object_gather_list, mine, "gather_object: object_gather_list")
        elif object_gather_list:
            raise ValueError("Argument ``gather_list`` must NOT be specified on non-destination ranks.")
        packed.append(_packed(obj, "obj"))
        return f"to rank {mine.comm.members[root]}"

    def act(what: str) -> list[Any]:
        root = group_rank(mine, "gather_object", dst, group_dst)
        contents = _gathered(mine.comm, packed[0], root, what)
        if object_gather_list:
            object_gather_list[:] = [_unpacked(content) for content in contents]
        return []

    mine.call("gather_object", check, act)


def broadcast_object_list(
    object_list: list[Any],
    src: int | None = None,
    group: Group = None,
    device: Any = None,
    group_src: int | None = None,
) -> None:
    """Fill the list on every rank with the objects of rank `src` (by default 0); all lists have one length."""
    mine = find(group, "broadcast_object_list")
    src = 0 if src is None and group_src is None else src
    packed: list[np.ndarray] = []

    def check() -> str:
        root = group_rank(mine, "broadcast_object_list", src, group_src)
        if not isinstance(object_list, list):
            raise TypeError(f"object_list: expected a list, got {type(object_list).__name__}")
        packed.append(_packed(object_list if mine.rank() == root else [], "object"))
        return f"{len(object_list)} objects from rank {mine.comm.members[root]}"

    def act(what: str) -> list[Any]:
        root, content = group_rank(mine, "broadcast_object_list", src, group_src), packed[0]
        length = np.array([content.size])
        mine.comm.broadcast(length, root, what)
        content = content if mine.rank() == root else np.empty(int(length[0]), np.uint8)
        mine.comm.broadcast(content, root, what)
        if mine.rank() != root:
            object_list[:] = _unpacked(content)
        return object_list

    mine.call("broadcast_object_list", check, act)


def scatter_object_list(
    scatter_object_output_list: list[Any],
    scatter_object_input_list: list[Any] | None = None,
    src: int | None = None,
    group: Group = None,
    group_src: int | None = None,
) -> None:
    """Set the first place of the output list to this rank's one of the objects that rank `src` (by default 0) gives."""
    mine = find(group, "scatter_object_list")
    src = 0 if src is None and group_src is None else src
    packed: list[np.ndarray] = []

    def check() -> str:
        root = group_rank(mine, "scatter_object_list", src, group_src)
        if not isinstance(scatter_object_output_list, list) or not scatter_object_output_list:
            raise ValueError("Expected argument scatter_object_output_list to be a list of size at least 1.")
        if mine.rank() == root:
            if scatter_object_input_list is None:
                raise ValueError("source rank must provide non-None scatter_object_input_list")
            _check_list(scatter_object_input_list, mine, "scatter_object_list: scatter_object_input_list")
            packed.extend(_packed(obj, f"object[{i}]") for i, obj in enumerate(scatter_object_input_list))
        return f"from rank {mine.comm.members[root]}"

    def act(what: str) -> list[Any]:
        comm, root = mine.comm, group_rank(mine, "scatter_object_list", src, group_src)
        lengths = np.array([content.size for content in packed] or [0] * comm.size)
        comm.broadcast(lengths, root, what)
        if comm.rank == root:
            content = packed[root]
            comm.exchange([(peer, packed[peer]) for peer in range(comm.size) if peer != root], [], what)
        else:
            content = np.empty(int(lengths[comm.rank]), np.uint8)
            comm.exchange([], [(root, content)], what)
        scatter_object_output_list[0] = _unpacked(content)
        return scatter_object_output_list

    mine.call("scatter_object_list", check, act)


def send_object_list(
    object_list: list[Any],
    dst: int | None = None,
    group: Group = None,
    device: Any = None,
    group_dst: int | None = None,
    use_batch: bool = False,
) -> None:
    """Send objects to another rank."""
    mine = find(group, "send_object_list")
    peer = group_rank(mine, "send_object_list", dst, group_dst)
    if peer == mine.rank():
        raise ValueError(
            "Invalid destination rank: destination rank should not be the same as the rank of the current process."
        )
    mine.letters.send(peer, _packed(object_list, "object"), _TAG, []).wait()


def recv_object_list(
    object_list: list[Any],
    src: int | None = None,
    group: Group = None,
    device: Any = None,
    group_src: int | None = None,
    use_batch: bool = False,
) -> int:
    """Fill the list with as many objects from a rank, or from any; returns the sender's number in the world."""
    mine = find(group, "recv_object_list")
    anyone = src is None and group_src is None
    peer = None if anyone else group_rank(mine, "recv_object_list", src, group_src)
    letter = mine.letters.receive(peer, _TAG, lambda sender, content: [content])
    letter.wait()
    objects, sender = _unpacked(letter.result()[0]), mine.comm.members[letter._source_rank()]
    if len(objects) != len(object_list):
        raise DistBackendError(
            f"{mine.comm.place()}: recv_object_list: expected {len(object_list)} objects, got {len(objects)} from rank "
            f"{sender}"
        )
    object_list[:] = objects
    return sender


def _gathered(comm: Communicator, content: np.ndarray, root: int | None, what: str) -> list[np.ndarray]:
    """The bytes of all ranks, on rank `root` or on all."""
    lengths = comm.all_gather(np.array([content.size]), what)
    receivers = list(range(comm.size)) if root is None else [root]
    sends = [(peer, content) for peer in receivers if peer != comm.rank]
    if comm.rank not in receivers:
        comm.exchange(sends, [], what)
        return []
    contents = [content if r == comm.rank else np.empty(int(n[0]), np.uint8) for r, n in enumerate(lengths)]
    comm.exchange(sends, [(peer, contents[peer]) for peer in range(comm.size) if peer != comm.rank], what)
    return contents


def _check_list(objects: Any, group: ProcessGroup, name: str) -> None:
    if not isinstance(objects, list) or len(objects) != group.size():
        found = f"{len(objects)} places" if isinstance(objects, list) else type(objects).__name__
        raise ArgumentError(f"{name}: expected a list of {group.size()} places, one a rank, got {found}")


def _packed(value: Any, name: str) -> np.ndarray:
    """JSON in UTF-8; TypeError names the place of what is no JSON-like data."""
    return np.frombuffer(json.dumps(_plain(value, name)).encode(), np.uint8)


def _plain(value: Any, name: str) -> Any:
    """What JSON knows: a tuple becomes {"tuple": [...]}, a dict {"dict": {...}}."""
    if value is None or type(value) in (bool, int, float, str):
        return value
    if type(value) is list:
        return [_plain(item, f"{name}[{place}]") for place, item in enumerate(value)]
    if type(value) is tuple:
        return {"tuple": [_plain(item, f"{name}[{place}]") for place, item in enumerate(value)]}
    if type(value) is dict:
        for key in value:
            if type(key) is not str:
                raise TypeError(f"{name}: expected keys that are str, got {key!r} of type {type(key).__name__}")
        return {"dict": {key: _plain(item, f"{name}.{key}") for key, item in value.items()}}
    raise TypeError(
        f"{name}: expected JSON-like data (None, bool, int, float, str, list, tuple, dict with str keys), got "
        f"{type(value).__name__}; tensors go by broadcast, all_gather, send"
    )


def _unpacked(content: np.ndarray) -> Any:
    return _restored(json.loads(content.tobytes()))


def _restored(value: Any) -> Any:
    if isinstance(value, list):
        return [_restored(item) for item in value]
    if isinstance(value, dict):
        ((name, inner),) = value.items()
        if name == "tuple":
            return tuple(_restored(item) for item in inner)
        return {key: _restored(item) for key, item in inner.items()}
    return value

"""From one rank to another: send, recv, and their forms that do not wait (`torch.distributed`).

A letter says its dtype and shape; it fits a tensor of the same dtype with as many elements.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ddpnet.distributed.collectives.groups import Group, ProcessGroup, find, group_rank
from ddpnet.distributed.collectives.memory import check_tensor, fill, kind, on_host
from ddpnet.distributed.collectives.work import Work
from ddpnet.distributed.errors import DistBackendError
from ddpnet.tensor import Tensor

_HEAD_BYTES = 256
LARGEST_TAG = 2**15 - 8
"""What every MPI allows, less what is used here."""


def isend(
    tensor: Tensor, dst: int | None = None, group: Group = None, tag: int = 0, group_dst: int | None = None
) -> Work:
    """Start to send a tensor to a rank; this one is allowed, too. The tensor is copied: it may change at once."""
    mine = find(group, "isend")
    check_tensor(tensor, "tensor")
    peer = group_rank(mine, "isend", dst, group_dst)
    content = np.concatenate([_head(kind(tensor)), on_host(tensor).view(np.uint8)])
    return mine.letters.send(peer, content, _checked(tag), [tensor])


def irecv(
    tensor: Tensor, src: int | None = None, group: Group = None, tag: int = 0, group_src: int | None = None
) -> Work:
    """Start to receive a tensor from a rank, or from any."""
    mine = find(group, "irecv")
    work = _receive(mine, tensor, _source(mine, src, group_src), tag)
    mine.letters.beside()
    return work


def send(
    tensor: Tensor, dst: int | None = None, group: Group = None, tag: int = 0, group_dst: int | None = None
) -> None:
    """Send a tensor to another rank; return when it may be changed."""
    mine = find(group, "send")
    _check_other(mine, group_rank(mine, "send", dst, group_dst), "destination")
    isend(tensor, dst, group, tag, group_dst).wait()


def recv(
    tensor: Tensor, src: int | None = None, group: Group = None, tag: int = 0, group_src: int | None = None
) -> int:
    """Fill a tensor with what a rank, or any, has sent; returns the sender's number in the world."""
    mine = find(group, "recv")
    work = _receive(mine, tensor, _source(mine, src, group_src), tag)
    work.wait()
    return mine.comm.members[work._source_rank()]


class P2POp:
    """One of the operations of `batch_isend_irecv`: `isend` or `irecv`, a tensor and a peer."""

    def __init__(
        self,
        op: Callable[..., Work],
        tensor: Tensor,
        peer: int | None = None,
        group: Group = None,
        tag: int = 0,
        group_peer: int | None = None,
    ) -> None:
        if op not in (isend, irecv):
            raise ValueError(
                "Invalid ``op``. Expected ``op`` to be of type ``torch.distributed.isend`` or "
                "``torch.distributed.irecv``."
            )
        check_tensor(tensor, "tensor")
        self.op, self.tensor, self.tag = op, tensor, tag
        self.group = find(group, "P2POp")
        self.group_peer = group_rank(self.group, "P2POp", peer, group_peer)
        self.peer = self.group.comm.members[self.group_peer]


def batch_isend_irecv(p2p_op_list: list[P2POp]) -> list[Work]:
    """Start all operations of a list; ValueError for an empty one, and for several groups."""
    if not isinstance(p2p_op_list, list) or not all(isinstance(op, P2POp) for op in p2p_op_list) or not p2p_op_list:
        raise ValueError(
            "Invalid ``p2p_op_list``. Each op is expected to to be of type ``torch.distributed.P2POp``, and there has "
            "to be one"
        )
    if not all(op.group is p2p_op_list[0].group for op in p2p_op_list):
        raise ValueError("All ops need to use the same group.")
    return [
        op.op(op.tensor, group=op.group, tag=op.tag, **{"group_dst" if op.op is isend else "group_src": op.group_peer})
        for op in p2p_op_list
    ]


def _receive(group: ProcessGroup, tensor: Tensor, peer: int | None, tag: int) -> Any:
    check_tensor(tensor, "tensor")

    def read(sender: int, content: np.ndarray) -> list[Tensor]:
        dtype, _, shape = content[:_HEAD_BYTES].tobytes().rstrip(b"\0").decode().partition(" ")
        body = content[_HEAD_BYTES:]
        if dtype != str(tensor.array.dtype) or body.nbytes != tensor.array.nbytes:
            raise DistBackendError(
                f"{group.comm.place()}: recv: expected {kind(tensor)}, got {dtype} {shape} from rank "
                f"{group.comm.members[sender]}: both need one dtype and as many elements; messages of a tag come in "
                "the order in which they were sent"
            )
        fill(tensor, body.view(tensor.array.dtype))
        return [tensor]

    return group.letters.receive(peer, _checked(tag), read)


def _head(text: str) -> np.ndarray:
    return np.frombuffer(text.encode()[:_HEAD_BYTES].ljust(_HEAD_BYTES, b"\0"), np.uint8)


def _source(group: ProcessGroup, src: int | None, group_src: int | None) -> int | None:
    return None if src is None and group_src is None else group_rank(group, "recv", src, group_src)


def _check_other(group: ProcessGroup, rank: int, name: str) -> None:
    if rank == group.rank():
        raise ValueError(f"Invalid {name} rank: {name} rank should not be the same as the rank of the current process.")


def _checked(tag: int) -> int:
    if not 0 <= tag <= LARGEST_TAG:
        raise ValueError(f"tag: expected a number from 0 to {LARGEST_TAG}, got {tag}")
    return tag

"""Messages from one rank to another, and Python objects, on ranks that are threads."""

from __future__ import annotations

import math
import time
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from test_collectives import DTYPES, SHAPES, on_ranks, values

import ddpnet as torch
import ddpnet.distributed as dist


@pytest.mark.parametrize("dtype", DTYPES)
def test_send_and_recv(dtype: str) -> None:
    def rank(me: int) -> None:
        for shape in SHAPES:
            if me == 0:
                dist.send(values(0, shape, dtype), 1)
            else:
                tensor = values(1, shape, dtype)
                assert dist.recv(tensor, 0) == 0
                np.testing.assert_array_equal(tensor.array, values(0, shape, dtype).array)

    on_ranks(2, rank)


def test_a_ring_of_isend_and_irecv() -> None:
    """Tags keep messages apart whatever their order; those of one tag come in the order in which they were sent."""

    def rank(me: int) -> list[float]:
        right, left = (me + 1) % 3, (me - 1) % 3
        tensors = [torch.zeros(2) for _ in range(3)]
        coming = [dist.irecv(tensors[0], left, tag=5), dist.irecv(tensors[1], left), dist.irecv(tensors[2], left)]
        going = [dist.isend(torch.full((2,), 10.0 * me + n), right, tag=5 * (n == 2)) for n in range(3)]
        for work in (*going, *coming):
            assert work.wait()
        return [tensor[1].item() - 10 * left for tensor in tensors]

    assert on_ranks(3, rank) == [[2, 0, 1]] * 3


def test_from_any_rank() -> None:
    def rank(me: int) -> Any:
        if me:
            dist.send(torch.tensor(me), 0)
            return None
        tensor, senders = torch.tensor(0), []
        for _ in range(2):
            sender = dist.recv(tensor)
            assert sender == tensor.item()
            senders.append(sender)
        return sorted(senders)

    assert on_ranks(3, rank)[0] == [1, 2]


def test_batch_isend_irecv_in_a_group() -> None:
    def rank(me: int) -> Any:
        group = dist.new_group([1, 2])
        if me == 0:
            return None
        tensor = torch.zeros(3)
        with pytest.raises(ValueError, match=r"type ``torch.distributed.isend`` or"):
            dist.P2POp(dist.send, tensor, 1)
        operations = [
            dist.P2POp(dist.irecv, tensor, 3 - me, group),
            dist.P2POp(dist.isend, torch.full((3,), float(me)), group=group, group_peer=2 - me),
        ]
        for work in dist.batch_isend_irecv(operations):
            work.wait()
        with pytest.raises(ValueError, match="same group"):
            dist.batch_isend_irecv([operations[0], dist.P2POp(dist.irecv, tensor, 1)])
        return tensor[0].item()

    assert on_ranks(3, rank) == [None, 2, 1]


def test_a_tensor_that_does_not_fit() -> None:
    def rank(me: int) -> None:
        if me == 0:
            dist.send(torch.zeros(3, 4), 1)
            dist.send(torch.arange(6), 1)
        else:
            with pytest.raises(
                dist.DistBackendError, match=r"expected float32 \(2,\), got float32 \(3, 4\) from rank 0"
            ):
                dist.recv(torch.zeros(2), 0)
            flat = torch.zeros(2, 3, dtype=torch.int64)
            dist.recv(flat, 0)
            assert flat.tolist() == [[0, 1, 2], [3, 4, 5]]

    on_ranks(2, rank)


def test_wrong_peers_and_tags() -> None:
    def rank(me: int) -> None:
        x = torch.zeros(1)
        with pytest.raises(ValueError, match="destination rank should not be the same"):
            dist.send(x, me)
        with pytest.raises(ValueError, match="Global rank 4 is not part of group"):
            dist.isend(x, 4)
        with pytest.raises(ValueError, match="Must specify global_rank or group_rank"):
            dist.isend(x)
        with pytest.raises(ValueError, match="tag: expected a number from 0 to 32760, got -1"):
            dist.irecv(x, 0, tag=-1)

    on_ranks(2, rank)


def test_nothing_comes() -> None:
    def rank(me: int) -> None:
        if me == 0:
            words = "rank 0 of 2: recv from rank 1 with tag 0 in the default group: nothing came from"
            with pytest.raises(dist.DistBackendError, match=words):
                dist.recv(torch.zeros(1), 1)
            begun = time.monotonic()
            with pytest.raises(dist.DistBackendError, match=r"nothing came from rank 1 within 0.1 s"):
                dist.irecv(torch.zeros(1)).wait(timedelta(seconds=0.1))
            assert time.monotonic() - begun < 1

    on_ranks(2, rank, timeout=0.2)


def test_what_is_waited_for_by_nobody_comes_beside_the_program() -> None:
    """A receive that was started takes its letter although the program is in a collective."""

    def rank(me: int) -> float:
        tensor = torch.zeros(1000)
        work = dist.irecv(tensor, 1) if me == 0 else dist.isend(torch.ones(1000), 0)
        dist.barrier()
        deadline = time.monotonic() + 5
        while me == 0 and tensor[0].item() == 0 and time.monotonic() < deadline:
            time.sleep(0.01)  # no call that would advance it
        came = tensor[0].item()
        work.wait()
        return came

    assert on_ranks(2, rank) == [1.0, 0.0]


# Objects

OBJECTS = [
    None,
    True,
    7,
    2**80,
    -0.0,
    1e-300,
    math.inf,
    "text \u00e4 \U0001f600",
    [],
    (),
    {},
    {"a": [1, (2, {"tuple": 3, "dict": [4]})], "tuple": None},
]


def test_objects_come_out_as_they_went_in() -> None:
    def rank(me: int) -> None:
        everyone: list[Any] = [None] * 3
        dist.all_gather_object(everyone, [OBJECTS, me])
        assert everyone == [[OBJECTS, 0], [OBJECTS, 1], [OBJECTS, 2]]
        assert [type(a) for a in everyone[0][0]] == [type(a) for a in OBJECTS]
        assert math.copysign(1, everyone[1][0][4]) == -1
        gathered: list[Any] | None = [None] * 3 if me == 1 else None
        dist.gather_object({"rank": me}, gathered, dst=1)
        assert gathered == ([{"rank": 0}, {"rank": 1}, {"rank": 2}] if me == 1 else None)
        copies: list[Any] = OBJECTS if me == 2 else [None] * len(OBJECTS)
        dist.broadcast_object_list(copies, src=2)
        assert copies == OBJECTS
        own: list[Any] = [None]
        dist.scatter_object_list(own, ["a", "bc" * 1000, None] if me == 0 else None)
        assert own == [["a", "bc" * 1000, None][me]]
        dist.all_gather_object(everyone, math.nan)
        assert all(math.isnan(number) for number in everyone)

    on_ranks(3, rank)


def test_objects_are_sent() -> None:
    def rank(me: int) -> Any:
        if me == 0:
            dist.send_object_list([{"a": 1}, "b"], dst=1)
            dist.send_object_list(["c"], dst=1)
            return None
        objects: list[Any] = [None, None]
        assert dist.recv_object_list(objects, src=0) == 0
        with pytest.raises(dist.DistBackendError, match="expected 2 objects, got 1 from rank 0"):
            dist.recv_object_list([None, None])
        return objects

    assert on_ranks(2, rank)[1] == [{"a": 1}, "b"]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([0, 1, {"weights": torch.zeros(1)}], r"object\[2\].weights: expected JSON-like data .*, got Tensor"),
        ([{"a": {1: 2}}], r"object\[0\].a: expected keys that are str, got 1 of type int"),
        ([(0, {1, 2})], r"object\[0\]\[1\]: expected JSON-like data .*, got set"),
        ([np.float64(1)], r"object\[0\]: expected JSON-like data .*, got float64"),
    ],
)
def test_other_objects_are_refused(value: list[Any], message: str) -> None:
    """There are no pickles."""

    def rank(me: int) -> None:
        with pytest.raises(TypeError, match=message):
            dist.send_object_list(value, 1 - me)
        if me == 0:
            with pytest.raises(TypeError, match=message):
                dist.broadcast_object_list(value, 0)
        else:
            with pytest.raises(dist.DistBackendError, match="rank 0 called broadcast_object_list with wrong arguments"):
                dist.broadcast_object_list([None] * len(value), 0)

    on_ranks(2, rank)

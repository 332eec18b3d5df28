"""What the ranks of a group do together has PyTorch's meaning, on ranks that are threads."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import reduce
from typing import Any

import numpy as np
import pytest

import ddpnet as torch
import ddpnet.distributed as dist
from ddpnet.distributed import Communicator
from ddpnet.distributed.collectives.process_group import using
from ddpnet.distributed.transport.threads import run_threads

DTYPES = ["bool", "uint8", "int8", "int16", "int32", "int64", "float16", "bfloat16", "float32", "float64"]
SHAPES = [(), (0,), (1,), (3, 4), (2, 0, 5)]


def on_ranks(size: int, function: Callable[[int], Any], **options: Any) -> list[Any]:
    """The results of `function(rank)` on ranks that are in a default group."""

    def run(comm: Communicator) -> Any:
        with using(comm):
            return function(comm.rank)

    return run_threads(size, run, **options)


def values(rank: int, shape: tuple[int, ...], dtype: str = "float32") -> torch.Tensor:
    """Small whole numbers, others on each rank."""
    numbers = np.random.default_rng(rank).integers(0, 4, shape)
    return torch.tensor(numbers).to(getattr(torch, dtype))


def stacked(size: int, shape: tuple[int, ...], dtype: str = "float32") -> np.ndarray:
    return np.stack([values(rank, shape, dtype).array for rank in range(size)])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_every_dtype_and_shape(dtype: str, shape: tuple[int, ...]) -> None:
    """all_reduce, broadcast, all_gather, all_gather_into_tensor, gather, scatter and reduce_scatter."""
    size = 3
    everything = stacked(size, shape, dtype)

    def rank(me: int) -> None:
        mine = values(me, shape, dtype)
        total, copy, own = mine.clone(), mine.clone(), mine.clone()
        dist.all_reduce(total)
        np.testing.assert_array_equal(total.array, reduce(np.add, everything))
        assert total.dtype == mine.dtype
        dist.broadcast(copy, src=2)
        np.testing.assert_array_equal(copy.array, everything[2])
        parts = [torch.zeros_like(mine) for _ in range(size)]
        dist.all_gather(parts, mine)
        np.testing.assert_array_equal(np.stack([part.array for part in parts]), everything)
        joined = torch.empty((size, *shape), dtype=mine.dtype)
        dist.all_gather_into_tensor(joined, mine)
        np.testing.assert_array_equal(joined.array, everything)
        gathered = [torch.zeros_like(mine) for _ in range(size)] if me == 1 else None
        dist.gather(mine, gathered, dst=1)
        if gathered is not None:
            np.testing.assert_array_equal(np.stack([part.array for part in gathered]), everything)
        dist.scatter(own, parts if me == 2 else None, src=2)
        np.testing.assert_array_equal(own.array, mine.array)
        dist.reduce_scatter(own, [mine] * size)
        np.testing.assert_array_equal(own.array, total.array)

    on_ranks(size, rank)


OPERATIONS = {
    "SUM": np.add,
    "PRODUCT": np.multiply,
    "MIN": np.minimum,
    "MAX": np.maximum,
    "BAND": np.bitwise_and,
    "BOR": np.bitwise_or,
    "BXOR": np.bitwise_xor,
}


@pytest.mark.parametrize("op", OPERATIONS)
@pytest.mark.parametrize("dtype", ["bool", "int64", "float32", "bfloat16"])
def test_reductions(op: str, dtype: str) -> None:
    """all_reduce, reduce, reduce_scatter_tensor; bits of numbers that are no integers are refused on every rank."""
    expected = stacked(3, (3, 5), dtype)
    bits = op.startswith("B") and dtype in ("float32", "bfloat16")

    def rank(me: int) -> str | None:
        total, single, part = values(me, (3, 5), dtype), values(me, (3, 5), dtype), values(0, (1, 5), dtype)
        if bits:
            with pytest.raises(RuntimeError, match=f"ReduceOp.{op} with non-integral dtype {dtype}"):
                dist.all_reduce(total, dist.ReduceOp[op])
            return None
        dist.all_reduce(total, dist.ReduceOp[op])
        wanted = reduce(OPERATIONS[op], expected)
        np.testing.assert_array_equal(total.array, wanted)
        dist.reduce(single, dst=1, op=dist.ReduceOp[op])
        np.testing.assert_array_equal(single.array, wanted if me == 1 else expected[me])
        dist.reduce_scatter_tensor(part, values(me, (3, 5), dtype), dist.ReduceOp[op])
        np.testing.assert_array_equal(part.array, wanted[me : me + 1])
        return None

    on_ranks(3, rank)


def test_means() -> None:
    """Of integers: cut towards zero. Of truth values: refused."""

    def rank(me: int) -> list[Any]:
        found = []
        for numbers, dtype in (([1, 2, 6], "float32"), ([-1, 0, -4], "int64"), ([1, 2, 5], "int32")):
            tensor = torch.tensor(numbers[me]).to(getattr(torch, dtype))
            dist.all_reduce(tensor, dist.ReduceOp.AVG)
            found.append(tensor.item())
        with pytest.raises(RuntimeError, match="AVG with Bool"):
            dist.all_reduce(torch.tensor(True), dist.ReduceOp.AVG)
        return found

    assert on_ranks(3, rank) == [[3.0, -1, 2]] * 3


def test_sums_have_the_same_bits_in_every_collective() -> None:
    """all_reduce, reduce and reduce_scatter add in the order of one tree."""
    data = np.random.default_rng(0).standard_normal((5, 1000)).astype(np.float32) * 1e3

    def rank(me: int) -> list[bytes]:
        whole, single, part = (torch.tensor(data[me].copy()) for _ in range(3))
        dist.all_reduce(whole)
        dist.reduce(single, dst=0)
        dist.broadcast(single, src=0)
        part = torch.empty(200)
        dist.reduce_scatter_tensor(part, torch.tensor(data[me]))
        parts = torch.empty(1000)
        dist.all_gather_into_tensor(parts, part)
        return [whole.array.tobytes(), single.array.tobytes(), parts.array.tobytes()]

    results = on_ranks(5, rank)
    tree = (data[0] + data[1]) + (data[2] + (data[3] + data[4]))
    assert all(bits == tree.tobytes() for result in results for bits in result)


def test_all_to_all() -> None:
    """Tensors of different shapes, and rows with and without sizes."""

    def rank(me: int) -> None:
        inputs = [torch.full((me + 1, to + 1), 10 * me + to) for to in range(3)]
        outputs = [torch.zeros(of + 1, me + 1, dtype=torch.int64) for of in range(3)]
        dist.all_to_all(outputs, inputs)
        assert [o.unique().tolist() for o in outputs] == [[10 * of + me] for of in range(3)]
        equal = torch.zeros(3, 2, dtype=torch.int64)
        dist.all_to_all_single(equal, torch.arange(6).reshape(3, 2) + 100 * me)
        assert equal.tolist() == [[2 * me + 100 * of, 2 * me + 1 + 100 * of] for of in range(3)]
        sent = torch.arange(3) + 10 * me  # row r three times to rank 0, none to the others
        got = torch.zeros(9 if me == 0 else 0, dtype=torch.int64)
        dist.all_to_all_single(got, sent, [3, 3, 3] if me == 0 else [0, 0, 0], [3, 0, 0])
        assert got.tolist() == ([0, 1, 2, 10, 11, 12, 20, 21, 22] if me == 0 else [])

    on_ranks(3, rank)


def test_memory_that_is_not_contiguous() -> None:
    def rank(me: int) -> None:
        base = torch.zeros(4, 6)
        column = base.t()[1:3]
        column.fill_(me + 1)
        dist.all_reduce(column)
        assert base.sum().item() == 6 * 8
        assert base[:, 1:3].min().item() == 6

    on_ranks(3, rank)


def test_async_calls_run_beside_the_program_in_their_order() -> None:
    """Several calls at once, and a blocking one behind them."""

    def rank(me: int) -> tuple[list[float], bool, float]:
        tensors = [torch.full((2,), float(me + number)) for number in range(5)]
        works = [dist.all_reduce(tensor, async_op=True) for tensor in tensors[:4]]
        assert all(isinstance(work, dist.Work) for work in works)
        dist.all_reduce(tensors[4])
        assert all(work is not None and work.is_completed() and work.is_success() for work in works)
        squares = works[0].get_future().then(lambda future: future.value()[0] ** 2)
        return [tensor[0].item() for tensor in tensors], works[1].wait(), squares.wait()[1].item()

    assert on_ranks(2, rank) == [([1.0, 3.0, 5.0, 7.0, 9.0], True, 1.0)] * 2


def test_every_collective_can_be_started_without_waiting() -> None:
    def rank(me: int) -> None:
        x, part, two = torch.full((2,), float(me)), torch.zeros(1), [torch.zeros(2), torch.zeros(2)]
        works = [
            dist.broadcast(x.clone(), src=0, async_op=True),
            dist.reduce(x.clone(), dst=0, async_op=True),
            dist.all_gather(two, x, async_op=True),
            dist.all_gather_into_tensor(torch.zeros(4), x, async_op=True),
            dist.gather(x, [torch.zeros(2), torch.zeros(2)] if me == 0 else None, async_op=True),
            dist.scatter(x.clone(), [x, x] if me == 0 else None, async_op=True),
            dist.reduce_scatter(part, [x[:1], x[1:]], async_op=True),
            dist.reduce_scatter_tensor(part, x, async_op=True),
            dist.all_to_all([torch.zeros(1), torch.zeros(1)], [x[:1], x[1:]], async_op=True),
            dist.all_to_all_single(torch.zeros(2), x, async_op=True),
            dist.barrier(async_op=True),
        ]
        for work in works:
            assert work is not None
            assert work.wait(timedelta(seconds=20))
        assert [t.tolist() for t in two] == [[0, 0], [1, 1]]
        assert works[-1] is not None
        assert works[-1].result() == []

    on_ranks(2, rank)

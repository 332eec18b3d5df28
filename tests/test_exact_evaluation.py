"""Loss and metrics over a set: each sample once, the same bits at any number of ranks and any batch size."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ranks import MPIEXEC, run

import ddpnet as torch
from ddpnet import nn
from ddpnet.distributed import Communicator
from ddpnet.distributed.errors import PeerTimeoutError
from ddpnet.distributed.evaluation import SampleSums, evaluate
from ddpnet.distributed.transport.threads import run_threads

RNG = np.random.default_rng(0)
LOSSES = (RNG.standard_normal(200) * 10.0 ** RNG.integers(-8, 8, 200)).astype(np.float32)
HITS = RNG.integers(0, 2, 200).astype(bool)


@pytest.mark.parametrize("ranks", range(1, 9))
def test_every_size_on_every_number_of_ranks(ranks: int) -> None:
    """All N up to 200, several batch sizes: the exactly rounded sum, whoever adds which samples in which order."""
    expected = {n: {"loss": math.fsum(LOSSES[:n].tolist()), "correct": float(HITS[:n].sum())} for n in range(201)}

    def rank(comm: Communicator) -> bool:
        for n in range(201):
            for batch in (3, 64):
                sums = SampleSums(n, comm)
                mine = np.arange(n)[::-1][comm.rank :: comm.size]  # backwards, in turns
                for start in range(0, len(mine), batch):
                    rows = mine[start : start + batch]
                    sums.add(rows, loss=LOSSES[rows], correct=HITS[rows])
                assert sums.reduce() == expected[n], (n, batch)
        return True

    assert run_threads(ranks, rank) == [True] * ranks


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(20, 40), nn.ReLU(), nn.Linear(40, 3)).eval()


IMAGES = torch.tensor(RNG.standard_normal((200, 20)).astype(np.float32))
LABELS = torch.tensor(RNG.integers(0, 3, 200))


@pytest.mark.parametrize("ranks", [1, 2, 3, 5, 8])
def test_a_model_that_is_evaluated_in_blocks(ranks: int) -> None:
    """Its matrix products have the same shapes everywhere, so that their bits are the same; each sample comes once."""

    def rank(comm: Communicator, n: int, batch: int) -> Any:
        net, seen = model(), []

        def forward(rows: slice) -> dict[str, Any]:
            seen.append((rows.start, rows.stop))
            with torch.no_grad():
                output = net(IMAGES[rows])
            loss = nn.functional.cross_entropy(output, LABELS[rows], reduction="none")
            return {"loss": loss, "correct": output.argmax(1) == LABELS[rows]}

        return evaluate(forward, n, comm, batch, block=16), seen

    for n in (0, 1, 15, 16, 17, 100, 200):
        ((expected, blocks),) = run_threads(1, lambda comm, n=n: rank(comm, n, 1))
        assert blocks == [(start, min(start + 16, n)) for start in range(0, n, 16)]
        for batch in (1, 32, 50, 1000):
            results = run_threads(ranks, lambda comm, n=n, batch=batch: rank(comm, n, batch))
            assert [sums for sums, _ in results] == [expected] * ranks, (n, batch)
            assert sorted(block for _, seen in results for block in seen) == blocks


def test_a_sample_that_is_counted_twice_or_never_is_named() -> None:
    def rank(comm: Communicator, parts: list[list[int]]) -> None:
        sums = SampleSums(5, comm, ["loss"])
        sums.add(parts[comm.rank], loss=np.ones(len(parts[comm.rank])))
        sums.reduce()

    for parts, text in (
        ([[0, 1, 2], [2, 3, 4]], "sample 2 was counted 2 times by the 2 ranks"),
        ([[0, 1], [3]], r"sample 2 was counted 0 times .* \(2 such samples\)"),
        ([[0, 0, 1], [2, 3, 4]], "sample 0 was counted 2 times"),
    ):
        with pytest.raises(ValueError, match=text):
            run_threads(2, lambda comm, parts=parts: rank(comm, parts))


def test_numbers_that_are_not_finite_and_zeros() -> None:
    def total(values: list[float], ranks: int) -> bytes:
        def rank(comm: Communicator) -> float:
            sums = SampleSums(len(values), comm, ["loss"])
            rows = slice(comm.rank, None, comm.size)
            sums.add(rows, loss=np.array(values)[rows])
            return sums.reduce()["loss"]

        results = {np.float64(result).tobytes() for result in run_threads(ranks, rank)}
        assert len(results) == 1
        return results.pop()

    for values in ([-0.0, -0.0], [1e308, 1e308, 1.0], [math.inf, -math.inf], [math.nan, 1.0], [math.inf, 1.0]):
        assert len({total(values, ranks) for ranks in (1, 2, 3)}) == 1, values


def test_bad_input_is_refused() -> None:
    (comm,) = run_threads(1, lambda comm: comm)
    sums = SampleSums(3, comm)
    with pytest.raises(ValueError, match=r"expected values of \['loss', 'correct'\], got \['loss'\]"):
        sums.add([0], loss=[1.0])
    with pytest.raises(ValueError, match=r"one value of 'loss' for each of 2 samples, got shape \(3,\)"):
        sums.add([0, 1], loss=[1.0, 2.0, 3.0], correct=[1, 1])
    with pytest.raises(ValueError, match="expected samples from 0 to 2, got 3"):
        sums.add([1, 3], loss=[1.0, 2.0], correct=[1, 1])
    with pytest.raises(ValueError, match="a slice or numbers of samples"):
        sums.add([True, False], loss=[1.0, 2.0], correct=[1, 1])
    with pytest.raises(ValueError, match="at least 0 samples"):
        SampleSums(-1, comm)
    for options in ({"batch": 0}, {"block": 0}):
        with pytest.raises(ValueError, match="of at least 1, got 0"):
            evaluate(lambda rows: {}, 3, comm, **options)


def test_a_rank_that_does_not_come_is_named_with_the_operation() -> None:
    def rank(comm: Communicator) -> None:
        if comm.rank != 1:
            evaluate(lambda rows: {"loss": np.ones(3), "correct": np.ones(3)}, 3, comm)

    with pytest.raises(PeerTimeoutError, match="rank 0 of 2: evaluation: nothing came from rank 1"):
        run_threads(2, rank, timeout=0.2)


SCRIPT = """
import numpy as np
from ddpnet import distributed
from ddpnet.distributed.evaluation import evaluate
from ddpnet.distributed.collectives.process_group import current

distributed.init_process_group()
values = (np.random.default_rng(5).standard_normal(1234) * 1e3).astype(np.float32)
sums = evaluate(lambda rows: {"loss": values[rows], "correct": values[rows] > 0}, 1234, current(), 64)
distributed.barrier()
print(sums["loss"].hex(), sums["correct"])
"""


def test_real_ranks(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    lines: dict[str, int] = {}
    for ranks in (1, 2, 3):
        done = run([MPIEXEC, "-n", str(ranks), sys.executable, "script.py"], timeout=30, cwd=tmp_path)
        assert done.code == 0, done.err
        assert len(done.out.splitlines()) == ranks
        for line in done.out.splitlines():
            lines[line] = lines.get(line, 0) + 1
    assert list(lines.values()) == [6], lines

"""Communication hooks of DistributedDataParallel on threads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import ddpnet as torch
from ddpnet import distributed, nn
from ddpnet.distributed import Communicator, GradBucket
from ddpnet.distributed.algorithms.ddp_comm_hooks import default_hooks, post_localSGD_hook, powerSGD_hook
from ddpnet.distributed.collectives.process_group import using
from ddpnet.distributed.transport.threads import run_threads
from ddpnet.nn.parallel import DistributedDataParallel as DDP

RNG = np.random.default_rng(1)
X = torch.tensor(RNG.standard_normal((8, 12)), dtype=torch.float32)
Y = torch.tensor(RNG.integers(0, 5, 8))


def on_ranks(size: int, function: Callable[[Communicator], Any], **options: Any) -> list[Any]:
    def rank(comm: Communicator) -> Any:
        with using(comm):
            return function(comm)

    return run_threads(size, rank, **options)


def train(comm: Communicator, hook: Any, state: Any = None, steps: int = 4, **options: Any) -> list[np.ndarray]:
    """The gradients of the last step, on a rank with a part of X."""
    torch.manual_seed(0)
    model = DDP(nn.Sequential(nn.Linear(12, 16), nn.Tanh(), nn.Linear(16, 5)), bucket_cap_mb=5e-4, **options)
    if hook is not None:
        model.register_comm_hook(state, hook)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    rows = slice(8 * comm.rank // comm.size, 8 * (comm.rank + 1) // comm.size)
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(X[rows]), Y[rows]).backward()
        optimizer.step()
    return [p.grad.array.copy() for p in model.parameters()]


HOOKS: list[tuple[Any, float]] = [
    (default_hooks.allreduce_hook, 1e-6),
    (default_hooks.fp16_compress_hook, 2e-3),
    (default_hooks.bf16_compress_hook, 2e-2),
    (default_hooks.fp16_compress_wrapper(default_hooks.allreduce_hook), 2e-3),
    (default_hooks.bf16_compress_wrapper(default_hooks.allreduce_hook), 2e-2),
]


@pytest.mark.parametrize(("hook", "tolerance"), HOOKS)
@pytest.mark.parametrize("view", [False, True])
def test_ready_made_hooks_average(hook: Any, tolerance: float, view: bool) -> None:
    plain = on_ranks(2, lambda comm: train(comm, None))
    results = on_ranks(2, lambda comm: train(comm, hook, gradient_as_bucket_view=view))
    for first, second, expected in zip(*results, plain[0], strict=True):
        np.testing.assert_array_equal(first, second)
        np.testing.assert_allclose(first, expected, rtol=tolerance, atol=tolerance * np.abs(expected).max())


@pytest.mark.parametrize("hook", [powerSGD_hook.powerSGD_hook, powerSGD_hook.batched_powerSGD_hook])
@pytest.mark.parametrize("wrap", [lambda hook: hook, default_hooks.fp16_compress_wrapper])
def test_powersgd(hook: Any, wrap: Any) -> None:
    """Of full rank it is the mean; of rank 1 it is near, the same on all ranks, and smaller."""
    plain = on_ranks(2, lambda comm: train(comm, None))[0]
    states = []

    def rank(comm: Communicator, approximation: int) -> list[np.ndarray]:
        state = powerSGD_hook.PowerSGDState(None, approximation, 2, min_compression_rate=0.1)
        states.append(state)
        return train(comm, wrap(hook), state)

    full = on_ranks(2, lambda comm: rank(comm, 30))
    one = on_ranks(2, lambda comm: rank(comm, 1))
    for first, second, exact, expected in zip(*one, full[0], plain, strict=True):
        np.testing.assert_array_equal(first, second)
        np.testing.assert_allclose(exact, expected, atol=5e-3)
    assert any(np.abs(a - b).max() > 1e-3 for a, b in zip(one[0], plain, strict=True))
    assert states[-1].compression_stats()[0] > 1.5
    assert states[-1].iter == 4


def test_powersgd_state_is_checked() -> None:
    with pytest.raises(ValueError, match="Expect `start_powerSGD_iter` > 1"):
        powerSGD_hook.PowerSGDState(None, start_powerSGD_iter=1)


def test_post_local_sgd_averages_on_each_host_after_a_while() -> None:
    def rank(comm: Communicator, average: bool) -> tuple[float, float]:
        state = post_localSGD_hook.PostLocalSGDState(None, None, 2, average)
        model = DDP(nn.Linear(1, 1))
        model.register_comm_hook(state, post_localSGD_hook.post_localSGD_hook)
        seen = []
        for _ in range(3):
            model.zero_grad()
            model(torch.full((1, 1), float(comm.rank))).sum().backward()
            seen.append(model.module.weight.grad.item())
        return seen[1], seen[2]

    hosts = [[0, 2], [1, 3]]
    assert on_ranks(4, lambda comm: rank(comm, True), hosts=hosts) == [(1.5, 1.0), (1.5, 2.0)] * 2
    assert on_ranks(2, lambda comm: rank(comm, False)) == [(0.5, 0.0), (0.5, 1.0)]


def test_buckets() -> None:
    """In the order of their numbers, with all parameters once; the hook's own tensor replaces the gradients."""

    def rank(comm: Communicator) -> None:
        model = DDP(nn.Sequential(nn.Linear(12, 16), nn.Linear(16, 5)), bucket_cap_mb=5e-4)
        seen: list[tuple[int, int, bool]] = []

        def hook(state: list[str], bucket: GradBucket) -> torch.futures.Future:
            state.append("called")
            seen.append((bucket.index(), len(bucket.parameters()), bucket.is_last()))
            flat = bucket.buffer()
            for gradient, parameter in zip(bucket.gradients(), bucket.parameters(), strict=True):
                assert gradient.shape == parameter.shape
                np.testing.assert_array_equal(gradient.array, parameter.grad.array)
                gradient.zero_()
            assert not flat.any()
            future = torch.futures.Future()
            future.set_result(torch.full(flat.shape, float(bucket.index() + 1)))
            return future

        calls: list[str] = []
        model.register_comm_hook(calls, hook)
        for _ in range(3):
            model.zero_grad()
            seen.clear()
            model(X).sum().backward()
        numbers = [index for index, _, _ in seen]
        assert numbers == list(range(len(seen)))
        assert len(seen) > 1
        assert [last for _, _, last in seen] == [False] * (len(seen) - 1) + [True]
        assert sum(count for _, count, _ in seen) == 4
        assert len(calls) == 1 + 2 * len(seen)
        last = [float(p.grad.array.reshape(-1)[0]) for p in model.parameters()]
        assert sorted(set(last)) == [float(n + 1) for n in numbers]

    for size in (1, 2):
        on_ranks(size, rank)


def test_what_is_no_hook_is_refused() -> None:
    def no_future(state: Any, bucket: GradBucket):  # what it returns is not said
        return bucket.buffer()

    def wrong_size(state: Any, bucket: GradBucket) -> torch.futures.Future[torch.Tensor]:
        future = torch.futures.Future()
        future.set_result(torch.ones(1))
        return future

    def annotated(state: Any, bucket: int) -> Any: ...

    def returns(state: Any, bucket: GradBucket) -> int: ...

    def rank(comm: Communicator) -> None:
        for bad, error, text in (
            (3, TypeError, "Communication hook must be callable"),
            (annotated, ValueError, "bucket annotation should be dist.GradBucket"),
            (returns, ValueError, "return annotation should be torch.futures.Future"),
            (lambda bucket: None, ValueError, r"expected a function of \(state, bucket\)"),
        ):
            with pytest.raises(error, match=text):
                DDP(nn.Linear(1, 1)).register_comm_hook(None, bad)  # type: ignore[arg-type]
        for hook, text in ((no_future, "must return a torch.futures.Future object"), (wrong_size, "with 2 elements")):
            model = DDP(nn.Linear(1, 1))
            model.register_comm_hook(None, hook)
            with pytest.raises(RuntimeError, match=text):
                model(torch.ones(1, 1)).sum().backward()
            with pytest.raises(RuntimeError, match="can only be called once"):
                model.register_comm_hook(None, default_hooks.allreduce_hook)

    on_ranks(1, rank)


def test_an_error_of_the_exchange_comes_out_of_backward() -> None:
    def rank(comm: Communicator) -> None:
        model = DDP(nn.Linear(1, 1))
        model.register_comm_hook(None, default_hooks.allreduce_hook)
        loss = model(torch.ones(1, 1)).sum()
        if comm.rank == 1:
            distributed.barrier()
        else:
            loss.backward()

    with pytest.raises(distributed.DistBackendError, match="all_reduce"):
        on_ranks(2, rank, timeout=5)

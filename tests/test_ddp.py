"""DistributedDataParallel on threads: gradients of the joined batch, whatever parts of a model a rank uses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import ddpnet as torch
from ddpnet import distributed, nn
from ddpnet.distributed import Communicator, PeerTimeoutError
from ddpnet.distributed.algorithms.join import Join, Joinable, JoinHook
from ddpnet.distributed.collectives.process_group import using
from ddpnet.distributed.optim import ZeroRedundancyOptimizer
from ddpnet.distributed.transport.threads import run_threads
from ddpnet.nn.parallel import DistributedDataParallel as DDP

RNG = np.random.default_rng(0)


def ddp(comm: Communicator, function: Callable[[Communicator], Any]) -> Any:
    with using(comm):
        return function(comm)


def on_ranks(size: int, function: Callable[[Communicator], Any], **options: Any) -> list[Any]:
    return run_threads(size, lambda comm: ddp(comm, function), **options)


def test_has_the_gradients_of_the_joined_batch() -> None:
    model = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3))
    x, y = torch.tensor(RNG.standard_normal((13, 5)), dtype=torch.float32), torch.tensor(RNG.integers(0, 3, 13))
    nn.functional.cross_entropy(model(x), y).backward()

    def rank(comm: Communicator) -> list[np.ndarray]:
        torch.manual_seed(comm.rank)  # weights differ until rank 0's are taken
        copy = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3))
        if comm.rank == 0:
            copy.load_state_dict(model.state_dict())
        parallel = DDP(copy)
        rows = slice(13 * comm.rank // comm.size, 13 * (comm.rank + 1) // comm.size)
        nn.functional.cross_entropy(parallel(x[rows]), y[rows]).backward()
        return [p.grad.array.copy() for p in parallel.parameters()]

    for gradients in run_threads(3, lambda comm: ddp(comm, rank)):
        for gradient, parameter in zip(gradients, model.parameters(), strict=True):
            expected = parameter.grad.array
            assert np.abs(gradient - expected).max() <= 1e-6 * np.abs(expected).max()


@pytest.mark.parametrize("counts", [(1, 3), (4, 0), (0, 0)])
def test_samples_are_counted_in_lists_and_dicts(counts: tuple[int, int]) -> None:
    class Scale(nn.Linear):
        def forward(self, batch: dict[str, Any]) -> Any:  # type: ignore[override]
            return super().forward(batch["x"][0])

    x = torch.tensor(RNG.standard_normal((4, 2)), dtype=torch.float32)

    def rank(comm: Communicator) -> np.ndarray:
        model = DDP(Scale(2, 1))
        first = sum(counts[: comm.rank])
        rows = x[first : first + counts[comm.rank]]
        batch = {"name": "rows", "past": torch.zeros(0), "x": [rows]}
        (model(batch).sum() / max(len(rows), 1)).backward()
        return model.module.weight.grad.array.copy()

    expected = x.mean(0).array if sum(counts) else np.zeros(2)
    for gradient in on_ranks(2, rank):
        assert np.allclose(gradient[0], expected, rtol=1e-6, atol=1e-6)


def test_accumulates_and_no_sync_waits() -> None:
    x = torch.tensor(RNG.standard_normal((8, 4)), dtype=torch.float32)

    def rank(comm: Communicator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        torch.manual_seed(0)
        parallel = DDP(nn.Linear(4, 2))
        mine = x[4 * comm.rank : 4 * comm.rank + 4]
        parallel(mine).mean().backward()
        once = parallel.module.weight.grad.array.copy()
        parallel(mine).mean().backward()
        twice = parallel.module.weight.grad.array.copy()
        parallel.zero_grad()
        with parallel.no_sync():
            parallel(mine).mean().backward()
        parallel(mine).mean().backward()
        return once, twice, parallel.module.weight.grad.array.copy()

    results = run_threads(2, lambda comm: ddp(comm, rank))
    for once, twice, late in results:
        np.testing.assert_allclose(twice, 2 * once, rtol=1e-6)
        np.testing.assert_allclose(late, twice, rtol=1e-6)
        np.testing.assert_array_equal(once, results[0][0])


def test_averages_batch_norm_statistics() -> None:
    x = torch.tensor(RNG.standard_normal((12, 3)), dtype=torch.float32)

    def rank(comm: Communicator) -> list[bytes]:
        parallel = DDP(nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 1)))
        for _ in range(3):
            parallel(x[6 * comm.rank : 6 * comm.rank + 6]).sum().backward()
        return [b.array.tobytes() for b in parallel.buffers()]

    first, second = run_threads(2, lambda comm: ddp(comm, rank))
    assert first == second


def test_dropout_differs_between_ranks() -> None:
    def rank(comm: Communicator) -> bytes:
        torch.manual_seed(0)
        parallel = DDP(nn.Sequential(nn.Linear(64, 64), nn.Dropout(0.5)))
        return (parallel(torch.ones(1, 64)).array == 0).tobytes()

    first, second = run_threads(2, lambda comm: ddp(comm, rank))
    assert first != second


def test_goes_on_after_a_backward_that_raised() -> None:
    def rank(comm: Communicator) -> np.ndarray:
        torch.manual_seed(0)
        parallel = DDP(nn.Linear(2, 1))

        def fail(gradient: torch.Tensor) -> None:
            raise KeyError("hook")

        handle = parallel.module.bias.register_hook(fail)
        with pytest.raises(KeyError, match="hook"):
            parallel(torch.ones(1, 2)).sum().backward()
        handle.remove()
        parallel.zero_grad()
        parallel(torch.full((1, 2), float(comm.rank))).sum().backward()
        return parallel.module.weight.grad.array.copy()

    for gradient in run_threads(2, lambda comm: ddp(comm, rank)):
        np.testing.assert_array_equal(gradient, [[0.5, 0.5]])


@pytest.mark.parametrize("same_place", [True, False])
def test_goes_on_after_an_exchange_was_broken_off(same_place: bool) -> None:
    """Or says that it cannot, where the ranks had come differently far."""

    def rank(comm: Communicator) -> list[float]:
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1), nn.Linear(1, 1))
        model = DDP(net, bucket_cap_mb=1e-6)
        results = []
        for step in range(6):
            model.zero_grad()
            loss = model(torch.full((2, 1), float(comm.rank))).sum()
            if step == 2:  # every other step exchanges buckets early

                def fail(gradient: torch.Tensor) -> None:
                    raise KeyError("hook")

                handle = net[0 if same_place or comm.rank else 2].bias.register_hook(fail)
                with pytest.raises(KeyError, match="hook"):
                    loss.backward()
                handle.remove()
            else:
                loss.backward()
                results.append(net[0].weight.grad.item())
        return results

    if same_place:
        first, second = on_ranks(2, rank)
        assert len(set(first + second)) == 1
    else:
        with pytest.raises(distributed.DistBackendError, match=r"different numbers of buckets had been exchanged"):
            on_ranks(2, rank, timeout=3)


def test_buffers_that_were_loaded_later_stay_exact() -> None:
    def rank(comm: Communicator) -> float:
        net = nn.Sequential(nn.BatchNorm1d(1, momentum=0.0), nn.Linear(1, 1))
        parallel = DDP(net)
        net[0].running_mean.fill_(0.7)
        parallel(torch.ones(3 + comm.rank, 1)).sum().backward()
        return net[0].running_mean.item()

    assert run_threads(2, lambda comm: ddp(comm, rank)) == [torch.tensor(0.7).item()] * 2


# Parts of a model that are not used


class Branches(nn.Module):
    """One of two layers a call; the first layer's weight is used twice, under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.a, self.b, self.never = (nn.Linear(2, 2) for _ in range(4))
        self.again = self.first

    def forward(self, x: torch.Tensor, branch: str) -> dict[str, Any]:
        return {"out": [getattr(self, branch)(self.again(torch.relu(self.first(x))))]}


OPTIONS: list[dict[str, Any]] = [
    {},
    {"find_unused_parameters": True},
    {"find_unused_parameters": True, "bucket_cap_mb": 1e-5, "gradient_as_bucket_view": True},
]


@pytest.mark.parametrize("options", OPTIONS)
def test_parameters_that_a_rank_does_not_use_count_as_zero(options: dict[str, Any]) -> None:
    """Other ones on each rank and in each step; those that nobody uses have no gradient, or keep what they have."""
    x = torch.tensor(RNG.standard_normal((6, 2)), dtype=torch.float32)

    def rank(comm: Communicator) -> None:
        torch.manual_seed(0)
        alone = Branches()
        torch.manual_seed(0)
        model = DDP(Branches(), **options)
        parts = [x[0:3], x[3:6]]
        for step in range(12):
            branches = [("a", "a"), ("a", "b"), ("b", "a")][step % 3]
            model(parts[comm.rank], branches[comm.rank])["out"][0].sum().backward()
            sum(alone(p, b)["out"][0].sum() / 2 for p, b in zip(parts, branches, strict=True)).backward()
            for (name, p), q in zip(model.module.named_parameters(), alone.parameters(), strict=True):
                assert (p.grad is None) == (q.grad is None), (step, name)
                if q.grad is not None:
                    np.testing.assert_allclose(p.grad.array, q.grad.array, rtol=1e-5, atol=1e-6, err_msg=name)
            if step % 4 == 3:
                for m in (model, alone):
                    m.zero_grad()

    on_ranks(2, rank)


def test_shared_parameters_are_counted_once() -> None:
    def rank(comm: Communicator) -> int:
        model = DDP(Branches(), bucket_cap_mb=1e-5)
        sizes: list[int] = []
        model.register_comm_hook(None, lambda state, bucket: recorded(sizes, bucket))
        for _ in range(2):
            sizes.clear()
            model(torch.ones(1, 2), "a")["out"][0].sum().backward()
        return sum(sizes)

    assert on_ranks(2, rank) == [4 * 6] * 2


def recorded(sizes: list[int], bucket: distributed.GradBucket) -> torch.futures.Future:
    """A hook that notes the size of a bucket and changes nothing."""
    sizes.append(bucket.buffer().numel())
    future = torch.futures.Future()
    future.set_result(bucket.buffer())
    return future


def test_a_parameter_frozen_later_keeps_its_gradient_and_stops_nothing() -> None:
    def rank(comm: Communicator) -> tuple[Any, Any]:
        torch.manual_seed(0)
        model = DDP(nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1)))
        for step in range(4):
            if step == 2:
                model.module[0].requires_grad_(False)
                model.zero_grad()
            model(torch.ones(2, 2) * comm.rank).sum().backward()
        return model.module[0].weight.grad, model.module[1].weight.grad.tolist()

    (first, second) = on_ranks(2, rank)
    assert first[0] is None
    assert second[0] is None
    assert first[1] == second[1]


def test_what_is_added_or_thawed_later_is_refused() -> None:
    def rank(comm: Communicator) -> None:
        net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
        net[0].bias.requires_grad_(False)
        model = DDP(net)
        net[1] = nn.Linear(2, 1)
        with pytest.raises(RuntimeError, match=r"parameter 1\.weight was added after the module was wrapped"):
            model(torch.ones(1, 2))
        net[1].requires_grad_(False)
        model(torch.ones(1, 2)).sum().backward()
        net[0].bias.requires_grad_(True)
        with pytest.raises(RuntimeError, match=r"parameter 0\.bias was frozen when the module was wrapped"):
            model(torch.ones(1, 2))

    on_ranks(2, rank)


def test_static_graph_is_held_to_its_word_on_all_ranks() -> None:
    def rank(comm: Communicator) -> str:
        model = DDP(Branches(), static_graph=comm.rank == 0)
        model._set_static_graph()  # as older programs do
        for _ in range(3):
            model(torch.ones(1, 2), "a")["out"][0].sum().backward()
        with pytest.raises(RuntimeError, match="Your training graph has changed in this iteration") as error:
            model(torch.ones(1, 2), "ab"[comm.rank])["out"][0].sum().backward()
        return str(error.value)

    first, second = on_ranks(2, rank)
    assert "changed on another rank" in first
    assert "which did not receive grad for rank 1: [2, 3, 4, 5]" in second


def test_ignored_parameters_and_buffers_belong_to_each_rank() -> None:
    def rank(comm: Communicator) -> tuple[list[float], list[float], float]:
        net = nn.Sequential(nn.Linear(1, 1), nn.BatchNorm1d(1))
        nn.init.constant_(net[0].weight, float(comm.rank + 1))
        nn.init.constant_(net[0].bias, float(comm.rank))
        DDP._set_params_and_buffers_to_ignore_for_model(net, ["0.weight", "1.running_mean"])
        model = DDP(net)
        model(torch.tensor([[1.0 + comm.rank], [2.0]])).pow(2).sum().backward()
        return net[0].weight.tolist()[0], net[0].bias.tolist(), net[1].running_mean.item()

    (first, second) = on_ranks(2, rank)
    assert (first[0], second[0]) == ([1.0], [2.0])
    assert first[1] == second[1] == [0.0]
    assert first[2] != second[2]


# Accumulation, several calls, evaluation


def test_no_sync_is_decided_by_forward() -> None:
    def rank(comm: Communicator) -> tuple[float, float]:
        torch.manual_seed(0)
        model = DDP(nn.Linear(1, 1))
        mine = torch.full((1, 1), float(comm.rank))
        with model.no_sync():
            inside = model(mine).sum()
        inside.backward()  # as in PyTorch: kept to this rank
        kept = model.module.weight.grad.item()
        model.zero_grad()
        outside = model(mine).sum()
        with model.no_sync():
            outside.backward()
        return kept, model.module.weight.grad.item()

    assert on_ranks(2, rank) == [(0.0, 0.5), (1.0, 0.5)]


def test_several_forwards_before_one_backward_count_all_samples() -> None:
    """And evaluation in between, on one rank alone, counts for nothing."""
    x = torch.tensor(RNG.standard_normal((9, 3)), dtype=torch.float32)

    def rank(comm: Communicator) -> None:
        torch.manual_seed(0)
        alone, net = nn.Linear(3, 1), nn.Linear(3, 1)
        net.load_state_dict(alone.state_dict())
        model = DDP(net)
        (alone(x) ** 2).mean().backward()
        parts = [[x[0:1], x[1:4]], [x[4:9]]][comm.rank]
        if comm.rank == 1:
            model.eval()
            model(torch.ones(50, 3))
            model.train()
        total = sum((model(part) ** 2).sum() for part in parts)
        (total / sum(len(part) for part in parts)).backward()
        np.testing.assert_allclose(net.weight.grad.array, alone.weight.grad.array, rtol=1e-5)

    on_ranks(2, rank)


def test_buffers_of_each_rank_stay_its_own_if_told() -> None:
    def rank(comm: Communicator) -> tuple[float, float]:
        net = nn.Sequential(nn.BatchNorm1d(1, momentum=1.0), nn.Linear(1, 1))
        net[0].running_var.fill_(float(2 + comm.rank))
        model = DDP(net, forward_sync_buffers=False)
        started = net[0].running_var.item()
        model(torch.full((2, 1), float(comm.rank))).sum().backward()
        return started, net[0].running_mean.item()

    assert on_ranks(2, rank) == [(2.0, 0.0), (2.0, 1.0)]


def test_a_process_group_of_some_ranks() -> None:
    def rank(comm: Communicator) -> float | None:
        group = distributed.new_group([1, 2])
        if comm.rank == 0:
            return None
        torch.manual_seed(0)
        model = DDP(nn.Linear(1, 1), process_group=group)
        model(torch.full((1, 1), float(comm.rank))).sum().backward()
        return float(model.module.weight.grad.item())

    assert on_ranks(3, rank) == [None, 1.5, 1.5]


def test_a_rank_without_backward_is_named() -> None:
    def rank(comm: Communicator) -> str:
        model = DDP(nn.Linear(1, 1))
        loss = model(torch.ones(1, 1)).sum()
        if comm.rank == 1:
            return ""
        with pytest.raises(PeerTimeoutError) as error:
            loss.backward()
        return str(error.value)

    message, _ = on_ranks(2, rank, timeout=0.5)
    assert "rank 0 of 2: step 0: sum of gradients: " in message
    assert "rank 1" in message


def test_models_that_differ_are_told_apart() -> None:
    with pytest.raises(
        distributed.DistBackendError, match=r"weight: rank 1 has float32 \(2, 2\), rank 0 float32 \(1, 2\)"
    ):
        on_ranks(2, lambda comm: DDP(nn.Linear(2, 1 + comm.rank)))


# Arguments and state


def test_arguments_are_checked() -> None:
    def rank(comm: Communicator) -> None:
        layer = nn.Linear(1, 1)
        with pytest.raises(RuntimeError, match="is not needed when a module doesn't have any parameter that requires"):
            DDP(nn.ReLU())
        with pytest.raises(ValueError, match="device_ids can only be None or contain a single element"):
            DDP(layer, device_ids=[0, 1])
        with pytest.raises(ValueError, match="only work with single-device/multiple-device GPU modules"):
            DDP(layer, device_ids=[0])
        with pytest.raises(NotImplementedError, match="mixed_precision is not supported"):
            DDP(layer, mixed_precision="bf16")
        with pytest.raises(ValueError, match="need to be set at the same time"):
            DDP(layer, delay_all_reduce_named_params=[])
        with pytest.raises(TypeError, match="unexpected keyword argument 'bucket_cap'"):
            DDP(layer, bucket_cap=3)  # type: ignore[call-arg]

    on_ranks(1, rank)


def test_state_with_and_without_the_prefix() -> None:
    def rank(comm: Communicator) -> None:
        with_prefix, without = DDP(nn.Linear(2, 1)), DDP(nn.Linear(2, 1), module_prefix=False)
        assert list(with_prefix.state_dict()) == ["module.weight", "module.bias"]
        assert list(without.state_dict()) == ["weight", "bias"]
        without.load_state_dict(with_prefix.state_dict())
        assert without.module.weight.tolist() == with_prefix.module.weight.tolist()
        nn.init.zeros_(without.module.weight)
        with_prefix.load_state_dict(without.state_dict())
        assert with_prefix.module.weight.tolist() == [[0.0, 0.0]]
        outer = nn.Sequential(without, nn.Linear(1, 1))
        assert list(outer.state_dict()) == ["0.weight", "0.bias", "1.weight", "1.bias"]
        outer.load_state_dict({**outer.state_dict(), "0.weight": torch.ones(1, 2)})
        assert without.module.weight.tolist() == [[1.0, 1.0]]
        with pytest.raises(RuntimeError, match=r'Missing key\(s\) in state_dict: "module\.bias"'):
            with_prefix.load_state_dict({"module.weight": torch.zeros(1, 2)})

    on_ranks(1, rank)


# Uneven inputs


@pytest.mark.parametrize("by_all", [True, False])
@pytest.mark.parametrize("options", [{}, {"bucket_cap_mb": 1e-5, "gradient_as_bucket_view": True}])
def test_join_goes_on_with_those_that_have_inputs(by_all: bool, options: dict[str, Any]) -> None:
    def rank(comm: Communicator) -> tuple[list[float], list[float]]:
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(1, 1, bias=False), nn.BatchNorm1d(1))
        nn.init.ones_(net[0].weight)
        model = DDP(net, **options)
        optimizer = torch.optim.SGD(net[1].parameters(), lr=1.0)
        gradients = []
        with model.join(divide_by_initial_world_size=by_all):
            for step in range(10 if comm.rank == 2 else 8 - comm.rank):
                optimizer.zero_grad()
                out = model(torch.tensor([[-1.0], [1.0 + step]]))
                (out * torch.tensor([[0.0], [float(comm.rank + 1)]])).sum().backward()
                gradients.append(round(net[1].bias.grad.item(), 5))
                optimizer.step()
        return gradients, [*net[1].bias.tolist(), net[1].running_mean.item(), net[1].num_batches_tracked.item()]

    results = on_ranks(3, rank)
    last = [3.0, 3.0] if not by_all else [1.0, 1.0]
    both = (1 + 3) / 2 if not by_all else round((1 + 3) / 3, 5)
    assert results[2][0] == [2.0] * 7 + [both] + last
    assert results[0][0] == [2.0] * 7 + [both]
    assert results[0][1] == results[1][1] == results[2][1]


def test_join_with_an_optimizer_that_is_cut_over_the_ranks() -> None:
    """Ranks that have run out update their part of the weights with the gradients of the others."""

    def rank(comm: Communicator, cut: bool) -> bytes:
        torch.manual_seed(0)
        model = DDP(nn.Linear(3, 2))
        options = {"lr": 0.1, "momentum": 0.9}
        optimizer: Any = (
            ZeroRedundancyOptimizer(model.parameters(), torch.optim.SGD, **options)
            if cut
            else torch.optim.SGD(model.parameters(), **options)
        )
        with Join([model, optimizer] if cut else [model]):
            for step in range(2 + 2 * comm.rank):
                optimizer.zero_grad()
                model(torch.full((2, 3), float(step + comm.rank))).pow(2).mean().backward()
                optimizer.step()
        return model.module.weight.array.tobytes()

    results = [on_ranks(3, lambda comm, cut=cut: rank(comm, cut)) for cut in (True, False)]
    assert results[0] == results[1]
    assert len(set(results[0])) == 1


def test_join_can_throw_and_can_be_off() -> None:
    def loop(model: nn.Module, steps: int) -> None:
        with model.join(throw_on_early_termination=True):
            for _ in range(steps):
                model(torch.ones(1, 1)).sum().backward()

    def rank(comm: Communicator) -> str:
        model = DDP(nn.Linear(1, 1))
        with model.join(enable=False):  # inputs are even
            model(torch.ones(1, 1)).sum().backward()
        with pytest.raises(RuntimeError) as error:
            loop(model, 2 + comm.rank)
        model(torch.ones(1, 1)).sum().backward()  # and goes on outside
        return str(error.value)

    assert on_ranks(2, rank) == [
        "Rank 0 exhausted all inputs.",
        "Detected at least one rank that exhausted inputs. Throwing across all ranks.",
    ]


class Counter(Joinable):
    """The sum over ranks of how often `count` was called, as in PyTorch's tutorial."""

    def __init__(self) -> None:
        super().__init__()
        self.total, self.lasted = 0.0, False

    def count(self) -> None:
        Join.notify_join_context(self)
        self.add(1.0)

    def add(self, number: float) -> None:
        one = torch.tensor([number])
        distributed.all_reduce(one)
        self.total += one.item()

    def join_hook(self, **kwargs: Any) -> JoinHook:
        counter = self

        class Hook(JoinHook):
            def main_hook(self) -> None:
                counter.add(0.0)

            def post_hook(self, is_last_joiner: bool) -> None:
                counter.lasted = is_last_joiner

        return Hook()

    @property
    def join_device(self) -> torch.device:
        return torch.device("cpu")

    @property
    def join_process_group(self) -> None:
        return None


def test_join_of_other_things_than_models() -> None:
    def rank(comm: Communicator) -> tuple[float, bool]:
        counter = Counter()
        with Join([counter]):
            for _ in range(3 + comm.rank):
                counter.count()
        return counter.total, counter.lasted

    assert on_ranks(3, rank) == [(12.0, False), (12.0, False), (12.0, True)]
    with pytest.raises(ValueError, match="requires at least one joinable"):
        Join([])

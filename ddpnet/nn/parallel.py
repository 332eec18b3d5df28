"""DistributedDataParallel: averages the gradients of a model that every rank runs on its part of the batch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ddpnet import random
from ddpnet.autograd.grad_mode import is_grad_enabled
from ddpnet.autograd.graph import queue_callback
from ddpnet.distributed.process_group import broadcast_state, current
from ddpnet.distributed.reducer import Reducer
from ddpnet.nn.module import Module
from ddpnet.tensor import Tensor


class DistributedDataParallel(Module):
    """Wraps a model for a loop that runs on every rank (`torch.nn.parallel.DistributedDataParallel`).

    The weights start as rank 0's. At the end of each `backward` every `.grad` is the mean over the ranks, weighted by
    the samples each had (the first dimension of the first tensor given to `forward`), so that uneven parts give the
    gradient of the joined batch. Buffers such as batch norm's statistics are averaged likewise. What is random inside
    is drawn from the stream of (call, rank).
    """

    def __init__(
        self,
        module: Module,
        device_ids: Any = None,
        output_device: Any = None,
        dim: int = 0,
        broadcast_buffers: bool = True,
        process_group: None = None,
        bucket_cap_mb: float | None = None,
        find_unused_parameters: bool = False,
        gradient_as_bucket_view: bool = False,
        static_graph: bool = False,
    ) -> None:
        super().__init__()
        if not any(p.requires_grad for p in module.parameters()):
            raise RuntimeError(
                "DistributedDataParallel is not needed when a module doesn't have any parameter that requires a "
                "gradient."
            )
        self.module = module
        comm = current()
        self._forwards = 0
        self._started, self._pending, self._sync = False, False, True
        self._reducer: Reducer | None = None
        if comm.size > 1:
            broadcast_state(module, comm)
            bucket_bytes = None if bucket_cap_mb is None else max(1, int(bucket_cap_mb * 2**20))
            self._reducer = Reducer(
                module, comm, comm.size, (), bucket_bytes, gradients_as_views=gradient_as_bucket_view
            )
            for parameter in module.parameters():
                if parameter.requires_grad:
                    parameter.register_post_accumulate_grad_hook(self._reduce_when_backward_ends)

    def forward(self, *inputs: Any, **options: Any) -> Any:
        if self._reducer is None:
            return self.module(*inputs, **options)
        if is_grad_enabled() and self.training:
            self._start_step(_batch_size((*inputs, *options.values())))
        self._forwards += 1
        with random.default_generator().at(step=self._forwards, shard=self._reducer.comm.rank):
            return self.module(*inputs, **options)

    @contextmanager
    def no_sync(self) -> Iterator[None]:
        """Gradients inside are kept to this rank; the first backward after it averages their sums."""
        before, self._sync = self._sync, False
        try:
            yield
        finally:
            self._sync = before

    def _start_step(self, samples: int) -> None:
        """At the first forward after a reduction: the buffers' changes count from here."""
        assert self._reducer is not None
        self._pending = False  # a backward that raised has left nothing behind
        if not self._started:
            self._reducer.begin()
            self._started = True
        if self._sync:
            self._reducer.open(self._reducer.comm.rank, samples, fresh=False)

    def _reduce_when_backward_ends(self, parameter: Tensor) -> None:
        if self._sync and not self._pending:
            self._pending = True
            queue_callback(self._reduce)

    def _reduce(self) -> None:
        assert self._reducer is not None
        self._pending = self._started = False
        self._reducer.close()
        self._reducer.reduce()


def _batch_size(inputs: tuple[Any, ...]) -> int:
    """The samples of a forward call: the first dimension of the first tensor, 1 where there is none."""
    for value in inputs:
        if isinstance(value, Tensor) and value.ndim:
            return len(value)
    return 1


class DataParallel(Module):
    """Programs from before DistributedDataParallel wrap their model in this: here it calls the model on one device.

    ValueError for several `device_ids`: use DistributedDataParallel on several ranks.
    """

    def __init__(self, module: Module, device_ids: Any = None, output_device: Any = None, dim: int = 0) -> None:
        super().__init__()
        if device_ids is not None and len(device_ids) > 1:
            raise ValueError(
                f"DataParallel: one device, not {len(device_ids)}; run several ranks with DistributedDataParallel "
                "(ddpnet run -n N script.py)"
            )
        self.module, self.device_ids, self.output_device, self.dim = module, device_ids, output_device, dim

    def forward(self, *inputs: Any, **kwargs: Any) -> Any:
        """The model's output."""
        return self.module(*inputs, **kwargs)

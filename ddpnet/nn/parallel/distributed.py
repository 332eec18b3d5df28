"""DistributedDataParallel: averages the gradients of a model that every rank runs on its part of the batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from ddpnet import random
from ddpnet.autograd.grad_mode import is_grad_enabled, mode
from ddpnet.autograd.walk import queue_callback
from ddpnet.backend import Device
from ddpnet.distributed.algorithms.join import Join, Joinable, JoinHook
from ddpnet.distributed.collectives.membership import communicator_of
from ddpnet.distributed.collectives.memory import fill, on_host
from ddpnet.distributed.step.grad_bucket import GradBucket, check_hook, run_hook
from ddpnet.distributed.step.lockstep import weighted
from ddpnet.distributed.step.reduction import Reduction
from ddpnet.distributed.trust.plan import Plan, agree
from ddpnet.nn.module import Module
from ddpnet.nn.parallel.arguments import IGNORED, refuse_unsupported, trainable_parameters
from ddpnet.nn.parallel.joining import Shadow
from ddpnet.nn.parallel.values import batch_size, leaves_below
from ddpnet.nn.parameter import Buffer, Parameter
from ddpnet.tensor import Tensor

_PREFIX = "module."


class DistributedDataParallel(Module, Joinable):
    """Wraps a model for a loop that runs on every rank (`torch.nn.parallel.DistributedDataParallel`).

    The weights start as rank 0's. At the end of each `backward` every `.grad` is the mean over the ranks, weighted by
    the samples each had since the last one (the first dimension of the first tensor given to `forward`, in lists and
    dicts, too, that is not empty), so that uneven parts give the gradient of the joined batch. A parameter that a rank
    has not used counts as zero there, with `find_unused_parameters` or without: with it, buckets do not wait for such
    parameters. One that no rank has used keeps its `.grad`. Buffers such as batch norm's statistics are averaged
    likewise, integers are rank 0's, where PyTorch takes rank 0's of all; `forward_sync_buffers=False` leaves each rank
    its own. What is random inside is drawn from the stream of (call, rank).

    Without `bucket_cap_mb` the size of the buckets follows from the measured speed of the exchange. `static_graph` lets
    a step that uses other parameters than the first one raise RuntimeError, on all ranks. `check_reduction`,
    `skip_all_reduce_unused_params` and `batched_grad_copy` say how PyTorch's reducer works; they change no result, and
    nothing here. With `module_prefix=False` the names in `state_dict` are the module's own; both kinds can be loaded.
    """

    def __init__(
        self,
        module: Module,
        device_ids: Sequence[Any] | None = None,
        output_device: Any = None,
        dim: int = 0,
        broadcast_buffers: bool | None = None,
        init_sync: bool = True,
        process_group: Any = None,
        bucket_cap_mb: float | None = None,
        find_unused_parameters: bool = False,
        check_reduction: bool = False,
        gradient_as_bucket_view: bool = False,
        static_graph: bool = False,
        delay_all_reduce_named_params: Any = None,
        param_to_hook_all_reduce: Any = None,
        mixed_precision: Any = None,
        device_mesh: Any = None,
        skip_all_reduce_unused_params: bool = False,
        bucket_cap_mb_list: Any = None,
        batched_grad_copy: bool = False,
        forward_sync_buffers: bool | None = None,
        *,
        module_prefix: bool = True,
    ) -> None:
        Module.__init__(self)
        Joinable.__init__(self)
        refuse_unsupported(
            delay_all_reduce_named_params=delay_all_reduce_named_params,
            param_to_hook_all_reduce=param_to_hook_all_reduce,
            mixed_precision=mixed_precision,
            device_mesh=device_mesh,
            bucket_cap_mb_list=bucket_cap_mb_list,
        )
        self._comm = communicator_of(process_group, "DistributedDataParallel")
        self.process_group = process_group
        self.parameters_to_ignore = list(module.__dict__.get(IGNORED, ()))
        self._parameters_of_all = trainable_parameters(module, self.parameters_to_ignore, device_ids, output_device)
        self.device_ids, self.output_device, self.dim = None, None, dim
        self.device = self._parameters_of_all[0].device
        self.find_unused_parameters, self.static_graph = find_unused_parameters, static_graph
        self.gradient_as_bucket_view, self.module_prefix = gradient_as_bucket_view, module_prefix
        self.require_backward_grad_sync = True
        starts_alike = broadcast_buffers is not False or forward_sync_buffers is not None
        self.forward_sync_buffers = (
            broadcast_buffers is not False if forward_sync_buffers is None else forward_sync_buffers
        )
        self.broadcast_buffers = self.forward_sync_buffers
        self.bucket_bytes_cap = None if bucket_cap_mb is None else max(1, int(bucket_cap_mb * 2**20))
        self.module = module
        self._forwards, self._samples = 0, 0
        self._begun = self._trained = self._armed = self._running = False
        self._reachable: dict[int, Tensor] = {}
        self._first_graph: list[bool] | None = None
        self._divide_by_initial_world_size = True
        self._reduction: Reduction | None = None
        if self._comm.size > 1:
            if init_sync:
                agree(Plan.of(module), self._comm)
                self._take_from(0, starts_alike)
            self._start_reduction()

    def _start_reduction(self) -> None:
        for parameter in self._parameters_of_all:  # before the reduction's own hooks
            parameter.register_post_accumulate_grad_hook(self._begin_backward)
        self._reduction = Reduction(
            self.module,
            self._comm,
            self._comm.size,
            ("active", "changed"),
            self.bucket_bytes_cap,
            self.gradient_as_bucket_view,
            ignored=self.parameters_to_ignore,
            average_buffers=self.forward_sync_buffers,
            init_sync=False,
        )

    def __setattr__(self, name: str, value: Any) -> None:
        """Plain attributes, of which some change in each step, are nothing that a recording of the model depends on."""
        if name in self.__dict__ and not isinstance(value, Module | Parameter | Buffer):
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    # Forward and backward

    def compiled_part(self) -> Module:
        """What is wrapped: what this module does around it is part of no recording."""
        return self.module.compiled_part()

    def forward(self, *inputs: Any, **options: Any) -> Any:
        """The module's output."""
        if mode.tape is not None:
            mode.tape.reason = "it calls a DistributedDataParallel"
        if self._reduction is None:
            return self.module(*inputs, **options)
        samples = batch_size((*inputs, *options.values()))
        if is_grad_enabled():
            self._begin_step(samples)
        self._forwards += 1
        weight = samples if self._reduction.exchange_bucket is None else 1  # hooks give all ranks the same weight
        with random.default_generator().at(step=self._forwards, shard=self._comm.rank), weighted(weight):
            output = self.module(*inputs, **options)
        if self.find_unused_parameters and is_grad_enabled():
            self._reachable |= leaves_below(output)
        return output

    @contextmanager
    def no_sync(self) -> Iterator[None]:
        """Gradients of forward calls inside are kept to this rank; the first backward of a later one averages all."""
        before, self.require_backward_grad_sync = self.require_backward_grad_sync, False
        try:
            yield
        finally:
            self.require_backward_grad_sync = before

    def _begin_step(self, samples: int) -> None:
        """The first forward after a reduction: samples, and changes of buffers, count from here."""
        assert self._reduction is not None
        self._reduction.structure.check()
        if self._running:  # the last backward raised, and leaves nothing behind
            self._running, self._samples = False, 0
            self._reduction.recover()
        if not self._begun:
            self._reduction.begin()
            self._begun, self._trained, self._samples, self._reachable = True, False, 0, {}
        elif not self._trained:  # only evaluation so far, and what was loaded since
            self._reduction.remember_buffers()
            self._samples = 0
        self._trained = self._trained or self.training
        self._samples += samples
        if self.require_backward_grad_sync:
            self._armed = True
            self._reduction.open(self._comm.rank, self._samples, fresh=False)

    def _begin_backward(self, parameter: Tensor) -> None:
        """The first gradient of a backward pass: at the end of the pass all are averaged."""
        if not self._armed or self._running:
            return
        self._running = True
        queue_callback(self._end_backward)
        Join.notify_join_context(self)
        if self.find_unused_parameters and self._reduction is not None:
            self._reduction.give_up([i for i, p in enumerate(self._parameters_of_all) if id(p) not in self._reachable])

    def _end_backward(self) -> None:
        assert self._reduction is not None
        missing = self._missing_in_graph() if self.static_graph else []
        self._reduction.close()
        self._begun = self._armed = self._running = False
        if self._exchange(active=1, changed=len(missing) > 0):
            which = f"Parameter indices which did not receive grad for rank {self._comm.rank}: {missing}"
            raise RuntimeError(
                "Your training graph has changed in this iteration, e.g., one parameter is used in first iteration, "
                "but then got unused in the second iteration. this is not compatible with static_graph set to True.\n"
                + (which if missing else "It has changed on another rank, which says more.")
            )

    def _missing_in_graph(self) -> list[int]:
        """The parameters that were used in the first step and not in this one, or the other way round."""
        assert self._reduction is not None
        received = self._reduction.received()
        first = self._first_graph = received if self._first_graph is None else self._first_graph
        return [index for index, pair in enumerate(zip(first, received, strict=True)) if pair[0] != pair[1]]

    def _exchange(self, *, active: int, changed: bool = False) -> bool:
        """Average over the ranks; whether the graph has changed on any."""
        reducer = self._reduction
        assert reducer is not None
        sums = reducer.reduce(active=active, changed=changed)
        part = sums["active"] / self._comm.size
        if part < 1 and self._divide_by_initial_world_size and reducer.exchange_bucket is None:
            for parameter, used in zip(self._parameters_of_all, reducer.used, strict=True):
                if used and parameter.grad is not None:
                    parameter.grad.array *= part
        return sums["changed"] > 0

    def _set_static_graph(self) -> None:
        """As `static_graph=True`, for a model that is wrapped already: the name that programs know."""
        self.static_graph = True

    # Hooks in place of our exchange

    def register_comm_hook(self, state: Any, hook: Callable[..., Any]) -> None:
        """Let `hook(state, bucket)` exchange the gradients of each GradBucket, in the order of their index.

        It returns a Future of the flat tensor that takes their place. They are this rank's own: not weighted by
        samples, and not divided by the number of ranks, which the hook does. RuntimeError for a second hook.
        """
        check_hook(hook)
        if self._reduction is None:
            self._start_reduction()
        reducer = self._reduction
        assert reducer is not None
        if reducer.exchange_bucket is not None:
            raise RuntimeError("register_comm_hook or register_builtin_comm_hook can only be called once.")
        reducer.exchange_bucket = lambda index: run_hook(hook, state, self._bucket(index))

    def _bucket(self, index: int) -> GradBucket:
        assert self._reduction is not None
        memory, members, last = self._reduction.bucket(index)
        parameters = [self._parameters_of_all[number] for number, _ in members]
        return GradBucket(index, Tensor(memory), [place for _, place in members], parameters, last)

    # Uneven inputs

    def join(
        self,
        divide_by_initial_world_size: bool = True,
        enable: bool = True,
        throw_on_early_termination: bool = False,
    ) -> Join:
        """A context for loops over uneven inputs: a rank that has run out takes part with no samples.

        Gradients are divided by all ranks, or without `divide_by_initial_world_size` by those that still have inputs.
        In the end the weights are those of a rank that was among the last.
        """
        return Join(
            [self], enable, throw_on_early_termination, divide_by_initial_world_size=divide_by_initial_world_size
        )

    def join_hook(self, **kwargs: Any) -> JoinHook:
        """The hook for a Join; it takes `divide_by_initial_world_size`."""
        self._divide_by_initial_world_size = kwargs.get("divide_by_initial_world_size", True)
        return Shadow(self._comm, self._skip_step, lambda root: self._take_from(root, self.forward_sync_buffers))

    def _skip_step(self) -> None:
        """Take part in an exchange with no samples."""
        assert self._reduction is not None
        self._reduction.begin()
        self._reduction.skip(self._comm.rank)
        self._exchange(active=0)

    @property
    def join_device(self) -> Device:
        """The device of the module."""
        return self.device

    @property
    def join_process_group(self) -> Any:
        """The group of the module."""
        return self.process_group

    def _take_from(self, root: int, buffers: bool = True) -> None:
        """Take the parameters, and the buffers, of a rank."""
        named = [*self.module.named_parameters(), *(self.module.named_buffers() if buffers else ())]
        for name, tensor in named:
            if name not in self.parameters_to_ignore:
                values = on_host(tensor)
                self._comm.broadcast(values, root, "broadcast of the model")
                fill(tensor, values)

    # State

    def state_dict(self, *args: Any, destination: Any = None, prefix: str = "", keep_vars: bool = False) -> Any:
        """The module's, with names that begin with `module.` unless it was wrapped with `module_prefix=False`."""
        state_dict = super().state_dict if self.module_prefix else self.module.state_dict
        return state_dict(*args, destination=destination, prefix=prefix, keep_vars=keep_vars)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *others: Any) -> None:
        """All names may begin with `module.` here, or none."""
        if not any(name in state_dict for name in super().state_dict(prefix=prefix)):
            for name in [name for name in state_dict if name.startswith(prefix)]:
                state_dict[f"{prefix}{_PREFIX}{name.removeprefix(prefix)}"] = state_dict.pop(name)
        super()._load_from_state_dict(state_dict, prefix, *others)

    @staticmethod
    def _set_params_and_buffers_to_ignore_for_model(
        module: Module, params_and_buffers_to_ignore: Sequence[str]
    ) -> None:
        """Leave what has these names in `module`, which is to be wrapped, to each rank."""
        module.__dict__[IGNORED] = list(params_and_buffers_to_ignore)

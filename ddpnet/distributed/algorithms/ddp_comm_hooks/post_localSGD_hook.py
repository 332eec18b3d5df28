"""Local SGD (Lin et al., "Don't Use Large Mini-Batches, Use Local SGD", 2020): gradients are averaged among few ranks.

The weights are averaged over all of them now and then, by PostLocalSGDOptimizer or an averager.
"""

from __future__ import annotations

from typing import Any

from ddpnet.distributed import new_group
from ddpnet.distributed.algorithms.ddp_comm_hooks.default_hooks import mean
from ddpnet.distributed.collectives.process_group import current
from ddpnet.distributed.collectives.work import Future
from ddpnet.distributed.step.grad_bucket import GradBucket

__all__ = ["PostLocalSGDState", "post_localSGD_hook"]


class PostLocalSGDState:
    """Up to step `start_localSGD_iter` gradients are averaged over `process_group` (None: all ranks).

    After it, over `subgroup` (None: the ranks of this host), or not at all without `post_local_gradient_allreduce`.
    """

    def __init__(
        self,
        process_group: Any,
        subgroup: Any,
        start_localSGD_iter: int,
        post_local_gradient_allreduce: bool = True,
    ) -> None:
        self.process_group, self.subgroup = process_group, subgroup
        self.start_localSGD_iter = start_localSGD_iter
        self.post_local_gradient_allreduce = post_local_gradient_allreduce
        self.iter = 0

    def maybe_increase_iter(self, bucket: GradBucket) -> None:
        """Count the steps: the last bucket ends one."""
        self.iter += bucket.is_last()


def post_localSGD_hook(state: PostLocalSGDState, bucket: GradBucket) -> Future:
    """The mean over all ranks, and later over those of a subgroup; see PostLocalSGDState."""
    buffer = bucket.buffer()
    if state.iter < state.start_localSGD_iter:
        state.maybe_increase_iter(bucket)
        return mean(state.process_group, buffer)
    if not state.post_local_gradient_allreduce:
        own = Future()
        own.set_result(buffer)
        return own
    if state.subgroup is None:
        state.subgroup = _ranks_of_this_host()
    return mean(state.subgroup, buffer)


def _ranks_of_this_host() -> Any:
    """A group for each host; the one of this rank."""
    comm = current()
    made = [new_group(ranks) for ranks in comm.hosts]
    return next(group for group, ranks in zip(made, comm.hosts, strict=True) if comm.rank in ranks)

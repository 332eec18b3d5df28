"""SyncBatchNorm: batch normalisation with the statistics of the global batch."""

from __future__ import annotations

from typing import Any

from ddpnet import distributed
from ddpnet.backend import array_module
from ddpnet.distributed.collectives.membership import communicator_of
from ddpnet.distributed.step.lockstep import Meeting, RankMeeting, current_lockstep
from ddpnet.dtypes import DType
from ddpnet.nn.batchnorm import _BatchNorm
from ddpnet.nn.module import Module
from ddpnet.ops.creation import DeviceLike
from ddpnet.ops.sync_normalization import SyncNormalization, joint_statistics
from ddpnet.tensor import Tensor


class SyncBatchNorm(_BatchNorm):
    """Batch normalisation of (N, C, ...) by the mean and variance of each channel over all ranks' inputs.

    Where a rank computes several shards (`distributed.lockstep`), over all shards of all ranks. The sums go by the
    fixed tree, so that the bits do not depend on who computes what. On the CPU as well as on a GPU. In evaluation, and
    where there is nobody to synchronise with, as BatchNorm. All ranks of the group have to call it, an empty input
    included.
    """

    meets = True
    """It needs all shards of a global batch at once (`distributed.lockstep`)."""

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        process_group: Any = None,
        device: DeviceLike = None,
        dtype: DType | None = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype, bias=bias)
        self.process_group = process_group

    def _check_input_dim(self, input: Tensor) -> None:
        if input.ndim < 2:
            raise ValueError(f"expected at least 2D input (got {input.ndim}D input)")
        if input.array.shape[1] == 0:
            raise ValueError("SyncBatchNorm number of input channels should be non-zero")
        if input.array.shape[1] != self.num_features:
            raise RuntimeError(f"SyncBatchNorm: expected {self.num_features} channels, got {input.array.shape[1]}")

    def forward(self, input: Tensor) -> Tensor:
        self._check_input_dim(input)
        meeting = self._meeting() if self.training else None
        if meeting is None:
            return super().forward(input)
        mean, var, count = joint_statistics(input.array, meeting.meet)
        if self.track_running_stats and meeting.leads:
            self.num_batches_tracked.add_(1)
            # without momentum, a plain average over all batches
            momentum = 1 / self.num_batches_tracked.item() if self.momentum is None else self.momentum
            _move(self.running_mean, mean, momentum)
            _move(self.running_var, var * (count / (count - 1)), momentum)
        invstd = 1 / (var + self.eps) ** 0.5
        options = {"mean": mean, "invstd": invstd, "count": count, "meet": meeting.meet, "share": meeting.weight}
        return SyncNormalization.apply(input, self.weight, self.bias, **options)

    def _meeting(self) -> Meeting | None:
        """Whom to synchronise with; None where there is nobody."""
        lockstep = current_lockstep()
        if lockstep is not None:
            if self.process_group is not None:
                raise ValueError("SyncBatchNorm: process_group has to be None where a rank computes several shards")
            return lockstep
        if self.process_group is None and not distributed.is_initialized():
            return None
        comm = communicator_of(self.process_group, "SyncBatchNorm")
        return RankMeeting(comm) if comm.size > 1 else None

    @classmethod
    def convert_sync_batchnorm(cls, module: Module, process_group: Any = None) -> Module:
        """`module` with a SyncBatchNorm in place of each BatchNorm, with its parameters and statistics."""
        result = module
        if isinstance(module, _BatchNorm):
            result = cls(
                module.num_features,
                module.eps,
                module.momentum,
                module.affine,
                module.track_running_stats,
                process_group,
                bias=module.bias is not None,
            )
            if module.affine:
                result.weight, result.bias = module.weight, module.bias
            result.running_mean, result.running_var = module.running_mean, module.running_var
            result.num_batches_tracked = module.num_batches_tracked
            result.training = module.training
        for name, child in module.named_children():
            result.add_module(name, cls.convert_sync_batchnorm(child, process_group))
        return result


def _move(running: Tensor | None, batch: Any, momentum: float) -> None:
    """Move a running statistic towards the batch's."""
    if running is not None:
        xp = array_module(running.array)
        running.array[...] = (1 - momentum) * running.array.astype(batch.dtype) + momentum * xp.asarray(batch)
        running.changed()

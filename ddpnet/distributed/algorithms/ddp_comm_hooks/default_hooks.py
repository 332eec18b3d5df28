"""Hooks that average gradients over the ranks, as they are or in two bytes each."""

from __future__ import annotations

from typing import Any

from ddpnet import dtypes
from ddpnet.distributed import all_reduce, get_world_size
from ddpnet.distributed.collectives.work import Future
from ddpnet.distributed.step.grad_bucket import GradBucket, Hook
from ddpnet.tensor import Tensor

__all__ = [
    "allreduce_hook",
    "bf16_compress_hook",
    "bf16_compress_wrapper",
    "fp16_compress_hook",
    "fp16_compress_wrapper",
]


def allreduce_hook(process_group: Any, bucket: GradBucket) -> Future:
    """The mean over the ranks of a group, None for all."""
    return mean(process_group, bucket.buffer())


def fp16_compress_hook(process_group: Any, bucket: GradBucket) -> Future:
    """The mean over the ranks, of gradients rounded to float16 and added as such."""
    return _mean_of_rounded(dtypes.float16, process_group, bucket)


def bf16_compress_hook(process_group: Any, bucket: GradBucket) -> Future:
    """The mean over the ranks, of gradients rounded to bfloat16 and added as such."""
    return _mean_of_rounded(dtypes.bfloat16, process_group, bucket)


def fp16_compress_wrapper(hook: Hook) -> Hook:
    """A hook that lets another one work on float16, and converts its result."""
    return _rounding(hook, dtypes.float16)


def bf16_compress_wrapper(hook: Hook) -> Hook:
    """A hook that lets another one work on bfloat16, and converts its result."""
    return _rounding(hook, dtypes.bfloat16)


def mean(process_group: Any, buffer: Tensor) -> Future:
    """A Future of the mean over the ranks, in place: divided first, so that sums do not overflow."""
    buffer.div_(get_world_size(process_group))
    return sum_of(process_group, buffer)


def sum_of(process_group: Any, buffer: Tensor) -> Future:
    """A Future of the sum over the ranks, in place."""
    work = all_reduce(buffer, group=process_group, async_op=True)
    if work is None:
        raise ValueError("communication hook: this rank is not in the process group that the hook was given")
    return work.get_future().then(lambda future: future.value()[0])


def _mean_of_rounded(dtype: dtypes.DType, process_group: Any, bucket: GradBucket) -> Future:
    buffer = bucket.buffer()
    rounded = mean(process_group, buffer.to(dtype))
    return rounded.then(lambda future: buffer.copy_(future.value()))


def _rounding(hook: Hook, dtype: dtypes.DType) -> Hook:
    def rounding_hook(state: Any, bucket: GradBucket) -> Future:
        buffer = bucket.buffer()
        bucket.set_buffer(buffer.to(dtype))
        return hook(state, bucket).then(lambda future: buffer.copy_(future.value()))

    return rounding_hook

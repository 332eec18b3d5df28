"""PowerSGD as a communication hook (Vogels et al., "PowerSGD: Practical Low-Rank Gradient Compression", 2019).

What it gives depends on the number of ranks. `Reducer(compression="powersgd")` works on shards, and does not.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ddpnet.backend import Array, host
from ddpnet.distributed import get_world_size
from ddpnet.distributed.algorithms.ddp_comm_hooks.default_hooks import mean, sum_of
from ddpnet.distributed.collectives.work import Future
from ddpnet.distributed.step.compression import PowerSGD, matrix_shape
from ddpnet.distributed.step.grad_bucket import GradBucket
from ddpnet.distributed.step.low_rank import orthonormal
from ddpnet.random import stream
from ddpnet.tensor import Tensor

__all__ = ["PowerSGDState", "batched_powerSGD_hook", "powerSGD_hook"]


class PowerSGDState:
    """How gradients are compressed, and what this rank keeps from step to step.

    Matrices (a gradient's first dimension by all others) are sent as products of `matrix_approximation_rank`, from
    step `start_powerSGD_iter` on, if that divides their size by more than `min_compression_rate`. With
    `use_error_feedback` what is lost in a step is added to the next one; with `warm_start` a step begins with the
    factors of the last. ValueError for a start before step 2, when the buckets are made anew, with either of these.
    Columns of length zero need no `orthogonalization_epsilon`; `batch_tensors_with_same_shape` changes no result.
    """

    def __init__(
        self,
        process_group: Any,
        matrix_approximation_rank: int = 1,
        start_powerSGD_iter: int = 1_000,
        min_compression_rate: float = 2,
        use_error_feedback: bool = True,
        warm_start: bool = True,
        orthogonalization_epsilon: float = 0,
        random_seed: int = 0,
        compression_stats_logging_frequency: int = 10_000,
        batch_tensors_with_same_shape: bool = False,
    ) -> None:
        if (use_error_feedback or warm_start) and start_powerSGD_iter <= 1:
            raise ValueError(
                "Expect `start_powerSGD_iter` > 1 if `use_error_feedback` or `warm_start` is enabled, because PowerSGD "
                "can only be applied after the first two iterations in DDP."
            )
        self.process_group, self.random_seed = process_group, random_seed
        self.matrix_approximation_rank, self.min_compression_rate = matrix_approximation_rank, min_compression_rate
        self.start_powerSGD_iter, self.iter = start_powerSGD_iter, 0
        self.use_error_feedback, self.warm_start = use_error_feedback, warm_start
        self.orthogonalization_epsilon = orthogonalization_epsilon
        self.compression_stats_logging_frequency = compression_stats_logging_frequency
        self.batch_tensors_with_same_shape = batch_tensors_with_same_shape
        self.error_dict: dict[int, Array] = {}
        """What was lost, by bucket."""
        self.q_memory_dict: dict[int, list[np.ndarray]] = {}
        """The last factors Q, by bucket."""
        self.total_numel_before_compression = self.total_numel_after_compression = 0

    def maybe_increase_iter(self, bucket: GradBucket) -> None:
        """Count the steps: the last bucket ends one."""
        self.iter += bucket.is_last()

    def compression_stats(self) -> tuple[float, int, int]:
        """(rate, elements before, elements after), over all steps so far."""
        before, after = self.total_numel_before_compression, self.total_numel_after_compression
        return before / after if after else 0, before, after

    def start(self, bucket: GradBucket, matrices: list[Array]) -> list[np.ndarray]:
        """The orthonormal factors Q with which the matrices of a bucket begin this step: the same on all ranks."""
        kept = self.q_memory_dict.get(bucket.index()) if self.warm_start else None
        shapes = [(m.shape[1], min(*m.shape, self.matrix_approximation_rank)) for m in matrices]
        rng = stream(self.random_seed, step=self.iter, shard=bucket.index())
        fresh = [rng.standard_normal(shape, np.float32) for shape in shapes]
        return [orthonormal(q, spare) for q, spare in zip(kept or fresh, fresh, strict=True)]


def powerSGD_hook(state: PowerSGDState, bucket: GradBucket) -> Future:
    """The mean over the ranks, of each matrix approximately, of other gradients exactly; see PowerSGDState."""
    if state.iter < state.start_powerSGD_iter:
        state.maybe_increase_iter(bucket)
        return mean(state.process_group, bucket.buffer())
    before = _with_errors(state, bucket)
    settings = PowerSGD(state.matrix_approximation_rank, 0, max(state.min_compression_rate, 1))
    gradients = bucket.gradients()
    matrices, others = [], []
    for gradient in gradients:
        if settings.shrinks(tuple(gradient.shape)):
            matrices.append(gradient.array.reshape(matrix_shape(tuple(gradient.shape))))
        else:
            others.append(gradient.array.reshape(-1))
    if others:
        _average(state, others)
        state.total_numel_before_compression += sum(array.size for array in others)
        state.total_numel_after_compression += sum(array.size for array in others)
    if matrices:
        _compress(state, bucket, matrices)
    return _ended(state, bucket, before)


def batched_powerSGD_hook(state: PowerSGDState, bucket: GradBucket) -> Future:
    """As `powerSGD_hook`, with all gradients of a bucket as one square matrix: faster, and less accurate."""
    if state.iter < state.start_powerSGD_iter:
        state.maybe_increase_iter(bucket)
        return mean(state.process_group, bucket.buffer())
    before = _with_errors(state, bucket)
    buffer = bucket.buffer().array
    side = int(np.ceil(np.sqrt(buffer.size)))
    square = np.zeros_like(buffer, shape=(side, side))
    square.reshape(-1)[: buffer.size] = buffer
    _compress(state, bucket, [square])
    buffer[...] = square.reshape(-1)[: buffer.size]
    return _ended(state, bucket, before)


def _ended(state: PowerSGDState, bucket: GradBucket, before: Array | None) -> Future:
    """Keep what was lost, and give the buffer."""
    if before is not None:
        state.error_dict[bucket.index()] = before - bucket.buffer().array
    state.maybe_increase_iter(bucket)
    future = Future()
    future.set_result(bucket.buffer())
    return future


def _compress(state: PowerSGDState, bucket: GradBucket, matrices: list[Array]) -> None:
    """Replace matrices by the products that stand for their mean."""
    size = get_world_size(state.process_group)
    qs = state.start(bucket, matrices)
    ps = [host(m) @ q for m, q in zip(matrices, qs, strict=True)]
    _add(state, ps)
    ps = [orthonormal(p) for p in ps]
    qs = [host(m).T @ p for m, p in zip(matrices, ps, strict=True)]
    _add(state, qs)
    for matrix, p, q in zip(matrices, ps, qs, strict=True):
        q /= size
        matrix[...] = np.asarray(p @ q.T, like=matrix)
        state.total_numel_before_compression += matrix.size
        state.total_numel_after_compression += p.size + q.size
    state.q_memory_dict[bucket.index()] = qs


def _with_errors(state: PowerSGDState, bucket: GradBucket) -> Array | None:
    """Add to a bucket what was lost before; a copy of the sum, from which what will be lost can be told."""
    if not state.use_error_feedback:
        return None
    buffer = bucket.buffer().array
    if bucket.index() in state.error_dict:
        buffer += state.error_dict[bucket.index()]
    return buffer.copy()


def _average(state: PowerSGDState, arrays: list[Array]) -> None:
    """Replace arrays by their means over the ranks."""
    _add(state, arrays)
    for array in arrays:
        array /= get_world_size(state.process_group)


def _add(state: PowerSGDState, arrays: list[Any]) -> None:
    """Replace arrays by their sums over the ranks, in one exchange."""
    flat = np.concatenate([array.reshape(-1) for array in arrays])
    total = sum_of(state.process_group, Tensor(flat)).wait()
    start = 0
    for array in arrays:
        array[...] = total.array[start : start + array.size].reshape(array.shape)
        start += array.size

"""Arrangement: which contents lie in which buckets, from what the first step has shown and what was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ddpnet.distributed.step import cost
from ddpnet.distributed.step.compression import Compression, Narrow, PowerSGD, compression_of
from ddpnet.distributed.step.contents import Contents
from ddpnet.distributed.step.low_rank import LowRank
from ddpnet.distributed.step.tree import share
from ddpnet.distributed.transport.communicator import Communicator
from ddpnet.tensor import Tensor

_UNBOUNDED = 2**62


class Arrangement:
    """Lays out buckets for parameters by name, buffers, and so many metrics.

    `bucket_bytes` None means that the size follows from the measured latency and bandwidth.
    """

    def __init__(
        self,
        comm: Communicator,
        shards: int,
        parameters: Mapping[str, Tensor],
        buffers: Sequence[Tensor],
        metrics: int,
        *,
        bucket_bytes: int | None,
        shared_memory: bool,
        compression: Compression | None,
    ) -> None:
        self._comm, self._shards, self._metrics = comm, shards, metrics
        self._parameters, self._buffers = list(parameters.values()), buffers
        self._bucket_bytes, self._shared_memory = bucket_bytes, shared_memory
        wanted, mine = compression_of(compression), range(*share(shards, comm.size, comm.rank))
        self.narrow = wanted if isinstance(wanted, Narrow) else None
        self.low_rank = LowRank(wanted, parameters, mine) if isinstance(wanted, PowerSGD) else None
        # Backward reaches the last parameters first; which it does reach, and when, the first step will show.
        self._order: Sequence[int] = range(len(self._parameters))[::-1]
        self._bytes: tuple[int, int | None] = _UNBOUNDED, None
        self._in_shared_memory = False
        self.contents = self._place(as_products=False)

    def settle(self, came: Sequence[int]) -> Contents:
        """After the first step: buckets in the order in which rank 0's gradients `came`, of a measured size."""
        seen = dict.fromkeys(came)
        order = np.array([*seen, *(index for index in self._order if index not in seen)], np.int64)
        self._comm.broadcast(order, 0)
        size, least = self._bucket_bytes, None
        if size is None and self._comm.size > 1:
            total, least = sum(parameter.array.nbytes for parameter in self._parameters), cost.MIN_BUCKET_BYTES
            partners = len(self._comm.hosts) if len(self._comm.hosts) > 1 else self._comm.size
            size = cost.ideal_bucket_bytes(total, partners, cost.measure(self._comm))
        self._order, self._bytes, self._in_shared_memory = (
            order.tolist(),
            (size or _UNBOUNDED, least),
            self._shared_memory,
        )
        self.contents = self._place(self._as_products)
        return self.contents

    def at(self, step: int) -> Contents:
        """The contents in a step: from a certain one on, some gradients are sent as products."""
        as_products = self.low_rank is not None and step >= self.low_rank.start_step
        if as_products != self._as_products:
            self.contents = self._place(as_products)
        return self.contents

    def _place(self, as_products: bool) -> Contents:
        self._as_products = as_products
        return Contents(
            self._comm,
            self._shards,
            self._parameters,
            self._order,
            self._buffers,
            self._metrics,
            *self._bytes,
            shared_memory=self._in_shared_memory,
            narrow=self.narrow,
            low_rank=self.low_rank if as_products else None,
        )

    def state_dict(self) -> dict[str, np.ndarray]:
        """On rank 0 what PowerSGD keeps from step to step, by name; all ranks make the call."""
        if self.low_rank is None:
            return {}
        ranks = [range(*share(self._shards, self._comm.size, rank)) for rank in range(self._comm.size)]
        return self.low_rank.state_dict(self._comm, ranks)

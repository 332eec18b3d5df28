"""Filling: gradients, as backward passes bring them, on their way into buckets."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial

from ddpnet.backend import Array
from ddpnet.distributed.step.buckets import Slot
from ddpnet.distributed.step.contents import Contents
from ddpnet.distributed.step.lockstep import current_shard
from ddpnet.tensor import Tensor


class Shard:
    """A shard that is being computed: its gradients count with `weight`, those that are sent as products with `part`.

    One that is `absent` gives nothing, whatever gradients there are.
    """

    def __init__(
        self,
        place: Callable[[], str],
        number: int,
        samples: int,
        weight: float,
        part: float,
        names: Sequence[str],
        parameters: int,
    ) -> None:
        self.place = place
        self.number, self.samples, self.weight, self.part = number, samples, weight, part
        self.absent = False
        self.counts = dict.fromkeys(names, 0.0) | {"samples": float(samples)}
        self.used = [0] * parameters
        self.parked: dict[int, Tensor] = {}
        """Gradients by parameter, where shards are computed side by side."""


class Filling:
    """Takes each gradient of `parameters` when it is final, for the shard that is open, if one is.

    In the first step gradients stay where they are until the shard is closed, since several may come. After it they go
    into their buckets at once, if each parameter gets `one` a shard; and when a bucket but the last has all of the last
    shard, and those before it have, too, `exchange(bucket)` is called if the step is to exchange `early`.
    """

    def __init__(self, parameters: Sequence[Tensor], contents: Contents, exchange: Callable[[int], None]) -> None:
        self.contents, self._exchange = contents, exchange
        self._places = {id(parameter): index for index, parameter in enumerate(parameters)}
        self.settled, self.one = False, True
        self.shard: Shard | None = None
        self.side_by_side: dict[int, Shard] = {}
        """Shards that are computed by threads of their own, by number."""
        self.got = [False] * len(parameters)
        """Which parameters have got a gradient since the last step."""
        self.came: list[int] = []
        """The parameters in the order in which the gradients of the first shard came."""
        self.restart(early=False)
        for index, parameter in enumerate(parameters):
            parameter.register_post_accumulate_grad_hook(partial(self._take, index))

    @property
    def streams(self) -> bool:
        """Whether gradients go into their buckets at once."""
        return self.settled and self.one

    def restart(self, early: bool) -> None:
        """A step begins: forget what was taken in it, if anything was."""
        self.shard, self.fresh, self.side_by_side = None, True, {}
        self.came = []
        self.early, self._full, self.sent = early, [False] * len(self.contents.gradient_buckets), 0

    def open(self, shard: Shard, fresh: bool = True) -> None:
        """Gradients that come from here on are those of a shard; if `fresh` there are none from before."""
        self.shard, self.fresh = shard, fresh
        self._missing = [slots.copy() for slots in self.contents.in_bucket]

    def close(self) -> Shard:
        """Take the gradients that are left."""
        shard, self.shard = self.shard, None
        assert shard is not None
        for bucket, missing in enumerate(self._missing):
            for slot, index in missing.items():
                self._put(slot, index, shard)
            if missing:
                self._finish(bucket, shard.number)
        return shard

    def take_all(self, shards: Sequence[Shard], gradients: Iterable[tuple[Tensor, Sequence[Array]]]) -> None:
        """Take the gradients of all of this rank's shards, of one weight, parameter after parameter."""
        missing = [slots.copy() for slots in self.contents.in_bucket]
        for parameter, values in gradients:
            index = self._places[id(parameter)]
            slot = self.contents.gradients[index]
            self.got[index] = True
            for shard in shards:
                shard.used[index] = 1
            self.contents.put_gradients(index, values, shards[0].weight)
            del missing[slot.bucket][slot]
            if not missing[slot.bucket]:
                self._send(slot.bucket)
        for bucket, left in enumerate(missing):
            for index in left.values():
                self.contents.put_gradients(index, None, shards[0].weight)
            if left:
                self._send(bucket)

    def give_up(self, parameters: Sequence[int]) -> None:
        """No gradient will come for these parameters in the shard that is open: do not wait for them."""
        if self.shard is not None and self.streams:
            for index in parameters:
                self._put_once(index, self.shard)

    def _take(self, index: int, parameter: Tensor) -> None:
        """A gradient is final."""
        self.got[index] = True
        if self.shard is None:
            self._park(index, parameter)
        elif self.streams:
            self._put_once(index, self.shard)
        elif self.shard.number == self.contents.buckets.shards[0]:
            self.one = self.one and index not in self.came
            self.came.append(index)

    def _put_once(self, index: int, shard: Shard) -> None:
        """Put a gradient into its bucket, and finish the bucket when it is full."""
        slot = self.contents.gradients[index]
        missing = self._missing[slot.bucket]
        if slot not in missing:
            raise RuntimeError(
                f"{shard.place()}: shard {shard.number}: a parameter of shape {tuple(slot.tensor.shape)} got a second "
                "gradient, but only one in the first step, or was not to be reached from the outputs of forward "
                "(find_unused_parameters): call backward equally often in all steps"
            )
        del missing[slot]
        self._put(slot, index, shard)
        if not missing:
            self._finish(slot.bucket, shard.number)

    def _park(self, index: int, parameter: Tensor) -> None:
        """Keep a gradient of one of several shards that are computed side by side."""
        number = current_shard()
        if number not in self.side_by_side or parameter.grad is None:
            return
        parked, gradient, parameter.grad = self.side_by_side[number].parked, parameter.grad, None
        parked[index] = parked[index] + gradient if index in parked else gradient

    def _put(self, slot: Slot, index: int, shard: Shard) -> None:
        gradient = slot.tensor.grad
        if self.fresh:
            slot.tensor.grad = None
        if gradient is None or shard.absent:
            self.contents.put_gradient(index, shard.number, None, 0.0, 0.0)
        else:
            shard.used[index] = int(self.fresh or self.got[index])
            self.contents.put_gradient(index, shard.number, gradient.array, shard.weight, shard.part)

    def _finish(self, bucket: int, number: int) -> None:
        """A bucket has all gradients of a shard; after the last one it is exchanged, in the same order everywhere."""
        self.contents.finish(bucket, number)
        if number == self.contents.buckets.shards[-1]:
            self._send(bucket)

    def _send(self, bucket: int) -> None:
        """A bucket has all gradients of this rank: exchange it, and those that waited for it, if that is to be now.

        The last one is left to the end of the step: after it there is nothing to compute.
        """
        if self.early:
            self._full[bucket] = True
            while self.sent < len(self._full) - 1 and self._full[self.sent]:
                self._exchange(self.sent)
                self.sent += 1

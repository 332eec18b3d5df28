"""Random numbers as a function: what is drawn depends on (seed, step, shard, call) and on nothing else.

A stream is Philox-4x64 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011). Its key holds the
seed and a purpose; its counter holds the step, the shard and the number of the call, and leaves the lowest word to
the generator. So two streams never overlap, none has to be saved, and it does not matter which rank draws.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import Any

import numpy as np

from ddpnet.backend import Device

_WORD = 2**64


class Purpose(IntEnum):
    """What a stream is for: streams of different purpose are independent at equal (seed, step, shard, call)."""

    DRAW = 0
    """Whatever draws from a `Generator`, one call after the other: `rand`, `randn`, initial weights."""
    ORDER = 1
    """The order in which an epoch visits the samples."""
    SHARD = 2
    """What is drawn while a shard of a step is computed: dropout."""


State = tuple[int, Purpose, int, int, int]
"""A place in the sequence of a seed: (seed, purpose, step, shard, call)."""


def stream(
    seed: int, purpose: Purpose = Purpose.DRAW, *, step: int = 0, shard: int = 0, call: int = 0
) -> np.random.Generator:
    """The NumPy generator at one place of the seed's sequence."""
    key = np.array([seed % _WORD, purpose], np.uint64)  # a list of large numbers would pass through floating point
    counter = np.array([0, call, shard, step], np.uint64)
    return np.random.Generator(np.random.Philox(counter=counter, key=key))


def permutation(count: int, seed: int, epoch: int) -> np.ndarray:
    """The order of `count` samples in an epoch, int64 (count,)."""
    return stream(seed, Purpose.ORDER, step=epoch).permutation(count)


class Generator:
    """A place in the sequence of a seed that moves on by one call at each draw (`torch.Generator`)."""

    def __init__(self, device: Any = "cpu") -> None:
        self.device = Device(device)
        self.set_state((0, Purpose.DRAW, 0, 0, 0))

    def manual_seed(self, seed: int) -> Generator:
        """Start the sequence of `seed` from its beginning."""
        return self.set_state((int(seed) % _WORD, Purpose.DRAW, 0, 0, 0))

    def initial_seed(self) -> int:
        """The seed of this generator."""
        return self._seed

    def seed(self) -> int:
        """Take a new seed from the operating system, and return it."""
        self.manual_seed(int(np.random.SeedSequence().generate_state(1, np.uint64)[0]))
        return self._seed

    def draw(self) -> np.random.Generator:
        """The stream of the next call."""
        rng = stream(self._seed, self._purpose, step=self.step, shard=self.shard, call=self.call)
        self.call += 1
        return rng

    def get_state(self) -> State:
        """The place."""
        return (self._seed, self._purpose, self.step, self.shard, self.call)

    def set_state(self, state: State) -> Generator:
        """Go back to a place that `get_state` gave."""
        self._seed, self._purpose, self.step, self.shard, self.call = state
        return self

    @contextmanager
    def at(self, *, step: int, shard: int) -> Iterator[None]:
        """Draw from the stream of one shard of one step, then go on where the caller was."""
        before = self.get_state()
        self.set_state((self._seed, Purpose.SHARD, step, shard, 0))
        try:
            yield
        finally:
            self.set_state(before)


class _PerThread(threading.local):
    """Each thread has a default generator of its own: threads may be ranks (`distributed.threads`)."""

    def __init__(self) -> None:
        self.generator = Generator()


_default = _PerThread()


def default_generator() -> Generator:
    """The generator that is used where none is given; one a thread."""
    return _default.generator


def manual_seed(seed: int) -> Generator:
    """Seed the default generator."""
    return _default.generator.manual_seed(seed)


def initial_seed() -> int:
    """The seed of the default generator."""
    return _default.generator.initial_seed()


def seed() -> int:
    """Seed the default generator from the operating system; the seed is returned."""
    return _default.generator.seed()


def get_rng_state() -> State:
    """The place of the default generator."""
    return _default.generator.get_state()


def set_rng_state(state: State) -> None:
    """Put the default generator where `get_rng_state` found it."""
    _default.generator.set_state(state)


@contextmanager
def fork_rng(devices: Any = None, enabled: bool = True) -> Iterator[None]:
    """Let what is drawn inside change nothing outside; numbers for all devices come from one generator."""
    before = get_rng_state()
    try:
        yield
    finally:
        if enabled:
            set_rng_state(before)

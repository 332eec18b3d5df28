"""Fingerprint: one 64-bit word for all that ranks must have in common, to the bit.

A rank computes it from its own memory at each step and sends it with its gradients. Ranks whose words are equal have
the same parameters, buffers and state of the optimizer: a single flipped bit always changes the word, other
differences are missed with a probability of 2^-64. Equal states never have different words.
"""

from __future__ import annotations

from collections import deque
from typing import Any, NamedTuple

import numpy as np

from ddpnet.backend import Array, array_module, device_of, host
from ddpnet.kernels import kernels_for
from ddpnet.nn.module import Module
from ddpnet.optim.optimizer import Optimizer
from ddpnet.tensor import Tensor


class Entry(NamedTuple):
    """A tensor that is compared: a parameter or buffer, or with a `key` an entry of the optimizer's state for it."""

    owner: str
    key: str
    tensor: Tensor

    @property
    def name(self) -> str:
        """As messages say it: `conv1.weight`, or `momentum_buffer of conv1.weight`."""
        return f"{self.key} of {self.owner}" if self.key else self.owner


class Fingerprint:
    """Words of a module and, unless its state is divided among the ranks (ZeRO), of its optimizer.

        fingerprint.begin()                   # before forward, which changes buffers
        ...                                   # forward and backward
        word = fingerprint.word()             # of the parameters from which these gradients came

    The tensors are those that the module has now, and the state that the optimizer has at each call: its tensors, and
    the numbers in it and in its groups. TypeError for a state that holds anything else. The state is read at `begin`,
    when the optimizer has just left it in the processor's caches: at half the cost, and soon enough, because whatever
    becomes of it later shows in the parameters before a gradient comes of that.
    """

    last = 0
    """The word that was computed last."""

    def __init__(self, module: Module, optimizer: Optimizer | None = None) -> None:
        self._optimizer = optimizer
        self._parameters = [Entry(name, "", p) for name, p in module.named_parameters()]
        known = {id(entry.tensor) for entry in self._parameters}
        for number, group in enumerate(optimizer.param_groups if optimizer else []):
            for place, p in enumerate(group["params"]):
                if id(p) not in known:
                    self._parameters.append(Entry(f"param_groups.{number}.params.{place}", "", p))
        self._buffers = [Entry(name, "", b) for name, b in module.named_buffers()]
        self._of_parameters, self._of_state, self._of_words = Words(), Words(), Words()
        self._state, self._numbers = _State(), np.zeros(0)
        self._early, self._all = np.zeros(0, np.uint64), np.zeros(0, np.uint64)
        self._begun = False

    def begin(self) -> None:
        """Start a step: the word that follows has the buffers and the optimizer's state as they are now."""
        state = self._state = self._collected()
        values = [value for _, value in state.numbers]
        if len(values) != len(self._numbers):
            self._numbers = np.empty(len(values))  # kept: where arrays lie is looked up when they are others
        self._numbers[:] = values
        tensors = [entry.tensor.array for entry in (*state.tensors, *self._buffers)]
        self._early = self._of_state([*tensors, self._numbers])
        self._begun = True

    def word(self) -> int:
        """The word of the parameters now, and of the rest as it was at `begin`: now, if this is the second word since.

        What `parts` tells belongs to it.
        """
        if not self._begun:
            self.begin()
        self._begun = False
        late = self._of_parameters([entry.tensor.array for entry in self._parameters])
        if len(self._all) != len(late) + len(self._early):
            self._all = np.empty(len(late) + len(self._early), np.uint64)
        np.concatenate((late, self._early), out=self._all)
        self.last = int(self._of_words([self._all])[0])
        return self.last

    def parts(self) -> dict[str, int | str]:
        """What the last word was made of: a word for each tensor, by its name, and the numbers in digits."""
        names = [entry.name for entry in (*self._parameters, *self._state.tensors, *self._buffers)]
        words = self._all.tolist()[:-1]  # the last one is that of all numbers
        return {**dict(zip(names, words, strict=True)), **{name: repr(value) for name, value in self._state.numbers}}

    def tensors(self) -> list[Entry]:
        """All tensors that are compared, in the order in which every rank has them."""
        return [*self._parameters, *self._collected().tensors, *self._buffers]

    def _collected(self) -> _State:
        state = _State()
        if self._optimizer is None:
            return state
        for owner, _, parameter in self._parameters:
            for key, value in self._optimizer.state.get(parameter, {}).items():
                state.add(owner, key, value)
        for number, group in enumerate(self._optimizer.param_groups):
            for key, value in group.items():
                if key != "params":
                    state.add(f"param_groups.{number}", key, value)
        return state


_NUMBERS, _COLLECTIONS = (int, float, np.generic), (dict, list, tuple, deque)


class _State:
    """Tensors and numbers, in order."""

    def __init__(self) -> None:
        self.tensors: list[Entry] = []
        self.numbers: list[tuple[str, float]] = []

    def add(self, owner: str, key: str, value: Any) -> None:
        """Take a value, or what a list or dict holds; text and None are options, and do not change."""
        if isinstance(value, Tensor):
            self.tensors.append(Entry(owner, key, value))
        elif isinstance(value, _NUMBERS):
            self.numbers.append((f"{key} of {owner}", float(value)))
        elif isinstance(value, _COLLECTIONS):
            for name, entry in value.items() if isinstance(value, dict) else enumerate(value):
                self.add(owner, f"{key}.{name}", entry)
        elif value is not None and not isinstance(value, str):
            raise TypeError(
                f"{key} of {owner}: expected tensors, numbers, text, lists or dicts in the state of an optimizer, "
                f"which ranks compare, got {type(value).__name__}"
            )


class Words:
    """Computes a word for each array of a list; looks up where they lie only when they are others than before."""

    def __init__(self) -> None:
        self._ids: list[int] = []
        self._arrays: list[Array] = []
        self._plain: list[tuple[list[int], Array]] = []
        self._others: list[int] = []

    def __call__(self, arrays: list[Array]) -> np.ndarray:
        """(n,) uint64."""
        ids = list(map(id, arrays))  # of arrays that are held here: no other array can have them
        if ids != self._ids:
            self._ids, self._arrays = ids, arrays
            self._sort()
        if len(self._plain) == 1 and not self._others:
            _, table = self._plain[0]
            return host(kernels_for(table).fingerprints(table))
        words = np.empty(len(arrays), np.uint64)
        for places, table in self._plain:
            words[places] = host(kernels_for(table).fingerprints(table))
        for place in self._others:
            copy = array_module(arrays[place]).array(arrays[place], order="C")
            words[place] = host(kernels_for(copy).fingerprints(kernels_for(copy).memory_table([copy])))[0]
        return words

    def _sort(self) -> None:
        """Tables of the arrays of each device, but for those whose memory cannot be read as it lies."""
        self._plain, self._others = [], []
        devices: dict[str, list[int]] = {}
        for place, array in enumerate(self._arrays):
            if _is_plain(array):
                devices.setdefault(str(device_of(array)), []).append(place)
            else:
                self._others.append(place)
        for places in devices.values():
            chosen = [self._arrays[place] for place in places]
            self._plain.append((places, kernels_for(chosen[0]).memory_table(chosen)))


def _is_plain(array: Array) -> bool:
    """Whether an array is C-contiguous and begins at a multiple of 8 bytes."""
    address = array.__array_interface__["data"][0] if isinstance(array, np.ndarray) else array.data.ptr
    return bool(array.flags.c_contiguous) and address % 8 == 0


def same(words: np.ndarray) -> bool:
    """Whether the rows of all ranks are equal: (P,) or (P, k)."""
    return bool((words == words[:1]).all())

"""Join: loops that are longer on some ranks than on others (`torch.distributed.algorithms.join`)."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Any, NamedTuple

from ddpnet.backend import Device
from ddpnet.distributed import all_reduce, get_rank
from ddpnet.ops.creation import full

_MUCH = 1000
"""Steps that a rank may wait for others before it warns."""


class JoinHook:
    """What a rank does in place of its own steps once it has run out of data."""

    def main_hook(self) -> None:
        """Called for each step that other ranks make: take part in the calls that they make in it."""

    def post_hook(self, is_last_joiner: bool) -> None:
        """Called once when all ranks have run out; `is_last_joiner` on those which were the last."""


class _JoinConfig(NamedTuple):
    enable: bool = False
    throw_on_early_termination: bool = False
    is_first_joinable: bool = False


class Joinable(ABC):
    """What can be used in a Join: it calls `Join.notify_join_context(self)` before the first collective of a step."""

    @abstractmethod
    def __init__(self) -> None:
        super().__init__()
        self._join_config = _JoinConfig()

    @abstractmethod
    def join_hook(self, **kwargs: Any) -> JoinHook:
        """The hook for one Join; `kwargs` are those that the Join got, for all that are in it."""

    @property
    @abstractmethod
    def join_device(self) -> Device:
        """The device of its tensors."""

    @property
    @abstractmethod
    def join_process_group(self) -> Any:
        """The process group of its calls."""


class Join:
    """A context for a loop: at its end a rank goes on taking part in the steps of the others until all have ended.

        with Join([model, optimizer]):
            for x, y in loader:
                ...

    ValueError without joinables, or if they have several process groups. With `throw_on_early_termination` all ranks
    raise RuntimeError as soon as one has run out of data. With `enable=False` nothing is done.
    """

    def __init__(
        self,
        joinables: list[Joinable],
        enable: bool = True,
        throw_on_early_termination: bool = False,
        **kwargs: Any,
    ) -> None:
        if len(joinables) == 0:
            raise ValueError("The join context manager requires at least one joinable")
        self._joinables = joinables
        self._hooks = [joinable.join_hook(**kwargs) for joinable in joinables]
        self._enable, self._throw = enable, throw_on_early_termination
        self._group, self._device = joinables[0].join_process_group, joinables[0].join_device
        for joinable in joinables:
            if joinable.join_process_group is not self._group:
                raise ValueError("Using join context manager with multiple process groups")
            joinable._join_config = _JoinConfig(enable, throw_on_early_termination, joinable is joinables[0])

    def __enter__(self) -> None:
        """The loop begins."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if self._enable and kind is None:
                self._accompany()
        finally:
            for joinable in self._joinables:
                joinable._join_config = _JoinConfig()

    def _accompany(self) -> None:
        """Take part in the steps of the others until all ranks have run out."""
        waited = 0
        while _sum(0, self._group, self._device) > 0:  # so many ranks make another step
            if self._throw:
                _sum(1, self._group, self._device)
                raise RuntimeError(f"Rank {get_rank(self._group)} exhausted all inputs.")
            for hook in self._hooks:
                hook.main_hook()
            waited += 1
            if waited == _MUCH:
                warnings.warn(
                    f"Detected uneven input skew of greater than {_MUCH}. This means that rank {get_rank(self._group)} "
                    f"has at least {_MUCH} fewer inputs than other currently-active ranks. This level of skew could "
                    "lead to performance degradation during training.",
                    stacklevel=2,
                )
        for hook in self._hooks:
            hook.post_hook(waited == 0)

    @staticmethod
    def notify_join_context(joinable: Joinable) -> None:
        """Tell the ranks which have run out of data that this one makes another step.

        Only the first joinable of a Join does so. RuntimeError if the Join throws on early termination and one has.
        """
        if not hasattr(joinable, "_join_config"):
            raise AssertionError(f"Check that the {type(joinable)} constructor calls the ``Joinable`` constructor")
        config = joinable._join_config
        if not config.enable or not config.is_first_joinable:
            return
        group, device = joinable.join_process_group, joinable.join_device
        _sum(1, group, device)
        if config.throw_on_early_termination and _sum(0, group, device) > 0:
            raise RuntimeError("Detected at least one rank that exhausted inputs. Throwing across all ranks.")


def _sum(number: float, group: Any, device: Device) -> float:
    """The sum of what all ranks give."""
    total = full((1,), float(number), device=device)
    all_reduce(total, group=group)
    return float(total.item())

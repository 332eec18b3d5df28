"""When to average the parameters: every so many steps, after the first ones."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any

from ddpnet.distributed.algorithms.model_averaging import utils
from ddpnet.distributed.collectives.groups import find

__all__ = ["ModelAverager", "PeriodicModelAverager"]

WHEN_ONE = (
    "no need to use model averaging because the communication cost of all-reducing parameters will be no less than the "
    "cost of all-reducing gradients by DistributedDataParallel in the backward pass. Therefore, only "
    "DistributedDataParallel should be used for this case."
)


class ModelAverager(ABC):
    """Counts the steps in `step`; subclasses say in which of them the parameters are averaged over `process_group`."""

    def __init__(self, process_group: Any = None) -> None:
        self.process_group = find(None, type(self).__name__) if process_group is None else process_group
        self.step = 0

    @abstractmethod
    def average_parameters(self, params: Iterable[Any]) -> None:
        """Called after each step of the optimizer, by all ranks."""


class PeriodicModelAverager(ModelAverager):
    """Averages in every `period`-th step from step `warmup_steps` on."""

    def __init__(self, period: int, warmup_steps: int = 0, process_group: Any = None) -> None:
        super().__init__(process_group)
        if warmup_steps < 0:
            raise ValueError("Arg ``warmup_steps`` must be a non-negative number.")
        if period < 1:
            raise ValueError("Arg ``period`` must be a positive value.")
        if period == 1:
            warnings.warn(f"When period is 1, {WHEN_ONE}", stacklevel=2)
        self.warmup_steps, self.period = warmup_steps, period

    def average_parameters(self, params: Iterable[Any]) -> None:
        """Count a step; if it is time, give parameters (or those of an optimizer's groups) the mean of all ranks'."""
        if self.step >= self.warmup_steps and (self.step - self.warmup_steps) % self.period == 0:
            utils.average_parameters_or_parameter_groups(params, self.process_group)
        self.step += 1

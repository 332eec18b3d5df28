"""HierarchicalModelAverager: small groups average often, large ones seldom (Lin et al., 2020)."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from typing import Any

from ddpnet.distributed.algorithms.model_averaging import utils
from ddpnet.distributed.algorithms.model_averaging.averagers import WHEN_ONE, ModelAverager
from ddpnet.distributed.collectives.membership import communicator_of
from ddpnet.distributed.transport.communicator import Communicator


class HierarchicalModelAverager(ModelAverager):
    """Averages over groups of neighbouring ranks: `period_group_size_dict` has the size of the groups by period.

    Periods and sizes grow; the last size is that of `process_group`. In a step that several periods divide, the longest
    one counts. Nothing is averaged before step `warmup_steps`.
    """

    def __init__(
        self,
        period_group_size_dict: Mapping[int, int] | None = None,
        warmup_steps: int = 0,
        process_group: Any = None,
    ) -> None:
        super().__init__(process_group)
        if not period_group_size_dict:
            raise ValueError("Arg ``period_group_size_dict`` must not be empty.")
        periods, sizes = list(period_group_size_dict), list(period_group_size_dict.values())
        if periods[0] <= 0:
            raise ValueError("The minimum period in arg ``period_group_size_dict`` must be a positive value.")
        if periods[-1] == 1:
            warnings.warn(f"When the maximum period in arg ``period_group_size_dict`` is 1, {WHEN_ONE}", stacklevel=2)
        everybody = communicator_of(self.process_group, "HierarchicalModelAverager")
        if sizes[-1] != everybody.size:
            raise ValueError(
                f"The last value in arg ``period_group_size_dict`` {sizes[-1]} must be equal to the size of arg "
                f"``process_group`` {everybody.size}."
            )
        if warmup_steps < 0:
            raise ValueError("Arg ``warmup_steps`` must be a non-negative number.")
        self.warmup_steps = warmup_steps
        self.period_process_group_dict = {
            period: _neighbours(everybody, size) for period, size in period_group_size_dict.items()
        }

    def average_parameters(self, params: Iterable[Any]) -> None:
        """Count a step; if it is time, give parameters (or those of an optimizer's groups) the mean of the group's."""
        due = [period for period in self.period_process_group_dict if self.step % period == 0]
        if self.step >= self.warmup_steps and due:
            utils.average_parameters_or_parameter_groups(params, self.period_process_group_dict[due[-1]])
        self.step += 1


def _neighbours(world: Communicator, size: int) -> Communicator:
    """The group of `size` ranks, one after the other, that this rank belongs to; all ranks call it."""
    if size == world.size:
        return world
    if size < 1 or world.size % size:
        raise ValueError(f"expected groups of a size that divides the {world.size} ranks, got {size}")
    groups = [world.subgroup(range(start, start + size)) for start in range(0, world.size, size)]
    mine = groups[world.rank // size]
    assert mine is not None
    return mine

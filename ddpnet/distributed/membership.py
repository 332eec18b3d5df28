"""Which communicator a `process_group` argument means."""

from __future__ import annotations

from typing import Any

from ddpnet.distributed import process_group as groups
from ddpnet.distributed.communicator import Communicator


def communicator_of(process_group: Any) -> Communicator:
    """The communicator of a group: the default one's for None; a Communicator stands for itself.

    ValueError before `init_process_group`, TypeError for anything else.
    """
    if process_group is None:
        return groups.current()
    if isinstance(process_group, Communicator):
        return process_group
    raise TypeError(f"process_group: expected a process group or None, got {type(process_group).__name__}")

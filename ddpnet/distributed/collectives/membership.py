"""Which communicator a `process_group` argument means."""

from __future__ import annotations

import weakref
from typing import Any

from ddpnet.distributed.collectives.groups import find
from ddpnet.distributed.transport.communicator import Communicator

_own: weakref.WeakKeyDictionary[Communicator, Communicator] = weakref.WeakKeyDictionary()
"""For the communicator of a group, a second one of the same ranks."""


def communicator_of(process_group: Any, operation: str = "process_group") -> Communicator:
    """A communicator of the ranks of a group (None: the default one), whose messages never meet those of collectives
    that run beside it. All ranks make the first call for a group.

    A Communicator stands for itself. Errors as in `groups.find`, with the name of the operation.
    """
    if isinstance(process_group, Communicator):
        return process_group
    comm = find(process_group, operation).comm
    if comm.size == 1:
        return comm
    if comm not in _own:
        _own[comm] = comm.duplicate()
    return _own[comm]

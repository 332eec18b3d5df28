"""A count of the changes that were made to modules: to their attributes, their parts, their hooks.

Who has derived something from how modules are (`compiler/`) knows by it that nothing has changed.
"""

from __future__ import annotations


class Changes:
    """Of all modules together."""

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0


changes = Changes()

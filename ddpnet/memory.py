"""What tensors that share memory know of each other: when it was written, who the views are, how they were made."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ddpnet.tensor import Tensor


class Version:
    """Counts the in-place changes of memory that a tensor and its views share, and knows the views."""

    __slots__ = ("_limit", "_views", "value")

    def __init__(self) -> None:
        self.value = 0
        self._views: list[weakref.ref[Tensor]] | None = None

    def add(self, view: Tensor) -> None:
        """Note that `view` has this memory."""
        view._version = self
        if self._views is None:
            self._views, self._limit = [], 32
        elif len(self._views) >= self._limit:
            self._views = [reference for reference in self._views if reference() is not None]
            self._limit = 2 * len(self._views) + 32
        self._views.append(weakref.ref(view))

    def views_of(self, base: Tensor) -> list[Tensor]:
        """The living views of `base`."""
        views = (reference() for reference in self._views or ())
        return [view for view in views if view is not None and view._view is not None and view._view.base is base]


class ViewOf:
    """How a view came from its base: the operations in between, which can be done again."""

    __slots__ = ("base", "kind", "steps", "value")

    def __init__(self, base: Tensor, steps: tuple[tuple[Any, dict[str, Any], int], ...], kind: str) -> None:
        self.base, self.steps, self.kind = base, steps, kind
        """`steps` has (operation, options, number of the output); `kind` says why an update in place of the view cannot
        be recorded: "several" views were made at once, or "no_grad" was on; else ""."""
        self.value = base.version.value

    @property
    def stale(self) -> bool:
        """Whether this is one of several views whose memory was written since: its history would not be right."""
        return self.kind == "several" and self.base.version.value != self.value

    @property
    def maker(self) -> str:
        """The name of the operation that made the view."""
        return str(self.steps[-1][0].__name__)

    @staticmethod
    def connect(source: Tensor, views: tuple[Tensor, ...], operation: Any, options: dict[str, Any], kind: str) -> None:
        """Note that `operation` made `views` of `source`."""
        version, before = source.version, source._view
        base, steps = (source, ()) if before is None else (before.base, before.steps)
        if before is not None:
            kind = before.kind or kind
        for number, view in enumerate(views):
            view._view = ViewOf(base, (*steps, (operation, options, number)), kind)
            version.add(view)

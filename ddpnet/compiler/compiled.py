"""Compiled: a function or module whose operations are recorded for each kind of arguments, and then replayed."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from typing import Any

from ddpnet.autograd.autocast_mode import state as autocast
from ddpnet.autograd.grad_mode import mode
from ddpnet.compiler.outside import Outside
from ddpnet.compiler.program import Program
from ddpnet.compiler.recording import Recording, is_plain, kind_of
from ddpnet.compiler.witness import Witness
from ddpnet.dtypes import get_default_dtype
from ddpnet.nn.changes import changes
from ddpnet.nn.parameter import Parameter
from ddpnet.tensor import Tensor

_MOST = 16
"""Kinds of arguments for which programs are kept; what comes after them is computed as it is written."""
_ARGUMENTS = "its arguments are not all numbers, words and tensors, each once, that are no parameters"

Key = tuple[Any, ...]


class Compiled:
    """Calls `function` as it is written until its operations are known: the first time for a kind of arguments (shapes,
    dtypes, other values), then twice more, watched. If both times the same was done, with the same parameters, and
    nothing beside it, the operations are replayed from then on. `reasons` says by kind why that cannot be; with
    `fullgraph` it is a RuntimeError.

    When an attribute or a hook of any module has been changed, everything is recorded anew.
    """

    def __init__(self, function: Callable[..., Any], owner: Any = None, fullgraph: bool = False) -> None:
        self.function, self.owner, self.fullgraph = function, owner, fullgraph
        self._known: dict[Key, Any] = {}
        self._changes = changes.count
        self.reasons: dict[Key, str] = {}
        functools.update_wrapper(self, function, updated=())

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else functools.partial(self, instance)

    def __deepcopy__(self, memo: dict[int, Any]) -> Compiled:
        return Compiled(self.function, copy.deepcopy(self.owner, memo), self.fullgraph)

    def __call__(self, *args: Any, **options: Any) -> Any:
        if mode.tape is not None or mode.observer is not None or autocast.active:
            return self._plainly(args, options)
        if changes.count != self._changes:
            self._changes = changes.count
            self._known.clear()
        tensors: list[Tensor] = []
        key = _kind(args, options, tensors)
        known = self._known.get(key) if key is not None else None
        if type(known) is Program:
            if known.fits():
                return known.run(tensors)
            self._known.pop(key, None)  # type: ignore[arg-type]  # another thread may have done so
            known = None
        if key is None or (known is None and len(self._known) >= _MOST):
            self._refuse(_ARGUMENTS if key is None else f"it is called with more than {_MOST} kinds of arguments")
            return self._plainly(args, options)
        if isinstance(known, str):
            self._refuse(known)
        if known is None:
            self._known[key] = ()
        try:
            if known is None or isinstance(known, str):  # the first time kernels may have to be compiled
                return self._plainly(args, options)
            return self._watched(key, tensors, known, args, options)
        finally:
            self._changes = changes.count  # what the function itself changes does not count

    @property
    def has_programs(self) -> bool:
        """Whether anything is replayed by now."""
        return any(type(known) is Program for known in self._known.values())

    def program(self, *args: Any, **options: Any) -> Program | None:
        """The program for arguments like these, if there is one by now."""
        key = _kind(args, options, [])
        known = None if key is None or changes.count != self._changes else self._known.get(key)
        return known if type(known) is Program and known.fits() else None

    def _plainly(self, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        return self.function(*args, **options) if self.owner is None else self.function(self.owner, *args, **options)

    def _watched(self, key: Key, tensors: list[Tensor], before: Any, args: Any, options: Any) -> Any:
        """Call the function, note its operations, and make a program of them the second time."""
        if not Witness.can_watch():
            return self._plainly(args, options)
        recording, outside = Recording(tensors), Outside(self.function, self.owner, tensors)
        enabled = mode.enabled
        with Witness(outside) as witness:
            mode.tape = recording
            try:
                returned = self._plainly(args, options)
            finally:
                mode.tape = None
        recording.constants = witness.constants
        recording.finish()
        recording.returns(returned)
        outside.leave()
        reason = witness.reason or outside.reason or recording.reason
        if mode.enabled is not enabled or autocast.active:
            reason = "it leaves another mode than it found"
        if reason is None and before and recording.differs_from(before):
            reason = "it does not do the same each time"
        if reason is not None:
            self._known[key] = self.reasons[key] = reason
            self._refuse(reason)
        elif before:
            self._known[key] = Program(recording, outside, type(returned) is tuple)
        else:
            self._known[key] = recording
        return returned

    def _refuse(self, reason: str) -> None:
        """RuntimeError with `fullgraph`, where a call cannot be recorded."""
        if self.fullgraph:
            named = self.function if self.owner is None else type(self.owner)
            name = getattr(named, "__qualname__", named)
            raise RuntimeError(f"torch.compile(fullgraph=True): {name} cannot be recorded: {reason}")


def _kind(args: tuple[Any, ...], options: dict[str, Any], tensors: list[Tensor]) -> Key | None:
    """What a program depends on, with the tensors among the arguments; None for arguments that it cannot take."""
    key: list[Any] = [mode.enabled, get_default_dtype(), len(args)]
    for value in (*args, *options.values()) if options else args:
        if isinstance(value, Parameter):
            return None  # the function may have it from elsewhere, too: nobody could tell which of the two it takes
        if isinstance(value, Tensor):
            tensors.append(value)
            key.append((value._requires_grad, *kind_of(value.array)))
        elif is_plain(value):
            key.append(repr(value))  # True, 1 and 1.0 are equal, and 0.0 and -0.0
        else:
            return None
    if len(tensors) > 1 and len({id(tensor) for tensor in tensors}) < len(tensors):
        return None
    if options:
        key.append(tuple(options))
    return tuple(key)

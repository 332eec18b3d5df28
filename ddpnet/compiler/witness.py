"""Witness: watches a call for what a replay of its operations would leave out.

Python tells a profile function of every call that it makes. Of the program's own functions (those outside of ddpnet)
the witness looks at what they store and which built-in functions they call; of ddpnet's it knows those that hand out
values or change something.
"""

from __future__ import annotations

import dis
import functools
import gc
import inspect
import sys
from types import BuiltinFunctionType, CodeType, FrameType, TracebackType
from typing import Any

from ddpnet.autograd.backward import backward, grad
from ddpnet.autograd.function import Function
from ddpnet.autograd.grad_mode import mode
from ddpnet.backend import is_array
from ddpnet.nn.hooks import Hooked
from ddpnet.nn.module import Module
from ddpnet.ops.conversion import numpy
from ddpnet.ops.creation import full, ones, zeros
from ddpnet.ops.op import Op
from ddpnet.ops.sequences import arange, eye, linspace, logspace
from ddpnet.tensor import Tensor

_READS, _CHANGES, _HOOKS = "it reads the values of a tensor", "it changes a tensor in place", "it uses hooks"
_KNOWN: dict[CodeType, str] = {
    **dict.fromkeys((Tensor.item.__code__, Tensor.tolist.__code__, Tensor.__bool__.__code__), _READS),
    **dict.fromkeys((Tensor._number.__code__, Tensor.__index__.__code__, numpy.__code__), _READS),
    **dict.fromkeys((Tensor.detach.__code__, Tensor.data.fget.__code__), "it takes a tensor out of the graph"),  # type: ignore[attr-defined]
    Tensor.changed.__code__: _CHANGES,
    Tensor.data.fset.__code__: _CHANGES,  # type: ignore[attr-defined]
    Hooked._call_with_hooks.__code__: _HOOKS,
    Module.__setattr__.__code__: "it sets an attribute of a module",
    Function.apply.__func__.__code__: "it uses an autograd.Function",  # type: ignore[attr-defined]
    backward.__code__: "it calls backward",
    grad.__code__: "it calls autograd.grad",
}
_MAKERS = {inspect.unwrap(maker).__code__ for maker in (arange, eye, full, linspace, logspace, ones, zeros)}
_APPLY = Op.apply.__func__.__code__  # type: ignore[attr-defined]
_HARMLESS: set[Any] = {len, isinstance, issubclass, getattr, hasattr, min, max, sum, abs, round, any, all, sorted, id}
_HARMLESS_METHODS = {"items", "keys", "values", "get", "index", "count", "join", "format", "startswith", "endswith"}
_LIBRARIES = sys.stdlib_module_names - {"__main__"} | {"numpy", "numba", "llvmlite", "cupy", "cupyx"}
_LOOKS = {"any", "all", "min", "max", "item", "tolist", "nonzero", "argmax", "argmin"}
"""Methods of arrays after which ddpnet may do one thing or another, or raise; in an operation it will do so again."""
_STORES = {"STORE_ATTR", "STORE_GLOBAL", "STORE_SUBSCR", "DELETE_ATTR", "DELETE_GLOBAL", "DELETE_SUBSCR"}


class Witness:
    """A context in which calls of this thread are watched: `reason` then says why they cannot be replayed, or is None.

    `constants` are the tensors that were made of numbers alone, not of values of tensors or by chance.
    It takes the place of a profile function, so `can_watch` is false where a program has one.
    """

    def __init__(self) -> None:
        self.reason: str | None = None
        self.constants: list[Tensor] = []
        self._inside, self._collects = 0, gc.isenabled()

    @staticmethod
    def can_watch() -> bool:
        """Whether nobody else looks on."""
        return sys.getprofile() is None and mode.observer is None

    def __enter__(self) -> Witness:
        gc.disable()  # what is called when garbage is found does not belong to the call
        sys.setprofile(self._look)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        sys.setprofile(None)
        if self._collects:
            gc.enable()

    def _look(self, frame: FrameType, event: str, argument: Any) -> None:
        if frame.f_code is _APPLY and event in ("call", "return"):
            self._inside += 1 if event == "call" else -1
        elif event == "call":
            code = frame.f_code
            self.reason = self.reason or _KNOWN.get(code)
            if self.reason is None and _is_foreign(frame):
                self.reason = _stores(code)
        elif event == "return" and frame.f_code in _MAKERS and isinstance(argument, Tensor):
            self.constants.append(argument)
        elif event == "c_call" and self.reason is None:
            if _is_foreign(frame):
                self.reason = None if _is_harmless(argument) else f"it calls {argument.__name__}()"
            elif not self._inside and argument.__name__ in _LOOKS and is_array(argument.__self__):
                self.reason = f"{frame.f_code.co_name} looks at the values of a tensor"


def _is_foreign(frame: FrameType) -> bool:
    """Whether a function belongs to the program, or is a library's that it calls; not one that ddpnet calls."""
    at: FrameType | None = frame
    while at is not None:
        name = at.f_globals.get("__name__", "").partition(".")[0]
        if not name:  # a compiled kernel, which Numba shows, too
            return False
        if name not in _LIBRARIES and not name.startswith("namedtuple_"):
            return name != "ddpnet"
        at = at.f_back
    return True


def _is_harmless(function: Any) -> bool:
    """Whether a built-in function does nothing but return something that follows from its arguments."""
    if isinstance(function, BuiltinFunctionType) and function.__self__ is not None and function not in _HARMLESS:
        return function.__name__ in _HARMLESS_METHODS and isinstance(function.__self__, dict | list | tuple | str)
    return function in _HARMLESS


@functools.lru_cache(maxsize=4096)
def _stores(code: CodeType) -> str | None:
    """What a function changes that outlives its call, or None."""
    for instruction in dis.get_instructions(code):
        outer = instruction.opname == "STORE_DEREF" and instruction.argval in code.co_freevars
        if outer or instruction.opname in _STORES:
            what = instruction.argval if isinstance(instruction.argval, str) else "an element"
            return f"{code.co_qualname if sys.version_info >= (3, 11) else code.co_name} sets {what}"
    return None

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
import itertools
import sys
import warnings
from types import BuiltinFunctionType, CodeType, FrameType, TracebackType
from typing import Any

from ddpnet.autograd.backward import (
    backward,
    grad,
    register_hook,
    register_post_accumulate_grad_hook,
    retain_grad,
)
from ddpnet.autograd.function import Function
from ddpnet.autograd.grad_mode import mode
from ddpnet.backend import is_array
from ddpnet.compiler.outside import LIBRARIES, Outside
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
    Tensor.detach_.__code__: _CHANGES,
    Tensor.requires_grad.fset.__code__: "it sets requires_grad",  # type: ignore[attr-defined]
    Module.zero_grad.__code__: "it clears gradients",
    Hooked._call_with_hooks.__code__: _HOOKS,
    **{hooking.__code__: _HOOKS for hooking in (register_hook, register_post_accumulate_grad_hook, retain_grad)},
    Module.__setattr__.__code__: "it sets an attribute of a module",
    Function.apply.__func__.__code__: "it uses an autograd.Function",  # type: ignore[attr-defined]
    backward.__code__: "it calls backward",
    grad.__code__: "it calls autograd.grad",
}
_MAKERS = {inspect.unwrap(maker).__code__ for maker in (arange, eye, full, linspace, logspace, ones, zeros)}
_APPLY = Op.apply.__func__.__code__  # type: ignore[attr-defined]
_HARMLESS: set[Any] = {len, isinstance, issubclass, getattr, hasattr, min, max, sum, abs, round, any, all, sorted, id}
_HARMLESS_METHODS = {"items", "keys", "values", "get", "index", "count", "join", "format", "startswith", "endswith"}
_BEYOND = {"amp.grad_scaler", "checkpoint", "cuda", "datasets", "determinism", "distributed", "optim", "printing"}
_BEYOND |= {"profiler", "random", "serialization", "threads", "utils"}
"""Parts of ddpnet that draw random numbers, or keep something that a replay would not change."""
_STATE = {"array", "grad", "grad_fn", "is_leaf", "_version", "version", "requires_grad", "random"}
"""Attributes that show what a recording does not know of tensors, and where NumPy draws random numbers."""
_LOOKS = {"any", "all", "min", "max", "item", "tolist", "nonzero", "argmax", "argmin"}
"""Methods of arrays after which ddpnet may do one thing or another, or raise; in an operation it will do so again."""
_STORES = {"STORE_ATTR", "STORE_GLOBAL", "STORE_SUBSCR", "DELETE_ATTR", "DELETE_GLOBAL", "DELETE_SUBSCR"}
_STORES |= {"STORE_SLICE"}


class Witness:
    """A context in which calls of this thread are watched: `reason` then says why they cannot be replayed, or is None.

    `constants` are the tensors that were made of numbers alone, not of values of tensors or by chance.
    It takes the place of a profile function, so `can_watch` is false where a program has one.
    """

    def __init__(self, outside: Outside) -> None:
        self.reason: str | None = None
        self._outside = outside
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
            self.reason = self.reason or _KNOWN.get(code) or _beyond(frame)
            if self.reason is None and _is_foreign(frame):
                self.reason = _stores(code)
                if _package(frame) not in LIBRARIES:
                    self._outside.enter(frame)
        elif event == "return" and frame.f_code in _MAKERS and isinstance(argument, Tensor):
            self.constants.append(argument)
        elif event == "c_call" and self.reason is None:
            if _is_foreign(frame) or argument is warnings.warn:
                self.reason = None if _is_harmless(argument) else f"it calls {argument.__name__}()"
            elif not self._inside and argument.__name__ in _LOOKS and is_array(argument.__self__):
                self.reason = f"{frame.f_code.co_name} looks at the values of a tensor"


def _package(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", "")).partition(".")[0]


def _beyond(frame: FrameType) -> str | None:
    """What a function of ddpnet may do that no replay does, or None."""
    package, _, name = str(frame.f_globals.get("__name__", "")).partition(".")
    if package != "ddpnet" or not {name, name.partition(".")[0]} & _BEYOND:
        return None
    return f"it calls {frame.f_code.co_name}() of {package}.{name}"


def _is_foreign(frame: FrameType) -> bool:
    """Whether a function belongs to the program, or is a library's that it calls; not one that ddpnet calls."""
    at: FrameType | None = frame
    while at is not None:
        name = _package(at)
        if not name:  # a compiled kernel, which Numba shows, too
            return False
        if name not in LIBRARIES and not name.startswith("namedtuple_"):
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
    """What a function changes that outlives its call, or reads though a recording does not know it, or None."""
    instructions = list(dis.get_instructions(code))
    for instruction in instructions:
        outer = instruction.opname == "STORE_DEREF" and instruction.argval in code.co_freevars
        if outer or instruction.opname in _STORES:
            what = instruction.argval if isinstance(instruction.argval, str) else "an element"
            return f"{code.co_qualname} sets {what}"
        if instruction.opname in ("LOAD_ATTR", "LOAD_METHOD", "LOAD_CONST") and instruction.argval in _STATE:
            return f"{code.co_qualname} reads {instruction.argval}"
    return f"{code.co_qualname} changes something in place" if _adds_in_place(code, instructions) else None


def _adds_in_place(code: CodeType, instructions: list[dis.Instruction]) -> bool:
    """Whether there is a statement like `a += b` where `a` may be more than a number that the function counts with."""
    counters: set[str] = set()
    others = set(code.co_varnames[: code.co_argcount + code.co_kwonlyargcount])
    targets: set[str] = set()
    for before, after in itertools.pairwise(instructions):
        if after.opname.startswith("STORE_FAST"):  # from Python 3.13 on, some store and load at once, or store twice
            names = after.argval if isinstance(after.argval, tuple) else (after.argval,)
            into = targets if _is_in_place(before) else counters if before.opname == "LOAD_CONST" else others
            into.add(names[0])
            if after.opname == "STORE_FAST_STORE_FAST":
                others.add(names[1])
        elif _is_in_place(before):
            return True
    return not targets <= counters - others


def _is_in_place(instruction: dis.Instruction) -> bool:
    return instruction.opname == "BINARY_OP" and instruction.argrepr.endswith("=")

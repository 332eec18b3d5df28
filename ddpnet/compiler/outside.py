"""Outside: what the functions of a program read beside their arguments, and whether that is still the same."""

from __future__ import annotations

import dis
import functools
import inspect
import operator
import sys
from collections.abc import Sequence
from types import BuiltinFunctionType, CellType, CodeType, FrameType, FunctionType, MethodType, ModuleType
from typing import Any, NamedTuple

import numpy as np

from ddpnet.compiler.recording import is_plain
from ddpnet.nn.module import Module
from ddpnet.tensor import Tensor

LIBRARIES = sys.stdlib_module_names - {"__main__"} | {"numpy", "numba", "llvmlite", "cupy", "cupyx"}
"""What is not the program's own."""
_MOST = 64
"""Elements of a list or dict that are compared at each call."""
_NOTHING = object()


class _Names(NamedTuple):
    """The names that a function's code reads."""

    variables: tuple[str, ...]
    """Global ones."""
    attributes: frozenset[str]
    inner: tuple[CodeType, ...]
    """The code of the functions that it makes."""


class Outside:
    """The global variables and those of the functions around that a call reads, and what is in them: the elements of
    lists and dicts, the attributes that are read of objects, classes and Python modules, and the like in attributes of
    `nn.Module`s, whose own attributes `changes` counts. What lies deeper is not watched. `reason` says what cannot be.
    """

    def __init__(self, function: Any, owner: Any, arguments: Sequence[Tensor]) -> None:
        self.reason: str | None = None
        self._arguments = arguments
        self._entries: list[tuple[dict[str, Any], Any, Any]] = []
        self._cells: list[tuple[CellType, Any]] = []
        self._lists: list[tuple[list[Any], list[Any]]] = []
        self._objects: dict[int, Any] = {}
        self._attributes: set[str] = set()
        self._functions: dict[CodeType, FunctionType] = {}
        self._seen: set[CodeType] = set()
        self._inner: set[CodeType] = set()
        self._modules: list[Module] = []
        self._take("the function", (function, owner))

    def is_unchanged(self) -> bool:
        """Whether all is what it was."""
        for place, name, value in self._entries:
            if place.get(name, _NOTHING) is not value:
                return False
        for cell, value in self._cells:
            if cell.cell_contents is not value:
                return False
        same = operator.is_
        return not self._lists or all(len(a) == len(b) and all(map(same, a, b)) for a, b in self._lists)

    def enter(self, frame: FrameType) -> None:
        """A function of the program is called."""
        code = frame.f_code
        if code in self._seen:
            return
        self._seen.add(code)
        names = _names_of(code)
        self._attributes |= names.attributes
        for name in names.variables:
            if name in frame.f_globals:
                self._take(name, frame.f_globals[name], frame.f_globals)
        self._inner.update(names.inner)  # what these have from around them, this one has itself
        free = [name for name in code.co_freevars if name != "__class__"]
        if free and code not in self._inner:
            function = self._functions.get(code) or _method(frame)
            if function is None:
                self.reason = self.reason or f"it reads {', '.join(free)} of a function around {code.co_name}"
            else:
                self._close(function)

    def leave(self) -> None:
        """The call has ended: of objects, what was read by name is watched."""
        for module in self._modules:
            for part in module.modules():
                inside = {**vars(part), **part._buffers}
                for name in self._attributes & inside.keys():
                    if not isinstance(inside[name], Module):
                        self._take(name, inside[name])
        for value in self._objects.values():
            inside = vars(value)
            for name in self._attributes:
                if name in inside or hasattr(type(value), name):
                    found = inside.get(name, _NOTHING)
                    self._entries.append((inside, name, found))
                    if isinstance(found, Tensor):
                        self._take(name, found)

    def _close(self, function: FunctionType) -> None:
        """Note the variables of the functions around one."""
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            value = cell.cell_contents
            self._cells.append((cell, value))
            self._take(name, value)

    def _take(self, name: str, value: Any, place: dict[str, Any] | None = None) -> None:
        """Note the value of a variable, and what has to be watched in it."""
        if place is not None and not isinstance(value, ModuleType):
            self._entries.append((place, name, value))
        if value is np.random:
            self.reason = self.reason or f"it uses {name}, which draws random numbers"
        elif isinstance(value, functools.partial):
            self._take(name, (value.func, *value.args, *value.keywords.values()))
        elif isinstance(value, MethodType):
            self._take(name, (value.__func__, value.__self__))
        elif isinstance(value, FunctionType):
            self._functions[value.__code__] = value
            self._take(name, (*(value.__defaults__ or ()), *(value.__kwdefaults__ or {}).values()))
            if hasattr(value, "__wrapped__"):
                self._take(name, value.__wrapped__)
        elif isinstance(value, tuple):
            for entry in value:
                self._take(name, entry)
        elif isinstance(value, Tensor):
            if any(value is argument for argument in self._arguments):
                self.reason = self.reason or f"it is given {name}, which it knows anyway"
        elif isinstance(value, dict | list) and len(value) > _MOST:
            self.reason = self.reason or f"it uses {name}, a {type(value).__name__} of more than {_MOST} elements"
        elif isinstance(value, dict):
            self._entries += [(value, key, value[key]) for key in value]
        elif isinstance(value, list):
            self._lists.append((value, value.copy()))
        elif isinstance(value, Module):
            self._modules.append(value)
        elif isinstance(value, type) or (isinstance(value, ModuleType) and _is_own(value)):
            self._objects[id(value)] = value
        elif not isinstance(value, ModuleType | BuiltinFunctionType) and not is_plain(value):
            if isinstance(getattr(value, "__dict__", None), dict) and not hasattr(value, "__next__"):
                self._objects[id(value)] = value
            else:
                self.reason = self.reason or f"it uses {name}, a {type(value).__name__}"


def _is_own(module: ModuleType) -> bool:
    return module.__name__.partition(".")[0] not in LIBRARIES | {"ddpnet"}


def _nothing() -> None:
    """In place of a method that there is not."""


def _method(frame: FrameType) -> FunctionType | None:
    """The function that a frame runs, if it is a method of its first argument."""
    code = frame.f_code
    owner = frame.f_locals.get(code.co_varnames[0]) if code.co_argcount else None
    method = inspect.unwrap(getattr(type(owner), code.co_name, _nothing))
    return method if isinstance(method, FunctionType) and method.__code__ is code else None


@functools.lru_cache(maxsize=4096)
def _names_of(code: CodeType) -> _Names:
    instructions = list(dis.get_instructions(code))
    variables = dict.fromkeys(i.argval for i in instructions if i.opname in ("LOAD_GLOBAL", "LOAD_NAME"))
    attributes = {i.argval for i in instructions if i.opname in ("LOAD_ATTR", "LOAD_METHOD")}
    attributes |= {word for word in code.co_consts if isinstance(word, str)}  # of getattr
    return _Names(tuple(variables), frozenset(attributes), tuple(c for c in code.co_consts if isinstance(c, CodeType)))

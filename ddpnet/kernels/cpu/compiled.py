"""Numba's door: kernels are compiled once a machine, at their first call, by one of its processes."""

from __future__ import annotations

import hashlib
import pickle
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import FunctionType
from typing import Any, TypeVar

import llvmlite
import numba
from llvmlite import binding
from numba.core import config
from numba.core.caching import NullCache
from numba.core.compiler import CompileResult
from numba.core.compiler_lock import global_compiler_lock
from numba.core.registry import CPUDispatcher
from numba.core.runtime import _nrt_python  # type: ignore[attr-defined]  # written in C
from numba.core.serialize import dumps

from ddpnet.kernels.cpu import storage
from ddpnet.kernels.cpu.turns import Turns

_Function = TypeVar("_Function", bound=Callable[..., Any])

_OPTIONS = {"nopython": True, "nogil": True, "error_model": "numpy", "fastmath": {"contract", "nsz"}}
_TOLD_AFTER = 1.0
"""Seconds of compiling after which a user hears of it."""
_TELLER = 0
"""The turn of the process that tells it; those of kernels are above."""


def compiled(function: _Function) -> Any:
    """Compile at the first call with arguments of certain types, for one thread; later runs load the machine code."""
    disabled = config.DISABLE_JIT  # type: ignore[attr-defined]  # read from the environment
    return function if disabled else _Kernel(function, targetoptions=dict(_OPTIONS))


def exactly(function: _Function) -> Any:
    """As `compiled`, for what has to round as NumPy does: no product and sum become one."""
    disabled = config.DISABLE_JIT  # type: ignore[attr-defined]
    return function if disabled else _Kernel(function, targetoptions=_OPTIONS | {"fastmath": False})


class _Kernel(CPUDispatcher):
    """A function with its machine code for each tuple of argument types.

    Instead of Numba's own cache, which has no lock between processes (two that write at once can give one the
    code for the other's types), does not see changes in files that a kernel takes functions from, and readies the
    compiler, which takes 100 ms, before it looks for what is there.
    """

    def __init__(self, py_func: Any, *arguments: Any, **options: Any) -> None:
        super().__init__(py_func, *arguments, **options)
        self._cache = _Kept(py_func)

    def compile(self, sig: Any) -> Any:
        """Numba's way to machine code for a signature: from what this process has, from the file, by compiling."""
        with global_compiler_lock:
            begun = len(_working.turns)
            try:
                return super().compile(sig)
            finally:
                _working.end(begun)


class _Kept(NullCache):
    """Numba's interface to the files in which the machine code of a kernel is kept.

    Numba hands it over as objects of its own, which only pickle takes: `storage.read` gives what this user wrote.
    """

    def __init__(self, function: Any) -> None:
        self._function = function

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """The machine code for a signature; None if it has to be compiled now, by this process."""
        name, place = self._identity(sig, target_context.codegen())
        data = storage.read(name)
        if data is None:
            _working.begin(place, lambda: storage.read(name) is not None)
            data = storage.read(name)
        if data is None:
            _working.tell()
            target_context.refresh()
            return None
        _name_runtime()
        return CompileResult._rebuild(target_context, *pickle.loads(data))

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep what was compiled."""
        if not data.library.has_dynamic_globals:  # else it holds addresses of this process
            name, _ = self._identity(sig, data.codegen)
            _working.kept = storage.write(name, dumps(data._reduce()))

    def _identity(self, sig: Any, codegen: Any) -> tuple[str, int]:
        """A name for all that the machine code depends on, and the place of its turn."""
        file, name = Path(self._function.__code__.co_filename), self._function.__qualname__
        where = self._function.__module__  # the code looks for its globals there
        versions = numba.__version__, llvmlite.__version__, sys.implementation.cache_tag
        taken = _captured(self._function)
        facts = repr((where, name, taken, sig, codegen.magic_tuple(), versions, storage.sources(file)))
        digest = hashlib.sha256(facts.encode()).hexdigest()
        return f"{file.stem}.{name}-{digest[:32]}", 1 + int(digest[:12], 16)


@cache
def _name_runtime() -> None:
    """Tell the linker where the functions of Numba's runtime are, to which machine code refers.

    Numba's `rtsys.initialize` does so, too, but then compiles for 20 ms what only a compilation needs.
    """
    for name, address in _nrt_python.c_helpers.items():
        binding.add_symbol(name if name.startswith("_") else f"NRT_{name}", address)


def _captured(function: FunctionType) -> list[Any]:
    """What a function has taken from the functions around it, and what these, if they are functions, have taken."""
    contents = [cell.cell_contents for cell in function.__closure__ or ()]
    inner = [getattr(value, "py_func", value) for value in contents]
    return [(f.__qualname__, _captured(f)) if isinstance(f, FunctionType) else repr(f) for f in inner]


class _Working:
    """What this process compiles just now, and how long it has."""

    def __init__(self) -> None:
        self.turns: list[int | None] = []
        self.kept = True
        """Whether the last kernel could be kept: where not, waiting for others is in vain."""
        self._places: Turns | None = None
        self._seconds, self._since, self._told = 0.0, 0.0, False

    def begin(self, place: int, done: Callable[[], bool]) -> None:
        """Start to compile a kernel; where another process of this machine does, wait until it is `done`."""
        if not self.turns:
            self._since = time.perf_counter()
        if self._places is None and (folder := storage.folder()) is not None:
            self._places = Turns(folder / "turns")
        ours = self.kept and self._places is not None and self._places.wait(place, done)
        self.turns.append(place if ours else None)

    def end(self, begun: int) -> None:
        """Give back the turns that were taken after the first `begun`."""
        for place in self.turns[begun:]:
            if place is not None and self._places is not None:
                self._places.end(place)
        if begun == 0 and self.turns:
            self._seconds += time.perf_counter() - self._since
        del self.turns[begun:]

    def tell(self) -> None:
        """One line, from one process, if compiling takes long."""
        if self._told or self._seconds + time.perf_counter() - self._since < _TOLD_AFTER:
            return
        self._told = True
        if self._places is not None and self._places.take(_TELLER) is False:  # kept to the end: another one tells it
            return
        kept = storage.folder() is not None and self.kept
        how = "once for this machine" if kept else f"at every start: there is no folder for them ({storage.VARIABLE})"
        sys.stderr.write(f"ddpnet: compiling kernels, {how}; this takes some seconds\n")
        sys.stderr.flush()


_working = _Working()

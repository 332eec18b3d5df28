"""Names of PyTorch's that are not there: loaded now, if they are for later; else errors that name the nearest."""

from __future__ import annotations

import dis
import importlib
import sys
from collections.abc import Iterable, Mapping
from types import ModuleType
from typing import Any

_NAMESPACES = (
    "",
    ".amp",
    ".autograd",
    ".autograd.functional",
    ".backends",
    ".cuda",
    ".linalg",
    ".nn",
    ".nn.functional",
    ".nn.init",
    ".nn.utils",
    ".nn.utils.rnn",
    ".optim",
    ".optim.lr_scheduler",
    ".optim.swa_utils",
    ".special",
    ".utils",
)
"""The modules of PyTorch's that are loaded with ddpnet; others explain themselves."""

_IMPORT_FROM = dis.opmap["IMPORT_FROM"]


def message(name: str, names: Iterable[str]) -> str:
    """What is said of `name`, as "torch.nn.Linaer", if `names` is what there is in its place."""
    import difflib  # of no use to a program without errors

    place, _, last = name.rpartition(".")
    near = difflib.get_close_matches(last, [known for known in names if not known.startswith("_")], n=3)
    hint = f"; the nearest names are {', '.join(f'{place}.{known}' for known in near)}" if near else ""
    return f"{name} is not in ddpnet{hint}"


def explain(module: ModuleType, name: str, later: Mapping[str, str] | None = None) -> None:
    """Let `module`, which is PyTorch's module `name`, say of a name that it misses that this is not in ddpnet.

    AttributeError; or ImportError for `from torch import x`, because Python replaces the words of an AttributeError.
    Those in `later` are loaded when first asked for, from there: "ddpnet.distributed", "ddpnet.serialization:save".
    """
    later = later or {}

    def missing(wanted: str) -> Any:
        if wanted in later:
            place, _, member = later[wanted].partition(":")
            value: Any = importlib.import_module(place)
            value = getattr(value, member) if member else value
            setattr(module, wanted, value)
            return value
        if wanted.startswith("__"):
            raise AttributeError(f"module {name!r} has no attribute {wanted!r}")
        text = message(f"{name}.{wanted}", dir(module))
        caller = sys._getframe(1)
        if caller.f_lasti >= 0 and caller.f_code.co_code[caller.f_lasti] == _IMPORT_FROM:
            raise ImportError(text, name=f"{name}.{wanted}")
        raise AttributeError(text, name=wanted, obj=module)

    vars(module).setdefault("__getattr__", missing)
    if later:
        vars(module)["__dir__"] = lambda: sorted({*vars(module), *later})


def explain_package(package: str, name: str, later: Mapping[str, Mapping[str, str]]) -> None:
    """`explain` what is imported of a package, as PyTorch's `name`; `later` has the names for later, by namespace."""
    for namespace in _NAMESPACES:
        module = sys.modules.get(package + namespace)
        if module is not None:
            explain(module, name + namespace, later.get(namespace))


class _Missing:
    """Stands where a class misses a name: as absent as any, but the error says more.

    So the class needs no `__getattr__` for them, which slows down the names that it has.
    """

    def __init__(self, place: str) -> None:
        self._place = place

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, instance: object, owner: type) -> Any:
        names = [name for name, value in _members(owner).items() if not isinstance(value, _Missing)]
        raise AttributeError(message(f"{self._place}.{self._name}", names), name=self._name, obj=instance)


def explain_members(kind: type, place: str, names: Iterable[str]) -> None:
    """Let the class `kind` say of each of `names` that it misses that this is not in ddpnet."""
    for name in names:
        if not hasattr(kind, name):
            absent = _Missing(place)
            absent.__set_name__(kind, name)
            setattr(kind, name, absent)


def _members(kind: type) -> dict[str, Any]:
    return {name: value for base in reversed(kind.__mro__) for name, value in vars(base).items()}

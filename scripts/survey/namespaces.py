"""Compare PyTorch's public names with ddpnet's, and write docs/coverage.md (or what the first argument names)."""

from __future__ import annotations

import importlib
import inspect
import re
import sys
import textwrap
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

import ddpnet

NAMESPACES = (
    "torch",
    "torch.Tensor",
    "torch.nn",
    "torch.nn.functional",
    "torch.nn.init",
    "torch.nn.utils",
    "torch.nn.utils.rnn",
    "torch.optim",
    "torch.optim.lr_scheduler",
    "torch.autograd",
    "torch.autograd.functional",
    "torch.linalg",
    "torch.special",
    "torch.utils.data",
    "torch.distributions",
    "torch.amp",
    "torch.distributed",
)
"""What is compared; a module's own modules are not names of it."""

_ELSEWHERE = ("torch._prims", "torch._lowrank", "torch.types", "torch.overrides", "torch.fx", "torch.jit")
_UNUSUAL = re.compile(r"torch\.(u?int[1-7]|bits?\w*|float[48]\w+|qu?int\w+)$")
"""dtypes of quantized numbers and of fewer bits than any operation takes."""

COVERAGE = Path(__file__).parents[2] / "docs" / "coverage.md"

_INTRODUCTION = """# Which of PyTorch's names are there

Written by `scripts/coverage`, which compares the public, documented names of PyTorch {version} with ddpnet's. That a
name is there says nothing of its arguments: those that are not supported are refused by name. Complex, quantized and
sparse tensors, graphs of CUDA, and what compiles or exports programs are no part of ddpnet, and their names are among
those that are not there.

| namespace | there | of |
|---|---:|---:|
"""


def main() -> None:
    """Write the page."""
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else COVERAGE
    path.parent.mkdir(exist_ok=True)
    path.write_text(page())


def page() -> str:
    """The whole page."""
    rows, sections = [], []
    for namespace in NAMESPACES:
        wanted = public_names(namespace)
        ours = find(ddpnet, namespace)
        there = [name for name in wanted if ours is not None and hasattr(ours, name)]
        missing = [name for name in wanted if name not in there]
        rows.append(f"| `{namespace}` | {len(there)} | {len(wanted)} |\n")
        sections += [f"\n## `{namespace}`: {len(there)} of {len(wanted)}\n", _listed("There", there)]
        sections += [_listed("Not there", missing)]
    version = ".".join(torch.__version__.split(".")[:2])
    return _INTRODUCTION.format(version=version) + "".join(rows) + "".join(filter(None, sections))


def public_names(namespace: str) -> list[str]:
    """The names that PyTorch means for users, sorted."""
    place = find(torch, namespace)
    listed = getattr(place, "__all__", None)
    if namespace in ("torch", "torch.nn.functional", "torch.nn.utils", "torch.distributions") or not listed:
        with warnings.catch_warnings(action="ignore", category=FutureWarning):  # some names only warn
            listed = [name for name in dir(place) if _is_public(namespace, getattr(place, name, None))]
    return sorted(name for name in set(listed) if not name.startswith("_") and not _is_module(place, name))


def find(root: Any, namespace: str) -> Any:
    """The module or class of a library; None if it does not have it."""
    place = root
    for name in namespace.split(".")[1:]:
        if isinstance(place, ModuleType) and not hasattr(place, name):
            try:
                importlib.import_module(f"{place.__name__}.{name}")
            except ImportError:
                return None
        place = getattr(place, name)
    return place


def _is_module(place: Any, name: str) -> bool:
    return isinstance(getattr(place, name, None), ModuleType)


def _is_public(namespace: str, value: Any) -> bool:
    """Whether PyTorch documents a value, and did not import it from elsewhere."""
    if isinstance(value, torch.dtype):
        return _UNUSUAL.match(str(value)) is None
    home = getattr(value, "__module__", None) or "torch"
    if not home.startswith("torch") or home.startswith(_ELSEWHERE):
        return False
    if inspect.isclass(value):  # those of the compiler are pybind11's; storages and old tensor types have one name each
        made = type(value).__name__ == "pybind11_type" or value.__name__.startswith("Sym")
        return not made and (value is torch.Tensor or not value.__name__.endswith(("Storage", "Tensor", "Type")))
    if inspect.isbuiltin(value):  # without a text of its own it has one that pybind11 wrote
        return (value.__doc__ or "").startswith("\n")
    return (callable(value) or inspect.isdatadescriptor(value)) and bool(inspect.getdoc(value))


def _listed(title: str, names: list[str]) -> str:
    if not names:
        return ""
    return f"\n{title}:\n{textwrap.fill(' '.join(f'`{name}`' for name in names), 120, break_on_hyphens=False)}\n"


if __name__ == "__main__":
    main()

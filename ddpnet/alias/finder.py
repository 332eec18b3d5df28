"""`import torch` as another name of ddpnet, for programs that are not to be changed (`ddpnet run --as-torch`)."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

from ddpnet import version
from ddpnet.alias import missing

_PLACES = {
    "torch": "ddpnet",
    "torchvision": "ddpnet.alias.vision",
    "torchvision.datasets": "ddpnet.datasets",
    "torchvision.transforms": "ddpnet.transforms",
    **{
        f"torch.distributions.{theirs}": f"ddpnet.distributions.{ours}"
        for ours, names in (
            ("normal", "log_normal half_normal"),
            ("elementary", "uniform exponential laplace cauchy gumbel"),
            ("bernoulli", "geometric"),
            ("categorical", "one_hot_categorical"),
            ("counts", "binomial poisson"),
            ("gamma", "beta chi2 dirichlet"),
            ("transformed", "transformed_distribution"),
            ("mixture", "mixture_same_family"),
        )
        for theirs in names.split()
    },
}
"""Where PyTorch's modules are; one that is not listed lies in the same place below its parent."""

_FACADES = {
    "torch.nn.modules": (
        "ddpnet.nn",
        "activation adaptive batchnorm container conv distance dropout embedding flatten fold instancenorm linear loss "
        "module normalization padding pixelshuffle pooling rnn sparse transformer upsampling".split(),
    )
}
"""PyTorch's private packages, of which programs import public names, and their modules; one of ours stands for all."""


def install() -> None:
    """Let `import torch`, and whatever lies below, give the modules of ddpnet, even where PyTorch is installed.

    RuntimeError if PyTorch was imported before.
    """
    if any(isinstance(finder, _Finder) for finder in sys.meta_path):
        return
    if "torch" in sys.modules:
        raise RuntimeError("PyTorch is already imported in this process: ddpnet cannot take its name")
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]
    importlib.import_module("ddpnet").__version__ = version.__version__  # type: ignore[attr-defined]
    sys.meta_path.insert(0, _Finder())


class _Finder(MetaPathFinder):
    """Answers for `torch` and `torchvision`; ModuleNotFoundError for what lies below and is not in ddpnet."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname.partition(".")[0] not in ("torch", "torchvision"):
            return None
        parent, _, child = fullname.rpartition(".")
        if fullname in _FACADES:
            return ModuleSpec(fullname, _FacadeLoader(_FACADES[fullname][0]), is_package=True)
        if parent in _FACADES and child in _FACADES[parent][1]:
            return ModuleSpec(fullname, _FacadeLoader(_FACADES[parent][0]))
        place = _place(fullname)
        siblings = dir(sys.modules[parent]) if parent in sys.modules else []
        taken = getattr(sys.modules.get(parent), child, None) if child in siblings else None
        if (taken is not None and not isinstance(taken, ModuleType)) or not _exists(place):
            raise ModuleNotFoundError(missing.message(fullname, siblings), name=fullname)
        return ModuleSpec(fullname, _Loader(place))


class _Loader(Loader):
    """Hands out a module of ddpnet as it is."""

    def __init__(self, place: str) -> None:
        self._place = place

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = importlib.import_module(self._place)
        self._own = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self._own  # the import system has put the other name's there


class _FacadeLoader(Loader):
    """Makes a module that has the names of another one, and of the modules below that."""

    def __init__(self, place: str) -> None:
        self._place = place

    def exec_module(self, module: ModuleType) -> None:
        sources = [
            importlib.import_module(self._place),
            *(source for name, source in sys.modules.items() if name.startswith(f"{self._place}.")),
        ]
        for source in reversed(sources):
            vars(module).update({name: value for name, value in vars(source).items() if not name.startswith("__")})
        missing.explain(module, module.__name__)


def _place(fullname: str) -> str:
    if fullname in _PLACES:
        return _PLACES[fullname]
    parent, _, child = fullname.rpartition(".")
    return f"{_place(parent)}.{child}"


def _exists(place: str) -> bool:
    try:
        return place in sys.modules or importlib.util.find_spec(place) is not None
    except ModuleNotFoundError:  # its parent is no package
        return False

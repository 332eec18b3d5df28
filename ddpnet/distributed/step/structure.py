"""Structure: whether a module still has the parameters whose gradients were to be averaged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ddpnet.nn.module import Module


class Structure:
    """The parts of a module, for a quick look before each step; `ignored` parameters may change as they like."""

    def __init__(self, module: Module, ignored: Sequence[str]) -> None:
        self._module, self._ignored = module, ignored
        self._known = {id(p): p for p in module.parameters()}
        self._frozen = [
            (name, p) for name, p in module.named_parameters() if not p.requires_grad and name not in ignored
        ]
        self._look()

    def check(self) -> None:
        """RuntimeError if there is a parameter, not frozen, that was added or frozen when the module was wrapped."""
        for name, parameter in self._frozen:
            if parameter.requires_grad:
                raise self._complaint(name, "was frozen when the module was wrapped and is not now")
        if all(len(place) == size for place, size in self._sizes) and all(
            place.get(name) is part for place, name, part in self._parts
        ):
            return
        for name, parameter in self._module.named_parameters():
            if id(parameter) not in self._known and parameter.requires_grad and name not in self._ignored:
                raise self._complaint(name, "was added after the module was wrapped")
        self._look()

    def _look(self) -> None:
        places = [place for m in self._module.modules() for place in (m._parameters, m._modules)]
        self._sizes = [(place, len(place)) for place in places]
        self._parts: list[tuple[Mapping[str, Any], str, Any]] = [
            (place, name, part) for place in places for name, part in place.items()
        ]

    def _complaint(self, name: str, what: str) -> RuntimeError:
        return RuntimeError(
            f"parameter {name} {what} (by DistributedDataParallel or Reducer), so that its gradient would not be "
            "averaged: wrap it again, on all ranks, after such a change"
        )

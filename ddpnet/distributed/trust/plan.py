"""Plan: what all ranks must have in common before the first step, and their differences in words."""

from __future__ import annotations

import hashlib
import json
import platform
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

import ddpnet
from ddpnet import blas
from ddpnet.distributed.errors import DistBackendError
from ddpnet.distributed.transport.communicator import Communicator
from ddpnet.errors import InputError
from ddpnet.nn.module import Module
from ddpnet.optim.optimizer import Optimizer
from ddpnet.tensor import Tensor

_SHOWN = 8
"""Differences in a message; it tells how many more there are."""


class PlanError(DistBackendError, InputError):
    """The ranks do not run the same program; the message shows the differences."""


@dataclass(frozen=True)
class Plan:
    """Facts by name; and the parameters and buffers, in order: name, element type, shape. All of it as text."""

    facts: dict[str, str]
    tensors: dict[str, str]

    @classmethod
    def of(cls, module: Module, optimizer: Optimizer | None = None, *, script: bool = True, **facts: Any) -> Plan:
        """The plan of a run: a module, an optimizer, packages, and further `facts`, whose dicts are taken apart.

        Unless `script` is False, the text of the running script belongs to it.
        """
        every = {**versions(), **(_script() if script else {}), **_flat(facts)}
        if optimizer is not None:
            every |= _optimizer(optimizer, {id(p): name for name, p in module.named_parameters()})
        tensors = {
            name: _described(p) + ("" if p.requires_grad else ", frozen") for name, p in module.named_parameters()
        }
        buffers = {name: f"{_described(b)}, a buffer" for name, b in module.named_buffers()}
        return cls(every, tensors | buffers)

    def to_json(self) -> str:
        """One line; equal plans have equal lines."""
        return json.dumps([sorted(self.facts.items()), list(self.tensors.items())])

    @classmethod
    def from_json(cls, text: str) -> Plan:
        """The inverse of `to_json`."""
        facts, tensors = json.loads(text)
        return cls(dict(facts), dict(tensors))

    def digest(self) -> bytes:
        """32 bytes: the SHA-256 of all of it."""
        return hashlib.sha256(self.to_json().encode()).digest()


def versions() -> dict[str, str]:
    """The packages that compute, and how NumPy's BLAS does: what the bits of a result depend on."""
    library = blas.describe()
    return {
        "ddpnet": ddpnet.__version__,
        "numpy": np.__version__,
        "numba": metadata.version("numba"),
        "blas": f"{library['library']} {library['version']}",
        "core type": library["core type"],
        "threads": library["threads"],
    }


def agree(plan: Plan, comm: Communicator) -> None:
    """Return if all ranks have the same plan, after one exchange of 32 bytes; else PlanError on every rank.

    The plan of most ranks, of several that of the lowest rank, is what the others are compared with.
    """
    groups: dict[bytes, list[int]] = {}
    for rank, digest in enumerate(comm.all_gather(np.frombuffer(plan.digest(), np.uint8), "plan")):
        groups.setdefault(digest.tobytes(), []).append(rank)
    if len(groups) == 1:
        return
    mine = json.dumps([plan.to_json(), platform.node()])
    told = {ranks[0]: json.loads(comm.broadcast_text(mine, ranks[0], "plan")) for ranks in groups.values()}
    most = max(groups.values(), key=len)[0]
    lines: list[str] = []
    for ranks in groups.values():
        if ranks[0] != most:
            plans = Plan.from_json(told[most][0]), Plan.from_json(told[ranks[0]][0])
            lines += differences(*plans, f"rank {comm.members[most]}", _have([comm.members[rank] for rank in ranks]))
    nodes = {comm.members[first]: node for first, (_, node) in told.items()}
    raise PlanError(_message(lines, nodes))


def differences(plan: Plan, other: Plan, who: str, others_have: str) -> list[str]:
    """A line for each difference, `name: rank 2 has this, rank 0 that`, and one for the order of the tensors."""
    lines = [
        f"{name}: {others_have} {theirs.get(name, 'nothing')}, {who} {ours.get(name, 'nothing')}"
        for ours, theirs in ((plan.tensors, other.tensors), (plan.facts, other.facts))
        for name in {**ours, **theirs}
        if ours.get(name) != theirs.get(name)
    ]
    first = [name for name in plan.tensors if name in other.tensors]
    second = [name for name in other.tensors if name in plan.tensors]
    moved = next((pair for pair in zip(first, second, strict=True) if pair[0] != pair[1]), None)
    if moved is not None:
        lines.append(f"order of parameters and buffers: {others_have} {moved[1]} where {who} has {moved[0]}")
    return lines


def _message(lines: list[str], nodes: dict[int, str]) -> str:
    """All that is to be said; the first line has the first difference."""
    said = lines[:_SHOWN]
    if len(lines) > _SHOWN:
        said.append(f"and {len(lines) - _SHOWN} more differences")
    if len({*nodes.values()}) > 1:
        said.append("hosts: " + ", ".join(f"rank {rank} on {node}" for rank, node in nodes.items()))
    if any(line.startswith("core type: ") for line in lines):
        said.append("OPENBLAS_CORETYPE=Haswell, set for all ranks, lets different x86 processors compute the same")
    said.append("all ranks have to run the same script with the same arguments, packages and model")
    return "the ranks do not agree: " + "\n  ".join(said)


def _have(ranks: list[int]) -> str:
    """`rank 2 has`, or `ranks 1, 3 have`."""
    more = f" and {len(ranks) - _SHOWN} more" if len(ranks) > _SHOWN else ""
    return f"rank {ranks[0]} has" if len(ranks) == 1 else f"ranks {', '.join(map(str, ranks[:_SHOWN]))}{more} have"


def _script() -> dict[str, str]:
    """The digest of the text of the running script; nothing where no file is run."""
    path = getattr(sys.modules.get("__main__"), "__file__", None)
    if path is None:
        return {}
    try:
        digest = "sha256 " + hashlib.sha256(Path(path).read_bytes()).hexdigest()[:16]
    except OSError as error:
        digest = f"a file that cannot be read ({error.strerror})"
    return {f"text of {Path(path).name}": digest}


def _optimizer(optimizer: Optimizer, names: dict[int, str]) -> dict[str, str]:
    """The class, and for each group its options and which parameters it has."""
    facts = {"optimizer": type(optimizer).__name__}
    for number, group in enumerate(optimizer.param_groups):
        facts |= _flat({f"optimizer group {number}": {key: group[key] for key in group if key != "params"}})
        for place, p in enumerate(group["params"]):
            facts[f"optimizer group {number}, parameter {place}"] = names.get(id(p), _described(p))
    return facts


def _flat(facts: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Text for each fact, those in dicts under `name.key`."""
    flat: dict[str, str] = {}
    for name, value in facts.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = json.dumps(value, default=_plain)
    return flat


def _plain(value: Any) -> Any:
    """What JSON has no word for: numbers of NumPy and tensors, paths; of other objects the class."""
    if isinstance(value, Tensor | np.ndarray | np.generic):
        return value.tolist()
    return str(value) if isinstance(value, Path) else type(value).__name__


def _described(tensor: Tensor) -> str:
    """Element type and shape: `float32 (6, 1, 5, 5)`."""
    return f"{tensor.array.dtype.name} {tuple(tensor.array.shape)}"

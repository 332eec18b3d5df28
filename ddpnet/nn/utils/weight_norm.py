"""Weights as a length and a direction (Salimans and Kingma, 2016)."""

from __future__ import annotations

from typing import Any, TypeVar

from ddpnet.nn.module import Module
from ddpnet.nn.parameter import Parameter
from ddpnet.tensor import Tensor

_Module = TypeVar("_Module", bound=Module)


def norm_except_dim(v: Tensor, pow: int = 2, dim: int | None = 0) -> Tensor:
    """The p-norm over all dimensions but one, which stays; over all of them with -1 or None."""
    if dim is None or dim == -1:
        return v.norm(pow)
    dims = tuple(axis for axis in range(v.ndim) if axis != dim % v.ndim)
    return v.norm(pow, dims, keepdim=True)


def weight_of(v: Tensor, g: Tensor, dim: int | None) -> Tensor:
    """g * v / |v|."""
    return v * (g / norm_except_dim(v, 2, dim))


class WeightNorm:
    """A hook before `forward` that makes the weight of its length and its direction."""

    def __init__(self, name: str, dim: int | None) -> None:
        self.name, self.dim = name, -1 if dim is None else dim

    def compute_weight(self, module: Module) -> Any:
        """The weight."""
        return weight_of(getattr(module, f"{self.name}_v"), getattr(module, f"{self.name}_g"), self.dim)

    def __call__(self, module: Module, inputs: Any) -> None:
        setattr(module, self.name, self.compute_weight(module))


def weight_norm(module: _Module, name: str = "weight", dim: int | None = 0) -> _Module:
    """Replace a parameter by `NAME_g`, its length along all dimensions but `dim`, and `NAME_v`, its direction."""
    for hook in module._forward_pre_hooks.values():
        if isinstance(hook, WeightNorm) and hook.name == name:
            raise RuntimeError(f"Cannot register two weight_norm hooks on the same parameter {name}")
    norm = WeightNorm(name, dim)
    weight = getattr(module, name)
    delattr(module, name)
    module.register_parameter(f"{name}_g", Parameter(norm_except_dim(weight.detach(), 2, norm.dim)))
    module.register_parameter(f"{name}_v", Parameter(weight.data))
    setattr(module, name, norm.compute_weight(module))
    module.register_forward_pre_hook(norm)
    return module


def remove_weight_norm(module: _Module, name: str = "weight") -> _Module:
    """Make one parameter again of what `weight_norm` took apart; ValueError if it did not."""
    for number, hook in list(module._forward_pre_hooks.items()):
        if isinstance(hook, WeightNorm) and hook.name == name:
            weight = hook.compute_weight(module).detach()
            for attribute in (name, f"{name}_g", f"{name}_v"):
                delattr(module, attribute)
            setattr(module, name, Parameter(weight))
            del module._forward_pre_hooks[number]
            return module
    raise ValueError(f"weight_norm of '{name}' not found in {module}")

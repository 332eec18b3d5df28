"""Weights whose largest singular value is 1 (Miyato et al., 2018)."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np

from ddpnet import random
from ddpnet.autograd.grad_mode import no_grad
from ddpnet.nn.module import Module
from ddpnet.nn.parameter import Parameter
from ddpnet.tensor import Tensor

_Module = TypeVar("_Module", bound=Module)


def unit(x: Tensor, eps: float) -> Tensor:
    """x / |x|."""
    return x / max(float(x.norm()), eps)


def as_matrix(weight: Tensor, dim: int) -> Tensor:
    """A weight with `dim` first and the other dimensions as one."""
    if dim:
        weight = weight.permute(dim, *(axis for axis in range(weight.ndim) if axis != dim))
    return weight.reshape(weight.array.shape[0], -1)


def random_unit(size: int, like: Tensor, eps: float) -> Tensor:
    """A random direction, of the dtype and on the device of another tensor."""
    values = random.default_generator().draw().standard_normal(size)
    return unit(Tensor(np.asarray(values)).to(like.device).to(like.dtype), eps)


@no_grad()
def power_iteration(matrix: Tensor, u: Tensor, v: Tensor, count: int, eps: float) -> None:
    """Bring u (rows) and v (columns) closer to the first singular vectors, in place."""
    for _ in range(count):
        v.copy_(unit(matrix.t().matmul(u), eps))
        u.copy_(unit(matrix.matmul(v), eps))


class SpectralNorm:
    """A hook before `forward` that divides the weight by its largest singular value."""

    _version = 1

    def __init__(self, name: str = "weight", n_power_iterations: int = 1, dim: int = 0, eps: float = 1e-12) -> None:
        if n_power_iterations <= 0:
            raise ValueError(
                f"Expected n_power_iterations to be positive, but got n_power_iterations={n_power_iterations}"
            )
        self.name, self.dim, self.n_power_iterations, self.eps = name, dim, n_power_iterations, eps

    def compute_weight(self, module: Module, do_power_iteration: bool) -> Tensor:
        """The weight; its singular vectors, buffers of the module, move on while training."""
        weight, u, v = (getattr(module, f"{self.name}{end}") for end in ("_orig", "_u", "_v"))
        matrix = as_matrix(weight, self.dim)
        if do_power_iteration:
            power_iteration(matrix.detach(), u, v, self.n_power_iterations, self.eps)
            u, v = u.clone(), v.clone()  # the graph needs them as they are now
        result: Tensor = weight / u.dot(matrix.matmul(v))
        return result

    def __call__(self, module: Module, inputs: Any) -> None:
        setattr(module, self.name, self.compute_weight(module, module.training))


def spectral_norm(
    module: _Module, name: str = "weight", n_power_iterations: int = 1, eps: float = 1e-12, dim: int | None = None
) -> _Module:
    """Let a weight be divided by its largest singular value at every call; `NAME_orig` is the parameter."""
    for hook in module._forward_pre_hooks.values():
        if isinstance(hook, SpectralNorm) and hook.name == name:
            raise RuntimeError(f"Cannot register two spectral_norm hooks on the same parameter {name}")
    if dim is None:
        dim = 1 if type(module).__name__.startswith("ConvTranspose") else 0
    norm = SpectralNorm(name, n_power_iterations, dim, eps)
    weight = getattr(module, name, None)
    if weight is None:
        raise ValueError(f"`SpectralNorm` cannot be applied as parameter `{name}` is None")
    rows = weight.array.shape[dim]
    u = random_unit(rows, weight, eps)
    v = random_unit(weight.numel() // max(rows, 1), weight, eps)
    delattr(module, name)
    module.register_parameter(f"{name}_orig", weight)
    setattr(module, name, weight.data)
    module.register_buffer(f"{name}_u", u)
    module.register_buffer(f"{name}_v", v)
    module.register_forward_pre_hook(norm)
    return module


def remove_spectral_norm(module: _Module, name: str = "weight") -> _Module:
    """Make a plain parameter again of a weight that `spectral_norm` divides; ValueError if it does not."""
    for number, hook in list(module._forward_pre_hooks.items()):
        if isinstance(hook, SpectralNorm) and hook.name == name:
            with no_grad():
                weight = hook.compute_weight(module, False)
            for attribute in (name, f"{name}_u", f"{name}_v", f"{name}_orig"):
                delattr(module, attribute)
            module.register_parameter(name, Parameter(weight.detach()))
            del module._forward_pre_hooks[number]
            return module
    raise ValueError(f"spectral_norm of '{name}' not found in {module}")

"""Muon."""

from __future__ import annotations

import math
from typing import Any

from ddpnet.backend import Array
from ddpnet.kernels.precision import in_place_through_float32
from ddpnet.ops.creation import zeros_like
from ddpnet.optim.optimizer import Optimizer, Parameters
from ddpnet.optim.options import number
from ddpnet.tensor import Tensor


class Muon(Optimizer):
    """Momentum steps for matrices, made orthogonal by Newton-Schulz iterations in bfloat16 (Jordan et al., 2024)."""

    def __init__(
        self,
        params: Parameters,
        lr: float = 1e-3,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_coefficients: tuple[float, float, float] = (3.4445, -4.7750, 2.0315),
        eps: float = 1e-7,
        ns_steps: int = 5,
        adjust_lr_fn: str | None = None,
    ) -> None:
        if isinstance(lr, Tensor) and lr.numel() != 1:
            raise ValueError("Tensor lr must be 1-element")
        for name, value in (("Learning rate", lr), ("momentum", momentum), ("weight decay", weight_decay)):
            if not value >= 0.0:
                raise ValueError(f"{name} should be >= 0 but is: {value}")
        if adjust_lr_fn not in (None, "original", "match_rms_adamw"):
            raise ValueError(f"Adjust learning rate function {adjust_lr_fn} is not supported")
        options = {"lr": lr, "weight_decay": weight_decay, "momentum": momentum, "nesterov": nesterov}
        search = {"ns_coefficients": ns_coefficients, "eps": eps, "ns_steps": ns_steps, "adjust_lr_fn": adjust_lr_fn}
        super().__init__(params, {**options, **search})
        for p in self._all():
            if p.ndim != 2:
                raise ValueError(f"Muon only supports 2D parameters whereas we found a parameter with size: {p.size()}")

    def update(self, p: Tensor, g: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        if group["ns_steps"] >= 100:
            raise ValueError("Number of steps must be less than 100 for computational efficiency")
        if len(group["ns_coefficients"]) != 3:
            raise ValueError("Coefficients must be a tuple of exactly 3 values")
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = zeros_like(p)
        lr = number(group["lr"])
        height, width = p.shape
        if group["adjust_lr_fn"] == "match_rms_adamw":
            rate = lr * 0.2 * math.sqrt(max(height, width))
        else:
            rate = lr * math.sqrt(max(1, height / width))
        momentum, nesterov = group["momentum"], group["nesterov"]
        iterations = group["ns_coefficients"], group["ns_steps"], group["eps"]
        shrink = 1 - lr * group["weight_decay"]
        _step(p.array, g.array, state["momentum_buffer"].array, rate, momentum, nesterov, shrink, *iterations)


@in_place_through_float32
def _step(
    p: Array,
    g: Array,
    velocity: Array,
    rate: float,
    momentum: float,
    nesterov: bool,
    shrink: float,
    coefficients: tuple[float, float, float],
    steps: int,
    eps: float,
) -> None:
    velocity += (1 - momentum) * (g - velocity)
    d = _orthogonal(g + momentum * (velocity - g) if nesterov else velocity, coefficients, steps, eps)
    p *= shrink
    p -= rate * d.astype(p.dtype)


def _orthogonal(x: Array, coefficients: tuple[float, float, float], steps: int, eps: float) -> Array:
    """The orthogonal factor of a matrix, roughly; in float32 that is rounded to bfloat16 after each operation."""
    a, b, c = coefficients
    y = _rounded(x.T if x.shape[0] > x.shape[1] else x)
    y = _rounded(y / max(float(_rounded((y * y).sum() ** 0.5)), eps))
    for _ in range(steps):
        gram = _rounded(y @ y.T)
        change = _rounded(b * gram + c * (gram @ gram))
        y = _rounded(a * y + change @ y)
    return y.T if x.shape[0] > x.shape[1] else y


def _rounded(x: Array) -> Array:
    """The nearest bfloat16 numbers, ties to even, as float32: CuPy has no bfloat16."""
    bits = x.astype("float32").view("uint32")
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000).view("float32")

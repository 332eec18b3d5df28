"""RAdam."""

from __future__ import annotations

from typing import Any

import numpy as np

from ddpnet.backend import Array
from ddpnet.kernels.precision import in_place_through_float32
from ddpnet.ops.creation import zeros_like
from ddpnet.optim.optimizer import Optimizer, Parameters, counter
from ddpnet.optim.options import check, check_betas, check_rate, number
from ddpnet.tensor import Tensor


class RAdam(Optimizer):
    """Adam that takes plain momentum steps until the second moment is known well enough (Liu et al., 2020)."""

    def __init__(
        self,
        params: Parameters,
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        decoupled_weight_decay: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
    ) -> None:
        check_rate(lr)
        check("epsilon value", eps)
        check_betas(betas)
        check("weight_decay value", weight_decay)
        options = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        modes = {
            "maximize": maximize,
            "foreach": foreach,
            "capturable": capturable,
            "decoupled_weight_decay": decoupled_weight_decay,
            "differentiable": differentiable,
        }
        super().__init__(params, {**options, **modes})

    def update(self, p: Tensor, g: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        if not state:
            state["step"] = counter()
            state["exp_avg"], state["exp_avg_sq"] = zeros_like(p), zeros_like(p)
        state["step"].array += 1
        lr, (beta1, beta2) = number(group["lr"]), group["betas"]
        decay, decoupled = group["weight_decay"], group["decoupled_weight_decay"]
        shrink, join = (1 - lr * decay, 0) if decoupled else (1, decay)
        moments = state["exp_avg"].array, state["exp_avg_sq"].array
        factors = _factors(lr, beta1, beta2, state["step"].item())
        sign = -1 if group["maximize"] else 1
        _step(p.array, g.array, *moments, *factors, beta1, beta2, group["eps"], shrink, join, sign)


def _factors(lr: float, beta1: float, beta2: float, step: float) -> tuple[float, float | None]:
    """The rate with the corrections of both moments, and the factor of the adaptive step: None while there is none."""
    correction = 1 - beta2**step
    limit = 2 / (1 - beta2) - 1
    length = limit - 2 * step * beta2**step / correction  # of the simple average that the running mean is like
    rate = lr / (1 - beta1**step)
    if length <= 5:
        return rate, None
    rectified = ((length - 4) * (length - 2) * limit / ((limit - 4) * (limit - 2) * length)) ** 0.5
    return rate, rectified * correction**0.5


@in_place_through_float32
def _step(
    p: Array,
    g: Array,
    m: Array,
    v: Array,
    rate: float,
    adaptive: float | None,
    beta1: float,
    beta2: float,
    eps: float,
    shrink: float,
    join: float,
    sign: float,
) -> None:
    p *= shrink
    d = sign * g + join * p
    m += (1 - beta1) * (d - m)
    v *= beta2
    v += (1 - beta2) * d * d
    p -= rate * m if adaptive is None else rate * m * (adaptive / (np.sqrt(v) + eps))

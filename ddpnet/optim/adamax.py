"""Adamax."""

from __future__ import annotations

from typing import Any

import numpy as np

from ddpnet.backend import Array
from ddpnet.kernels.precision import in_place_through_float32
from ddpnet.ops.creation import zeros_like
from ddpnet.optim.optimizer import Optimizer, Parameters, counter
from ddpnet.optim.options import check, check_betas, check_rate, number
from ddpnet.tensor import Tensor


class Adamax(Optimizer):
    """Adam with the largest recent gradient in place of the root mean square (Kingma and Ba, 2015, section 7.1)."""

    def __init__(
        self,
        params: Parameters,
        lr: float | Tensor = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
    ) -> None:
        check_rate(lr)
        check("epsilon value", eps)
        check_betas(betas)
        check("weight_decay value", weight_decay)
        options = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        modes = {"foreach": foreach, "maximize": maximize, "differentiable": differentiable, "capturable": capturable}
        super().__init__(params, {**options, **modes})

    def update(self, p: Tensor, g: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        if not state:
            state["step"] = counter()
            state["exp_avg"], state["exp_inf"] = zeros_like(p), zeros_like(p)
        state["step"].array += 1
        beta1, beta2 = group["betas"]
        rate = number(group["lr"]) / (1 - beta1 ** state["step"].item())
        sign = -1 if group["maximize"] else 1
        moments = state["exp_avg"].array, state["exp_inf"].array
        _step(p.array, g.array, *moments, rate, beta1, beta2, group["eps"], group["weight_decay"], sign)


@in_place_through_float32
def _step(
    p: Array,
    g: Array,
    m: Array,
    largest: Array,
    rate: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    sign: float,
) -> None:
    d = sign * g + weight_decay * p
    m += (1 - beta1) * (d - m)
    largest[...] = np.maximum(largest * beta2, np.abs(d) + eps)
    p -= rate * (m / largest)

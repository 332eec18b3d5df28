"""Adadelta."""

from __future__ import annotations

from typing import Any

import numpy as np

from ddpnet.backend import Array
from ddpnet.kernels.precision import in_place_through_float32
from ddpnet.ops.creation import zeros_like
from ddpnet.optim.optimizer import Optimizer, Parameters, counter
from ddpnet.optim.options import check, check_rate, number
from ddpnet.tensor import Tensor


class Adadelta(Optimizer):
    """Steps whose size follows from running means of squared gradients and squared changes (Zeiler, 2012)."""

    def __init__(
        self,
        params: Parameters,
        lr: float | Tensor = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0,
        foreach: bool | None = None,
        *,
        capturable: bool = False,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        check_rate(lr)
        if not 0.0 <= rho <= 1.0:
            raise ValueError(f"Invalid rho value: {rho}")
        check("epsilon value", eps)
        check("weight_decay value", weight_decay)
        options = {"lr": lr, "rho": rho, "eps": eps, "weight_decay": weight_decay}
        modes = {"maximize": maximize, "capturable": capturable, "foreach": foreach, "differentiable": differentiable}
        super().__init__(params, {**options, **modes})

    def update(self, p: Tensor, g: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        if not state:
            state["step"] = counter()
            state["square_avg"], state["acc_delta"] = zeros_like(p), zeros_like(p)
        state["step"].array += 1
        sign = -1 if group["maximize"] else 1
        _step(
            p.array,
            g.array,
            state["square_avg"].array,
            state["acc_delta"].array,
            number(group["lr"]),
            group["rho"],
            group["eps"],
            group["weight_decay"],
            sign,
        )


@in_place_through_float32
def _step(
    p: Array,
    g: Array,
    square_avg: Array,
    acc_delta: Array,
    lr: float,
    rho: float,
    eps: float,
    weight_decay: float,
    sign: float,
) -> None:
    d = sign * g + weight_decay * p
    square_avg *= rho
    square_avg += (1 - rho) * d * d
    change = np.sqrt(acc_delta + eps) / np.sqrt(square_avg + eps) * d
    acc_delta *= rho
    acc_delta += (1 - rho) * change * change
    p -= lr * change

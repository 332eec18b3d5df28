"""NAdam."""

from __future__ import annotations

from typing import Any

import numpy as np

from ddpnet.backend import Array
from ddpnet.kernels.precision import in_place_through_float32
from ddpnet.ops.creation import zeros_like
from ddpnet.optim.optimizer import Optimizer, Parameters, counter
from ddpnet.optim.options import check, check_betas, check_rate, number
from ddpnet.tensor import Tensor


class NAdam(Optimizer):
    """Adam with Nesterov's look ahead, and a momentum that grows to beta1 (Dozat, 2016)."""

    def __init__(
        self,
        params: Parameters,
        lr: float | Tensor = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum_decay: float = 4e-3,
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
        check("momentum_decay value", momentum_decay)
        options = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "momentum_decay": momentum_decay}
        modes = {"maximize": maximize, "foreach": foreach, "capturable": capturable, "differentiable": differentiable}
        super().__init__(params, {**options, "decoupled_weight_decay": decoupled_weight_decay, **modes})

    def update(self, p: Tensor, g: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        if not state:
            state["step"], state["mu_product"] = counter(), counter(1.0)
            state["exp_avg"], state["exp_avg_sq"] = zeros_like(p), zeros_like(p)
        state["step"].array += 1
        step, lr, (beta1, beta2) = state["step"].item(), number(group["lr"]), group["betas"]
        mu, mu_next = (beta1 * (1.0 - 0.5 * (0.96 ** (count * group["momentum_decay"]))) for count in (step, step + 1))
        state["mu_product"].array *= mu
        product = state["mu_product"].item()
        rates = lr * (1.0 - mu) / (1.0 - product), lr * mu_next / (1.0 - product * mu_next)
        decay, decoupled = group["weight_decay"], group["decoupled_weight_decay"]
        shrink, join = (1 - lr * decay, 0) if decoupled else (1, decay)
        moments = state["exp_avg"].array, state["exp_avg_sq"].array
        sign = -1 if group["maximize"] else 1
        _step(p.array, g.array, *moments, *rates, beta1, beta2, 1 - beta2**step, group["eps"], shrink, join, sign)


@in_place_through_float32
def _step(
    p: Array,
    g: Array,
    m: Array,
    v: Array,
    rate: float,
    rate_next: float,
    beta1: float,
    beta2: float,
    correction: float,
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
    spread = np.sqrt(v / correction) + eps
    p -= rate * (d / spread)
    p -= rate_next * (m / spread)

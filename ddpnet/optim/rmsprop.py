"""RMSprop."""

from __future__ import annotations

from typing import Any

from ddpnet.kernels import kernels_for
from ddpnet.ops.creation import zeros_like
from ddpnet.optim.optimizer import Optimizer, Parameters, counter
from ddpnet.optim.options import check, check_rate, number
from ddpnet.tensor import Tensor


class RMSprop(Optimizer):
    """Steps divided by the root of a running mean of squares (Hinton, 2012; centred: Graves, 2013)."""

    def __init__(
        self,
        params: Parameters,
        lr: float | Tensor = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum: float = 0,
        centered: bool = False,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        check_rate(lr)
        check("epsilon value", eps)
        check("momentum value", momentum)
        check("weight_decay value", weight_decay)
        check("alpha value", alpha)
        options = {"lr": lr, "momentum": momentum, "alpha": alpha, "eps": eps, "centered": centered}
        modes = {"capturable": capturable, "foreach": foreach, "maximize": maximize, "differentiable": differentiable}
        super().__init__(params, {**options, "weight_decay": weight_decay, **modes})

    def update(self, p: Tensor, g: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        if not state:
            state["step"] = counter()
            state["square_avg"] = zeros_like(p)
            if group["momentum"]:
                state["momentum_buffer"] = zeros_like(p)
            if group["centered"]:
                state["grad_avg"] = zeros_like(p)
        state["step"].array += 1
        kernels_for(p.array).rmsprop_step(
            p.array,
            g.array,
            state["square_avg"].array,
            state["momentum_buffer"].array if group["momentum"] else None,
            state["grad_avg"].array if group["centered"] else None,
            number(group["lr"]),
            group["alpha"],
            group["eps"],
            group["weight_decay"],
            group["momentum"],
            group["centered"],
            group["maximize"],
        )

"""RMSprop."""

from __future__ import annotations

from typing import Any

from ddpnet.kernels import kernels_for
from ddpnet.ops.creation import tensor, zeros_like
from ddpnet.optim.optimizer import Optimizer, Parameters, check
from ddpnet.tensor import Tensor


class RMSprop(Optimizer):
    """Steps divided by the root of a running mean of squares (Hinton, 2012; centred: Graves, 2013)."""

    def __init__(
        self,
        params: Parameters,
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum: float = 0,
        centered: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
    ) -> None:
        check("learning rate", lr)
        check("epsilon value", eps)
        check("momentum value", momentum)
        check("weight_decay value", weight_decay)
        check("alpha value", alpha)
        options = {"lr": lr, "alpha": alpha, "eps": eps, "weight_decay": weight_decay, "momentum": momentum}
        super().__init__(params, {**options, "centered": centered, "maximize": maximize})

    def update(self, p: Tensor, g: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        if not state:
            state["step"] = tensor(0.0)
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
            group["lr"],
            group["alpha"],
            group["eps"],
            group["weight_decay"],
            group["momentum"],
            group["centered"],
            group["maximize"],
        )

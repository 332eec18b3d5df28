"""Adam and AdamW."""

from __future__ import annotations

from typing import Any, ClassVar

from ddpnet.kernels import kernels_for
from ddpnet.ops.creation import tensor, zeros_like
from ddpnet.optim.optimizer import Optimizer, Parameters, check
from ddpnet.tensor import Tensor


class Adam(Optimizer):
    """Steps scaled by running moments of the gradient (Kingma and Ba, 2015; amsgrad: Reddi et al., 2018)."""

    decoupled: ClassVar[bool] = False
    """Whether weight decay shrinks the weights themselves instead of joining the gradient."""

    def __init__(
        self,
        params: Parameters,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        fused: bool | None = None,
    ) -> None:
        check("learning rate", lr)
        check("epsilon value", eps)
        for index, beta in enumerate(betas):
            check(f"beta parameter at index {index}", beta, high=1.0)
        check("weight_decay value", weight_decay)
        options = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, {**options, "amsgrad": amsgrad, "maximize": maximize})

    def update(self, p: Tensor, g: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        if not state:
            state["step"] = tensor(0.0)
            state["exp_avg"], state["exp_avg_sq"] = zeros_like(p), zeros_like(p)
            if group["amsgrad"]:
                state["max_exp_avg_sq"] = zeros_like(p)
        state["step"].array += 1
        kernels_for(p.array).adam_step(
            p.array,
            g.array,
            state["exp_avg"].array,
            state["exp_avg_sq"].array,
            state["max_exp_avg_sq"].array if group["amsgrad"] else None,
            group["lr"],
            *group["betas"],
            group["eps"],
            group["weight_decay"],
            self.decoupled,
            group["maximize"],
            int(state["step"].array.item()),
        )


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2019)."""

    decoupled = True

    def __init__(
        self,
        params: Parameters,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        fused: bool | None = None,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, maximize=maximize)

"""The numbers of an Adam step, the same on every device."""

from __future__ import annotations

import math


def factors(
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    decoupled: bool,
    maximize: bool,
    step: int,
) -> tuple[float, ...]:
    """(rate, root, beta1, 1 - beta1, beta2, 1 - beta2, eps, shrink, join, sign), as the kernels take them.

    `rate` and `root` hold the corrections for moments that start at 0; weight decay multiplies the parameter by
    `shrink` if it is `decoupled`, or else joins the gradient, times `join`. `step` counts from 1.
    """
    rate = lr / (1 - beta1**step)
    root = 1 / math.sqrt(1 - beta2**step)
    shrink, join = (1 - lr * weight_decay, 0.0) if decoupled else (1.0, weight_decay)
    return rate, root, beta1, 1 - beta1, beta2, 1 - beta2, eps, shrink, join, -1.0 if maximize else 1.0

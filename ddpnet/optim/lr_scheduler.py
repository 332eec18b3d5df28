"""Learning rates that change with the step."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from ddpnet.optim.optimizer import Optimizer


class LRScheduler:
    """Sets the learning rates of an optimizer; `step()` goes after `optimizer.step()`.

    A subclass writes `rate`: the learning rate at `self.last_epoch` of a group that started with `initial`.
    """

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        self.optimizer = optimizer
        self.last_epoch = last_epoch
        for group in optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])
        self.base_lrs = [group["initial_lr"] for group in optimizer.param_groups]
        self.step()

    def rate(self, initial: float, number: int) -> float:
        """The learning rate of group `number`."""
        raise NotImplementedError

    def step(self) -> None:
        """Go on by one."""
        self.last_epoch += 1
        for number, (group, initial) in enumerate(zip(self.optimizer.param_groups, self.base_lrs, strict=True)):
            group["lr"] = self.rate(initial, number)

    def get_last_lr(self) -> list[float]:
        """The learning rates in use."""
        return [group["lr"] for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs: all but the optimizer and functions."""
        return {key: value for key, value in self.__dict__.items() if key not in ("optimizer", "functions")}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on where another scheduler of the same kind was."""
        self.__dict__.update(state_dict)


class LambdaLR(LRScheduler):
    """The initial rate times a function of the step, or one function for each group."""

    def __init__(
        self,
        optimizer: Optimizer,
        lr_lambda: Callable[[int], float] | Sequence[Callable[[int], float]],
        last_epoch: int = -1,
    ) -> None:
        groups = len(optimizer.param_groups)
        self.functions = [lr_lambda] * groups if callable(lr_lambda) else list(lr_lambda)
        if len(self.functions) != groups:
            raise ValueError(f"Expected {groups} lr_lambdas, but got {len(self.functions)}")
        super().__init__(optimizer, last_epoch)

    def rate(self, initial: float, number: int) -> float:
        return initial * self.functions[number](self.last_epoch)


class StepLR(LRScheduler):
    """The rate times gamma after every `step_size` steps."""

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, last_epoch: int = -1) -> None:
        self.step_size, self.gamma = step_size, gamma
        super().__init__(optimizer, last_epoch)

    def rate(self, initial: float, number: int) -> float:
        return initial * self.gamma ** (self.last_epoch // self.step_size)


class CosineAnnealingLR(LRScheduler):
    """From the initial rate to eta_min along half a cosine of T_max steps (Loshchilov and Hutter, 2017)."""

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0, last_epoch: int = -1) -> None:
        self.T_max, self.eta_min = T_max, eta_min
        super().__init__(optimizer, last_epoch)

    def rate(self, initial: float, number: int) -> float:
        return self.eta_min + (initial - self.eta_min) * (1 + math.cos(math.pi * self.last_epoch / self.T_max)) / 2

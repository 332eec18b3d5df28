"""Averages of a model's weights over training (`torch.optim.swa_utils`)."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable
from typing import Any

from ddpnet import dtypes
from ddpnet.autograd.grad_mode import no_grad
from ddpnet.backend import Device
from ddpnet.nn.batchnorm import _BatchNorm
from ddpnet.nn.module import Module
from ddpnet.ops.creation import tensor
from ddpnet.optim.lr_scheduler.base import LRScheduler, Rate, one_each
from ddpnet.optim.optimizer import Optimizer
from ddpnet.tensor import Tensor

__all__ = [
    "SWALR",
    "AveragedModel",
    "get_ema_avg_fn",
    "get_ema_multi_avg_fn",
    "get_swa_avg_fn",
    "get_swa_multi_avg_fn",
    "update_bn",
]

Average = Callable[[Tensor, Tensor, Any], Tensor]
"""The new average of (average, value, number of values before)."""
AverageAll = Callable[[list[Tensor], list[Tensor], Any], None]
"""The same for lists of tensors, in place."""


def get_ema_avg_fn(decay: float = 0.999) -> Average:
    """decay * average + (1 - decay) * value."""
    _check_decay(decay)

    @no_grad()
    def ema_update(average: Tensor, value: Tensor, number: Any) -> Tensor:
        return decay * average + (1 - decay) * value

    return ema_update


def get_swa_avg_fn() -> Average:
    """The mean of all values."""

    @no_grad()
    def swa_update(average: Tensor, value: Tensor, number: Any) -> Tensor:
        return average + (value - average) / (number + 1)

    return swa_update


def get_ema_multi_avg_fn(decay: float = 0.999) -> AverageAll:
    """`get_ema_avg_fn` for lists."""
    _check_decay(decay)

    @no_grad()
    def ema_update(averages: list[Tensor], values: list[Tensor], number: Any) -> None:
        for average, value in zip(averages, values, strict=True):
            if average.is_floating_point():
                average.copy_(_between(average, value, 1 - decay))
            else:
                average.copy_(average * decay + value * (1 - decay))

    return ema_update


def get_swa_multi_avg_fn() -> AverageAll:
    """`get_swa_avg_fn` for lists."""

    @no_grad()
    def swa_update(averages: list[Tensor], values: list[Tensor], number: Any) -> None:
        part = 1 / (int(number) + 1)
        for average, value in zip(averages, values, strict=True):
            average.copy_(_between(average, value, part))

    return swa_update


def _between(a: Tensor, b: Tensor, part: float) -> Tensor:
    """The point at `part` of the way from a to b, from the nearer end."""
    return a + part * (b - a) if part < 0.5 else b - (b - a) * (1 - part)


def _check_decay(decay: float) -> None:
    if decay < 0.0 or decay > 1.0:
        raise ValueError(f"Invalid decay value {decay} provided. Please provide a value in [0,1] range.")


class AveragedModel(Module):
    """A model whose weights are an average of those that another model has at each `update_parameters`.

    The average is the mean, or what `avg_fn` or `multi_avg_fn` makes of it; with `use_buffers` buffers are averaged as
    well, otherwise copied.
    """

    n_averaged: Tensor

    def __init__(
        self,
        model: Module,
        device: Device | str | None = None,
        avg_fn: Average | None = None,
        multi_avg_fn: AverageAll | None = None,
        use_buffers: bool = False,
    ) -> None:
        super().__init__()
        if avg_fn is not None and multi_avg_fn is not None:
            raise AssertionError("Only one of avg_fn and multi_avg_fn should be provided")
        self.module = copy.deepcopy(model)
        if device is not None:
            self.module = self.module.to(device)
        self.register_buffer("n_averaged", tensor(0, dtype=dtypes.int64, device=device))
        self.avg_fn, self.multi_avg_fn, self.use_buffers = avg_fn, multi_avg_fn, use_buffers

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The model with the averaged weights."""
        return self.module(*args, **kwargs)

    @no_grad()
    def update_parameters(self, model: Module) -> None:
        """Take the weights of `model` into the average."""
        averages, values = ([t.detach() for t in self._taken(m)] for m in (self.module, model))
        values = [value.to(average.device) for average, value in zip(averages, values, strict=True)]
        if self.n_averaged.item() == 0:
            for average, value in zip(averages, values, strict=True):
                average.copy_(value)
        elif self.avg_fn is not None:
            for average, value in zip(averages, values, strict=True):
                average.copy_(self.avg_fn(average, value, self.n_averaged.to(average.device)))
        else:
            average_all = self.multi_avg_fn or get_swa_multi_avg_fn()
            for group in _alike(averages):
                average_all(
                    [averages[i] for i in group],
                    [values[i] for i in group],
                    self.n_averaged.to(averages[group[0]].device),
                )
        if not self.use_buffers:
            for buffer, value in zip(self.module.buffers(), model.buffers(), strict=True):
                buffer.detach().copy_(value.detach().to(buffer.device))
        self.n_averaged += 1

    def _taken(self, model: Module) -> list[Tensor]:
        """What is averaged of a model."""
        return [*model.parameters(), *(model.buffers() if self.use_buffers else ())]


def _alike(tensors: list[Tensor]) -> list[list[int]]:
    """The numbers of the tensors that share device and dtype."""
    groups: dict[Any, list[int]] = {}
    for number, t in enumerate(tensors):
        groups.setdefault((t.device, t.dtype), []).append(number)
    return list(groups.values())


@no_grad()
def update_bn(loader: Iterable[Any], model: Module, device: Device | str | None = None) -> None:
    """Compute the running statistics of a model's batch norms anew, as means over the batches of `loader`.

    A batch is a tensor, or a sequence that begins with one.
    """
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    was_training = model.training
    model.train()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
    for batch in loader:
        x = batch[0] if isinstance(batch, list | tuple) else batch
        model(x if device is None else x.to(device))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    model.train(was_training)


class SWALR(LRScheduler):
    """From the rate in use to `swa_lr` in `anneal_epochs` steps, along half a cosine or in a line, and stays there."""

    def __init__(
        self,
        optimizer: Optimizer,
        swa_lr: float | list[float],
        anneal_epochs: int = 10,
        anneal_strategy: str = "cos",
        last_epoch: int = -1,
    ) -> None:
        for group, rate in zip(optimizer.param_groups, one_each("swa_lr", optimizer, swa_lr), strict=True):
            group["swa_lr"] = rate
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(f"anneal_strategy must be one of 'cos' or 'linear', instead got {anneal_strategy}")
        self._anneal_strategy = anneal_strategy
        if not isinstance(anneal_epochs, int) or anneal_epochs < 0:
            raise ValueError(f"anneal_epochs must be equal or greater than 0, got {anneal_epochs}")
        self.anneal_epochs = anneal_epochs
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[Rate]:
        self._warn_outside_step()
        step = self._step_count - 1
        if self.anneal_epochs == 0:
            step = max(1, step)
        before, now = self._part(step - 1), self._part(step)
        rates = []
        for group in self.optimizer.param_groups:
            lr, target = group["lr"], group["swa_lr"]
            start = target if before == 1 else (lr - before * target) / (1 - before)
            rates.append(target * now + start * (1 - now))
        return rates

    def _part(self, step: int) -> float:
        """How much of the way to `swa_lr` is behind at a step."""
        t = max(0.0, min(1.0, step / max(1, self.anneal_epochs)))
        return (1 - math.cos(math.pi * t)) / 2 if self._anneal_strategy == "cos" else t

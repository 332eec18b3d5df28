"""What DistributedDataParallel accepts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ddpnet.nn.module import Module
from ddpnet.nn.parameter import Parameter

IGNORED = "_ddp_params_and_buffers_to_ignore"
"""Where a module keeps the names of what is left to each rank."""


def refuse_unsupported(**options: Any) -> None:
    """NotImplementedError, or PyTorch's own error, for options of PyTorch that ddpnet does not have."""
    delayed, trigger = options["delay_all_reduce_named_params"], options["param_to_hook_all_reduce"]
    if (delayed is None) != (trigger is None):
        raise ValueError("delay_all_reduce_named_params and param_to_hook_all_reduce need to be set at the same time.")
    for name, value in options.items():
        if value is not None:
            raise NotImplementedError(f"DistributedDataParallel: {name} is not supported: leave it out")


def trainable_parameters(
    module: Module, ignored: Sequence[str], device_ids: Sequence[Any] | None, output_device: Any
) -> list[Parameter]:
    """The parameters whose gradients are averaged, in order, each once.

    RuntimeError if there are none; ValueError for `device_ids` that do not suit the module.
    """
    parameters = [p for name, p in module.named_parameters() if name not in ignored]
    if not any(p.requires_grad for p in parameters):
        raise RuntimeError(
            "DistributedDataParallel is not needed when a module doesn't have any parameter that requires a gradient."
        )
    if device_ids is not None and len(device_ids) > 1:
        raise ValueError("device_ids can only be None or contain a single element.")
    kinds = list(dict.fromkeys(p.device.type for p in parameters))
    if len(kinds) > 1:
        raise ValueError(
            "DistributedDataParallel's input module must be on the same type of devices, but input module parameters "
            f"locate in {kinds}."
        )
    if kinds == ["cpu"] and (device_ids or output_device):
        raise ValueError(
            "DistributedDataParallel device_ids and output_device arguments only work with "
            "single-device/multiple-device GPU modules or CPU modules, but got device_ids "
            f"{device_ids}, output_device {output_device}, and module parameters {kinds}."
        )
    return [p for p in parameters if p.requires_grad]

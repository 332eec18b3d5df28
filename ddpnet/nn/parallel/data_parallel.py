"""DataParallel: the wrapper of programs from before DistributedDataParallel."""

from __future__ import annotations

from typing import Any

from ddpnet.nn.module import Module


class DataParallel(Module):
    """Programs from before DistributedDataParallel wrap their model in this: here it calls the model on one device.

    ValueError for several `device_ids`: use DistributedDataParallel on several ranks.
    """

    def __init__(self, module: Module, device_ids: Any = None, output_device: Any = None, dim: int = 0) -> None:
        super().__init__()
        if device_ids is not None and len(device_ids) > 1:
            raise ValueError(
                f"DataParallel: one device, not {len(device_ids)}; run several ranks with DistributedDataParallel "
                "(ddpnet run -n N script.py)"
            )
        self.module, self.device_ids, self.output_device, self.dim = module, device_ids, output_device, dim

    def forward(self, *inputs: Any, **kwargs: Any) -> Any:
        """The model's output."""
        return self.module(*inputs, **kwargs)

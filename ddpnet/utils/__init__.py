"""What PyTorch's users look for in `torch.utils`."""

from ddpnet.utils import checkpoint, data, dlpack

__all__ = ["checkpoint", "data", "dlpack"]

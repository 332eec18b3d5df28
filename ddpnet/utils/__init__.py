"""What PyTorch's users look for in `torch.utils`."""

from ddpnet.utils import data

__all__ = ["data"]

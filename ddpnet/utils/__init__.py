"""What PyTorch's users look for in `torch.utils`."""

from typing import TYPE_CHECKING

from ddpnet.utils import checkpoint, dlpack

if TYPE_CHECKING:
    from ddpnet.utils import data  # loaded when it is asked for: see `ddpnet/__init__.py`

__all__ = ["checkpoint", "data", "dlpack"]

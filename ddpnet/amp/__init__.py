"""Mixed precision: autocast, and scaling of gradients (`torch.amp`)."""

from ddpnet.amp.autocast_mode import autocast, custom_bwd, custom_fwd
from ddpnet.amp.grad_scaler import GradScaler
from ddpnet.autograd.autocast_mode import is_autocast_available

__all__ = ["GradScaler", "autocast", "custom_bwd", "custom_fwd", "is_autocast_available"]

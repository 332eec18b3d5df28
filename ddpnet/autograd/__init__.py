"""The graph, the walk back, and what users call of them (`torch.autograd`)."""

from ddpnet.autograd.backward import backward, grad
from ddpnet.autograd.function import Function
from ddpnet.autograd.grad_mode import enable_grad, inference_mode, no_grad, set_grad_enabled
from ddpnet.autograd.gradcheck import GradcheckError, gradcheck

__all__ = [
    "Function",
    "GradcheckError",
    "backward",
    "enable_grad",
    "grad",
    "gradcheck",
    "inference_mode",
    "no_grad",
    "set_grad_enabled",
]

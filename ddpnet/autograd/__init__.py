"""The graph, the walk back, and what users call of them (`torch.autograd`).

`autograd.functional` stands above the operations and is imported with the package.
"""

from ddpnet.autograd import anomaly_mode, function, grad_mode, graph
from ddpnet.autograd.anomaly_mode import detect_anomaly, set_detect_anomaly
from ddpnet.autograd.backward import backward, grad
from ddpnet.autograd.function import Function
from ddpnet.autograd.grad_mode import enable_grad, inference_mode, no_grad, set_grad_enabled
from ddpnet.autograd.gradcheck import GradcheckError, gradcheck, gradgradcheck
from ddpnet.autograd.variable import Variable

__all__ = [
    "Function",
    "GradcheckError",
    "Variable",
    "anomaly_mode",
    "backward",
    "detect_anomaly",
    "enable_grad",
    "function",
    "grad",
    "grad_mode",
    "gradcheck",
    "gradgradcheck",
    "graph",
    "inference_mode",
    "no_grad",
    "set_detect_anomaly",
    "set_grad_enabled",
]

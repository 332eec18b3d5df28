"""Optimizers for several ranks (`torch.distributed.optim`)."""

from ddpnet.distributed.optim.post_localSGD_optimizer import PostLocalSGDOptimizer
from ddpnet.distributed.optim.zero_redundancy_optimizer import ZeroRedundancyOptimizer

__all__ = ["PostLocalSGDOptimizer", "ZeroRedundancyOptimizer"]

"""Data parallelism for users' own loops (`torch.nn.parallel`)."""

from ddpnet.nn.parallel.data_parallel import DataParallel
from ddpnet.nn.parallel.distributed import DistributedDataParallel

__all__ = ["DataParallel", "DistributedDataParallel"]

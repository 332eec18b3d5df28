"""Datasets, samplers and the DataLoader (`torch.utils.data`)."""

import sys

from ddpnet.alias import missing
from ddpnet.utils.data.collate import default_collate, default_convert
from ddpnet.utils.data.dataloader import DataLoader
from ddpnet.utils.data.dataset import (
    ChainDataset,
    ConcatDataset,
    Dataset,
    IterableDataset,
    StackDataset,
    Subset,
    TensorDataset,
    random_split,
)
from ddpnet.utils.data.distributed import DistributedSampler, GlobalBatchSampler
from ddpnet.utils.data.order import Batches
from ddpnet.utils.data.sampler import (
    BatchSampler,
    RandomSampler,
    Sampler,
    SequentialSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)
from ddpnet.utils.data.worker import get_worker_info

__all__ = [
    "BatchSampler",
    "Batches",
    "ChainDataset",
    "ConcatDataset",
    "DataLoader",
    "Dataset",
    "DistributedSampler",
    "GlobalBatchSampler",
    "IterableDataset",
    "RandomSampler",
    "Sampler",
    "SequentialSampler",
    "StackDataset",
    "Subset",
    "SubsetRandomSampler",
    "TensorDataset",
    "WeightedRandomSampler",
    "default_collate",
    "default_convert",
    "get_worker_info",
    "random_split",
]

missing.explain(sys.modules[__name__], "torch.utils.data")

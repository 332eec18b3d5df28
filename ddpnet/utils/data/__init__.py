"""Datasets, samplers and the DataLoader (`torch.utils.data`)."""

from ddpnet.utils.data.collate import default_collate, default_convert
from ddpnet.utils.data.dataloader import DataLoader
from ddpnet.utils.data.dataset import ConcatDataset, Dataset, Subset, TensorDataset, random_split
from ddpnet.utils.data.distributed import DistributedSampler
from ddpnet.utils.data.order import Batches
from ddpnet.utils.data.sampler import (
    BatchSampler,
    RandomSampler,
    Sampler,
    SequentialSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)

__all__ = [
    "BatchSampler",
    "Batches",
    "ConcatDataset",
    "DataLoader",
    "Dataset",
    "DistributedSampler",
    "RandomSampler",
    "Sampler",
    "SequentialSampler",
    "Subset",
    "SubsetRandomSampler",
    "TensorDataset",
    "WeightedRandomSampler",
    "default_collate",
    "default_convert",
    "random_split",
]

"""Data sets: MNIST, which ships with the package, and whatever comes in the same format."""

from ddpnet.datasets.dataset import KMNIST, MNIST, FashionMNIST
from ddpnet.datasets.idx import read_idx
from ddpnet.datasets.images import DATASETS, Images, check_labels, load, load_folder

__all__ = [
    "DATASETS",
    "KMNIST",
    "MNIST",
    "FashionMNIST",
    "Images",
    "check_labels",
    "load",
    "load_folder",
    "read_idx",
]

"""MNIST and its relatives as datasets for a `DataLoader`, with torchvision's names and arguments."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np

from ddpnet.datasets.images import check_labels, find_files, load_split, shipped_folder
from ddpnet.errors import InputError
from ddpnet.tensor import Tensor
from ddpnet.utils.data import Dataset

Transform = Callable[[Any], Any]


class ImageDataset(Dataset[tuple[Any, Any]]):
    """Labelled grey images: sample i is (float32 Tensor (1, H, W) from 0 to 1, int label).

    `data` is a uint8 Tensor (N, H, W), `targets` an int64 Tensor (N,). A `transform` gets the image as a uint8 NumPy
    array (H, W), where torchvision hands it a PIL image; `transforms.ToTensor()` makes the float32 Tensor of it. A
    `target_transform` gets the int. Nothing is ever downloaded: InputError if the files are missing or unusable; only
    for MNIST `download=True` gives the files that ship with ddpnet.
    """

    classes: ClassVar[tuple[str, ...]]
    shipped: ClassVar[str | None] = None

    def __init__(
        self,
        root: str | os.PathLike[str] | None = None,
        train: bool = True,
        transform: Transform | None = None,
        target_transform: Transform | None = None,
        download: bool = False,
    ) -> None:
        self.root = self._folder(root, train, download)
        self.train = train
        self.transform = transform
        self.target_transform = target_transform
        images, labels = load_split(self.root, train=train, family=type(self).__name__)
        check_labels(labels, len(self.classes), f"{self.root}: labels")
        self.data = Tensor(images)
        self.targets = Tensor(labels.astype(np.int64))

    def _folder(self, root: str | os.PathLike[str] | None, train: bool, download: bool) -> str | os.PathLike[str]:
        name = type(self).__name__
        if root is None and self.shipped is not None:
            return shipped_folder(self.shipped)
        if root is None:
            raise InputError(f"{name}: expected root=, the folder with its files; only MNIST ships with ddpnet")
        if download:
            try:
                find_files(root, train=train, family=name)
            except InputError as error:
                if self.shipped is not None:
                    return shipped_folder(self.shipped)
                raise InputError(
                    f"{name}(download=True): ddpnet downloads nothing; put the files there yourself: {error}"
                ) from error
        return root

    @property
    def class_to_idx(self) -> dict[str, int]:
        """The label of each class."""
        return {name: label for label, name in enumerate(self.classes)}

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        pixels, label = self.data.array[index], int(self.targets.array[index])
        image: Any = Tensor(_scaled(pixels[None])) if self.transform is None else self.transform(pixels.copy())
        if self.target_transform is not None:
            return image, self.target_transform(label)
        return image, label

    def collated(self, indices: Sequence[int]) -> list[Tensor] | None:
        """The images (B, 1, H, W) and labels (B,) of a batch at once; None if samples are made one by one."""
        if self.transform or self.target_transform or type(self).__getitem__ is not ImageDataset.__getitem__:
            return None
        rows = np.asarray(indices, np.int64)
        return [Tensor(_scaled(self.data.array[rows][:, None])), Tensor(self.targets.array[rows])]

    def __repr__(self) -> str:
        lines = [f"Dataset {type(self).__name__}", f"Number of datapoints: {len(self)}"]
        lines += [f"Root location: {self.root}", f"Split: {'Train' if self.train else 'Test'}"]
        return "\n    ".join(lines)


def _scaled(images: np.ndarray) -> np.ndarray:
    """Bytes as float32 from 0 to 1: a division, because a product with 1/255 rounds differently."""
    return images.astype(np.float32) / np.float32(255)


class MNIST(ImageDataset):
    """Handwritten digits, 60,000 and 10,000 of 28 x 28; without `root` the files that ship with ddpnet."""

    shipped = "mnist"
    classes = (
        "0 - zero",
        "1 - one",
        "2 - two",
        "3 - three",
        "4 - four",
        "5 - five",
        "6 - six",
        "7 - seven",
        "8 - eight",
        "9 - nine",
    )


class FashionMNIST(ImageDataset):
    """Photographs of clothes (H. Xiao, K. Rasul, R. Vollgraf, 2017), from the folder `root`."""

    classes = (
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    )


class KMNIST(ImageDataset):
    """Cursive Japanese characters (T. Clanuwat et al., 2018), from the folder `root`."""

    classes = ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo")

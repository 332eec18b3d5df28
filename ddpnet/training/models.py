"""The models that `ddpnet train` knows, for images of one channel."""

from __future__ import annotations

from ddpnet import nn
from ddpnet.errors import InputError
from ddpnet.nn import functional as F
from ddpnet.tensor import Tensor

LENET_EXTENT = 32
"""LeNet sees images of 32 by 32 pixels; smaller ones are padded."""


class LeNet(nn.Module):
    """LeCun et al., "Gradient-based learning applied to document recognition", 1998, with ReLU and max-pooling.

    Images (N, 1, 32, 32) to logits (N, classes).
    """

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, 5)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.fc1 = nn.Linear(16 * 5 * 5, 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = x.flatten(1)
        x = F.relu(self.fc1(x))
        x = F.relu(self.fc2(x))
        return self.fc3(x)


def mlp(pixels: int, classes: int = 10) -> nn.Sequential:
    """Two hidden layers with dropout: images (N, 1, H, W) of H * W pixels to logits (N, classes)."""
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(pixels, 512),
        nn.ReLU(),
        nn.Dropout(0.2),
        nn.Linear(512, 256),
        nn.ReLU(),
        nn.Dropout(0.2),
        nn.Linear(256, classes),
    )


def cnn(height: int, width: int, classes: int = 10) -> nn.Sequential:
    """Two convolutions with batch normalisation, and dropout: images (N, 1, height, width) to logits (N, classes)."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1, bias=False),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.25),
        nn.Linear(32 * (height // 4) * (width // 4), classes),
    )


def build(name: str, height: int, width: int, classes: int) -> nn.Module:
    """The model of a name for images of `height` by `width`; InputError for images that it cannot take."""
    if name == "lenet":
        if max(height, width) > LENET_EXTENT:
            raise InputError(
                f"lenet takes images of at most {LENET_EXTENT} by {LENET_EXTENT} pixels, got {height} by {width}: use "
                "--model cnn or --model mlp"
            )
        return LeNet(classes)
    if name == "cnn":
        if min(height, width) < 4:
            raise InputError(f"cnn takes images of at least 4 by 4 pixels, got {height} by {width}: use --model mlp")
        return cnn(height, width, classes)
    return mlp(height * width, classes)


def padded_extent(name: str, height: int, width: int) -> tuple[int, int]:
    """The size to which images are padded for a model."""
    return (LENET_EXTENT, LENET_EXTENT) if name == "lenet" else (height, width)

"""ResNet-18 (He et al., 2015) on 32 x 32 images: the shipped MNIST digits, padded and in three channels.

python resnet18.py                      with PyTorch
ddpnet run --as-torch resnet18.py       with ddpnet, unchanged
"""

import argparse
import gzip
import math
from pathlib import Path

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
import weights
from torch.optim.lr_scheduler import CosineAnnealingLR
from torch.utils.data import DataLoader, TensorDataset

MNIST = Path(__file__).resolve().parents[2] / "ddpnet" / "datasets" / "mnist"


class BasicBlock(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Sequential()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        y += self.shortcut(x)
        return F.relu(y)


class ResNet18(nn.Module):
    def __init__(self, classes=10, width=64):
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        blocks, inputs = [], width
        for stage in range(4):
            for number in range(2):
                outputs = width * 2**stage
                blocks.append(BasicBlock(inputs, outputs, stride=2 if stage and number == 0 else 1))
                inputs = outputs
        self.layers = nn.Sequential(*blocks)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(inputs, classes)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.pool(self.layers(x))
        return self.fc(torch.flatten(x, 1))


def digits(count):
    """`count` training images (count, 3, 32, 32) around 0, and their labels."""
    with gzip.open(MNIST / "train-images-idx3-ubyte.gz") as file:
        pixels = np.frombuffer(file.read(16 + count * 784)[16:], np.uint8).reshape(count, 1, 28, 28)
    with gzip.open(MNIST / "train-labels-idx1-ubyte.gz") as file:
        labels = np.frombuffer(file.read(8 + count)[8:], np.uint8)
    images = F.pad(torch.from_numpy(pixels.astype(np.float32)) / 255, (2, 2, 2, 2))
    images = (images - 0.1307) / 0.3081
    return TensorDataset(images.expand(-1, 3, -1, -1), torch.from_numpy(labels.astype(np.int64)))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--width", type=int, default=64, help="channels of the first stage")
    parser.add_argument("--lr", type=float, default=0.003)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    model = ResNet18(width=options.width)
    weights.draw(model, options.seed, gain=math.sqrt(2))
    for block in model.layers:
        nn.init.zeros_(block.bn2.weight)  # each block begins as its shortcut (Goyal et al., 2017), which is steadier
    optimizer = torch.optim.SGD(model.parameters(), lr=options.lr, momentum=0.9, weight_decay=5e-4)
    scheduler = CosineAnnealingLR(optimizer, T_max=options.steps)
    criterion = nn.CrossEntropyLoss(label_smoothing=0.1)
    loader = DataLoader(digits(options.steps * options.batch_size), batch_size=options.batch_size)
    model.train()
    for step, (images, labels) in enumerate(loader):
        optimizer.zero_grad()
        output = model(images)
        loss = criterion(output, labels)
        loss.backward()
        optimizer.step()
        scheduler.step()
        correct = (output.argmax(dim=1) == labels).float().mean().item()
        print(f"step {step} loss {loss.item():.6f} accuracy {correct:.2f}", flush=True)


if __name__ == "__main__":
    main()

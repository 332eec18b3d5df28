"""The usual PyTorch program for MNIST: a Dataset of single samples, a DataLoader, DistributedDataParallel with gloo.

    mnist_program.py OPTIONS

`OPTIONS` is JSON: folder, batch (of all ranks), epochs, and workers and channels_last, or null for both: then the
fastest of several choices is found first. Rank 0 prints JSON: what was chosen, and the seconds of each training epoch.
"""

from __future__ import annotations

import gzip
import json
import os
import sys
import time
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as distributed
from models import lenet
from torch.utils.data import DataLoader, Dataset, DistributedSampler

_TRIED_STEPS = 120


class Digits(Dataset):  # type: ignore[type-arg]
    """Images as float32 from 0 to 1, padded to 32 x 32 beforehand, and labels."""

    def __init__(self, folder: Path) -> None:
        images = np.frombuffer(gzip.decompress((folder / "train-images-idx3-ubyte.gz").read_bytes()), np.uint8, -1, 16)
        labels = np.frombuffer(gzip.decompress((folder / "train-labels-idx1-ubyte.gz").read_bytes()), np.uint8, -1, 8)
        padded = np.pad(images.reshape(-1, 1, 28, 28), ((0, 0), (0, 0), (2, 2), (2, 2)))
        self.images, self.labels = torch.from_numpy(padded), torch.from_numpy(labels.astype(np.int64))

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        return self.images[index].float().div(255), self.labels[index]


class Training:
    """Model, optimizer and data of this rank."""

    def __init__(self, data: Digits, batch: int, ranks: int, workers: int, channels_last: bool) -> None:
        torch.manual_seed(0)
        self.layout = torch.channels_last if channels_last else torch.contiguous_format
        model = lenet(torch).to(memory_format=self.layout)
        self.model = torch.nn.parallel.DistributedDataParallel(model) if ranks > 1 else model
        self.optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
        self.sampler = DistributedSampler(data, ranks, int(os.environ.get("RANK", "0")))
        self.loader = DataLoader(data, batch // ranks, sampler=self.sampler, num_workers=workers)

    def epoch(self, number: int, steps: int | None = None) -> float:
        """Seconds of an epoch, or of its first steps after one that warms up."""
        self.sampler.set_epoch(number)
        together = distributed.is_initialized()
        if together:
            distributed.barrier()
        started, total = time.perf_counter(), 0.0
        for step, (images, labels) in enumerate(islice(self.loader, None if steps is None else steps + 1)):
            if step == 1 and steps is not None:
                started = time.perf_counter()
            self.optimizer.zero_grad()
            output = self.model(images.to(memory_format=self.layout))
            loss = torch.nn.functional.cross_entropy(output, labels)
            loss.backward()
            self.optimizer.step()
            total += loss.item()
        if together:
            distributed.barrier()
        return time.perf_counter() - started


def main() -> None:
    """Choose, train, print."""
    options = json.loads(sys.argv[1])
    torch.set_num_threads(1)
    ranks, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    if ranks > 1:
        distributed.init_process_group("gloo")
    data = Digits(Path(options["folder"]))
    choice = (options["workers"], options["channels_last"])
    if None in choice:
        choices = [(workers, layout) for workers in (0, 2) for layout in (False, True)]
        tried = [Training(data, options["batch"], ranks, *each).epoch(0, _TRIED_STEPS) for each in choices]
        fastest = torch.tensor(tried, dtype=torch.float64)
        if ranks > 1:
            distributed.all_reduce(fastest)
        choice = choices[int(fastest.argmin())]
    training = Training(data, options["batch"], ranks, *choice)
    seconds = [training.epoch(number) for number in range(options["epochs"])]
    if ranks > 1:
        distributed.destroy_process_group()
    if rank == 0:
        print(json.dumps({"workers": choice[0], "channels_last": choice[1], "epochs_s": seconds}))


if __name__ == "__main__":
    main()

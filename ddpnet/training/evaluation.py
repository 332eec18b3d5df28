"""Loss and accuracy over a whole set, each sample counted once, the same at any number of ranks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ddpnet import checkpoint
from ddpnet.autograd.grad_mode import no_grad
from ddpnet.distributed import Communicator
from ddpnet.distributed.tree import share, tree_all_reduce
from ddpnet.nn import functional as F
from ddpnet.nn.module import Module
from ddpnet.tensor import Tensor
from ddpnet.training.images import Split
from ddpnet.training.preparation import load_model, prepare
from ddpnet.training.settings import Settings

BATCH = 250
"""Samples evaluated at once: fixed, because the shape of a matrix product changes its last bits."""


@dataclass(frozen=True)
class Evaluation:
    """Means over the samples of a set."""

    loss: float
    accuracy: float
    samples: int
    settings: Settings | None = None


def correct(output: Tensor, labels: Tensor) -> int:
    """How many rows of output (n, classes) are largest at their label (n,)."""
    return int((output.array.argmax(axis=1) == labels.array).sum())


@no_grad()
def evaluate_model(model: Module, split: Split, comm: Communicator) -> Evaluation:
    """Loss and accuracy of a model in evaluation mode; every rank takes some of the batches, and all get the result."""
    model.eval()
    batches = -(-len(split) // BATCH)
    sums = np.zeros((batches, 2))
    for number in range(*share(batches, comm.size, comm.rank)):
        images, labels = split.batch(slice(number * BATCH, (number + 1) * BATCH))
        output = model(images)
        sums[number] = F.cross_entropy(output, labels, reduction="sum").item(), correct(output, labels)
    # Each batch's row is zero on all ranks but one: adding zeros is exact, and the rows are then added in their order.
    (rows,) = tree_all_reduce(comm, comm.size, [((comm.rank, comm.rank + 1), [sums.reshape(-1)])])
    loss, hits = rows.reshape(batches, 2).sum(axis=0).tolist()
    return Evaluation(loss / len(split), hits / len(split), len(split))


def evaluate(path: Path, data: str | None, comm: Communicator, device: str = "cpu") -> Evaluation:
    """Evaluate a checkpoint on the test images of the set it was trained on, or of another set or folder.

    InputError for a checkpoint or data that cannot be used.
    """
    saved = checkpoint.load(checkpoint.find(path))
    settings = Settings.from_dict({**saved.settings, "device": device, **({"data": data} if data else {})})
    prepared = prepare(settings)
    load_model(prepared.model, saved)
    found = evaluate_model(prepared.model, prepared.test, comm)
    return Evaluation(found.loss, found.accuracy, found.samples, settings)

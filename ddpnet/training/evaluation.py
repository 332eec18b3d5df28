"""Loss and accuracy over a whole set, each sample counted once, the same at any number of ranks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ddpnet import checkpoint
from ddpnet.autograd.grad_mode import no_grad
from ddpnet.backend import Array
from ddpnet.distributed import Communicator
from ddpnet.distributed import evaluation as distributed_evaluation
from ddpnet.nn import functional as F
from ddpnet.nn.module import Module
from ddpnet.spans import span
from ddpnet.tensor import Tensor
from ddpnet.training.images import Split
from ddpnet.training.preparation import load_model, prepare
from ddpnet.training.settings import Settings


@dataclass(frozen=True)
class Evaluation:
    """Means over the samples of a set."""

    loss: float
    accuracy: float
    samples: int
    settings: Settings | None = None


def hits(output: Tensor, labels: Tensor) -> Array:
    """For each row of output (n, classes), whether it is largest at its label (n,)."""
    return output.array.argmax(axis=1) == labels.array


@no_grad()
def evaluate_model(model: Module, split: Split, comm: Communicator, batch: int = 256) -> Evaluation:
    """Loss and accuracy of a model in evaluation mode; every rank takes some of the samples, and all get the result.

    Neither `batch`, the samples that a rank takes at once, nor the number of ranks changes a bit.
    """
    training = model.training
    model.eval()

    def forward(rows: slice) -> dict[str, Any]:
        images, labels = split.batch(rows)
        output = model(images)
        losses = F.cross_entropy(output, labels, reduction="none")
        return {"loss": losses, "correct": Tensor(hits(output, labels))}

    with span("evaluate"):
        sums = distributed_evaluation.evaluate(forward, len(split), comm, batch)
    model.train(training)
    return Evaluation(sums["loss"] / len(split), sums["correct"] / len(split), len(split))


def evaluate(path: Path, data: str | None, comm: Communicator, device: str = "cpu", batch: int = 256) -> Evaluation:
    """Evaluate a checkpoint on the test images of the set it was trained on, or of another set or folder.

    InputError for a checkpoint or data that cannot be used.
    """
    saved = checkpoint.load(checkpoint.find(path))
    settings = Settings.from_dict({**saved.settings, "device": device, **({"data": data} if data else {})})
    prepared = prepare(settings)
    load_model(prepared.model, saved)
    found = evaluate_model(prepared.model, prepared.test, comm, batch)
    return Evaluation(found.loss, found.accuracy, found.samples, settings)

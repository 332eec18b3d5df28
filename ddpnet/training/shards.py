"""The gradients of this rank's shards: one shard after the other, or, once their operations are known, all at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ddpnet.backend import Array
from ddpnet.compiler.compiled import Compiled
from ddpnet.compiler.program import Program
from ddpnet.compiler.together import Together
from ddpnet.distributed import Reducer
from ddpnet.nn import functional as F
from ddpnet.nn.module import Module
from ddpnet.spans import span
from ddpnet.tensor import Tensor
from ddpnet.training.evaluation import hits
from ddpnet.training.images import Split

_MOST_ROWS = 256
"""Images of a rank up to which they are computed at once: with LeNet in 0.7 (32 images) to 0.96 (256) of the time."""


class Shards:
    """Forward and backward of a `model` on images of a `split`, whose gradients go to a `reducer`.

    A model whose calls can be recorded (`torch.compile`) is computed for all shards of the rank at once: the same bits
    in 0.7 of the time, with LeNet and four shards of 8 images. That takes the memory of all; with many images, or if
    memory is to be `spared`, it is done shard by shard.
    """

    def __init__(self, model: Module, reducer: Reducer, split: Split, spared: bool) -> None:
        self._reducer, self._split = reducer, split
        self._most_rows = 0 if spared else _MOST_ROWS

        self._compute = loss_of(model)

    def run(self, batch: np.ndarray) -> None:
        """Compute this rank's shards of a global batch, given as numbers of samples."""
        with span("data"):
            rows = self._reducer.rows_at_once(len(batch)) if self._compute.has_programs else None
            program = None
            if rows is not None and rows.stop - rows.start <= self._most_rows:
                images, labels = self._split.batch(batch[rows])
                shard = slice(0, len(labels) // len(self._reducer.own_shards))
                program = self._compute.program(Tensor(images.array[shard]), Tensor(labels.array[shard]))
        if program is not None:
            self._at_once(len(batch), program, images, labels)
        else:
            self._reducer.run(len(batch), lambda rows: self._one(batch[rows]))

    def _one(self, samples: np.ndarray) -> None:
        self._reducer.count(**backward(self._compute, self._split, samples))

    def _at_once(self, samples: int, program: Program, images: Tensor, labels: Tensor) -> None:
        count = len(self._reducer.own_shards)
        with span("forward"):
            run = Together(program, [images.array, labels.array], count)
            losses, output = run.result(0), Tensor(np.concatenate(run.result(1)))
        with span("backward"):
            metrics = _metrics(losses, output, labels)
            self._reducer.take_all(samples, run.gradients(0), metrics)
            del run, losses, output, metrics


def loss_of(model: Module) -> Compiled:
    """Images and labels to the mean loss of a model and its output; recorded, if its calls can be."""

    def loss_and_output(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        output = model(images)
        return F.cross_entropy(output, labels), output

    return Compiled(loss_and_output)


def backward(compute: Compiled, split: Split, samples: np.ndarray) -> dict[str, float]:
    """The gradients of the mean loss over some samples, by `loss_of` a model; the sums of the metrics."""
    with span("data"):
        images, labels = split.batch(samples)
    with span("forward"):
        loss, output = compute(images, labels)
    with span("backward"):
        loss.backward()
        (metrics,) = _metrics([loss.array], output, labels)
        del loss, output  # the graph is freed here, not later
    return metrics


def _metrics(losses: Sequence[Array], output: Tensor, labels: Tensor) -> Iterator[dict[str, float]]:
    """Sums over the samples of each of some shards, of as many rows of `output` and `labels` as the others."""
    rows = len(labels) // len(losses)
    correct = hits(output, labels).reshape(-1, rows).sum(axis=1)
    for loss, count in zip(losses, correct, strict=True):
        yield {"loss": float(loss) * rows, "correct": float(count)}

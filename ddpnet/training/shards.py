"""The gradients of this rank's shards: one shard after the other, or, once their operations are known, all at once."""

from __future__ import annotations

import numpy as np

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

        def loss_and_output(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
            output = model(images)
            return F.cross_entropy(output, labels), output

        self._compute = Compiled(loss_and_output)

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
        with span("data"):
            images, labels = self._split.batch(samples)
        with span("forward"):
            loss, output = self._compute(images, labels)
        with span("backward"):
            loss.backward()
            self._reducer.count(**_metrics(loss, output, labels))
            del loss, output  # the graph is freed here, not later

    def _at_once(self, samples: int, program: Program, images: Tensor, labels: Tensor) -> None:
        count = len(self._reducer.own_shards)
        with span("forward"):
            run = Together(program, [images.array, labels.array], count)
            each = zip(run.result(0), run.result(1), np.split(labels.array, count), strict=True)
        with span("backward"):
            metrics = (_metrics(*map(Tensor, shard)) for shard in each)
            self._reducer.take_all(samples, run.gradients(0), metrics)
            del run, each, metrics


def _metrics(loss: Tensor, output: Tensor, labels: Tensor) -> dict[str, float]:
    """Sums over the samples of a shard."""
    return {"loss": loss.item() * len(labels), "correct": float(hits(output, labels).sum())}

"""What a training run tells: the events, for whoever shows them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ddpnet.training.settings import Settings


class Report:
    """Receives the events of a run on rank 0; this one shows nothing."""

    def begin(
        self,
        settings: Settings,
        *,
        samples: int,
        test_samples: int,
        parameters: int,
        steps: int,
        start_step: int,
        ranks: int,
        fingerprint: dict[str, str],
    ) -> None:
        """The run starts, or goes on after `start_step`, and will end after `steps`."""

    def note(self, text: str) -> None:
        """Something that the user should know."""

    def step(self, step: int, loss: float) -> None:
        """An optimizer step has ended, counted from 1; `loss` is the mean of its global batch."""

    def epoch(
        self,
        epoch: int,
        loss: float,
        accuracy: float,
        test_loss: float,
        test_accuracy: float,
        images_per_second: float,
    ) -> None:
        """An epoch has ended, counted from 1; training loss and accuracy are means over its steps in this process."""

    def checkpoint(self, path: Path) -> None:
        """A checkpoint was written."""

    def stopped(self, step: int, path: Path) -> None:
        """The run was asked to stop, and has saved its state after `step`."""

    def end(self, digest: str, test_loss: float, test_accuracy: float, seconds: float) -> None:
        """The run has ended; `digest` is the sha256 of the weights."""

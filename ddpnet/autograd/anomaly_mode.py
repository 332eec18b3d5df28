"""Anomaly mode: an error in backward names the line of the program that recorded the operation."""

from __future__ import annotations

import sys
import traceback
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

from ddpnet.autograd.grad_mode import _state
from ddpnet.autograd.graph import AccumulateGrad, Node

_PACKAGE = str(Path(__file__).parent.parent)


class set_detect_anomaly:
    """Switch anomaly mode on or off; as a context manager it puts back what it found.

    While it is on, each recorded operation keeps the lines of the program that led to it, and a gradient that is not a
    number is a RuntimeError (unless `check_nan` is False). It is slow: for debugging.
    """

    def __init__(self, mode: bool, check_nan: bool = True) -> None:
        self._before = _state.observer, _state.check_nan
        _state.observer, _state.check_nan = (_remember if mode else None), check_nan

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _state.observer, _state.check_nan = self._before


class detect_anomaly(set_detect_anomaly):
    """Anomaly mode for a `with` block."""

    def __init__(self, check_nan: bool = True) -> None:
        self._check_nan = check_nan

    def __enter__(self) -> None:
        super().__init__(True, self._check_nan)


def is_anomaly_enabled() -> bool:
    """Whether anomaly mode is on."""
    return _state.observer is _remember


def is_anomaly_check_nan_enabled() -> bool:
    """Whether anomaly mode looks for gradients that are not numbers."""
    return _state.check_nan


def _remember(node: Node) -> None:
    """Keep where the program is, without the frames of this package."""
    if isinstance(node, AccumulateGrad):
        return
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame = frame.f_back
    stack: Any = traceback.extract_stack(frame)
    node.trace = "".join(traceback.format_list(stack))

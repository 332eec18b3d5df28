"""A user's script, run as `python script.py` would run it."""

from __future__ import annotations

import os
import runpy
import sys
from collections.abc import Sequence
from types import TracebackType

_OURS = (os.path.dirname(__file__) + os.sep, "<frozen runpy>", runpy.__file__)


def run_script(path: str, arguments: Sequence[str], *, as_torch: bool = False) -> None:
    """Run a file as `__main__`; whatever it raises is raised here. `as_torch`: `import torch` gives it ddpnet."""
    if as_torch:
        from ddpnet.alias import finder

        finder.install()
    sys.argv = [path, *arguments]
    folder = os.path.dirname(os.path.realpath(path))
    if sys.flags.safe_path:  # Python has put nothing there
        sys.path.insert(0, folder)
    else:
        sys.path[0] = folder
    runpy.run_path(path, run_name="__main__")


def run_alone(path: str, arguments: Sequence[str], *, as_torch: bool = False) -> int:
    """Run a file in this process; an exception is shown as Python shows it, and the exit code is returned."""
    try:
        run_script(path, arguments, as_torch=as_torch)
    except SystemExit:
        raise
    except BaseException as error:
        sys.stdout.flush()
        error.__traceback__ = users_frames(error)
        sys.excepthook(type(error), error, error.__traceback__)
        return 130 if isinstance(error, KeyboardInterrupt) else 1
    return 0


def users_frames(error: BaseException) -> TracebackType | None:
    """The traceback of an exception without the frames above the user's code, which are ours."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith(_OURS):
        trace = trace.tb_next
    return trace if trace is not None or isinstance(error, SyntaxError) else error.__traceback__

"""`ddpnet run`."""

from __future__ import annotations

from collections.abc import Sequence

from . import placement
from .rank import run_as_rank
from .script import run_alone, run_script
from .supervisor import supervise


def run(path: str, arguments: Sequence[str], ranks: int | None, *, as_torch: bool = False) -> int:
    """Run a script on ranks of our own unless this is one; the exit code. `as_torch`: PyTorch's name is ddpnet's."""
    if placement.is_rank(ranks):
        return run_as_rank(lambda: run_script(path, arguments, as_torch=as_torch), script=True)
    placement.check_number(ranks)
    launcher = placement.launcher_for(ranks or 1)
    if launcher is None:
        return run_alone(path, arguments, as_torch=as_torch)
    advice = f"to debug it in one process: ddpnet run -n 1 {'--as-torch ' * as_torch}{path}"
    kind = "run-as-torch" if as_torch else "run"
    return supervise(launcher, [kind, path, *arguments], ranks or 1, lambda: advice)

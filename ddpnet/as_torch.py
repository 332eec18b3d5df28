"""`python -m ddpnet.as_torch script.py ...` runs a program that says `import torch`, with ddpnet in its place."""

from __future__ import annotations

import sys

from ddpnet_launch.script import run_alone  # type: ignore[import-not-found]  # it lies in the folder `launch`


def main() -> int:
    """Run the script that the first argument names; the exit code."""
    if len(sys.argv) < 2 or sys.argv[1].startswith("-"):
        sys.stderr.write("usage: python -m ddpnet.as_torch SCRIPT [ARGUMENT ...]\n")
        return 2
    return run_alone(sys.argv[1], sys.argv[2:], as_torch=True)


if __name__ == "__main__":
    sys.exit(main())

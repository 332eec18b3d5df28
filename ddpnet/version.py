"""Versions, under PyTorch's names (`torch.version`)."""

__version__ = "2.13.0+ddpnet"
"""Which PyTorch's language ddpnet speaks, for programs that ask."""

cuda: str | None = None
hip: str | None = None
xpu: str | None = None
git_version = "Unknown"
debug = False

"""Apple's GPUs (`torch.backends.mps`), which ddpnet does not use."""


def is_available() -> bool:
    """Never."""
    return False


def is_built() -> bool:
    """Never."""
    return False

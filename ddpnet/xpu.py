"""Intel's GPUs (`torch.xpu`), which ddpnet does not use."""


def is_available() -> bool:
    """Never."""
    return False


def device_count() -> int:
    """None."""
    return 0


def manual_seed(seed: int) -> None:
    """There is no generator to seed."""


def empty_cache() -> None:
    """There is no memory to free."""


def synchronize() -> None:
    """There is nothing to wait for."""

"""Whether OpenMP is used (`torch.backends.openmp`): it is not."""

enabled = False


def is_available() -> bool:
    """Never: ddpnet computes with NumPy's BLAS and its own kernels."""
    return False

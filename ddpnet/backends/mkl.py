"""Whether MKL is used (`torch.backends.mkl`): it is not."""

enabled = False


def is_available() -> bool:
    """Never: ddpnet computes with NumPy's BLAS and its own kernels."""
    return False

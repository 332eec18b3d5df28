"""Switches of libraries that PyTorch uses (`torch.backends`). Programs may set them; ddpnet has nothing to switch."""

from ddpnet.backends import cpu, cuda, cudnn, mkl, mkldnn, mps, openmp

__all__ = ["cpu", "cuda", "cudnn", "mkl", "mkldnn", "mps", "openmp"]

"""What scripts ask before they choose a device (`torch.cuda`)."""

from __future__ import annotations

from ddpnet import backend


def is_available() -> bool:
    """Whether CuPy is installed and finds a device."""
    return device_count() > 0


def device_count() -> int:
    """The number of devices that CuPy finds."""
    return backend.cuda_device_count()


def synchronize(device: int | None = None) -> None:
    """Wait until the device (the current one) has done all that it was told; nothing to wait for without one."""
    if is_available():
        with backend.cupy().cuda.Device(device):
            backend.cupy().cuda.runtime.deviceSynchronize()

"""GPUs as scripts ask for them (`torch.cuda`): which there are, which is in use, its memory, its clock."""

from __future__ import annotations

from types import TracebackType
from typing import Any

from ddpnet import backend
from ddpnet.backend import Device

_DeviceLike = Device | str | int | None


def is_available() -> bool:
    """Whether CuPy is installed and finds a device."""
    return device_count() > 0


def device_count() -> int:
    """The number of devices that CuPy finds."""
    return backend.cuda_device_count()


def is_initialized() -> bool:
    """Whether there is a device to work with."""
    return is_available()


def synchronize(device: _DeviceLike = None) -> None:
    """Wait until the device (the current one) has done all that it was told; nothing to wait for without one."""
    if is_available():
        with backend.cupy().cuda.Device(_index(device)):
            backend.cupy().cuda.runtime.deviceSynchronize()


def current_device() -> int:
    """The number of the device that is in use; RuntimeError without one."""
    return int(backend.cupy().cuda.Device().id)


def set_device(device: _DeviceLike) -> None:
    """Use this device from now on; RuntimeError without one."""
    backend.cupy().cuda.Device(_index(device)).use()


class device:
    """Context manager: use another device inside."""

    def __init__(self, device: _DeviceLike) -> None:
        self.idx = _index(device)

    def __enter__(self) -> None:
        self._device = backend.cupy().cuda.Device(self.idx)
        self._device.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._device.__exit__(kind, error, trace)


def get_device_name(device: _DeviceLike = None) -> str:
    """What the device is called; RuntimeError without one."""
    return str(_properties(device)["name"].decode())


def get_device_capability(device: _DeviceLike = None) -> tuple[int, int]:
    """The version of its instructions, as (9, 0); RuntimeError without one."""
    properties = _properties(device)
    return properties["major"], properties["minor"]


def is_bf16_supported(including_emulation: bool = True) -> bool:
    """Whether there is a device, and with `including_emulation=False` one that computes in bfloat16 itself."""
    return is_available() and (including_emulation or get_device_capability()[0] >= 8)


def mem_get_info(device: _DeviceLike = None) -> tuple[int, int]:
    """Free and total bytes of the device; RuntimeError without one."""
    with backend.cupy().cuda.Device(_index(device)):
        free, total = backend.cupy().cuda.runtime.memGetInfo()
    return int(free), int(total)


def memory_allocated(device: _DeviceLike = None) -> int:
    """Bytes in arrays on the device; 0 without one."""
    return int(_pool(device).used_bytes()) if is_available() else 0


def memory_reserved(device: _DeviceLike = None) -> int:
    """Bytes that CuPy has taken from the device; 0 without one."""
    return int(_pool(device).total_bytes()) if is_available() else 0


def empty_cache() -> None:
    """Give memory that no array needs back to the device; nothing to give back without one."""
    if is_available():
        _pool(None).free_all_blocks()


def manual_seed(seed: int) -> None:
    """Nothing is drawn on a device: numbers come from the host's generators, which `torch.manual_seed` seeds."""


manual_seed_all = manual_seed


def _index(device: _DeviceLike) -> int | None:
    """The number of a device; None is the current one, -1 too. RuntimeError for a device that is no GPU."""
    if device is None or isinstance(device, int):
        return None if device == -1 else device
    chosen = Device(device)
    if chosen.type != "cuda":
        raise ValueError(f"Expected a cuda device, but got: {chosen}")
    return chosen.index


def _properties(device: _DeviceLike) -> dict[str, Any]:
    index = _index(device)
    return backend.cupy().cuda.runtime.getDeviceProperties(current_device() if index is None else index)


def _pool(device: _DeviceLike) -> Any:
    with backend.cupy().cuda.Device(_index(device)):
        return backend.cupy().get_default_memory_pool()

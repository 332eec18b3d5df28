"""The CUDA sources without a GPU: NVRTC compiles them, and a C++ compiler runs them on the CPU."""

from __future__ import annotations

import ctypes
import importlib.util
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ddpnet import kernels
from ddpnet.kernels import cpu

FOLDER = Path(kernels.__file__).parent / "cuda"
SOURCES = sorted(path.stem for path in FOLDER.glob("*.cu"))
REALS = {"float": np.float32, "double": np.float64}
RNG = np.random.default_rng(0)


def text(name: str, real: str) -> str:
    """As `ddpnet.kernels.cuda.source.source`, which needs CuPy to be imported."""
    return f"typedef {real} real;\n" + (FOLDER / f"{name}.cu").read_text()


# NVRTC


@pytest.fixture(scope="module")
def nvrtc() -> ctypes.CDLL:
    """The library of the wheel nvidia-cuda-nvrtc; it needs neither a driver nor a device."""
    spec = importlib.util.find_spec("nvidia")
    places = [Path(place) for place in (spec.submodule_search_locations or [])] if spec else []
    found = [path for place in places for path in sorted(place.rglob("libnvrtc.so.*"))]
    if not found:
        pytest.skip("the wheel nvidia-cuda-nvrtc is not installed")
    for builtins in found[-1].parent.glob("libnvrtc-builtins.so.*"):
        ctypes.CDLL(str(builtins), ctypes.RTLD_GLOBAL)
    return ctypes.CDLL(str(found[-1]))


@pytest.mark.parametrize("architecture", ["sm_80", "sm_90", "sm_100"])
@pytest.mark.parametrize("real", REALS)
@pytest.mark.parametrize("name", SOURCES)
def test_nvrtc_compiles(nvrtc: ctypes.CDLL, name: str, real: str, architecture: str) -> None:
    program = ctypes.c_void_p()
    code = text(name, real).encode()
    assert nvrtc.nvrtcCreateProgram(ctypes.byref(program), code, f"{name}.cu".encode(), 0, None, None) == 0
    options = [f"--gpu-architecture={architecture}".encode(), b"--std=c++17"]
    result = nvrtc.nvrtcCompileProgram(program, len(options), (ctypes.c_char_p * len(options))(*options))
    size = ctypes.c_size_t()
    nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    log = ctypes.create_string_buffer(size.value)
    nvrtc.nvrtcGetProgramLog(program, log)
    assert result == 0, log.value.decode()
    nvrtc.nvrtcGetCUBINSize(program, ctypes.byref(size))
    assert size.value > 1000
    nvrtc.nvrtcDestroyProgram(ctypes.byref(program))


def test_nvrtc_refuses_what_is_wrong(nvrtc: ctypes.CDLL) -> None:
    """The test above can fail."""
    program = ctypes.c_void_p()
    code = text("elementwise", "float").replace("g[i]", "h[i]").encode()
    nvrtc.nvrtcCreateProgram(ctypes.byref(program), code, b"wrong.cu", 0, None, None)
    assert nvrtc.nvrtcCompileProgram(program, 0, None) != 0


# On the CPU


class Index(ctypes.Structure):
    _fields_ = [("x", ctypes.c_int), ("y", ctypes.c_int), ("z", ctypes.c_int)]


class Kernels:
    """The kernels of all sources for one type, run on the CPU thread after thread."""

    def __init__(self, folder: Path, real: str) -> None:
        compiler = shutil.which("g++")
        if compiler is None:
            pytest.skip("no C++ compiler")
        self.dtype = REALS[real]
        self.number = ctypes.c_float if real == "float" else ctypes.c_double
        self.libraries = []
        shim = (Path(__file__).parent / "cuda_shim.h").read_text()
        for name in SOURCES:
            source, library = folder / f"{name}-{real}.cpp", folder / f"{name}-{real}.so"
            source.write_text(shim + text(name, real))
            subprocess.run([compiler, "-O1", "-shared", "-fPIC", "-o", library, source], check=True, timeout=60)
            self.libraries.append(ctypes.CDLL(str(library)))

    def __call__(self, kernel: str, *arguments: Any, blocks: int = 2, threads: int = 3) -> None:
        library = next(library for library in self.libraries if hasattr(library, kernel))
        converted = [self._converted(argument) for argument in arguments]
        for name, extent in (("gridDim", blocks), ("blockDim", threads)):
            Index.in_dll(library, name).x = extent
        for block in range(blocks):
            for thread in range(threads):
                Index.in_dll(library, "blockIdx").x, Index.in_dll(library, "threadIdx").x = block, thread
                getattr(library, kernel)(*converted)

    def _converted(self, argument: Any) -> Any:
        if argument is None:
            return ctypes.c_void_p()
        if isinstance(argument, np.ndarray):
            assert argument.flags.c_contiguous
            return ctypes.c_void_p(argument.ctypes.data)
        return ctypes.c_int(argument) if isinstance(argument, int) else self.number(argument)

    def normal(self, *shape: int) -> np.ndarray:
        return np.asarray(RNG.standard_normal(shape), self.dtype)

    def close(self, actual: np.ndarray, expected: np.ndarray) -> None:
        tolerance = 1e-12 if self.dtype == np.float64 else 1e-5
        np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance * (1 + np.abs(expected).max()))


@pytest.fixture(scope="module", params=list(REALS))
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Kernels:
    return Kernels(tmp_path_factory.mktemp("cuda"), request.param)


def test_relu_backward(run: Kernels) -> None:
    g, y, dx = run.normal(50), np.maximum(run.normal(50), 0), run.normal(50)
    run("relu_backward", g, y, dx, 50)
    run.close(dx, cpu.relu_backward(g, y))


@pytest.mark.parametrize(
    ("shape", "kernel", "stride", "padding", "dilation", "ceil_mode"),
    [
        ((2, 3, 6, 8), (2, 2), (2, 2), (0, 0), (1, 1), False),
        ((2, 2, 7, 6), (3, 2), (2, 1), (1, 1), (1, 2), True),
    ],
)
def test_max_pool(
    run: Kernels, shape: Any, kernel: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool
) -> None:
    x = run.normal(*shape)
    expected, where = cpu.max_pool2d_forward(x, kernel, stride, padding, dilation, ceil_mode)
    y, places = np.empty_like(expected), np.empty_like(where)
    size = (*shape[2:], *y.shape[2:])
    run("max_pool2d_forward", x, y, places, y.size, *size, *kernel, *stride, *padding, *dilation)
    np.testing.assert_array_equal(y, expected)
    np.testing.assert_array_equal(places, where)
    g, dx = run.normal(*y.shape), np.zeros_like(x)
    planes = shape[0] * shape[1]
    run("max_pool2d_backward", g, places, dx, planes, y.size // planes, x.size // planes)
    run.close(dx, cpu.max_pool2d_backward(g, where, shape))


def test_max_pool_of_nan_and_of_nothing_but_padding(run: Kernels) -> None:
    x = np.zeros((1, 1, 2, 2), run.dtype)
    x[0, 0, :, 0] = np.nan
    y, places = np.empty((1, 1, 1, 1), run.dtype), np.empty((1, 1, 1, 1), np.int32)
    run("max_pool2d_forward", x, y, places, 1, 2, 2, 1, 1, 2, 2, 1, 1, 0, 0, 1, 1)
    assert places.item() == 2
    run("max_pool2d_forward", x, y, places, 1, 2, 2, 1, 1, 2, 2, 1, 1, 1, 1, 3, 3)
    assert places.item() == -1
    dx = np.zeros_like(x)
    run("max_pool2d_backward", run.normal(1), places, dx, 1, 1, 4)
    np.testing.assert_array_equal(dx, 0)


@pytest.mark.parametrize("include", [True, False])
@pytest.mark.parametrize("divisor", [None, 5])
@pytest.mark.parametrize(
    ("shape", "kernel", "stride", "padding", "ceil_mode"),
    [((2, 2, 6, 6), (2, 2), (2, 2), (0, 0), False), ((2, 1, 7, 5), (3, 3), (2, 1), (1, 1), True)],
)
def test_avg_pool(
    run: Kernels, include: bool, divisor: Any, shape: Any, kernel: Any, stride: Any, padding: Any, ceil_mode: bool
) -> None:
    x = run.normal(*shape)
    options = (kernel, stride, padding, ceil_mode, include, divisor)
    expected = cpu.avg_pool2d_forward(x, *options)
    y, dx, g = np.empty_like(expected), np.empty_like(x), run.normal(*expected.shape)
    window = (*shape[2:], *y.shape[2:], *kernel, *stride, *padding, int(include), divisor or 0)
    run("avg_pool2d_forward", x, y, y.size, *window)
    run.close(y, expected)
    run("avg_pool2d_backward", g, dx, dx.size, *window)
    run.close(dx, cpu.avg_pool2d_backward(g, shape, *options))


@pytest.mark.parametrize(
    ("stride", "padding", "dilation"), [((1, 1), (0, 0), (1, 1)), ((2, 1), (1, 2), (1, 1)), ((1, 2), (2, 1), (2, 1))]
)
def test_convolution(run: Kernels, stride: Any, padding: Any, dilation: Any) -> None:
    x, w = run.normal(2, 3, 8, 7), run.normal(4, 3, 3, 2)
    options = (stride, padding, dilation, 1)
    expected = cpu.conv2d_forward(x, w, None, *options)
    rows, cols = expected.shape[2:]
    unfolded = np.empty((2, 3 * 3 * 2, rows * cols), run.dtype)
    window = (3, 8, 7, rows, cols, 3, 2, *stride, *padding, *dilation)
    run("unfold", x, unfolded, unfolded.size, *window)
    run.close((w.reshape(4, -1) @ unfolded).reshape(expected.shape), expected)
    g, dx = run.normal(*expected.shape), np.empty_like(x)
    columns = np.ascontiguousarray(w.reshape(4, -1).T @ g.reshape(2, 4, -1))
    run("fold", columns, dx, dx.size, *window)
    run.close(dx, cpu.conv2d_backward(g, x, w, *options, (True, False, False))[0])


@pytest.mark.parametrize("shape", [(5, 3), (3, 2, 300)])
def test_batch_norm(run: Kernels, shape: Any) -> None:
    x, g = run.normal(*shape) + 3, run.normal(*shape)
    n, channels, inner = shape[0], shape[1], x.size // (shape[0] * shape[1])
    parts = np.empty((2, channels, 256))
    mean, var, zero = np.empty(channels, run.dtype), np.empty(channels, run.dtype), np.zeros(channels, run.dtype)
    run("partial_sums", x, zero, parts, 0, n, channels, inner)
    run("finish_sums", parts, mean, float(n * inner), channels)
    run("partial_sums", x, mean, parts, 1, n, channels, inner)
    run("finish_sums", parts, var, float(n * inner), channels)
    for actual, expected in zip((mean, var), cpu.batch_norm_statistics(x), strict=True):
        run.close(actual, expected)
    invstd = 1 / np.sqrt(var + run.dtype(1e-5))
    scale, shift, y = run.normal(channels), run.normal(channels), np.empty_like(x)
    run("scale_and_shift", x, scale, shift, y, x.size, channels, inner)
    column = (1, -1) + (1,) * (x.ndim - 2)
    run.close(y, x * scale.reshape(column) + shift.reshape(column))
    sums = np.empty((2, channels), run.dtype)
    run("partial_gradients", g, x, mean, invstd, parts, n, channels, inner)
    for i in range(2):
        run("finish_sums", parts[i], sums[i], 1.0, channels)
    dx, dw, db = cpu.batch_norm_backward(g, x, mean, invstd, scale, True)
    run.close(sums[0], db)
    run.close(sums[1], dw)
    mine = np.empty_like(x)
    factors = scale * invstd, sums[0] / run.dtype(n * inner), sums[1] / run.dtype(n * inner)
    run("batch_norm_backward", g, x, mean, invstd, *factors, mine, x.size, channels, inner)
    run.close(mine, dx)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("nesterov", [False, True])
def test_sgd(run: Kernels, momentum: float, nesterov: bool) -> None:
    p, g, buf = run.normal(40), run.normal(40), run.normal(40)
    mine, mine_buf = p.copy(), buf.copy()
    cpu.sgd_step(p, g, buf if momentum else None, 0.1, momentum, 0.1, 0.01, nesterov, True, False)
    factors = (0.1, momentum, momentum, 0.9, 0.01, int(nesterov), -1.0)
    run("sgd", mine, g, mine_buf if momentum else None, 40, *factors)
    run.close(mine, p)
    run.close(mine_buf, buf)


@pytest.mark.parametrize("amsgrad", [False, True])
def test_adam(run: Kernels, amsgrad: bool) -> None:
    p, g, m, v, vmax = run.normal(40), run.normal(40), run.normal(40), *(np.abs(run.normal(40)) for _ in range(2))
    mine = [array.copy() for array in (p, m, v, vmax)]
    cpu.adam_step(p, g, m, v, vmax if amsgrad else None, 0.01, 0.9, 0.99, 1e-8, 0.1, False, False, 3)
    rate, root = 0.01 / (1 - 0.9**3), 1 / np.sqrt(1 - 0.99**3)
    factors = (rate, float(root), 0.9, 1 - 0.9, 0.99, 1 - 0.99, 1e-8, 1.0, 0.1, 1.0)
    run("adam", mine[0], g, mine[1], mine[2], mine[3] if amsgrad else None, 40, *factors)
    for actual, expected in zip(mine, (p, m, v, vmax), strict=True):
        run.close(actual, expected)


@pytest.mark.parametrize("centered", [False, True])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_rmsprop(run: Kernels, centered: bool, momentum: float) -> None:
    p, g, buf, avg = (run.normal(40) for _ in range(4))
    v = avg * avg + 1
    mine = [array.copy() for array in (p, v, buf, avg)]
    cpu.rmsprop_step(
        p, g, v, buf if momentum else None, avg if centered else None, 0.01, 0.9, 1e-8, 0.1, momentum, centered, False
    )
    arrays = (mine[0], g, mine[1], mine[2] if momentum else None, mine[3] if centered else None)
    run("rmsprop", *arrays, 40, 0.01, 0.9, 1 - 0.9, 1e-8, 0.1, momentum, 1.0)
    for actual, expected in zip(mine, (p, v, buf, avg), strict=True):
        run.close(actual, expected)


def test_fingerprints(run: Kernels) -> None:
    """The very words of the CPU, of arrays longer and shorter than there are threads, and with bytes left over."""
    arrays = [RNG.integers(0, 256, size, np.uint8) for size in (0, 3, 8, 1023, 1024, 1025, 4001)]
    table, words = cpu.memory_table(arrays), np.zeros(len(arrays), np.uint64)
    run("fingerprints", table, words, len(arrays))
    np.testing.assert_array_equal(words, cpu.fingerprints(table))

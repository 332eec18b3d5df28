"""Imports go one way: each layer uses only those below it."""

from __future__ import annotations

import ast
from pathlib import Path

import ddpnet

PACKAGE = Path(ddpnet.__file__).parent
LAUNCH = PACKAGE.parent / "launch"

# From the bottom up; a module belongs to the longest name that fits it.
LAYERS = (
    ("ddpnet.allocator", "ddpnet.blas", "ddpnet.errors", "ddpnet.alias", "ddpnet.spans", "ddpnet.version"),
    ("ddpnet.determinism", "ddpnet.mps", "ddpnet.threads", "ddpnet.xpu"),
    ("ddpnet.backend", "ddpnet.numpy_warnings"),
    ("ddpnet.random", "ddpnet.dtypes", "ddpnet.layouts", "ddpnet.kernels", "ddpnet.cpu", "ddpnet.cuda"),
    ("ddpnet.tensor", "ddpnet.size", "ddpnet.memory"),
    ("ddpnet.autograd", "ddpnet.printing"),
    ("ddpnet.ops",),
    (
        "ddpnet.autograd.functional",
        "ddpnet.nn",
        "ddpnet.linalg",
        "ddpnet.special",
        "ddpnet.distributions",
        "ddpnet.backends",
    ),
    ("ddpnet.optim", "ddpnet.compiler"),
    ("ddpnet.distributed",),
    ("ddpnet.amp", "ddpnet.cpu.amp", "ddpnet.cuda.amp", "ddpnet.futures", "ddpnet.timeline"),
    ("ddpnet.nn.parallel", "ddpnet.nn.sync_batchnorm", "ddpnet.utils", "ddpnet.checkpoint", "ddpnet.serialization"),
    ("ddpnet.datasets", "ddpnet.transforms", "ddpnet.profiler"),
    ("ddpnet.alias.finder", "ddpnet.alias.vision"),
    ("ddpnet.training",),
    ("ddpnet_launch",),
    ("ddpnet.as_torch",),
)
FREE = ("ddpnet",)
"""The package itself gathers the public names."""


def layer(module: str) -> int | None:
    fits = [
        (len(name), number)
        for number, names in enumerate(LAYERS)
        for name in names
        if module == name or module.startswith(f"{name}.")
    ]
    return max(fits)[1] if fits else None


def imported(tree: ast.AST, package: str) -> list[str]:
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = ".".join(
                    [*package.split(".")[: len(package.split(".")) - node.level + 1], *filter(None, [base])]
                )
            names += [f"{base}.{alias.name}" for alias in node.names]
    return [name for name in names if name.partition(".")[0] in ("ddpnet", "ddpnet_launch")]


def modules() -> list[tuple[str, Path]]:
    found = []
    for root, name in ((PACKAGE, "ddpnet"), (LAUNCH, "ddpnet_launch")):
        for path in sorted(root.rglob("*.py")):
            parts = [name, *path.relative_to(root).with_suffix("").parts]
            found.append((".".join(parts).removesuffix(".__init__"), path))
    return found


def test_every_module_has_a_layer() -> None:
    assert [name for name, _ in modules() if layer(name) is None and name not in FREE] == []


def test_imports_point_down() -> None:
    upward = []
    for name, path in modules():
        if name in FREE:
            continue
        package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        for target in imported(ast.parse(path.read_text()), package):
            below = layer(target)
            if below is not None and below > (layer(name) or 0):
                upward.append(f"{name} imports {target}")
    assert upward == []


def test_only_its_door_imports_a_dependency() -> None:
    doors = {
        "cupy": ("ddpnet/backend.py", "ddpnet/kernels/cuda"),
        "numba": ("ddpnet/kernels/cpu",),
        "mpi4py": ("ddpnet/distributed", "launch"),
        "click": ("launch",),
        "rich": ("launch",),
        "safetensors": ("ddpnet/checkpoint",),
    }
    strays = []
    for _, path in modules():
        place = path.relative_to(PACKAGE.parent).as_posix()
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            for name in names:
                door = doors.get(name.partition(".")[0])
                if door is not None and not place.startswith(door):
                    strays.append(f"{place} imports {name}")
    assert strays == []


def test_public_names_exist() -> None:
    assert [name for name in ddpnet.__all__ if not hasattr(ddpnet, name)] == []
    assert sorted(set(ddpnet.__all__)) == sorted(ddpnet.__all__)

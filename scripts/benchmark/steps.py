"""Training steps of ddpnet and of PyTorch, in turn, and beside their own matrix products."""

from __future__ import annotations

import statistics

from peers import Group, Peers, Task, ranks_text
from products import LARGE, of_step, operations
from table import Row, ratios

import ddpnet

BATCHES = {
    "lenet": (16, 64, 256),
    "lenet-adam": (64,),
    "mlp": (64, 256),
    "resnet18": (8, 32),
    "gpt": (8,),
    "lstm": (20,),
    "tiny": (1,),
}
RANKS = {"lenet": (1, 2)}
GOALS = {"lenet": 3.0, "lenet-adam": 3.0, "mlp": 1.8, "resnet18": 1.3, "gpt": 1.8, "lstm": 2.0, "tiny": 1.2}
"""PyTorch's time over ours."""
PRODUCTS_GOALS = {("lenet", 64): 2.0, ("mlp", 64): 1.25, ("mlp", 256): 1.25}
"""Our time over that of the matrix products at the speed of a large one."""
CONVOLUTIONS = ("lenet", "lenet-adam", "resnet18")
"""Cases in which PyTorch may be faster with channels last."""
NAMES = {
    "lenet": "LeNet",
    "lenet-adam": "LeNet, Adam",
    "mlp": "MLP 784-1024-1024-10",
    "resnet18": "ResNet-18",
    "gpt": "GPT, 4 layers",
    "lstm": "LSTM, 2 layers",
    "tiny": "MLP 8-8-8-8",
}
_ROUND_S = 0.1
_CASE_S = 10.0
_FEWEST_ROUNDS = 5


def compare(
    case: str, batch: int, ranks: int, *, peer: str | None, rounds: int, device: str = "cpu", eager: bool = False
) -> Row:
    """A row for a step of a case: the peer's faster layout, and the limit where one rank computes everything."""
    tasks = [Task("ddpnet", case, batch, ranks, device, eager=eager)]
    if peer is not None:
        layouts = (False, True) if case in CONVOLUTIONS else (False,)
        tasks += [Task(peer, case, batch, ranks, device, layout) for layout in layouts]
    limited = ranks == 1 and case != "tiny"
    if limited:
        kinds = ("sgemm", "products") if (case, batch) in PRODUCTS_GOALS else ("sgemm",)
        tasks += [Task(kind, case, batch, device=device) for kind in kinds]
    with Peers(tasks) as groups:
        times = _in_turn(groups, rounds)
    row = Row(
        f"{NAMES[case]}, batch {batch}" + (f", {ranks_text(ranks)}" if ranks > 1 else ""),
        "ms",
        1e3 * statistics.median(times[tasks[0]]),
        goal=GOALS[case],
        rounds=len(times[tasks[0]]),
        details={"case": case, "batch": batch, "ranks": ranks, "device": device},
    )
    if peer is not None:
        _beside_peer(row, times)
    if limited:
        _beside_products(row, times)
    return row


def _in_turn(groups: list[Group], rounds: int) -> dict[Task, list[float]]:
    """Seconds a step of each task, round by round; each has an equal share of the time of a round."""
    for group in groups:
        group.round(2)  # compiles kernels, fills pools
    steps = [_steps_of_a_round(group) for group in groups]
    seconds = sum(group.round(count) * count for group, count in zip(groups, steps, strict=True))
    rounds = min(rounds, max(_FEWEST_ROUNDS, int(_CASE_S / seconds)))
    times: dict[Task, list[float]] = {group.task: [] for group in groups}
    for _ in range(rounds):
        for group, count in zip(groups, steps, strict=True):
            times[group.task].append(group.round(count))
    return times


def _steps_of_a_round(group: Group) -> int:
    """How many steps make a round; the first few of a process are slower than those that follow."""
    steps = 1
    for _ in range(2):
        steps = max(1, round(_ROUND_S / group.round(steps)))
    return steps


def _beside_peer(row: Row, times: dict[Task, list[float]]) -> None:
    """The ratio to the peer's faster layout; the figures of all layouts are in the details."""
    (ours,) = (found for task, found in times.items() if task.kind == "ddpnet")
    layouts = {
        "channels_last" if task.channels_last else "default": found for task, found in times.items() if _is_peer(task)
    }
    row.peer_name = min(layouts, key=lambda name: statistics.median(layouts[name]))
    ratios(row, ours, layouts[row.peer_name])
    row.details["peer_ms"] = {name: 1e3 * statistics.median(found) for name, found in layouts.items()}


def _is_peer(task: Task) -> bool:
    return task.kind not in ("ddpnet", "products", "sgemm")


def _beside_products(row: Row, times: dict[Task, list[float]]) -> None:
    """Our time over the limit: operations of the step's products by the speed of a large one, round by round."""
    by_kind = {task.kind: found for task, found in times.items()}
    case, batch = row.details["case"], row.details["batch"]
    ours, large = by_kind["ddpnet"], by_kind["sgemm"]
    work = operations(of_step(ddpnet, case, batch))
    limits = [work * seconds / LARGE.operations for seconds in large]
    row.products = statistics.median(a / b for a, b in zip(ours, limits, strict=True))
    row.products_goal = PRODUCTS_GOALS.get((case, batch))
    row.details |= {
        "products_gflop": work / 1e9,
        "sgemm_gflop_s": LARGE.operations / statistics.median(large) / 1e9,
        "limit_ms": 1e3 * statistics.median(limits),
    }
    if products := by_kind.get("products"):
        row.details["products_ms"] = 1e3 * statistics.median(products)
        row.details["over_products_ms"] = statistics.median(a / b for a, b in zip(ours, products, strict=True))

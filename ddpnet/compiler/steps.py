"""Steps: what a program does for each recorded operation, and which pairs of them become one."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ddpnet.compiler.recording import Operation
from ddpnet.ops.fusion import JOINTS
from ddpnet.ops.op import Op


@dataclass(frozen=True)
class Step:
    """An operation of a program: the numbers of the values that it takes and gives, and what its node has to know."""

    kind: type[Op]
    options: dict[str, Any]
    sources: tuple[int, ...]
    results: tuple[int, ...]
    several: bool
    needs: tuple[bool, ...]
    inputs: Any
    """Shapes and dtypes of the inputs that get a gradient; None where the operation is not in the graph."""
    outputs: Any
    targets: tuple[int | None, ...]
    """The values to which the gradients of the inputs belong."""
    joint: Any = None
    """Of `JOINTS`, where a step does the work of two operations."""
    last: tuple[int, ...] = ()
    """The values that no later step takes."""
    completes: tuple[int, ...] = ()
    """On the way back: the leaves whose gradient is final after this step."""


def steps_of(operations: Sequence[Operation], returned: Collection[int], leaves: Collection[int]) -> list[Step]:
    """The steps in their order; values that are `returned` stay, and `leaves` get gradients."""
    steps = _joined([_step(operation) for operation in operations], returned)
    seen = set(returned)
    for place in reversed(range(len(steps))):
        used = {*steps[place].sources, *steps[place].results} - seen
        seen |= used
        steps[place] = replace(steps[place], last=tuple(sorted(used)))
    waiting = set(leaves)
    for place, step in enumerate(steps):
        complete = [number for number in dict.fromkeys(step.targets) if number in waiting]
        waiting -= set(complete)
        steps[place] = replace(step, completes=tuple(complete))
    return steps


def _step(operation: Operation) -> Step:
    node = operation.node
    recorded = True in node.needs
    return Step(
        operation.kind,
        operation.options,
        operation.sources,
        operation.results,
        operation.several,
        node.needs,
        node._inputs if recorded else None,
        node._outputs if recorded else None,
        _targets(operation.sources, node.needs),
    )


def _targets(sources: Sequence[int], needs: Sequence[bool]) -> tuple[int | None, ...]:
    return tuple([number if need else None for number, need in zip(sources, needs, strict=True)])


def _joined(steps: list[Step], returned: Collection[int]) -> list[Step]:
    """Pairs of `JOINTS` as one step, where nobody else sees what lies between them."""
    users: dict[int, int] = {}
    for step in steps:
        for number in step.sources:
            users[number] = users.get(number, 0) + 1
    makers = {step.results[0]: step for step in steps}
    gone: set[int] = set()
    joined = []
    for step in steps:
        between = step.sources[0] if step.sources else -1
        older = makers.get(between)
        joint = None if older is None else JOINTS.get((step.kind, older.kind))
        alone = users.get(between) == 1 and between not in returned
        if joint is not None and older is not None and alone and joint.is_one_pass(step.options):
            gone.add(between)
            targets = _targets(older.sources, step.needs)
            step = replace(
                step, options=step.options | joint.options, sources=older.sources, targets=targets, joint=joint
            )
        joined.append(step)
    return [step for step in joined if step.results[0] not in gone]

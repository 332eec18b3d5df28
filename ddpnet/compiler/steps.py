"""Steps: what a program does for each recorded operation, and which pairs of them become one."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ddpnet.compiler.recording import Operation, Recording
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
    flows: tuple[int, ...]
    """The results through which gradients flow."""
    joint: Any = None
    """Of `JOINTS`, where a step does the work of two operations."""
    last: tuple[int, ...] = ()
    """The values that no later step takes."""
    saved: tuple[int, ...] = ()
    """What backward needs unchanged, of the values that others may change, or tensors that have the memory of such."""
    completes: tuple[int, ...] = ()
    """On the way back: the leaves whose gradient is final after this step."""


@dataclass(frozen=True)
class Stretch:
    """Steps from `start` to `stop` that are one node of the graph. A value that is returned ends a stretch: so hooks
    see its gradient when nothing more is added to it, and before it goes on."""

    start: int
    stop: int
    results: tuple[int, ...]
    """The values that have a place in the graph."""
    sources: tuple[int, ...]
    """What the steps take and get gradients for, once for each use: so others' uses are added up in the right order."""
    backward: tuple[tuple[Step, frozenset[int]], ...]
    """The steps from the last to the first, each with the sources that it takes."""
    backward_order: tuple[int, ...]
    """The places in `sources` in the order in which their gradients come."""


def steps_of(recording: Recording, leaves: Collection[int]) -> list[Step]:
    """The steps in their order; values that are returned stay, and `leaves` get gradients."""
    returned = recording.results
    steps = _joined([_step(operation, recording) for operation in recording.operations], recording.memory)
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


def stretches_of(steps: Sequence[Step], returned: Collection[int]) -> list[Stretch]:
    """The stretches that make values with gradients."""
    ends = {len(steps), *(place + 1 for place, step in enumerate(steps) if not set(step.flows).isdisjoint(returned))}
    bounds = itertools.pairwise((0, *sorted(ends)))
    stretches = [_stretch(steps, start, stop, returned) for start, stop in bounds]
    return [stretch for stretch in stretches if stretch.results]


def _stretch(steps: Sequence[Step], start: int, stop: int, returned: Collection[int]) -> Stretch:
    part = steps[start:stop]
    wanted = {*returned, *(number for step in steps[stop:] for number in step.targets)}
    made = {number for step in part for number in step.results}
    uses = [[number for number in step.targets if number is not None and number not in made] for step in part]
    sources = [number for use in uses for number in use]
    places = iter(range(len(sources)))
    by_step = [list(itertools.islice(places, len(use))) for use in uses]
    return Stretch(
        start,
        stop,
        tuple(number for step in part for number in step.flows if number in wanted),
        tuple(sources),
        tuple((step, frozenset(use)) for step, use in zip(reversed(part), reversed(uses), strict=True)),
        tuple(place for each in reversed(by_step) for place in each),
    )


def _step(operation: Operation, recording: Recording) -> Step:
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
        operation.flows,
        saved=recording.shown(operation),
    )


def _targets(sources: Sequence[int], needs: Sequence[bool]) -> tuple[int | None, ...]:
    return tuple([number if need else None for number, need in zip(sources, needs, strict=True)])


def _joined(steps: list[Step], shown: set[int]) -> list[Step]:
    """Pairs of `JOINTS` as one step, where nobody else sees what lies between them or changes what they give, which
    they need: what is `shown`."""
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
        seen = not shown.isdisjoint((between, *step.results))
        alone = older is not None and users[between] == users[older.sources[0]] == 1
        if joint is not None and older is not None and alone and not seen and joint.is_one_pass(step.options):
            gone.add(between)
            targets = _targets(older.sources, step.needs)
            step = replace(
                step, options=step.options | joint.options, sources=older.sources, targets=targets, joint=joint
            )
        joined.append(step)
    return [step for step in joined if step.results[0] not in gone]

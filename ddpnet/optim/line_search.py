"""The search for a step length that satisfies the strong Wolfe conditions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ddpnet.tensor import Tensor

Evaluate = Callable[[Any, Tensor], tuple[float, Tensor]]
"""Loss and gradient after a step of length t along d."""


class _Point:
    """A step length `t` with the loss `f`, the gradient `g`, and the slope along the direction there."""

    def __init__(self, t: Any, f: float, g: Tensor, slope: Any) -> None:
        self.t, self.f, self.g, self.slope = t, f, g, slope


def strong_wolfe(
    evaluate: Evaluate,
    t: Any,
    d: Tensor,
    f: float,
    g: Tensor,
    slope: Any,
    max_evaluations: int,
    c1: float = 1e-4,
    c2: float = 0.9,
    tolerance_change: float = 1e-9,
) -> tuple[float, Tensor, Any, int]:
    """(loss, gradient, step length, evaluations) by bracketing and zooming (Nocedal and Wright, 2006, section 3.5).

    Starts from length `t` along `d`, where the loss is `f`, its gradient `g`, and `slope` their product.
    """

    def at(t: Any) -> _Point:
        f, g = evaluate(t, d)
        return _Point(t, f, g, g.dot(d))

    def too_high(point: _Point) -> bool:
        return bool(point.f > f + c1 * point.t * slope)

    start = _Point(0, f, g.clone(), slope)
    previous, point, searched = start, at(t), 0
    bracket: list[_Point] | None = None
    while searched < max_evaluations:
        if too_high(point) or (searched > 1 and point.f >= previous.f):
            bracket = [previous, point]
        elif abs(point.slope) <= -c2 * slope:
            return point.f, point.g, point.t, searched + 1
        elif point.slope >= 0:
            bracket = [previous, point]
        if bracket is not None:
            break
        bounds = point.t + 0.01 * (point.t - previous.t), point.t * 10
        previous, point = point, at(_cubic_minimum(previous, point, bounds))
        searched += 1
    if bracket is None or searched == max_evaluations:
        bracket = [start, point]
    return _zoom(at, too_high, bracket, searched, max_evaluations, -c2 * slope, d.abs().max(), tolerance_change)


def _zoom(
    at: Callable[[Any], _Point],
    too_high: Callable[[_Point], bool],
    bracket: list[_Point],
    searched: int,
    max_evaluations: int,
    flat: Any,
    longest: Any,
    tolerance_change: float,
) -> tuple[float, Tensor, Any, int]:
    """Narrow the bracket until its lower end is flat enough, or it is too short, or evaluations run out."""
    low, high = (0, 1) if bracket[0].f <= bracket[1].f else (1, 0)
    done = stuck = False
    while not done and searched < max_evaluations:
        left, right = sorted((bracket[0].t, bracket[1].t))
        if abs(right - left) * longest < tolerance_change:
            break
        t = _cubic_minimum(bracket[0], bracket[1])
        margin = 0.1 * (right - left)
        if min(right - t, t - left) < margin:  # too close to an end to be much of a step
            if stuck or t >= right or t <= left:
                t = right - margin if abs(t - right) < abs(t - left) else left + margin
                stuck = False
            else:
                stuck = True
        else:
            stuck = False
        point = at(t)
        searched += 1
        if too_high(point) or point.f >= bracket[low].f:
            bracket[high] = point
            low, high = (0, 1) if bracket[0].f <= bracket[1].f else (1, 0)
        else:
            if abs(point.slope) <= flat:
                done = True
            elif point.slope * (bracket[high].t - bracket[low].t) >= 0:
                bracket[high] = bracket[low]
            bracket[low] = point
    best = bracket[low]
    return best.f, best.g, best.t, searched + 1


def _cubic_minimum(a: _Point, b: _Point, bounds: tuple[Any, Any] | None = None) -> Any:
    """The minimum of the cubic through two values with their slopes, within bounds (the two points themselves)."""
    low, high = bounds if bounds is not None else (min(a.t, b.t), max(a.t, b.t))
    d1 = a.slope + b.slope - 3 * (a.f - b.f) / (a.t - b.t)
    square = d1**2 - a.slope * b.slope
    if square < 0:
        return (low + high) / 2.0
    d2 = square**0.5
    if a.t <= b.t:
        t = b.t - (b.t - a.t) * ((b.slope + d2 - d1) / (b.slope - a.slope + 2 * d2))
    else:
        t = a.t - (a.t - b.t) * ((a.slope + d2 - d1) / (a.slope - b.slope + 2 * d2))
    return min(max(t, low), high)

"""Sums of products over named or numbered dimensions: einsum, tensordot, kron, chains of matrices."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ddpnet.dtypes import category
from ddpnet.ops.autocasting import autocasts
from ddpnet.ops.linalg import matmul, mm
from ddpnet.ops.out import with_out
from ddpnet.ops.reduction import sum
from ddpnet.tensor import Tensor, method

__all__ = [
    "chain_matmul",
    "einsum",
    "kron",
    "tensordot",
]

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
Labels = list[Any]
"""The name of each dimension: a letter, or a negative number for those of an ellipsis, counted from the end."""


def einsum(*args: Any) -> Tensor:
    """Sums of products by Einstein's convention: `einsum("bij,bjk->bik", x, y)`, with `...`, without an arrow, or as
    `einsum(x, [0, 1], y, [1, 2], [0, 2])`."""
    if len(args) < 2:
        raise ValueError(
            "einsum(): must specify the equation string and at least one operand, "
            "or at least one operand and its subscripts list"
        )
    equation, operands = args[0], args[1:]
    if isinstance(equation, Tensor):
        equation, operands = _equation(args)
    elif len(operands) == 1 and isinstance(operands[0], list | tuple):
        operands = tuple(operands[0])
    inputs, output = _parsed(equation, operands)
    sizes: dict[Any, int] = {}
    for labels, x in zip(inputs, operands, strict=True):
        for label, extent in zip(labels, x.shape, strict=True):
            if sizes.setdefault(label, extent) == 1:
                sizes[label] = extent
            elif extent not in (1, sizes[label]):
                raise RuntimeError(
                    f"einsum(): subscript {label} has size {extent} for operand which does not broadcast with "
                    f"previously seen size {sizes[label]}"
                )
    for label in output:
        if label not in sizes:
            raise RuntimeError(
                f"einsum(): output subscript {label} does not appear in the equation for any input operand"
            )
    terms = [_without_repeats(x, labels) for x, labels in zip(operands, inputs, strict=True)]
    result, labels = terms[0]
    for number, (x, own) in enumerate(terms[1:], 2):
        wanted = set(output).union(*(later for _, later in terms[number:]))
        result, labels = _pair(result, labels, x, own, wanted)
    over = tuple(i for i, label in enumerate(labels) if label not in output)
    if over:
        result, labels = sum(result, over), [label for label in labels if label in output]
    return result.permute([labels.index(label) for label in output]) if labels != output else result


def _equation(args: Sequence[Any]) -> tuple[str, tuple[Any, ...]]:
    """The string of einsum's other form: operands, each with the numbers of its dimensions, and those of the result."""

    def written(numbers: Any) -> str:
        text = ""
        for number in numbers:
            if number is not Ellipsis and not 0 <= number < 52:
                raise ValueError(f"einsum(): subscript {number} is not within the valid range [0, 52)")
            text += "..." if number is Ellipsis else _LETTERS[number]
        return text

    pairs = len(args) // 2
    equation = ",".join(written(args[2 * i + 1]) for i in range(pairs))
    if len(args) % 2:
        equation += "->" + written(args[-1])
    return equation, tuple(args[2 * i] for i in range(pairs))


def _parsed(equation: str, operands: Sequence[Tensor]) -> tuple[list[Labels], Labels]:
    """The labels of each operand and of the result."""
    left, arrow, right = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) != len(operands):
        more = "more" if len(operands) > len(terms) else "fewer"
        raise RuntimeError(f"einsum(): {more} operands were provided than specified in the equation")
    inputs = [_labels(term, x.ndim) for term, x in zip(terms, operands, strict=True)]
    rest = max((-label for labels in inputs for label in labels if isinstance(label, int)), default=0)
    if arrow:
        output = _labels(right, len(right.replace("...", "")) + rest if "..." in right else None)
        if len(set(output)) < len(output):
            raise RuntimeError("einsum(): output subscript appears more than once in the output")
        return inputs, output
    letters = [label for labels in inputs for label in labels if isinstance(label, str)]
    once = sorted(label for label in set(letters) if letters.count(label) == 1)
    return inputs, [*range(-rest, 0), *once]


def _labels(term: str, ndim: int | None) -> Labels:
    before, dots, after = term.partition("...")
    for letter in before + after:
        if letter not in _LETTERS:
            raise RuntimeError(f"einsum(): invalid subscript given: {letter}, subscripts must be in [a-zA-Z]")
    named = len(before) + len(after)
    if ndim is not None and (ndim < named or (not dots and ndim != named)):
        raise RuntimeError(
            f"einsum(): the number of subscripts in the equation ({named}) does not match the number of dimensions "
            f"({ndim}) for an operand{'' if dots else ' and no ellipsis was given'}"
        )
    rest = 0 if ndim is None or not dots else ndim - named
    return [*before, *range(-rest, 0), *after]


def _without_repeats(x: Tensor, labels: Labels) -> tuple[Tensor, Labels]:
    """The diagonal of dimensions with the same label."""
    labels = list(labels)
    for label in dict.fromkeys(labels):
        while labels.count(label) > 1:
            first = labels.index(label)
            second = labels.index(label, first + 1)
            if x.shape[first] != x.shape[second]:
                raise RuntimeError(
                    f"einsum(): subscript {label} is repeated for an operand, but the sizes don't match, "
                    f"{x.shape[second]} != {x.shape[first]}"
                )
            x = x.diagonal(0, first, second)
            labels = [other for i, other in enumerate(labels) if i not in (first, second)] + [label]
    return x, labels


def _pair(a: Tensor, p: Labels, b: Tensor, q: Labels, wanted: set[Any]) -> tuple[Tensor, Labels]:
    """Two operands as one: a product of stacks of matrices, summed over what is in both and not `wanted` any more."""
    a, p = _trimmed(a, p, b, q, wanted)
    b, q = _trimmed(b, q, a, p, wanted)
    both = [label for label in p if label in q]
    stack = [label for label in both if label in wanted]
    over = [label for label in both if label not in wanted]
    rows = [label for label in p if label not in q]
    columns = [label for label in q if label not in p]
    left = a.permute([p.index(label) for label in (*stack, *rows, *over)])
    right = b.permute([q.index(label) for label in (*stack, *over, *columns)])
    if not over and not (rows and columns):  # nothing to sum
        if rows:
            right = right.reshape((*right.shape[: len(stack)], *(1 for _ in rows)))
        elif columns:
            left = left.reshape((*left.shape[: len(stack)], *(1 for _ in columns)))
        return left * right, [*stack, *rows, *columns]
    sizes = {label: extent for labels, x in ((p, a), (q, b)) for label, extent in zip(labels, x.shape, strict=True)}
    s, n, m, k = (math.prod([sizes[label] for label in group]) for group in (stack, rows, columns, over))
    lead = (s,) if stack else ()
    if a.array.dtype != b.array.dtype:
        if category(a.array.dtype) != 1 or category(b.array.dtype) != 1:
            raise RuntimeError(f"expected scalar type {a.dtype.scalar_name} but found {b.dtype.scalar_name}")
        left, right = left.long(), right.long()  # a sum made one of them int64
    result = matmul(left.reshape((*lead, n, k)), right.reshape((*lead, k, m)))
    labels = [*stack, *rows, *columns]
    return result.reshape([sizes[label] for label in labels]), labels


def _trimmed(x: Tensor, own: Labels, other: Tensor, theirs: Labels, wanted: set[Any]) -> tuple[Tensor, Labels]:
    """`x` summed over dimensions that only it has, and without those of extent 1 that the other has larger."""
    alone = tuple(i for i, label in enumerate(own) if label not in theirs and label not in wanted)
    if alone:
        x, own = sum(x, alone), [label for i, label in enumerate(own) if i not in alone]
    thin = tuple(
        i for i, label in enumerate(own) if label in theirs and x.shape[i] == 1 != other.shape[theirs.index(label)]
    )
    if thin:
        x, own = x.squeeze(thin), [label for i, label in enumerate(own) if i not in thin]
    return x, own


@with_out
@autocasts("widest", "cuda")
def tensordot(a: Tensor, b: Tensor, dims: Any = 2) -> Tensor:
    """The products summed over the last `dims` dimensions of `a` and first of `b`, or over the pairs in two lists."""
    if isinstance(dims, Tensor):
        dims = dims.tolist()
    if isinstance(dims, int):
        if dims < 0:
            raise RuntimeError(f"tensordot expects dims >= 0, but got dims={dims}")
        if dims > min(a.ndim, b.ndim):
            raise RuntimeError(f"tensordot expects dims < ndim_a or ndim_b, but got dims={dims}")
        first, second = list(range(a.ndim - dims, a.ndim)), list(range(dims))
    else:
        first, second = ([part] if isinstance(part, int) else list(part) for part in dims)
    if len(first) != len(second):
        raise RuntimeError("both dimension lists should have same length")
    first, second = [d % max(a.ndim, 1) for d in first], [d % max(b.ndim, 1) for d in second]
    for i, j in zip(first, second, strict=True):
        if a.shape[i] != b.shape[j]:
            if 1 not in (a.shape[i], b.shape[j]):
                raise RuntimeError(
                    f"contracted dimensions need to match, but first has size {a.shape[i]} in dim {i} and second has "
                    f"size {b.shape[j]} in dim {j}"
                )
            a = sum(a, i, True, dtype=a.dtype) if b.shape[j] == 1 else a
            b = sum(b, j, True, dtype=b.dtype) if a.shape[i] == 1 else b
    if a.array.dtype != b.array.dtype:
        raise RuntimeError("both inputs should have same dtype")
    rows, columns = [d for d in range(a.ndim) if d not in first], [d for d in range(b.ndim) if d not in second]
    n, k, m = (math.prod([x.shape[d] for d in group]) for x, group in ((a, rows), (a, first), (b, columns)))
    left, right = a.permute([*rows, *first]).reshape((n, k)), b.permute([*second, *columns]).reshape((k, m))
    return mm(left, right).reshape([*(a.shape[d] for d in rows), *(b.shape[d] for d in columns)])


@with_out
@method
def kron(input: Tensor, other: Tensor) -> Tensor:
    """Each element of the input times all of the other (the Kronecker product)."""
    ndim = max(input.ndim, other.ndim)
    outer = (1,) * (ndim - input.ndim) + tuple(input.shape)
    inner = (1,) * (ndim - other.ndim) + tuple(other.shape)
    left = input.reshape([part for extent in outer for part in (extent, 1)])
    right = other.reshape([part for extent in inner for part in (1, extent)])
    return (left * right).reshape([m * n for m, n in zip(outer, inner, strict=True)])


@with_out
def multi_dot(tensors: Sequence[Tensor]) -> Tensor:
    """The product of two or more matrices (the first and last may be vectors), in the cheapest order."""
    if len(tensors) < 2:
        raise RuntimeError("multi_dot(): expected at least 2 tensors but got " + str(len(tensors)))
    first, last = tensors[0], tensors[-1]
    for number, x in enumerate(tensors):
        if x.ndim not in ((1, 2) if x is first or x is last else (2,)):
            raise RuntimeError(f"multi_dot(): tensor {number} must be 1D or 2D but got {x.ndim}D")
        if x.array.dtype != first.array.dtype:
            raise RuntimeError(f"multi_dot(): expected all tensors to have dtype {first.dtype} but got {x.dtype}")
    parts = list(tensors)
    parts[0] = first.unsqueeze(0) if first.ndim == 1 else first
    parts[-1] = last.unsqueeze(1) if last.ndim == 1 else last
    for a, b in itertools.pairwise(parts):
        if a.shape[1] != b.shape[0]:
            raise RuntimeError(
                f"multi_dot(): tensors with shapes {list(a.shape)} and {list(b.shape)} cannot be multiplied"
            )
    result = _in_order(parts, _splits([part.shape[0] for part in parts] + [parts[-1].shape[1]]), 0, len(parts) - 1)
    return result.reshape([n for n, x in ((result.shape[0], first), (result.shape[1], last)) if x.ndim == 2])


def _splits(sizes: list[int]) -> np.ndarray:
    """For the factors i to j the one after which to split them, at the least cost (dynamic programming)."""
    count = len(sizes) - 1
    cost, split = np.zeros((count, count)), np.zeros((count, count), int)
    for length in range(1, count):
        for i in range(count - length):
            j = i + length
            costs = [cost[i, k] + cost[k + 1, j] + sizes[i] * sizes[k + 1] * sizes[j + 1] for k in range(i, j)]
            split[i, j] = i + int(np.argmin(costs))
            cost[i, j] = min(costs)
    return split


def _in_order(parts: list[Tensor], split: np.ndarray, i: int, j: int) -> Tensor:
    if i == j:
        return parts[i]
    k = int(split[i, j])
    return mm(_in_order(parts, split, i, k), _in_order(parts, split, k + 1, j))


def chain_matmul(*matrices: Tensor, out: Tensor | None = None) -> Tensor:
    """The product of matrices, in the cheapest order."""
    if len(matrices) == 1:
        return matrices[0]
    multiply: Any = multi_dot  # its `out` comes from the decorator
    product: Tensor = multiply(matrices, out=out)
    return product

"""Reductions, scans, sorting and counting: what is no row of a table - names of arguments, kinds of results, errors."""

from __future__ import annotations

from typing import Any

import pytest

import ddpnet


def test_results_along_a_dimension_are_named_and_print_as_pytorch_s() -> None:
    x = ddpnet.tensor([[3.0, 1.0], [2.0, 5.0]])
    result = x.max(1)
    assert repr(result) == "torch.return_types.max(\nvalues=tensor([3., 5.]),\nindices=tensor([0, 1]))"
    assert (result.values.tolist(), result[1].tolist()) == ([3, 5], [0, 1])
    for name, call in {
        "min": lambda: x.min(0),
        "sort": lambda: x.sort(),
        "topk": lambda: x.topk(1),
        "kthvalue": lambda: x.kthvalue(1),
        "median": lambda: x.median(0),
        "nanmedian": lambda: x.nanmedian(0),
        "mode": lambda: x.mode(),
        "cummax": lambda: x.cummax(0),
        "aminmax": lambda: x.aminmax(),
        "slogdet": lambda: x.slogdet(),
        "linalg_eigh": lambda: ddpnet.linalg.eigh(x),
    }.items():
        assert repr(call()).startswith(f"torch.return_types.{name}(\n"), name


def test_numpy_s_names_of_arguments() -> None:
    x = ddpnet.arange(6.0).reshape(2, 3)
    assert ddpnet.sum(x, axis=0).tolist() == x.sum(0).tolist()
    assert x.mean(axis=1, keepdims=True).shape == (2, 1)
    assert ddpnet.argmax(input=x, axis=1).tolist() == [2, 2]
    assert ddpnet.cumsum(x, axis=1).tolist() == [[0, 1, 3], [3, 7, 12]]
    assert ddpnet.sort(x, axis=0, descending=True).values[0].tolist() == [3, 4, 5]


def test_results_go_where_out_says() -> None:
    x = ddpnet.tensor([[3.0, 1.0], [2.0, 5.0]])
    total, values, places = ddpnet.empty(2), ddpnet.empty(2), ddpnet.empty(2, dtype=ddpnet.int64)
    assert ddpnet.sum(x, 0, out=total) is total
    ddpnet.max(x, 1, out=(values, places))
    assert (total.tolist(), values.tolist(), places.tolist()) == ([5, 6], [3, 5], [0, 1])


ERRORS: list[tuple[str, type[Exception], Any]] = [
    ("mean of integers", RuntimeError, lambda x: ddpnet.arange(3).mean()),
    ("a dimension that is not there", IndexError, lambda x: x.sum(2)),
    ("a dimension twice", RuntimeError, lambda x: x.sum((0, -2))),
    ("max of nothing", RuntimeError, lambda x: x[:0].max()),
    ("max along nothing", IndexError, lambda x: x[:0].max(0)),
    ("amax of nothing", RuntimeError, lambda x: x[:0].amax()),
    ("argmax of nothing", IndexError, lambda x: x[:0].argmax()),
    ("argmax of bools", NotImplementedError, lambda x: (x > 0).argmax()),
    ("var of integers", RuntimeError, lambda x: ddpnet.arange(3).var()),
    ("topk of too many", RuntimeError, lambda x: x.topk(4)),
    ("kthvalue 0", RuntimeError, lambda x: x.kthvalue(0)),
    ("median along nothing", IndexError, lambda x: x[:0].median(0)),
    ("quantile above 1", RuntimeError, lambda x: x.quantile(1.5)),
    ("quantile of integers", RuntimeError, lambda x: ddpnet.arange(3).quantile(0.5)),
    ("quantile in a strange way", RuntimeError, lambda x: x.quantile(0.5, interpolation="cubic")),
    ("bincount of negative numbers", RuntimeError, lambda x: ddpnet.tensor([-1]).bincount()),
    ("searchsorted in other rows", RuntimeError, lambda x: ddpnet.searchsorted(x, ddpnet.zeros(3, 1))),
    ("bucketize in a matrix", RuntimeError, lambda x: ddpnet.bucketize(x, x)),
    ("histc the wrong way round", RuntimeError, lambda x: x.histc(min=2, max=1)),
    ("norm of integers", RuntimeError, lambda x: ddpnet.arange(3).norm()),
    ("norm of a name", RuntimeError, lambda x: x.norm("euclid")),
    ("logcumsumexp of integers", NotImplementedError, lambda x: ddpnet.arange(3).logcumsumexp(0)),
    ("sum_to_size of a larger size", RuntimeError, lambda x: x.sum_to_size(5, 3)),
    ("diff of a number", RuntimeError, lambda x: x.sum().diff()),
    ("trapezoid at points and distances", TypeError, lambda x: ddpnet.trapezoid(x, x, dx=1)),
]


@pytest.mark.parametrize(("error", "call"), [pytest.param(*rest, id=name) for name, *rest in ERRORS])
def test_errors_are_pytorch_s(error: type[Exception], call: Any) -> None:
    with pytest.raises(error):
        call(ddpnet.zeros(2, 3))


def test_an_index_that_was_changed_in_place_is_noticed() -> None:
    x = ddpnet.tensor([1.0, 3.0, 2.0], requires_grad=True)
    values, places = x.sort()
    places.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        values.sum().backward()


@pytest.mark.parametrize("name", ["float16", "bfloat16"])
def test_halves_are_added_in_float32(name: str) -> None:
    ones = ddpnet.ones(4096, dtype=getattr(ddpnet, name))
    assert ones.sum().item() == 4096
    assert ones.mean().item() == 1
    assert ones.norm().item() == 64
    assert (ones @ ones).item() == 4096

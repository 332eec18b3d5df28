"""Random programs of operations give PyTorch's results: a few new ones each time, and those that once did not."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from programs import OPERATIONS, Program, difference, shown

NUMBERS = {name: number for number, (name, _) in enumerate(OPERATIONS)}
FOUND = """
abs_ of a view 0 0 5
unique 0 0 0
nonzero 0 0 0, view 8 0 0
nonzero 0 0 0, cumsum along 8 0 0, view 9 0 0
lt 2 2 0, sum 8 0 0, fmod_ of a view 2 9 5
masked_select 0 5 0, index_fill_ 8 0 0
floor_divide 0 0 0, exp 8 0 0
mT 4 0 0
set 3 0 1
set fancy 3 0 9
set fancy 2 4 9
set fancy 1 0 24
set fancy 2 2 45
roll 4 0 0
flip 4 0 0
sum 0 0 0, flip 8 0 0
float 0 0 2
copy_ 3 0 0
copy_ of a view 0 3 45
std kept 3 0 0, copy_ in no_grad 0 8 0
narrow 0 0 0, mul_ in no_grad 0 8 0
narrow 0 0 0, copy_ in no_grad 0 8 0
index_add 0 3 0
index_add 4 4 0
amin along 0 0 1, index_add 4 8 0
std 0 0 0, index_add 0 8 0
std 0 0 0, index_add 0 8 1
zero_ 5 0 0
copy_ number 5 0 0
repeat_interleave 4 0 0
max along 1 0 0, repeat_interleave 8 0 0
remainder 0 1 0, reciprocal 8 0 0
remainder_ 3 1 0, floor_divide 0 3 0
fmod 0 1 0, pow number 8 0 1
log 0 0 0, abs 8 0 0
log 0 0 0, relu 8 0 0
get 2 0 12, index_fill_ 8 0 0
abs 2 0 0, mul 0 8 0, atan2 9 9 0
clamp 0 0 26, pow 0 2 0, div 9 8 0
median 0 0 0, var 8 0 0
tril 0 0 0, prod 8 0 0, var 9 0 0
expand 0 0 0, copy_ in no_grad 8 8 0
fmod 0 2 0, cumprod along 8 0 0
median 0 0 0, pow 0 8 0
unbind 0 0 0, add_ in no_grad 0 0 0
abs 0 0 0, abs 0 0 0, abs 0 0 0, abs 0 0 0, abs 0 0 0, abs 0 0 0, flip 7 0 1, add_ 6 1 0
expand 2 0 0, zero_ 8 0 0
index_select 0 0 1, view 8 0 1
any 0 0 0, addcmul 8 0 0
"""
"""Programs that once differed, one a line: operation, operands and parameter of each instruction."""


def read(line: str) -> Program:
    parts = [part.rsplit(" ", 3) for part in line.split(", ")]
    return [(NUMBERS[name], int(first), int(second), int(parameter)) for name, first, second, parameter in parts]


@pytest.mark.parametrize("line", FOUND.strip().splitlines())
def test_programs_that_once_differed(line: str) -> None:
    assert difference(read(line)) is None


INSTRUCTIONS = st.tuples(
    st.integers(0, len(OPERATIONS) - 1), st.integers(0, 13), st.integers(0, 13), st.integers(0, 59)
)


@settings(max_examples=400, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.lists(INSTRUCTIONS, min_size=1, max_size=25))
def test_random_programs(program: Program) -> None:
    problem = difference(program)
    assert problem is None, f"{problem}\n{shown(program)}"

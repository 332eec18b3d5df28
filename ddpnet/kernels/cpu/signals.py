"""Counters in memory that several processes share: raise one's own, wait for those of others."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ddpnet.kernels.cpu.compiled import compiled

# By name, not by address: machine code that holds an address cannot be kept for later runs.
_usleep = types.ExternalFunction("usleep", types.int32(types.uint32))
_sched_yield = types.ExternalFunction("sched_yield", types.int32())

_WORD = ir.IntType(64)


@intrinsic
def _load(context: Any, address: Any) -> Any:
    """Read a counter before everything that follows is read."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load_atomic(builder.inttoptr(arguments[0], _WORD.as_pointer()), "acquire", 8)

    return types.int64(types.int64), code


@intrinsic
def _store(context: Any, address: Any, value: Any) -> Any:
    """Write a counter after everything before it was written."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = builder.inttoptr(arguments[0], _WORD.as_pointer())
        builder.store_atomic(arguments[1], pointer, "release", 8)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), code


@compiled
def raise_to(address, value):
    """Set the counter at an address."""
    _store(address, value)  # type: ignore[call-arg]  # a context comes first, which Numba gives


@compiled
def wait_for(addresses, value, spins, yields, naps, nap_us, longest_us):
    """Wait until each counter is at least `value`: the place of one that is not when patience ends, else -1.

    Look `spins` times, give the core away `yields` times, and sleep `naps` times for `nap_us` microseconds, after each
    16 naps twice as long up to `longest_us`: those who compute need the core more than those who wait.
    """
    looks, slept = 0, 0
    for place in range(addresses.size):
        while _load(addresses[place]) < value:  # type: ignore[call-arg]
            if looks >= spins + yields + naps:
                return place
            if looks >= spins + yields:
                _usleep(nap_us)
                slept += 1
                if slept % 16 == 0:
                    nap_us = min(2 * nap_us, longest_us)
            elif looks >= spins:
                _sched_yield()
            looks += 1
    return -1

"""What a loop over shards may get wrong: the ranks would wait for each other, or add up what does not belong together.

`place()` says where that is found: `rank 1 of 3: step 7`. It is asked only then, since most checks run in every step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

Place = Callable[[], str]


def check_metrics(names: Sequence[str]) -> None:
    """ValueError for names of metrics that could not be told apart."""
    if len({"samples", *names}) <= len(names):
        raise ValueError(f"metrics: expected different names, none of them 'samples', got {list(names)}")


def check_names(place: Place, names: Iterable[str], known: Sequence[str]) -> None:
    """ValueError for a metric that is not among the known ones."""
    for name in names:
        if name not in known:
            raise ValueError(f"{place()}: unknown metric {name!r}: expected one of {list(known)}")


def check_batch(place: Place, samples: int, shards: int) -> None:
    """ValueError for a global batch that leaves shards empty."""
    if samples < shards:
        raise ValueError(
            f"{place()}: a global batch of {samples} samples leaves some of {shards} shards empty: give at least "
            f"{shards} samples a step, or fewer shards"
        )


def check_shards(place: Place, computed: int, shards: int) -> None:
    """RuntimeError unless all of a rank's shards were computed, once."""
    if computed != shards:
        raise RuntimeError(
            f"{place()}: reduce: {computed} of this rank's {shards} shards have been computed: let each reduce() "
            "follow a loop over reducer.shards(samples) that goes to its end"
        )


def check_samples(place: Place, samples: int | None, counted: float) -> None:
    """ValueError if the shards of all ranks are not those of a global batch of `samples`."""
    if samples is not None and counted != samples:
        raise ValueError(
            f"{place()}: reduce: this rank has taken its shards from a global batch of {samples} samples, but those of "
            f"all ranks have {counted:g}: give reducer.shards() the same number on every rank"
        )

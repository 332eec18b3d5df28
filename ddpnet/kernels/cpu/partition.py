"""Which elements of a row come first: the steps of C++'s `nth_element` and of quickselect, in PyTorch's order.

PyTorch says nothing about which of equal elements it takes; these take the same ones.
"""

from __future__ import annotations

import numpy as np

from ddpnet.kernels.cpu.compiled import compiled


def top_places(x: np.ndarray, k: int, largest: bool) -> np.ndarray:
    """int64 (rows, k): where the k largest or smallest of each row (rows, n) are, in order; nan is the largest.

    For few of a row: putting them in order takes k * k steps.
    """
    places = np.empty((len(x), k), np.int64)
    if k:
        _top(_comparable(x), k, largest, places)
    return places


def kth_places(x: np.ndarray, k: int) -> np.ndarray:
    """int64 (rows,): where the k-th smallest of each row (rows, n) is, counted from 0; nan is the largest."""
    places = np.empty(len(x), np.int64)
    _kth(_comparable(x), k, places)
    return places


def _comparable(x: np.ndarray) -> np.ndarray:
    """In one of two dtypes, so that there is less to compile."""
    return np.ascontiguousarray(x, np.int64 if x.dtype.kind in "biu" else np.float64)


@compiled
def _before(a, b, largest):
    if largest:
        return a > b or (a != a and b == b)
    return a < b or (a == a and b != b)


@compiled
def _insert(row, at, first, last, largest):
    for i in range(first + 1, last):
        place = at[i]
        j = i
        while j > first and _before(row[place], row[at[j - 1]], largest):
            at[j] = at[j - 1]
            j -= 1
        at[j] = place


@compiled
def _top(x, k, largest, places):
    n = x.shape[1]
    at = np.empty(n, np.int64)
    for r in range(x.shape[0]):
        row = x[r]
        for i in range(n):
            at[i] = i
        first, last = 0, n
        while last - first > 3:
            a, b, c = first + 1, first + (last - first) // 2, last - 1
            if _before(row[at[a]], row[at[b]], largest):
                if _before(row[at[b]], row[at[c]], largest):
                    pivot = b
                elif _before(row[at[a]], row[at[c]], largest):
                    pivot = c
                else:
                    pivot = a
            elif _before(row[at[a]], row[at[c]], largest):
                pivot = a
            elif _before(row[at[b]], row[at[c]], largest):
                pivot = c
            else:
                pivot = b
            at[first], at[pivot] = at[pivot], at[first]
            middle = row[at[first]]
            low, high = first + 1, last
            while True:
                while _before(row[at[low]], middle, largest):
                    low += 1
                high -= 1
                while _before(middle, row[at[high]], largest):
                    high -= 1
                if low >= high:
                    break
                at[low], at[high] = at[high], at[low]
                low += 1
            if low <= k - 1:
                first = low
            else:
                last = low
        _insert(row, at, first, last, largest)
        _insert(row, at, 0, k - 1, largest)
        places[r] = at[:k]


@compiled
def _kth(x, k, places):
    n = x.shape[1]
    at = np.empty(n, np.int64)
    for r in range(x.shape[0]):
        row = x[r]
        for i in range(n):
            at[i] = i
        first, last = 0, n - 1
        while last > first:
            if last == first + 1:
                if _before(row[at[last]], row[at[first]], False):
                    at[first], at[last] = at[last], at[first]
                break
            middle = first + (last - first) // 2
            at[middle], at[first + 1] = at[first + 1], at[middle]
            if _before(row[at[last]], row[at[first + 1]], False):
                at[first + 1], at[last] = at[last], at[first + 1]
            if _before(row[at[last]], row[at[first]], False):
                at[first], at[last] = at[last], at[first]
            if _before(row[at[first]], row[at[first + 1]], False):
                at[first + 1], at[first] = at[first], at[first + 1]
            low, high = first + 1, last
            pivot = row[at[first]]
            while True:
                low += 1
                while _before(row[at[low]], pivot, False):
                    low += 1
                high -= 1
                while _before(pivot, row[at[high]], False):
                    high -= 1
                if high < low:
                    break
                at[low], at[high] = at[high], at[low]
            at[first], at[high] = at[high], at[first]
            if high <= k:
                first = low
            if high >= k:
                last = high - 1
        places[r] = at[k]

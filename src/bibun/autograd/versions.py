"""Who wrote to which memory, and when.

One counter, `tick`, numbers both the nodes of the graph and the in-place writes, so "was this saved value overwritten
after the node was made?" is a comparison of two integers, and a program that never writes in place pays nothing.
In goes the ndarray written to; records are kept per *root* (the ndarray that owns the memory, which all views share) and
vanish with it. Under them stand version counters, in-place checks and the culprit's line in error messages.
"""

from __future__ import annotations

import itertools
import sys
import weakref
from typing import Any

import numpy as np

tick = itertools.count(1).__next__

#: The time of the newest write anywhere, in a list so that hot code can hold the list.
last_write = [0]

#: Whether any tensor has been taken out of its graph in place.
any_detached = [False]

_records: dict[int, Writes] = {}
_LOG_LIMIT = 32


def root_of(a: Any) -> Any:
    """The ndarray that owns the memory ``a`` looks at."""
    base = a.base
    while base.__class__ is np.ndarray:
        a, base = base, base.base
    return a


def span(a: Any) -> tuple[int, int]:
    """First byte and one past the last byte that ``a`` can touch."""
    start = low = high = a.__array_interface__["data"][0]
    if not a.size:
        return start, start
    for size, stride in zip(a.shape, a.strides):
        if stride > 0:
            high += (size - 1) * stride
        else:
            low += (size - 1) * stride
    return low, high + a.itemsize


class Writes:
    """The writes to one root: how many, when last, and the latest ones with their regions and lines."""

    __slots__ = ("__weakref__", "counter", "log", "root", "time")

    def __init__(self, root: Any):
        key = id(root)
        self.counter = [0]  # in a list, so that two roots can count together
        self.time = 0
        self.log: list[tuple[int, int, int, Any, int]] = []  # (time, low, high, code, instruction)

        def forget(_: Any) -> None:
            _records.pop(key, None)

        self.root = weakref.ref(root, forget)


def records_of(arrays: Any) -> list[Any]:
    """The records of arrays that own their memory, for code that notes their being overwritten itself; they live as long as the arrays."""
    made = []
    for a in arrays:
        if a.base is not None:
            raise TypeError("an array that looks at another's memory")
        record = _records.get(id(a))
        if record is None:
            record = _records[id(a)] = Writes(a)
        made.append(record)
    return made


def written(a: Any, code: Any = None, lasti: int = 0) -> None:
    """Note that the memory of ``a`` was just overwritten, by the line that ``code`` and ``lasti`` name."""
    base = a.base
    root = a if base is None else root_of(a)
    record = _records.get(id(root))
    if record is None:
        record = _records[id(root)] = Writes(root)
    counter = record.counter
    counter[0] += 1
    now = record.time = last_write[0] = tick()
    if base is None or a.size == root.size:
        record.log = [(now, 0, sys.maxsize, code, lasti)]  # a whole overwrite hides every older one
        return
    if len(record.log) >= _LOG_LIMIT:
        old = record.log
        record.log = [(old[-1][0], min(w[1] for w in old), max(w[2] for w in old), old[-1][3], old[-1][4])]
    record.log.append((now, *span(a), code, lasti))


def detached(node: Any, index: int) -> None:
    """Note that the tensor that was output ``index`` of ``node`` is no more: what saved it as an input must not use it."""
    node.__dict__.setdefault("_detached", set()).add(index)
    any_detached[0] = True
    last_write[0] = tick()


def was_detached(target: Any) -> bool:
    """Whether the tensor that the target of a gradient stands for was detached in place."""
    if target is None or not target._seq:
        return False
    node, index = target.as_edge()
    return index in node.__dict__.get("_detached", ())


def version_of(a: Any) -> int:
    """How often the memory under ``a`` was written in place."""
    record = _records.get(id(root_of(a)))
    return record.counter[0] if record else 0


def version_time(a: Any) -> int:
    """When the memory under ``a`` was last written in place; 0 where it never was."""
    record = _records.get(id(root_of(a)))
    return record.time if record else 0


def record_of(a: Any) -> Writes:
    """The record of ``a``'s memory, made if there is none."""
    root = root_of(a)
    record = _records.get(id(root))
    if record is None:
        record = _records[id(root)] = Writes(root)
    return record


def set_version(a: Any, count: int) -> None:
    """Make the write count of ``a``'s memory ``count``."""
    record_of(a).counter[0] = count


def count_together(a: Any, b: Any) -> None:
    """Have the memory of ``b`` share the write count of ``a``'s: ``b`` takes ``a``'s place in a tensor."""
    if root_of(a) is not root_of(b):
        record_of(b).counter = record_of(a).counter


def written_since(a: Any, time: int) -> tuple[int, int, int, Any, int] | None:
    """The newest write after ``time`` that may touch a byte of ``a``; None where there is none."""
    record = _records.get(id(root_of(a)))
    if record is None or record.time <= time:
        return None
    low, high = span(a)
    for entry in reversed(record.log):
        if entry[0] <= time:
            return None
        if entry[1] < high and low < entry[2]:
            return entry
    return None

"""Anomaly detection: the first operation, forward or backward, that produced a NaN or infinity, with its line and values.

While the mode is on, the dispatcher hands each primitive to `watch`, which looks at what comes out and remembers those that
made something that is not finite out of finite values; the engine hands each node's gradients to `check`, which raises at
the first NaN, as PyTorch does, and says what the program did before: the first operation of the forward pass and the first
node of this backward that left the finite numbers. Infinities alone raise nothing: masks are made of them.

One look costs a scalar product of the values with themselves. The forward line of each node is known anyway.
"""

from __future__ import annotations

import sys
import threading
import warnings
from collections import deque
from collections.abc import Iterable
from math import isfinite
from typing import Any, NamedTuple

import numpy as np

from ..ops.primitive import Primitive
from . import dispatch
from .node import LEAF
from .running import ACCUMULATING, ENGINE, RUNS
from .versions import tick

vdot = np.vdot
#: 0: off, 1: on, 2: on with NaN checks.
mode = dispatch.anomaly


class Record(NamedTuple):
    """An operation that made something that is not finite out of finite values."""

    seq: int  # that of its node, where it has one
    recorded: bool
    nan: bool
    name: str
    code: Any
    lasti: int
    given: str
    made: str


class _Book(threading.local):
    """What was noticed in this thread."""

    def __init__(self) -> None:
        self.records: deque[Record] = deque(maxlen=512)
        #: When the backward before this one began: what was noticed earlier has been seen by a backward that was content.
        self.before = self.begun = 0
        #: The first infinity of this backward, in words.
        self.infinite = ""


book = _Book()


def switch(to: int) -> None:
    """Set the mode; while it is on, every primitive goes the way on which it can be watched."""
    dispatch.busy[0] += (to > 0) - (mode[0] > 0)
    mode[0] = to


def current() -> int:
    """The mode now."""
    return mode[0]


class detect_anomaly:
    """Have backward stop at the first NaN, and say which operation of the program first produced one, or an infinity.

    >>> import bibun as torch
    >>> x = torch.tensor([0.0, 1.0], requires_grad=True)
    >>> with torch.autograd.detect_anomaly():
    ...     y = (x.log() * 0).sum()
    ...     y.backward()
    Traceback (most recent call last):
    ...
    RuntimeError: Function 'LogBackward0' returned nan values in its 0th output.
    ...
    """

    def __init__(self, check_nan: bool = True):
        self.check_nan = check_nan
        warnings.warn("Anomaly Detection has been enabled. This mode will increase the runtime and should only be enabled for debugging.", stacklevel=2)

    def __enter__(self) -> None:
        self.before = mode[0]
        switch(2 if self.check_nan else 1)

    def __exit__(self, *_: object) -> None:
        switch(self.before)


class set_detect_anomaly(detect_anomaly):
    """Switch anomaly detection on or off, at once or for a ``with`` block."""

    def __init__(self, mode: bool, check_nan: bool = True):
        self.before = current()
        self.set = (2 if check_nan else 1) if mode else 0
        switch(self.set)

    def __enter__(self) -> None:
        switch(self.set)


def is_anomaly_enabled() -> bool:
    """Whether anomaly detection is on."""
    return mode[0] > 0


def is_anomaly_check_nan_enabled() -> bool:
    """Whether it checks for NaN where it is on."""
    return mode[0] != 1


def finite(a: Any) -> bool:
    """Whether an array holds finite numbers only (as anything but floats does)."""
    kind = a.dtype.kind
    if kind not in "fcV":
        return True
    if kind == "V" or a.itemsize == 2:
        a = a.astype(np.float32)
    return isfinite(vdot(a, a).real) or bool(np.isfinite(a).all())  # a square may overflow: then look at each


def values_of(x: Any) -> Any:
    """The array under a tensor (or an array itself) that can be looked at, else None."""
    while hasattr(x, "level"):
        x = x.value
    a = getattr(x, "_a", x)
    return a if isinstance(a, (np.ndarray, np.generic)) else None


# forward


def watch(prim: Primitive, arrays: Any, outs: Any) -> None:
    """Look at what a primitive called while the mode is on gave, and remember where it is the first to leave the finite numbers."""
    place = outs[0]._node
    if place is not None and place is not LEAF:
        remember(place.as_edge()[0])
    if mode[0] == 2:
        for t in outs:
            if not finite(t._a):
                notice(prim, arrays, t)
                break


def remember(node: Any) -> None:
    """Keep in a new node the calls that led to it, innermost last, and the node whose backward made it (None outside of one)."""
    internal = dispatch.internal
    calls = []
    induced = None
    inside = True
    f: Any = sys._getframe(1)
    while f is not None:
        code = f.f_code
        if not internal[code.co_filename]:
            calls.append((code, f.f_lasti))
        elif inside:
            key = id(code)
            if key in ENGINE:
                induced, inside = f.f_locals.get("node"), False
            elif key in ACCUMULATING:
                induced, inside = f.f_locals["leaf"].as_edge()[0], False
            elif key in RUNS:
                inside = False
        f = f.f_back
    calls.reverse()
    notes = node.__dict__
    notes["_calls"] = calls
    notes["_induced_by"] = induced


def notice(prim: Primitive, arrays: Any, made: Any) -> None:
    """Remember what made something that is not finite, unless it was given something of the kind."""
    given = [v for v in map(values_of, arrays) if v is not None]
    if not all(map(finite, given)):
        return
    place = made._node
    node = getattr(place, "node", place)
    recorded = bool(getattr(node, "_seq", 0))
    if recorded:
        code, lasti, seq = node.code, node.lasti, node._seq
    else:
        f = dispatch.user_frame(3)
        code, lasti, seq = f.f_code, f.f_lasti, tick()
    book.records.append(
        Record(seq, recorded, bool(np.isnan(made._a.astype(np.float32) if made._a.dtype.kind == "V" else made._a).any()), prim.name, code, lasti, listed(given), summary(made._a))
    )


# backward


def begin() -> None:
    """A backward begins."""
    book.before, book.begun, book.infinite = book.begun, tick(), ""


def check(node: Any, g: Any, i: int, r: Any, kept: Any) -> None:
    """Raise if the gradient ``r`` that the node gave for input ``i`` has a NaN; remember the first infinity."""
    a = values_of(r)
    if a is None or finite(a):
        return
    if np.isnan(a.astype(np.float32) if a.dtype.kind == "V" else a).any():
        from .complaints import warn_of

        warn_of(node)
        raise found(node, i, a, g, kept)
    if not book.infinite:
        gradients = g if g.__class__ is list else [g]
        if all(finite(v) for v in map(values_of, gradients) if v is not None):
            from .complaints import at

            book.infinite = (
                f"The first infinity of this backward came out of {node.name()}, made at {at(node.code, node.lasti)}: {summary(a)}, "
                f"from a gradient of {listed(gradients)}" + saved_in_words(kept)
            )


def found(node: Any, i: int, a: Any, g: Any, kept: Any) -> RuntimeError:
    """The error of a node whose gradient for input ``i`` has a NaN."""
    from .complaints import at

    where = np.argwhere(np.isnan(a.astype(np.float32) if a.dtype.kind == "V" else a))
    lines = [
        f"Function '{node.name()}' returned nan values in its {i}th output.",
        f"The operation was made at {at(node.code, node.lasti)}",
        f"The gradient that came in: {listed(g if g.__class__ is list else [g])}" + saved_in_words(kept),
        f"The first NaN is at {tuple(int(n) for n in where[0]) if where.size else ()} of {list(a.shape)}.",
    ]
    first = origin(node)
    if first is not None:
        lines.append(
            f"Before that, the first {'NaN' if first.nan else 'infinity'} of the forward pass came out of {first.name}(), called at "
            f"{at(first.code, first.lasti)}: {first.made}, from {first.given or 'no tensors'}"
        )
    if book.infinite:
        lines.append(book.infinite)
    error = RuntimeError("\n".join(lines))
    error._bibun_located = True  # type: ignore[attr-defined]
    return error


def origin(node: Any) -> Record | None:
    """The first operation noticed that the node's values come from; of those outside the graph, the first NaN since the last backward."""
    seen: set[int] = set()
    stack = [node]
    while stack:
        n = stack.pop()
        n = getattr(n, "node", n)
        if n is None or not n._seq or n._seq in seen:
            continue
        seen.add(n._seq)
        stack.extend(n.next)
    inside = [r for r in book.records if r.recorded and r.seq in seen]
    outside = [r for r in book.records if not r.recorded and r.nan and r.seq > book.before]
    return min(inside + outside, key=lambda r: r.seq, default=None)


# words


def saved_in_words(kept: Any) -> str:
    arrays = [a for values in kept for v in values for a in (v if v.__class__ is tuple else (v,)) if isinstance(a, np.ndarray)] if isinstance(kept, tuple) else []
    seen: list[Any] = []
    for a in arrays:
        if not any(a is b for b in seen):
            seen.append(a)
    return "\nThe values it saved: " + listed(seen, "; ") if seen else ""


def listed(values: Iterable[Any], between: str = ", ") -> str:
    return between.join(summary(v) for v in values)


def summary(x: Any) -> str:
    """Shape and range of an array in a few words."""
    a = values_of(x)
    if a is None:
        return "none"
    a = np.asarray(a)
    if not a.size:
        return f"empty, shape {list(a.shape)}"
    wide = a.astype(np.float64) if a.dtype.kind != "c" else np.abs(a)
    bad = int(np.isnan(wide).sum()), int(np.isinf(wide).sum())
    with np.errstate(all="ignore"):
        low, high = (np.nanmin(wide), np.nanmax(wide)) if bad[0] < wide.size else (np.nan, np.nan)
    return f"shape {list(a.shape)}, from {low:.6g} to {high:.6g}" + (f", {bad[0]} NaN" if bad[0] else "") + (f", {bad[1]} infinite" if bad[1] else "")


dispatch.watch = watch

__all__ = ["begin", "check", "detect_anomaly", "finite", "is_anomaly_check_nan_enabled", "is_anomaly_enabled", "remember", "set_detect_anomaly", "watch"]

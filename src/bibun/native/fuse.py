"""Native loops over arrays, from the entries' own formulas.

In: an expression over one element of each operand (a primitive's ``run``, a derivative rule, or several of them together) and the
arrays it is for, broadcast against each other. Out: the result in one pass, or its sum over everything, over the leading or over the
trailing dimensions, without the array in between. The loop is made for how the operands lie: each is read element by element, or
once for all (``scalar``), once for each row, or as one row for all rows. What does not lie so, or has no native form, gives
NotImplemented, and the caller goes on with NumPy.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cache
from math import prod
from typing import Any

import numpy as np

from . import bounds, build
from .ir import SIZES, Function, Module, Value, vector
from .kernel import _sources, load_entry, make_entry
from .lanes import Lanes, NotNative
from .lang import Type, Vec, any_of, first_lanes, load, load_where, store_where

__all__ = ["evaluate"]

F32, F64, BOOL = np.dtype(np.float32), np.dtype(np.float64), np.dtype(bool)
_WORD = {F32: "float", F64: "double", BOOL: "i8"}
#: Elements of a chunk: what one thread takes at a time.
CHUNK = 1 << 14
#: Vectors that are read before the first is written, and so summed side by side, since an addition waits for the one before.
_SIDE_BY_SIDE = 4
#: The most partial sums of a reduction over rows.
_PARTS = 64

_made: dict[Any, Any] = {}
_plans: dict[Any, Any] = {}


@cache
def _contiguous(shape: tuple[int, ...], item: int) -> tuple[int, ...]:
    """Strides of row-major memory."""
    made, step = [], item
    for n in reversed(shape):
        made.append(step)
        step *= n
    return tuple(reversed(made))


def _part(shape: tuple[int, ...], strides: tuple[int, ...], step: int) -> int | None:
    """How a group of dimensions is walked: 1 in row-major order with ``step`` between elements, 0 not at all; None otherwise."""
    dense = still = True
    for n, s in zip(reversed(shape), reversed(strides)):
        if n != 1:
            dense = dense and s == step
            still = still and s == 0
        step *= n
    return 1 if dense else 0 if still else None


def layout(shape: tuple[int, ...], arrays: list[Any], at: int | None = None) -> Any:
    """(rows, columns, for each array (does it move by rows, does it move by columns)), with one row where that will do; ``at`` says
    at which dimension columns begin, where that matters."""
    broadcast = []
    for a in arrays:
        extra = len(shape) - a.ndim
        broadcast.append((0,) * extra + tuple(0 if n == 1 else s for n, s in zip(a.shape, a.strides)))
    for cut in range(len(shape)) if at is None else (at,):
        columns = prod(shape[cut:])
        found: list[tuple[int, int]] = []
        for a, strides in zip(arrays, broadcast):
            item = a.itemsize
            inner = _part(shape[cut:], strides[cut:], item)
            outer = _part(shape[:cut], strides[:cut], item * columns if inner else item)
            if inner is None or outer is None:
                break
            if cut and inner == 0 and outer == 1 and columns == 1:
                inner = 1
            found.append((outer, inner))
        else:
            return (prod(shape[:cut]), columns, tuple(found))
    return None


def evaluate(
    key: Any, expression: Callable[..., Any], arrays: Any, shape: tuple[int, ...], reduce: str = "", out_dtype: Any = None, cut: int | None = None, count: int = 1
) -> Any:
    """``expression(xp, *elements)`` for every element of ``shape``.

    Args:
        key: what tells the expression from others.
        arrays: ndarrays that broadcast to ``shape``, of one floating dtype or bool.
        reduce: "" for an array of ``shape``, "all" for the sum of everything (0-d), "leading" for the sum over the
            dimensions before ``cut`` and "trailing" for that over those from ``cut`` on (flat).
        count: with more than 1 the expression gives so many elements, and the result is a list of their sums over the leading dimensions.
    """
    if 0 in shape:
        return NotImplemented
    asked = (key, reduce, cut, out_dtype, count, shape, *[(a.shape, a.strides, a.dtype) for a in arrays])
    plan = _plans.get(asked)
    if plan is None:
        if len(_plans) > 4096:
            _plans.clear()
        plan = _plans[asked] = _planned(key, expression, arrays, shape, reduce, out_dtype, cut, count)
    if plan is NotImplemented:
        return NotImplemented
    call, made, dtype, columns, grain, items = plan
    out = np.empty(made, dtype)
    call(*arrays, out, columns, grain, items, grain)
    if not reduce or reduce == "trailing":
        return out
    if reduce == "all":
        return np.add.reduce(out, out=...)
    total = np.add.reduce(out, 0) if len(out) > 1 else out[0]
    return total if count == 1 else [total[k * columns : (k + 1) * columns] for k in range(count)]


def _planned(key: Any, expression: Any, arrays: Any, shape: tuple[int, ...], reduce: str, out_dtype: Any, cut: int | None, count: int) -> Any:
    """(built-in, shape and dtype of what it fills, columns, chunk, items) for arrays that lie like these; NotImplemented where there is none."""
    dtype = None
    for a in arrays:
        d = a.dtype
        if d is not BOOL:
            if dtype is None:
                dtype = d
            elif d is not dtype:
                return NotImplemented
    if dtype is not F32 and dtype is not F64:
        return NotImplemented
    found = layout(shape, arrays, cut)
    if found is None:
        return NotImplemented
    rows, columns, moves = found
    out_dtype = out_dtype or dtype
    if rows == 1 and reduce not in ("leading", "trailing"):
        flat, items, grain, moves = True, columns, CHUNK, tuple((0, inner) for _, inner in moves)
    elif columns < 16 or rows * columns == 0:
        return NotImplemented
    else:
        flat, items, grain = False, rows, max(1, CHUNK // columns)
    if reduce == "leading":
        grain = max(grain, -(-rows // _PARTS))
    kinds = tuple([_WORD[a.dtype] for a in arrays])
    full = (key, kinds, moves, reduce, out_dtype, flat, count)
    call = _made.get(full)
    if call is None:
        call = _made[full] = _build(full, expression, _WORD[dtype])
    if call is NotImplemented:
        return NotImplemented
    parts = -(-items // grain)
    made = {"": shape, "all": (parts,), "trailing": (rows,), "leading": (parts, count * columns)}[reduce]
    return call, made, out_dtype, columns, grain, items


def _build(full: Any, expression: Any, word: str) -> Any:
    key, kinds, moves, reduce, out_dtype, flat, count = full
    said = f"fuse|{full}|{_sources()}|{_entries()}"
    name = f"fused_{hashlib.sha256(said.encode()).hexdigest()[:16]}"
    params = [("ptr", f"x{i}") for i in range(len(kinds))] + [("ptr", "out"), ("i64", "columns"), ("i64", "grain")]

    def write(module: Module) -> None:
        module.explicit = True
        if bounds.on():
            bounds.watch(module)
        inner = Function(
            module, name + ".loop", "void", [*params, ("i64", "begin"), ("i64", "end")], fast="contract",
            attributes="nounwind alwaysinline", linkage="internal", distinct=True,
        )  # fmt: skip
        space = Lanes(inner, word)
        if word == "float":
            space.far = inner.slot(False, vector(build.vector_bytes() // SIZES[word], "i1"))
        _Walk(inner, full, expression, word, _SIDE_BY_SIDE).write(space)
        if space.asked_far:
            with inner.when(any_of.emit(inner, space.far.get())):
                _Walk(inner, full, expression, word, 1).write(Lanes(inner, word))
        inner.give()

        def body(f: Function, values: list[Value], begin: Value, end: Value) -> None:
            f.call(inner.name, "void", *values, begin, end)

        make_entry(module, name, params, body)
        if bounds.on():
            bounds.finish(module, name)

    try:
        return load_entry("fused", said, write, name)
    except (NotNative, TypeError, AttributeError):
        return NotImplemented


class _Walk:
    """The loops over one chunk, ``turns`` vectors at a time. What is left of a row is done by vectors of which some lanes are not read and
    not written, so that what an element gives does not depend on where it lies."""

    def __init__(self, f: Function, full: Any, expression: Any, word: str, turns: int):
        _, self.kinds, self.moves, self.reduce, out_dtype, self.flat, self.count = full
        self.f, self.expression, self.word, self.out_word = f, expression, word, _WORD[out_dtype]
        self.width, self.turns = build.vector_bytes() // SIZES[word], turns
        *self.pointers, self.out, self.columns, self.grain, self.begin, self.end = f.args
        for p, kind in zip(self.pointers, self.kinds):
            p.of = kind
        self.out.of = self.out_word

    def write(self, space: Lanes) -> None:
        f, self.space = self.f, space
        self.still = [self.one(p, 0) if move == (0, 0) else None for p, move in zip(self.pointers, self.moves)]
        self.sums = [f.slot(0, vector(self.width, self.out_word)) for _ in range(self.turns)]
        if self.flat:
            self.row(self.pointers, self.still, self.out, self.begin, self.end)
            if self.reduce:
                f.store(self.summed(), f.offset(self.out, self.begin // self.grain))
            return
        part = self.out
        if self.reduce == "leading":
            part = f.offset(self.out, (self.begin // self.grain) * (self.columns * self.count))
            with f.loop(0, self.columns * self.count) as j:
                f.store(0, f.offset(part, j))
        with f.loop(self.begin, self.end) as r:
            here = [self.one(p, r) if move == (1, 0) else s for p, move, s in zip(self.pointers, self.moves, self.still)]
            starts = [f.offset(p, r * self.columns) if move == (1, 1) else p for p, move in zip(self.pointers, self.moves)]
            self.row(starts, here, part if self.reduce else f.offset(self.out, r * self.columns), f.const(0), self.columns)
            if self.reduce == "trailing":
                f.store(self.summed(), f.offset(self.out, r))
        if self.reduce == "all":
            f.store(self.summed(), f.offset(self.out, self.begin // self.grain))

    def row(self, starts: list[Value], still: list[Any], out: Value, begin: Value, end: Value) -> None:
        """The elements from ``begin`` to ``end``."""
        f, width, step = self.f, self.width, self.width * self.turns
        at = f.slot(begin)
        with f.loop(begin, f.binary("sub", end, step - 1), step) as i:
            self.vectors(starts, still, out, [i + width * k for k in range(self.turns)], None)
            at.set(i + step)
        with f.loop(at.get(), end, width) as i:
            self.vectors(starts, still, out, [i], first_lanes.emit(f, f.binary("sub", end, i), width))

    def vectors(self, starts: list[Value], still: list[Any], out: Value, at: list[Value], mask: Value | None) -> None:
        """The elements of the vectors that begin at ``at`` (of them those that the mask says). All are read before any is written:
        memory likes runs of either."""
        f = self.f
        given = [[s if s is not None else self.read(p, i, mask) for p, s in zip(starts, still)] for i in at]
        made = [self.expression(self.space, *x) for x in given]
        for k, (i, x) in enumerate(zip(at, made)):
            if self.reduce == "leading":
                for n, each in enumerate(x if self.count > 1 else [x]):
                    p = f.offset(out, self.columns * n + i if n else i)
                    self.put(self.get(p, mask) + self.space.value(each), p, mask)
            elif self.reduce:
                x = f.coerce(self.space.value(x), vector(self.width, self.out_word))
                self.sums[k].set(self.sums[k].get() + (x if mask is None else f.select(mask, x, 0)))
            elif self.out_word == "i8":
                x = f.coerce(self.space.truth(x), vector(self.width, "i1"))
                self.put(f.convert(x, "i8", signed=False), f.offset(out, i), mask)
            else:
                self.put(f.coerce(self.space.value(x), vector(self.width, self.out_word)), f.offset(out, i), mask)

    def summed(self) -> Value:
        """What the sums come to; they begin anew."""
        left = [s.get() for s in self.sums]
        while len(left) > 1:
            left = [a + b for a, b in zip(left[::2], left[1::2])]
        for s in self.sums:
            s.set(0)
        return self.f.reduce("add", left[0])

    def one(self, p: Value, i: Any) -> Value:
        """An element for all lanes."""
        x = self.f.load(self.f.offset(p, i))
        return self.f.spread(self.f.compare("ne", x, 0) if p.of == "i8" else x, self.width)

    def read(self, p: Value, i: Value, mask: Value | None) -> Value:
        x = self.get(self.f.offset(p, i), mask)
        return self.f.compare("ne", x, 0) if p.of == "i8" else x

    def get(self, p: Value, mask: Value | None) -> Value:
        assert p.of is not None
        t = Vec[Type(p.of, p.of), self.width]
        return load.emit(self.f, p, t) if mask is None else load_where.emit(self.f, p, t, mask)

    def put(self, x: Value, p: Value, mask: Value | None) -> None:
        if mask is None:
            self.f.store(x, p, x.type)
        else:
            store_where.emit(self.f, p, x, mask)


@cache
def _entries() -> str:
    """A hash of the entries' formulas, for the keys of cached object code."""
    from pathlib import Path

    made = hashlib.sha256()
    for file in sorted((Path(__file__).parent.parent / "ops").glob("*.py")):
        made.update(file.read_bytes())
    return made.hexdigest()[:20]

"""Native loops over arrays, from the entries' own formulas.

In: an expression over one element of each operand (a primitive's ``run``, a derivative rule, or several of them together) and the
arrays it is for, broadcast against each other. Out: the result in one pass, or its sum over everything, over the leading or over the
trailing dimensions, without the array in between. Dimensions that lie one in another for all operands are one; what is left, three at most, is
walked by rows. The loop is made for how the operands lie in a row: side by side, one for all, or so many elements apart. What has more
dimensions, or no native form, gives NotImplemented, and the caller goes on with NumPy.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from functools import cache
from typing import Any

import ml_dtypes
import numpy as np

from . import bounds, build
from .ir import SIZES, Function, Module, Value, vector
from .kernel import load_entry, make_entry
from .lanes import Lanes, NotNative
from .lang import Type, Vec, any_of, first_lanes, gather, load, load_where, scatter, store_where

__all__ = ["evaluate"]

F32, F64, BOOL = np.dtype(np.float32), np.dtype(np.float64), np.dtype(bool)
#: Narrow floats are read as float32 and rounded when they are written.
F16, BF16 = np.dtype(np.float16), np.dtype(ml_dtypes.bfloat16)
_WORD = {F32: "float", F64: "double", BOOL: "i8", F16: "half", BF16: "bfloat"}
#: What LLVM is told of narrow floats in memory.
_HELD = {"half": "i16", "bfloat": "i16"}
#: Elements of a chunk: what one thread takes at a time.
CHUNK = 1 << 14
#: Vectors that are read before the first is written, and so summed side by side, since an addition waits for the one before.
_SIDE_BY_SIDE = 4
#: The most partial sums of a reduction over rows.
_PARTS = 64
#: The steps of operands that a loop is told: along outer rows, rows, columns.
_LEVELS = {"flat": ["inner"], "rows": ["row", "inner"], "two": ["outer", "row", "inner"], "three": ["upper", "outer", "row", "inner"]}
#: Columns that make a row too narrow for vectors; several rows are one then, where that can be.
_NARROW = 16

_made: dict[Any, Any] = {}
_plans: dict[Any, Any] = {}


def walk(shape: tuple[int, ...], strides: list[tuple[int, ...]], cut: int | None = None) -> Any:
    """((upper rows, outer rows, rows, columns), for each operand its steps along them) for operands of strides ``strides``; None where there
    is no such way.

    ``cut`` says at which dimension columns begin, where that matters; otherwise columns are the last dimension, or the longest.
    """
    groups: list[list[tuple[int, tuple[int, ...]]]] = []
    for first, last in ((0, len(shape)),) if cut is None else ((0, cut), (cut, len(shape))):
        dims: list[tuple[int, tuple[int, ...]]] = []
        for i in range(first, last):
            n, steps = shape[i], tuple([s[i] for s in strides])
            if n == 1:
                continue
            if dims and dims[-1][1] == tuple([s * n for s in steps]):
                dims[-1] = (dims[-1][0] * n, steps)
            else:
                dims.append((n, steps))
        groups.append(dims)
    if cut is None:
        dims = groups[0]
        at = -1 if not dims or dims[-1][0] >= _NARROW else max(range(len(dims)), key=lambda i: dims[i][0])
        groups = [dims[:at] + (dims[at + 1 :] if at != -1 else []), dims[at:] if at == -1 else [dims[at]]]
    rows, columns = groups
    if len(rows) > 3 or len(columns) > 1:
        return None
    none = (0,) * len(strides)
    four = [(1, none)] * (3 - len(rows)) + rows + (columns or [(1, none)])
    return tuple([n for n, _ in four]), list(zip(*[steps for _, steps in four]))


def _widened(shape: tuple[int, ...], strides: list[tuple[int, ...]]) -> Any:
    """(rows, columns, times, which) for dense arrays of a narrow last dimension (images with their channels last) and operands that have
    no other: ``times`` rows are taken as one, and the operands ``which`` repeated so often. None where arrays do not lie so."""
    n, rest = shape[-1] if shape else 1, math.prod(shape[:-1])
    if not 1 < n < _NARROW:
        return None
    times = next((k for k in range(256, 7, -1) if rest % k == 0), 0)
    dense, step = [], 1
    for size in reversed(shape):
        dense.append(step)
        step *= size
    dense.reverse()
    which = []
    for k, each in enumerate(strides):
        if any(each[:-1]) and all(s == d for n, s, d in zip(shape, each, dense) if n != 1):
            continue
        if any(each[:-1]):
            return None
        if each[-1]:
            which.append(k)
    return (rest // times, n * times, times, tuple(which)) if times and which else None


def _order(shape: tuple[int, ...], arrays: Any) -> Any:
    """The dimensions from the widest to the narrowest step of the arrays of this shape, as NumPy's results lie; None where they differ."""
    made: Any = None
    for a in arrays:
        if a.shape == shape:
            strides = a.strides
            here = tuple(range(len(shape))) if a.flags.c_contiguous or 0 in strides else tuple(sorted(range(len(shape)), key=lambda i: -abs(strides[i])))
            if made is not None and made != here:
                return None
            made = here
    return made or tuple(range(len(shape)))


def evaluate(
    key: Any, expression: Callable[..., Any], arrays: Any, shape: tuple[int, ...], reduce: str = "", out_dtype: Any = None, cut: int | None = None, count: int = 1,
    out: Any = None, run: bool = True,
) -> Any:  # fmt: skip
    """``expression(xp, *elements)`` for every element of ``shape``.

    Args:
        key: what tells the expression from others.
        arrays: ndarrays that broadcast to ``shape``, of one floating dtype or bool; narrow floats count as float32.
        reduce: "" for an array of ``shape``, "all" for the sum of everything (0-d), "leading" for the sum over the
            dimensions before ``cut`` and "trailing" for that over those from ``cut`` on (flat).
        count: with more than 1 the expression gives so many elements, and the result is a list of their sums over the leading dimensions.
        out: where the result goes, of ``shape``; it may be one of ``arrays``, but overlaps with no other.
        run: without it the loop is only made.
    """
    if 0 in shape:
        return NotImplemented
    into = None if out is None else out.strides
    over = out is not None and any([a is out for a in arrays])
    asked = (key, reduce, cut, out_dtype, count, shape, into, over, *[(a.shape, a.strides, a.dtype) for a in arrays])
    plan = _plans.get(asked)
    if plan is None:
        if len(_plans) > 4096:
            _plans.clear()
        plan = _plans[asked] = _planned(key, expression, arrays, shape, reduce, out_dtype, cut, count, into, over)
    if plan is NotImplemented or not run:
        return NotImplemented
    call, made, dtype, sizes, grain, items, back, again = plan
    if again is not None:
        arrays = [np.tile(a.reshape(-1), again[0]) if k in again[1] else a for k, a in enumerate(arrays)]
    if out is not None:
        call(*arrays, out, *sizes, grain, items, grain)
        return out
    out = np.empty(made, dtype)
    call(*arrays, out, *sizes, grain, items, grain)
    if not reduce:
        return out if back is None else out.transpose(back)
    if reduce == "trailing":
        return out
    if reduce == "all":
        return np.add.reduce(out, out=...)
    total = np.add.reduce(out, 0) if len(out) > 1 else out[0]
    columns = len(total) // count
    return total if count == 1 else [total[k * columns : (k + 1) * columns] for k in range(count)]


def possible(key: Any, expression: Any, arrays: Any, shape: tuple[int, ...], reduce: str, out_dtype: Any, cut: int | None, count: int = 1) -> bool:
    """Whether there is such a loop, without making it."""
    return 0 not in shape and _planned(key, expression, arrays, shape, reduce, out_dtype, cut, count, None, False, False) is not NotImplemented


def _planned(key: Any, expression: Any, arrays: Any, shape: tuple[int, ...], reduce: str, out_dtype: Any, cut: int | None, count: int, into: Any, over: bool, make: bool = True) -> Any:
    """(built-in, shape and dtype of what it fills, its numbers, chunk, items, how the result's dimensions are put back, what is repeated)
    for arrays that lie like these; NotImplemented where there is none. The built-in is None where none is to be made."""
    dtype = None
    for a in arrays:
        d = a.dtype
        if d is not BOOL:
            if d is F16 and not build.halves():
                return NotImplemented
            if d is F16 or d is BF16:
                d = F32
            if dtype is None:
                dtype = d
            elif d is not dtype:
                return NotImplemented
    if dtype is not F32 and dtype is not F64:
        return NotImplemented
    strides = []
    for a in arrays:
        if any(s % a.itemsize for s in a.strides):
            return NotImplemented
        strides.append((0,) * (len(shape) - a.ndim) + tuple(0 if n == 1 else s // a.itemsize for n, s in zip(a.shape, a.strides)))
    out_dtype = out_dtype or dtype
    back, made, again = None, shape, None
    if reduce == "all" and (order := _order(shape, arrays)) is not None:
        made = tuple([shape[i] for i in order])
        strides = [tuple([s[i] for i in order]) for s in strides]
    if into is not None:
        strides.append(tuple([s // np.dtype(out_dtype).itemsize for s in into]))
        order = tuple(sorted(range(len(shape)), key=lambda i: -abs(into[i])))
        made = tuple([shape[i] for i in order])
        strides = [tuple([s[i] for i in order]) for s in strides]
    elif not reduce:
        order = _order(shape, arrays)
        if order is None:  # the result lies as NumPy's would
            order = tuple(range(len(shape)))
            own = np.add(*[np.broadcast_to(a, shape) for a in arrays[:2]]).strides if len(arrays) == 2 else ()
            if own and own != np.empty(shape, dtype).strides:
                return NotImplemented
        made = tuple([shape[i] for i in order])
        if order != tuple(range(len(shape))):
            back = tuple(np.argsort(order))
        lying, step = [0] * len(shape), 1
        for i in reversed(order):
            lying[i] = step
            step *= shape[i]
        strides = [tuple([s[i] for i in order]) for s in (*strides, tuple(lying))]
    if cut is None and (wide := _widened(made, strides)) is not None:
        again = wide[2:]
        full_rows = [(wide[1], 1) if any(s[:-1]) else (0, int(k in wide[3])) for k, s in enumerate(strides)]
        sizes, steps = (1, 1, wide[0], wide[1]), [(0, 0, *pair) for pair in full_rows]
    else:
        found = walk(made, strides, cut)
        if found is None:
            return NotImplemented
        sizes, steps = found
    upper, outer, rows, columns = sizes
    # Whether an operand moves from row to row; in a row: 0 one element for all, 1 side by side, 2 some elements apart.
    moves = tuple([(int(any(each[:-1])), each[-1] if each[-1] in (0, 1) else 2) for each in steps])
    numbers: Any = [step for each in zip(*steps) for step in each]
    items = upper * outer * rows
    if items == 1 and reduce not in ("leading", "trailing"):
        how, items, grain = "flat", columns, CHUNK
        moves, numbers = tuple([(0, inner) for _, inner in moves]), numbers[3 * len(steps) :]
    elif columns < _NARROW:
        return NotImplemented
    else:
        how, left = ("rows", 2) if outer * upper == 1 else ("two", 1) if upper == 1 else ("three", 0)
        grain = max(1, CHUNK // columns)
        numbers = [*numbers[left * len(steps) :], columns, rows, outer]
    if reduce == "leading":
        grain = max(grain, -(-items // _PARTS))
    kinds = tuple([_WORD[a.dtype] for a in arrays])
    full = (key, kinds, moves, reduce, out_dtype, how, count, over)
    call = _made.get(full)
    if call is None:
        call = _build(full, expression, _WORD[dtype], make)
        if make or call is NotImplemented:
            _made[full] = call
    if call is NotImplemented:
        return NotImplemented
    parts = -(-items // grain)
    made = {"": made, "all": (parts,), "trailing": (items,), "leading": (parts, count * columns)}[reduce]
    return call, made, out_dtype, numbers, grain, items, back, again


def _build(full: Any, expression: Any, word: str, make: bool) -> Any:
    _, kinds, moves, _, _, how, _, over = full
    said = f"fuse|{full}|{build.sources()}|{_entries()}"
    name = f"fused_{hashlib.sha256(said.encode()).hexdigest()[:16]}"
    params = [("ptr", f"x{i}") for i in range(len(kinds))] + [("ptr", "out")]
    params += [("i64", f"{level}{i}") for level in _LEVELS[how] for i in range(len(moves))]
    params += [("i64", "grain")] if how == "flat" else [("i64", "columns"), ("i64", "rows"), ("i64", "outers"), ("i64", "grain")]

    def write(module: Module) -> None:
        module.explicit = True
        if bounds.on():
            bounds.watch(module)
        inner = Function(
            module, name + ".loop", "void", [*params, ("i64", "begin"), ("i64", "end")], fast="contract",
            attributes="nounwind alwaysinline", linkage="internal", distinct=True,
        )  # fmt: skip
        space = Lanes(inner, word)
        if not over:  # what is written over could not be read again
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
        if not make:
            return write(Module())
        return load_entry("fused", said, write, name, [word for word, _ in params])
    except (NotNative, TypeError, AttributeError):
        return NotImplemented


class _Walk:
    """The loops over one chunk, ``turns`` vectors at a time. What is left of a row is done by vectors of which some lanes are not read and
    not written, so that what an element gives does not depend on where it lies."""

    def __init__(self, f: Function, full: Any, expression: Any, word: str, turns: int):
        _, self.kinds, self.moves, self.reduce, out_dtype, self.how, self.count, _ = full
        self.f, self.expression, self.word, self.out_word = f, expression, word, _WORD[out_dtype]
        self.width, self.turns = build.vector_bytes() // SIZES[word], turns
        given = iter(f.args)
        *self.pointers, self.out = (next(given) for _ in range(len(self.kinds) + 1))
        self.steps = {level: [next(given) for _ in self.moves] for level in _LEVELS[self.how]}
        if self.how != "flat":
            self.columns, self.rows, self.outers = next(given), next(given), next(given)
        self.grain, self.begin, self.end = given
        for p, kind in zip(self.pointers, self.kinds):
            p.of = kind
        self.out.of = self.out_word

    def write(self, space: Lanes) -> None:
        f, self.space = self.f, space
        self.still = [self.one(p, 0) if move == (0, 0) else None for p, move in zip(self.pointers, self.moves)]
        self.sums = [f.slot(0, vector(self.width, self.out_word)) for _ in range(self.turns)] if self.reduce else []
        if self.how == "flat":
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
            starts = [self.start(p, k, r) if move[0] else p for k, (p, move) in enumerate(zip(self.pointers, self.moves))]
            here = [self.one(p, 0) if move == (1, 0) else s for p, move, s in zip(starts, self.moves, self.still)]
            self.row(starts, here, part if self.reduce else self.start(self.out, -1, r), f.const(0), self.columns)
            if self.reduce == "trailing":
                f.store(self.summed(), f.offset(self.out, r))
        if self.reduce == "all":
            f.store(self.summed(), f.offset(self.out, self.begin // self.grain))

    def start(self, p: Value, k: int, r: Value) -> Value:
        """Where the r-th row of the k-th operand begins."""
        f, steps = self.f, {level: each[k] for level, each in self.steps.items()}
        if self.how == "rows":
            return f.offset(p, r * steps["row"])
        outer, at = r // self.rows, r % self.rows * steps["row"]
        if self.how == "three":
            at, outer = at + outer // self.outers * steps["upper"], outer % self.outers
        return f.offset(p, at + outer * steps["outer"])

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
        given = [[s if s is not None else self.read(p, k, i, mask) for k, (p, s) in enumerate(zip(starts, still))] for i in at]
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
                self.write_at(f.convert(x, "i8", signed=False), out, i, mask)
            else:
                self.write_at(self.rounded(f.coerce(self.space.value(x), vector(self.width, self.word))), out, i, mask)

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
        return self.f.spread(self.meant(self.f.load(self.f.offset(p, i), self.held(p).word), p.of), self.width)

    def read(self, p: Value, k: int, i: Value, mask: Value | None) -> Value:
        if self.moves[k][1] == 2:
            step = self.steps["inner"][k]
            x = gather.emit(self.f, self.f.offset(p, i * step), step, Vec[self.held(p), self.width], self.all(mask))
        else:
            x = self.get(self.f.offset(p, i), mask)
        return self.meant(x, p.of)

    def held(self, p: Value) -> Type:
        """What LLVM is told of the elements at an address."""
        assert p.of is not None
        word = _HELD.get(p.of, p.of)
        return Type(word, word)

    def meant(self, x: Value, word: str | None) -> Value:
        """What an element in memory stands for, in the type that is computed in."""
        f = self.f
        if word == "i8":
            return f.compare("ne", x, 0)
        if word == "half":
            return f.convert(f.bits(x, "half"), "float")
        return f.bits(f.convert(x, "i32") << 16, "float") if word == "bfloat" else x

    def rounded(self, x: Value) -> Value:
        """A result as it is written."""
        f = self.f
        if self.out_word == "half":
            return f.bits(f.convert(x, "half"), "i16")
        if self.out_word != "bfloat":
            return x
        if self.width != 16 or "avx512bf16" not in build.features()[2]:
            return self.rounded_by_steps(x)
        # The processor's instruction takes denormals for zeros.
        made = f.slot(f.bits(f.call("llvm.x86.avx512bf16.cvtneps2bf16.512", "<16 x bfloat>", x), "i16"))
        denormal = f.call("llvm.x86.avx512.fpclass.ps.512", "<16 x i1>", x, Value(f, "32", "i32"))
        with f.when(any_of.emit(f, denormal)):
            made.set(self.rounded_by_steps(x))
        return made.get()

    def rounded_by_steps(self, x: Value) -> Value:
        """To the nearest bfloat16, of two as near to the even one; a NaN stays one."""
        f = self.f
        b = f.bits(x, "i32", signed=False)
        high = b >> 16
        return f.convert(f.select(f.compare("eq", x, x), (b + ((high & 1) + 0x7FFF)) >> 16, high | 0x40), "i16")

    def get(self, p: Value, mask: Value | None) -> Value:
        t = Vec[self.held(p), self.width]
        return load.emit(self.f, p, t) if mask is None else load_where.emit(self.f, p, t, mask)

    def write_at(self, x: Value, out: Value, i: Value, mask: Value | None) -> None:
        """Write a vector of results from the i-th of a row on."""
        if self.moves[-1][1] == 2:
            step = self.steps["inner"][-1]
            scatter.emit(self.f, self.f.offset(out, i * step), step, x, self.all(mask))
        else:
            self.put(x, self.f.offset(out, i), mask)

    def all(self, mask: Value | None) -> Value:
        return self.f.const(True, vector(self.width, "i1")) if mask is None else mask

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

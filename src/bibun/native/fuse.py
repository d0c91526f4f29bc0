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

from . import bounds
from .ir import Function, Module, Value
from .kernel import _sources, load_entry, make_entry
from .lanes import Lanes, NotNative

__all__ = ["evaluate"]

F32, F64, BOOL = np.dtype(np.float32), np.dtype(np.float64), np.dtype(bool)
_WORD = {F32: "float", F64: "double", BOOL: "i8"}
#: Elements of a chunk: what one thread takes at a time.
CHUNK = 1 << 14
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
    out_word = _WORD[out_dtype]
    params = [("ptr", f"x{i}") for i in range(len(kinds))] + [("ptr", "out"), ("i64", "columns"), ("i64", "grain")]

    def write(module: Module) -> None:
        if bounds.on():
            bounds.watch(module)
        fast = "contract reassoc" if reduce else "contract"
        inner = Function(
            module, name + ".loop", "void", [*params, ("i64", "begin"), ("i64", "end")], fast="contract",
            attributes="nounwind alwaysinline", linkage="internal", distinct=True,
        )  # fmt: skip
        *pointers, out, columns, grain, begin, end = inner.args
        for p, kind in zip(pointers, kinds):
            p.of = kind
        out.of = out_word

        def read(p: Value, i: Any) -> Value:
            x = inner.load(inner.offset(p, i))
            return inner.compare("ne", x, 0) if p.of == "i8" else x

        def walk(space: Lanes) -> None:
            def result(values: list[Value]) -> Any:
                made = expression(space, *values)
                if count > 1:
                    return [space.value(x) for x in made]
                if out_word == "i8":
                    return inner.convert(space.truth(made), "i8", signed=False)
                return space.value(made)

            still = [read(p, 0) if move == (0, 0) else None for p, move in zip(pointers, moves)]
            if flat:
                total = inner.slot(0, out_word) if reduce else None
                with inner.loop(begin, end) as i:
                    x = result([s if s is not None else read(p, i) for p, s in zip(pointers, still)])
                    if total is None:
                        inner.store(x, inner.offset(out, i))
                    else:
                        inner.fast = fast
                        total.set(total.get() + x)
                        inner.fast = "contract"
                if total is not None:
                    inner.store(total.get(), inner.offset(out, begin // grain))
            else:
                if reduce == "leading":
                    part = inner.offset(out, (begin // grain) * (columns * count))
                    with inner.loop(0, columns * count) as j:
                        inner.store(0, inner.offset(part, j))
                total = inner.slot(0, out_word) if reduce in ("all", "trailing") else None
                with inner.loop(begin, end) as r:
                    here = [read(p, r) if move == (1, 0) else s for p, move, s in zip(pointers, moves, still)]
                    starts = [inner.offset(p, r * columns) if move == (1, 1) else p for p, move in zip(pointers, moves)]
                    if reduce == "trailing":
                        assert total is not None
                        total.set(0)
                    row = inner.offset(out, r * columns) if not reduce else out
                    with inner.loop(0, columns) as j:
                        x = result([h if h is not None else read(p, j) for p, h in zip(starts, here)])
                        if not reduce:
                            inner.store(x, inner.offset(row, j))
                        elif reduce == "leading":
                            for k, each in enumerate(x if count > 1 else [x]):
                                at = inner.offset(part, columns * k + j if k else j)
                                inner.store(inner.load(at) + each, at)
                        else:
                            assert total is not None
                            inner.fast = fast
                            total.set(total.get() + x)
                            inner.fast = "contract"
                    if reduce == "trailing":
                        assert total is not None
                        inner.store(total.get(), inner.offset(out, r))
                if reduce == "all":
                    assert total is not None
                    inner.store(total.get(), inner.offset(out, begin // grain))

        space = Lanes(inner, word)
        if word == "float":
            space.far = inner.slot(0, "i32")
        walk(space)
        if space.asked_far:
            with inner.when(space.far.get() > 0):
                walk(Lanes(inner, word))
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


@cache
def _entries() -> str:
    """A hash of the entries' formulas, for the keys of cached object code."""
    from pathlib import Path

    made = hashlib.sha256()
    for file in sorted((Path(__file__).parent.parent / "ops").glob("*.py")):
        made.update(file.read_bytes())
    return made.hexdigest()[:20]

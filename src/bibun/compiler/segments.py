"""Runs of small steps as one native function each.

In: the steps of a program, on arrays whose places in memory are known (the recording still holds them). Out: for each run of steps that
all have a native form, a `Segment`: a built-in function that takes the arrays which live outside the run and does the whole run. Views
cost nothing: they are other offsets and strides of the same memory. What only the run itself needs lies in one scratch block.

Arithmetic is done as it is written, without contraction; sums may be added up in another order than NumPy's.
"""

from __future__ import annotations

import hashlib
import math
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from ..backends.large import LARGE, native
from ..native import bounds, build, maths
from ..native.ir import SIZES, Function, Later, Module, Value, vector
from ..native.kernel import builtin
from ..native.lanes import Lanes, NotNative, _device
from ..native.lang import Type, Vec, first_lanes, load, load_where, store_where
from ..tensor import Tensor
from .layout import Layout
from .recorder import Slot, Step
from .sizes import sized

__all__ = ["Segment", "find_segments"]

F32, F64, I64, BOOL = (np.dtype(t) for t in (np.float32, np.float64, np.int64, bool))
_WORD = {F32: "float", F64: "double", I64: "i64", BOOL: "i8"}
#: Multiplications from which a product goes to BLAS, and from which it is left to the threads.
_BLAS, _SHARED = 1 << 12, 1 << 20
#: Elements from which a sum is left to the threads.
_MUCH = 1 << 16
#: Elements from which loops are written in vectors; elementwise steps in one loop at most; copies of a formula at most.
_WIDE, _TOGETHER, _COPIES = 4, 24, 2
#: The most steps of a run: what LLVM compiles in well under a second.
_MOST = 400


class Cell:
    """Where a value lies: in which block, how far in, and how."""

    __slots__ = ("block", "dtype", "offset", "shape", "strides")

    def __init__(self, block: Any, offset: int, a: Layout):
        self.block, self.offset = block, offset
        self.shape, self.strides, self.dtype = a.shape, a.strides, a.dtype

    @property
    def key(self) -> Any:
        """What tells this place from others."""
        return self.block, self.offset, self.shape, self.strides

    def same(self, other: Cell) -> bool:
        return self.offset == other.offset and self.shape == other.shape and self.strides == other.strides

    def seen(self, shape: tuple[int, ...], strides: tuple[int, ...]) -> Cell:
        """The same memory, looked at otherwise."""
        made = object.__new__(Cell)
        made.block, made.offset, made.dtype = self.block, self.offset, self.dtype
        made.shape, made.strides = shape, strides
        return made

    def spread(self, shape: tuple[int, ...]) -> Cell:
        """Broadcast to a shape."""
        extra = len(shape) - len(self.shape)
        return self.seen(shape, (0,) * extra + tuple(0 if n == 1 else s for n, s in zip(self.shape, self.strides)))


def _loops(shape: tuple[int, ...], cells: list[Cell]) -> list[tuple[int, list[int]]]:
    """The loops over corresponding elements, as few as will do: (length, each cell's stride). The last cell moves by the least innermost."""
    merged: list[tuple[int, list[int]]] = []
    for k, n in enumerate(shape):
        if n == 1:
            continue
        strides = [c.strides[k] for c in cells]
        if merged and all(a == b * n for a, b in zip(merged[-1][1], strides)):
            merged[-1] = (merged[-1][0] * n, strides)
        else:
            merged.append((n, strides))
    merged.sort(key=lambda d: -abs(d[1][-1]) if d[1][-1] else -(1 << 60))
    return merged


class Elementwise:
    """One elementwise step, or several one after another on the elements of one shape: what one makes, the next has at hand."""

    def __init__(self, writer: Writer, form: Any, static: Any, word: str, shape: tuple[int, ...], operands: list[Cell], target: Cell):
        self.writer, self.word, self.shape = writer, word, shape
        self.parts = [(form, static, operands, target)]
        self.actions: list[Elementwise] = [self]
        self.lengths = [n for n, _ in _loops(shape, [*operands, target])]

    def joined(self, other: Elementwise) -> Elementwise | None:
        """This and then another in the same loops, where that is right and no worse."""
        if self.word != other.word or self.shape != other.shape or self.lengths != other.lengths or len(self.parts) >= _TOGETHER:
            return None
        made = {target.block: target for *_, target in self.parts}
        for cell in other.parts[0][2]:
            mine = made.get(cell.block)
            if mine is not None and not mine.same(cell):
                return None  # it reads elements that are not made yet
        joint: Elementwise = object.__new__(Elementwise)
        joint.writer, joint.word, joint.shape, joint.lengths = self.writer, self.word, self.shape, self.lengths
        joint.parts, joint.actions = self.parts + other.parts, self.actions + other.actions
        return joint

    def __call__(self, f: Function) -> None:
        w = self.writer
        inside = set(self.actions)
        reads: dict[Any, Cell] = {}
        writes: dict[Any, Cell] = {}
        made: set[Any] = set()
        for _, _, operands, target in self.parts:
            for c in operands:
                if c.block not in made:
                    reads.setdefault(c.key, c)
            made.add(target.block)
            if target.block not in w.moved or w.readers.get(target.block, set()) - inside:
                writes[target.block] = target
        cells = [*reads.values(), *writes.values(), self.parts[-1][3]]
        loops = _loops(self.shape, cells)
        space = Lanes(f, self.word)
        item = SIZES[self.word]
        width = build.vector_bytes() // item
        wide = bool(loops) and loops[-1][0] >= _WIDE and all(s == 0 or s == c.dtype.itemsize for s, c in zip(loops[-1][1], cells)) and 0 not in loops[-1][1][len(reads) :]

        def elements(values: dict[Any, Value], put: Callable[[Cell, Any], None]) -> None:
            here: dict[Any, Any] = {}
            for form, static, operands, target in self.parts:
                given = [here[c.block] if c.block in here else values[c.key] for c in operands]
                x = form(space, *given, *static)
                here[target.block] = x = space.truth(x) if target.dtype == BOOL else x if isinstance(x, Value) else f.const(x, self.word)
                if target.block in writes:
                    put(target, x)

        def one(p: list[Value]) -> None:
            at = dict(zip(writes, p[len(reads) :]))
            elements({k: w.read(f, x) for k, x in zip(reads, p)}, lambda c, x: w.write(f, x, at[c.block], space))

        if not wide:
            w.levels(f, loops, cells, one)
            return
        n, strides = loops[-1]

        def row(p: list[Value]) -> None:
            still = {k: f.spread(w.read(f, x), width) for k, x, s in zip(reads, p, strides) if s == 0}
            at = dict(zip(writes, p[len(reads) :]))

            def vector_at(i: Any, mask: Value | None) -> None:
                def get(x: Value) -> Value:
                    t = Vec[Type(x.of or "", x.of or ""), width]
                    q = f.offset(x, i)
                    v = load.emit(f, q, t) if mask is None else load_where.emit(f, q, t, mask)
                    return f.compare("ne", v, 0) if x.of == "i8" else v

                def put(c: Cell, x: Any) -> None:
                    p = at[c.block]
                    x = f.convert(f.coerce(x, vector(width, "i1")), "i8", signed=False) if c.dtype == BOOL else f.coerce(x, vector(width, self.word))
                    if mask is None:
                        f.store(x, f.offset(p, i), x.type)
                    else:
                        store_where.emit(f, f.offset(p, i), x, mask)

                elements({k: still[k] if k in still else get(x) for k, x in zip(reads, p)}, put)

            if isinstance(n, Later):
                length = f.const(n)
                done = f.slot(f.const(0))
                with f.loop(0, f.binary("sub", length, width - 1), width) as i:
                    vector_at(i, None)
                    done.set(i + width)
                with f.loop(done.get(), length, width) as i:
                    vector_at(i, first_lanes.emit(f, f.binary("sub", length, i), width))
                return
            whole = n // width * width
            if whole:
                with f.loop(0, whole, width) as i:
                    vector_at(i, None)
            if n > whole:
                vector_at(f.const(whole), Value(f, f"<{', '.join(f'i1 {int(k < n - whole)}' for k in range(width))}>", vector(width, "i1")))

        w.levels(f, loops[:-1], cells, row)


def _together(actions: list[Callable[[Function], None]]) -> list[Callable[[Function], None]]:
    """Actions with elementwise ones that follow each other joined."""
    made: list[Callable[[Function], None]] = []
    for act in actions:
        joint = made[-1].joined(act) if made and isinstance(act, Elementwise) and isinstance(made[-1], Elementwise) else None
        if joint is not None:
            made[-1] = joint
        else:
            made.append(act)
    return made


def _not_inline(module: Module, f: Function) -> None:
    """Have functions of vectors that are called from many places be there once: LLVM takes its time for each copy."""
    text = "\n".join(f.lines)
    for name, g in module.functions.items():
        if g is not f and g.returns.startswith("<") and text.count(f"@{name}(") > _COPIES:
            g.attributes = "nounwind noinline " + build.attributes()


class Writer:
    """Writes the native function of a run."""

    def __init__(self, layouts: list[Layout], sizes: tuple[str, ...] = ()):
        self.layouts, self.sizes = layouts, sizes
        self.module = Module()
        if bounds.on():
            bounds.watch(self.module)
        self.cells: dict[int, Cell] = {}
        self.outside: list[int] = []  # values that are given as arrays
        self.blocks: list[int] = []  # values that lie in the scratch block
        self.scratch = 0
        self.actions: list[Callable[[Function], None]] = []
        self.readers: dict[Any, set[Any]] = {}  # block -> the actions that read it
        self.flagged = False
        self.bases: dict[Any, Value] = {}
        self.moved: dict[Any, tuple[Any, int]] = {}  # blocks that lie within another

    # places

    def array(self, n: int) -> Layout:
        return self.layouts[n]

    def cell(self, n: int) -> Cell:
        """Where a value lies; one that nothing in the run has made comes from outside."""
        made = self.cells.get(n)
        if made is None:
            a = self.array(n)
            if a.dtype not in _WORD:
                raise NotNative(f"an operand of {a.dtype}")
            made = self.cells[n] = Cell(("outside", n), 0, a)
            self.outside.append(n)
        return made

    def make(self, n: int) -> Cell:
        """Room for a value that the run makes."""
        a = self.array(n)
        if a.dtype not in _WORD or a.size >= LARGE or a.size == 0 or not a.dense:
            raise NotNative("a result of this size, dtype or layout")
        made = self.cells[n] = Cell(("made", n), 0, a)
        return made

    def scratch_without(self, kept: set[int]) -> int:
        """Have all values but some lie in the scratch block; says how large it is."""
        size = 0
        for n, c in self.cells.items():
            if c.block == ("made", n) and n not in kept:
                self.moved["made", n] = (("scratch",), size)
                need = self.array(n).nbytes
                size += need + 64 if isinstance(need, Later) else -(-max(need, 1) // 64) * 64
        return size

    # instructions

    def pointer(self, f: Function, cell: Cell, indices: list[tuple[Value, int]]) -> Value:
        """The address of an element: (index, stride in bytes) of each loop around it."""
        block, base = self.moved.get(cell.block, (cell.block, 0))
        at: Any = base + cell.offset
        for i, stride in indices:
            if stride:
                step = i * stride
                at = step + at if isinstance(at, Value) or at else step
        p = self.bases[block]
        if isinstance(at, Value) or at:
            offset = f.const(at).name if not isinstance(at, Value) else at.name
            p = f.emit("ptr", f"getelementptr i8, ptr {p.name}, i64 {offset}")
        return Value(f, p.name, "ptr", _WORD[cell.dtype])

    def nest(self, f: Function, shape: tuple[int, ...], cells: list[Cell], body: Callable[[list[Value]], None]) -> None:
        """Run ``body`` on the addresses of corresponding elements."""
        self.levels(f, _loops(shape, cells), cells, body)

    def levels(self, f: Function, loops: list[tuple[int, list[int]]], cells: list[Cell], body: Callable[[list[Value]], None]) -> None:
        """Run ``body`` within loops, given by their length and each cell's stride."""
        around: list[list[tuple[Value, int]]] = [[] for _ in cells]

        def level(k: int) -> None:
            if k == len(loops):
                body([self.pointer(f, c, a) for c, a in zip(cells, around)])
                return
            n, strides = loops[k]
            with f.loop(0, n) as i:
                for a, s in zip(around, strides):
                    a.append((i, s))
                level(k + 1)
                for a in around:
                    a.pop()

        level(0)

    def read(self, f: Function, p: Value) -> Value:
        x = f.load(p)
        return f.compare("ne", x, f.const(0, "i8")) if p.of == "i8" else x

    def write(self, f: Function, x: Any, p: Value, space: Lanes) -> None:
        word = p.of or "float"
        if word == "i8":
            x = f.convert(space.truth(x), "i8", signed=False)
        elif not isinstance(x, Value):
            x = f.const(x, word)
        elif x.type != word:
            x = f.convert(x, word)
        f.store(x, p, word)

    # steps

    def add(self, step: Step) -> None:
        """Have a step be part of the run; NotNative where it cannot be."""
        before = len(self.actions)
        self._add(step)
        for act in self.actions[before:]:
            for n in step.takes:
                if n is not None:
                    self.readers.setdefault(self.cells[n].block, set()).add(act)

    def _add(self, step: Step) -> None:
        kind = step.kind
        if kind == "run":
            if any(isinstance(s, Slot) for s in step.static[0]) or step.static[1] is not None:
                raise NotNative("statics that are values")
            self.run(step)
        elif kind == "own" or kind == "cast":
            source, target = self.cell(step.takes[0]), self.make(step.gives[0])
            if kind == "cast" and BOOL in (source.dtype, target.dtype):
                raise NotNative("a cast of conditions")
            self.copy(source, target)
        elif kind == "write":
            target, source = self.cell(step.takes[0]), self.cell(step.takes[1])
            if self.array(step.takes[0]).size >= LARGE or BOOL in (source.dtype, target.dtype) and source.dtype != target.dtype or I64 in (target.dtype,) and source.dtype != I64:
                raise NotNative("a write of this size or dtype")
            self.copy(source.spread(target.shape), target)
        else:
            raise NotNative(kind)

    def copy(self, source: Cell, target: Cell) -> None:
        def act(f: Function) -> None:
            def body(p: list[Value]) -> None:
                x = f.load(p[0])
                word = p[1].of or ""
                f.store(x if x.type == word else f.convert(x, word), p[1], word)

            self.nest(f, target.shape, [source, target], body)

        self.actions.append(act)

    def run(self, step: Step) -> None:
        prim = step.what
        if not prim.variadic and len(step.takes) >= 1 and len(step.gives) == 1 and step.takes[0] is not None:
            a, out = self.array(step.takes[0]), self.array(step.gives[0])
            if a.root == out.root and a.dtype == out.dtype and prim.family != "elementwise":
                source = self.cell(step.takes[0])
                self.cells[step.gives[0]] = Cell(source.block, source.offset + out.offset - a.offset, out)
                return
        if prim.family == "elementwise":
            self.elementwise(step)
            return
        form = FORMS.get(prim.name)
        if form is None or prim.variadic:
            raise NotNative(prim.name)
        form(self, step)

    def elementwise(self, step: Step) -> None:
        prim, static = step.what, step.static[0]
        if prim.several or any(n is None for n in step.takes) or sized(static):
            raise NotNative(prim.name)
        out = self.array(step.gives[0])
        operands = [self.cell(n).spread(out.shape) for n in step.takes]
        kinds = {c.dtype for c in operands} - {BOOL}
        if len(kinds) != 1 or kinds <= {I64} or any(self.array(n).ndim > out.ndim for n in step.takes):
            raise NotNative("operands of these dtypes")
        word = _WORD[kinds.pop()]
        form = prim.native_form or prim.run
        target = self.make(step.gives[0])
        if target.dtype not in (BOOL, F32 if word == "float" else F64):
            raise NotNative("a result of this dtype")

        self.trial(Elementwise(self, form, static, word, out.shape, operands, target))

    def trial(self, act: Callable[[Function], None]) -> None:
        """Keep an action that can be written; NotNative where it cannot."""
        f = Function(Module(), "trial", "void", [], fast="")
        before, self.bases = self.bases, _Anything(f)  # type: ignore[assignment]
        try:
            act(f)
        except (TypeError, AttributeError, KeyError) as why:
            raise NotNative(str(why)) from None
        finally:
            self.bases = before
        self.actions.append(act)

    def float_word(self, *cells: Cell) -> str:
        """The one floating type of cells."""
        kinds = {c.dtype for c in cells}
        if len(kinds) != 1 or not kinds <= {F32, F64}:
            raise NotNative("operands of these dtypes")
        return _WORD[kinds.pop()]

    def function(self, name: str) -> str:
        """The text of the module: ``name`` for Python, around the run."""
        module = self.module
        blocks: dict[Any, None] = {}
        for c in self.cells.values():
            blocks.setdefault(self.moved.get(c.block, (c.block, 0))[0])
        self.words = [*["ptr"] * (len(blocks) + 1), *["i64"] * len(self.sizes)]
        f = Function(module, name, "void", [("ptr", "arguments"), ("i64", "begin"), ("i64", "end")], attributes="nounwind " + build.attributes(), fast="")
        args = [f.emit(word, f"load {word}, ptr {f.emit('ptr', f'getelementptr i64, ptr {f.args[0].name}, i64 {k}').name}") for k, word in enumerate(self.words)]
        self.bases = dict(zip(blocks, args))
        self.flag = args[len(blocks)]
        f.sizes = dict(zip(self.sizes, args[len(blocks) + 1 :]))
        for act in _together(self.actions):
            act(f)
        f.give()
        _not_inline(module, f)
        self.order = list(blocks)
        if bounds.on():
            bounds.finish(module, name)
        return module.text()


class _Anything(dict[Any, Value]):
    """Stands for the addresses of all blocks while an action is tried."""

    def __init__(self, f: Function):
        self.f = f

    def __missing__(self, block: Any) -> Value:
        return self.f.const(0, "ptr")


# Forms of primitives that are not elementwise


def _total(w: Writer, f: Function, shape: tuple[int, ...], cells: list[Cell], word: str, term: Callable[[list[Value]], Value]) -> Value:
    """The sum of terms over a nest."""
    total = f.slot(0, word)

    def body(p: list[Value]) -> None:
        x = term(p)
        f.fast = "reassoc"
        total.set(total.get() + x)
        f.fast = ""

    w.nest(f, shape, cells, body)
    return total.get()


def _sum(w: Writer, step: Step, mean: bool = False) -> None:
    static = dict(zip(step.what.static, step.static[0]))
    x = w.cell(step.takes[0])
    word = w.float_word(x)
    if x.block[0] == "outside" and w.array(step.takes[0]).size >= _MUCH:
        raise NotNative("a sum that threads share")  # each of what it has made itself
    axis, n = static.get("axis"), len(x.shape)
    axes = tuple(range(n)) if axis is None else (axis,) if isinstance(axis, int) else tuple(axis)
    out = w.make(step.gives[0])
    if out.dtype != x.dtype:
        raise NotNative("a sum in another dtype")
    kept = [k for k in range(n) if k not in axes]
    strides = list(out.strides)
    if len(out.shape) == n:
        strides = [strides[k] for k in kept]
    count = math.prod(x.shape[a] for a in axes)
    one = out.seen(tuple(x.shape[k] for k in kept), tuple(strides))
    inner = [(x.shape[a], x.strides[a]) for a in axes]
    first = x.seen(one.shape, tuple(x.strides[k] for k in kept))

    def act(f: Function) -> None:
        if kept and kept[-1] == n - 1 and count > 1:  # rows are added up
            zero = f.const(0, word)
            w.nest(f, one.shape, [one], lambda p: f.store(zero, p[0], word))
            wide = one.seen((*[m for m, _ in inner], *one.shape), (*[0] * len(inner), *one.strides))
            given = x.seen(wide.shape, (*[s for _, s in inner], *first.strides))

            def add(p: list[Value]) -> None:
                f.store(f.load(p[1]) + f.load(p[0]), p[1], word)

            w.nest(f, wide.shape, [given, wide], add)
            if mean:
                w.nest(f, one.shape, [one], lambda p: f.store(f.load(p[0]) / f.const(count, word), p[0], word))
            return

        def body(p: list[Value]) -> None:
            at = Cell.__new__(Cell)
            at.block, at.offset, at.dtype = ("here", id(p)), 0, x.dtype
            at.shape, at.strides = tuple(m for m, _ in inner), tuple(s for _, s in inner)
            w.bases[at.block] = p[0]
            total = _total(w, f, at.shape, [at], word, lambda q: f.load(q[0]))
            f.store(total / f.const(count, word) if mean else total, p[1], word)

        w.nest(f, one.shape, [first, one], body)

    w.trial(act)


def _product(w: Writer, a: Cell, b: Cell, out: Cell, bias: Cell | None) -> None:
    """out (m, n) = a (m, k) @ b (k, n) + bias."""
    word = w.float_word(a, b, out)
    (m, k), n = a.shape, b.shape[1]
    if m * k * n >= _SHARED:
        raise NotNative("a product that threads share")
    item = a.dtype.itemsize
    if m * k * n >= _BLAS and (layouts := [_layout(c, item) for c in (a, b)]) and None not in layouts and out.strides[1] == item and out.strides[0] >= n * item:
        from ..native import blas

        if not blas.available():
            raise NotNative("a product without BLAS")
        (at, lda), (bt, ldb) = layouts[0], layouts[1]  # type: ignore[misc]

        def call(f: Function) -> None:
            if bias is not None:
                w.nest(f, out.shape, [bias.spread(out.shape), out], lambda p: f.store(f.load(p[0]), p[1], word))
            i32, i64 = (lambda v: f.const(v, "i32")), (lambda v: f.const(v, "i64"))
            x, y, z = (w.pointer(f, c, []) for c in (a, b, out))
            f.call(f"bibun_{'s' if word == 'float' else 'd'}gemm", "void", i32(101), i32(at), i32(bt), i64(m), i64(n), i64(k), f.const(1, word), x, i64(lda), y, i64(ldb),
                   f.const(0 if bias is None else 1, word), z, i64(out.strides[0] // item))  # fmt: skip

        w.trial(call)
        return

    def act(f: Function) -> None:
        if b.strides[0] == item and k > 1:  # dot products
            start = bias.spread(out.shape) if bias is not None else out
            row = a.seen(out.shape, (a.strides[0], 0))
            column = b.seen(out.shape, (0, b.strides[1]))

            def body(p: list[Value]) -> None:
                x, y = _line(w, p[0], k, a.strides[1], a), _line(w, p[1], k, b.strides[0], b)
                total = _total(w, f, (k,), [x, y], word, lambda q: f.load(q[0]) * f.load(q[1]))
                f.store(total + f.load(p[2]) if bias is not None else total, p[3], word)

            w.nest(f, out.shape, [row, column, start, out], body)
            return
        if bias is not None:
            w.nest(f, out.shape, [bias.spread(out.shape), out], lambda p: f.store(f.load(p[0]), p[1], word))
        elif k > 1:
            w.nest(f, out.shape, [out], lambda p: f.store(f.const(0, word), p[0], word))
        shape = (k, m, n)
        wide = [a.seen(shape, (a.strides[1], a.strides[0], 0)), b.seen(shape, (b.strides[0], 0, b.strides[1])), out.seen(shape, (0, *out.strides))]

        def add(p: list[Value]) -> None:
            x = f.load(p[0]) * f.load(p[1])
            f.store(x if k == 1 and bias is None else f.load(p[2]) + x, p[2], word)

        w.nest(f, shape, wide, add)

    w.trial(act)


def _line(w: Writer, p: Value, n: int, stride: int, like: Cell) -> Cell:
    """``n`` elements from an address on."""
    made = Cell.__new__(Cell)
    made.block, made.offset, made.dtype, made.shape, made.strides = ("here", p.name), 0, like.dtype, (n,), (stride,)
    w.bases[made.block] = p
    return made


def _layout(c: Cell, item: int) -> Any:
    (rows, columns), (s, t) = c.shape, c.strides
    if t == item and s >= columns * item and s % item == 0:
        return 111, max(s // item, 1)
    if s == item and t >= rows * item and t % item == 0:
        return 112, max(t // item, 1)
    return None


def _flat(c: Cell) -> Cell:
    """An array of any dimensions as a matrix of its last."""
    if len(c.shape) == 2:
        return c
    if len(c.shape) == 1:
        return c.seen((1, *c.shape), (0, *c.strides))
    rows, step = 1, None
    for n, s in zip(reversed(c.shape[:-1]), reversed(c.strides[:-1])):
        if n != 1:
            if step is not None and s != step * rows:
                raise NotNative("rows that do not lie evenly")
            step = s if step is None else step
            rows *= n
    return c.seen((rows, c.shape[-1]), (step or 0, c.strides[-1]))


def _turned(c: Cell) -> Cell:
    return c.seen(c.shape[::-1], c.strides[::-1])


def _linear(w: Writer, step: Step) -> None:
    x, weight = w.cell(step.takes[0]), w.cell(step.takes[1])
    bias = w.cell(step.takes[2]) if step.takes[2] is not None else None
    if len(weight.shape) != 2 or bias is not None and bias.dtype != weight.dtype:
        raise NotNative("linear")
    out = w.make(step.gives[0])
    flat = _flat(out)
    _product(w, _flat(x), _turned(weight), flat, bias if bias is None or len(bias.shape) <= 2 else None)


def _linear_transpose(w: Writer, step: Step) -> None:
    out = w.make(step.gives[0])
    _product(w, _flat(w.cell(step.takes[0])), w.cell(step.takes[1]), _flat(out), None)


def _outer_sum(w: Writer, step: Step) -> None:
    y, x = _flat(w.cell(step.takes[0])), _flat(w.cell(step.takes[1]))
    _product(w, _turned(y), x, w.make(step.gives[0]), None)


def _mm(w: Writer, step: Step) -> None:
    a, b = w.cell(step.takes[0]), w.cell(step.takes[1])
    if len(a.shape) != 2 or len(b.shape) != 2:
        raise NotNative("matmul")
    _product(w, a, b, w.make(step.gives[0]), None)


def _mse(w: Writer, step: Step) -> None:
    x, y = w.cell(step.takes[0]), w.cell(step.takes[1])
    word = w.float_word(x, y)
    (reduction,) = step.static[0]
    if x.shape != y.shape or not reduction:
        raise NotNative("mse_loss")
    out = w.make(step.gives[0])
    count = math.prod(x.shape)

    def act(f: Function) -> None:
        def term(p: list[Value]) -> Value:
            d = f.load(p[0]) - f.load(p[1])
            return d * d

        total = _total(w, f, x.shape, [x, y], word, term)
        f.store(total / f.const(count, word) if reduction == 1 else total, w.pointer(f, out, []), word)

    w.trial(act)


def _mse_gradient(w: Writer, step: Step) -> None:
    g, x, y = (w.cell(n) for n in step.takes)
    word = w.float_word(g, x, y)
    (reduction,) = step.static[0]
    out = w.make(step.gives[0])
    if not x.shape == y.shape == out.shape or reduction and math.prod(g.shape) != 1:
        raise NotNative("mse_loss_gradient")
    count = math.prod(x.shape)

    def act(f: Function) -> None:
        scale = f.const(2 / count if reduction == 1 else 2, word)
        w.nest(f, out.shape, [x, y, g.spread(out.shape), out], lambda p: f.store((f.load(p[0]) - f.load(p[1])) * (f.load(p[2]) * scale), p[3], word))

    w.trial(act)


def _rows(w: Writer, step: Step, count: int) -> tuple[list[Cell], Cell, str]:
    """The operands and result of something done to the last dimension of float32 arrays of one shape."""
    cells = [w.cell(n) for n in step.takes[:count]]
    out = w.make(step.gives[0])
    axis = step.static[0][-1]
    if any(c.dtype != F32 or c.shape != out.shape for c in cells) or not out.shape or axis != len(out.shape) - 1:
        raise NotNative("rows of this kind")
    return cells, out, "float"


def _each_row(w: Writer, f: Function, cells: list[Cell], body: Callable[[list[Cell]], None]) -> None:
    lead = cells[0].shape[:-1]
    n = cells[0].shape[-1]
    w.nest(f, lead, [c.seen(lead, c.strides[:-1]) for c in cells], lambda p: body([_line(w, at, n, c.strides[-1], c) for at, c in zip(p, cells)]))


def _largest(w: Writer, f: Function, x: Cell) -> Value:
    top = f.slot(-math.inf, "float")
    w.nest(f, x.shape, [x], lambda p: top.set(f.maximum(top.get(), f.load(p[0]))))
    return top.get()


def _log_softmax(w: Writer, step: Step) -> None:
    (x,), out, word = _rows(w, step, 1)

    def act(f: Function) -> None:
        def row(c: list[Cell]) -> None:
            top = _largest(w, f, c[0])
            total = _total(w, f, c[0].shape, [c[0]], word, lambda p: _device(f, maths.exp, f.load(p[0]) - top))
            log = _device(f, maths.log, total)
            w.nest(f, c[0].shape, c, lambda p: f.store(f.load(p[0]) - top - log, p[1], word))

        _each_row(w, f, [x, out], row)

    w.trial(act)


def _softmax(w: Writer, step: Step) -> None:
    (x,), out, word = _rows(w, step, 1)

    def act(f: Function) -> None:
        def row(c: list[Cell]) -> None:
            top = _largest(w, f, c[0])
            total = f.slot(0, word)

            def raise_(p: list[Value]) -> None:
                e = _device(f, maths.exp, f.load(p[0]) - top)
                f.store(e, p[1], word)
                f.fast = "reassoc"
                total.set(total.get() + e)
                f.fast = ""

            w.nest(f, c[0].shape, c, raise_)
            scale = total.get()
            w.nest(f, c[0].shape, [c[1]], lambda p: f.store(f.load(p[0]) / scale, p[0], word))

        _each_row(w, f, [x, out], row)

    w.trial(act)


def _log_softmax_gradient(w: Writer, step: Step) -> None:
    (g, result), out, word = _rows(w, step, 2)

    def act(f: Function) -> None:
        def row(c: list[Cell]) -> None:
            total = _total(w, f, c[0].shape, [c[0]], word, lambda p: f.load(p[0]))
            w.nest(f, c[0].shape, c, lambda p: f.store(f.load(p[0]) - _device(f, maths.exp, f.load(p[1])) * total, p[2], word))

        _each_row(w, f, [g, result, out], row)

    w.trial(act)


def _softmax_gradient(w: Writer, step: Step) -> None:
    (g, result), out, word = _rows(w, step, 2)

    def act(f: Function) -> None:
        def row(c: list[Cell]) -> None:
            total = _total(w, f, c[0].shape, c[:2], word, lambda p: f.load(p[0]) * f.load(p[1]))
            w.nest(f, c[0].shape, c, lambda p: f.store((f.load(p[0]) - total) * f.load(p[1]), p[2], word))

        _each_row(w, f, [g, result, out], row)

    w.trial(act)


FORMS: dict[str, Callable[[Writer, Step], None]] = {
    "sum": _sum, "mean": lambda w, s: _sum(w, s, True), "linear": _linear, "linear_transpose": _linear_transpose, "outer_sum": _outer_sum, "mm": _mm, "matmul": _mm, "mse_loss": _mse,
    "mse_loss_gradient": _mse_gradient, "log_softmax": _log_softmax, "softmax": _softmax, "log_softmax_gradient": _log_softmax_gradient,
    "softmax_gradient": _softmax_gradient,
}  # fmt: skip


def _cross_entropy(w: Writer, step: Step) -> None:
    x, target = w.cell(step.takes[0]), w.cell(step.takes[1])
    ignore, reduction, smoothing = step.static[0]
    if step.takes[2] is not None or smoothing or reduction != 1 or x.dtype != F32 or target.dtype != I64 or len(x.shape) != 2 or target.shape != x.shape[:1]:
        raise NotNative("cross_entropy of this kind")
    out, sums = w.make(step.gives[0]), w.make(step.gives[1])
    rows, classes = x.shape
    if sums.shape != (2, rows):
        raise NotNative("cross_entropy of this kind")
    w.flagged = True

    def act(f: Function) -> None:
        loss, count = f.slot(0, "float"), f.slot(0, "float")
        with f.loop(0, rows) as r:
            c = _line(w, w.pointer(f, x, [(r, x.strides[0])]), classes, x.strides[1], x)
            top = _largest(w, f, c)
            total = _total(w, f, c.shape, [c], "float", lambda p: _device(f, maths.exp, f.load(p[0]) - top))
            f.store(top, w.pointer(f, sums, [(r, sums.strides[1])]), "float")
            at = w.pointer(f, sums, [(r, sums.strides[1])])
            f.store(total, Value(f, f.emit("ptr", f"getelementptr i8, ptr {at.name}, i64 {f.const(sums.strides[0]).name}").name, "ptr", "float"), "float")
            k = f.load(w.pointer(f, target, [(r, target.strides[0])]))
            ignored = f.compare("eq", k, f.const(ignore, "i64"))
            wrong = f.binary("and", f.binary("or", k < 0, k >= classes), f.binary("xor", ignored, True))
            with f.when(wrong):
                f.store(f.const(1, "i64"), Value(f, w.flag.name, "ptr", "i64"), "i64")
            safe = f.select(f.binary("or", wrong, ignored), f.const(0, "i64"), k)
            chosen = f.load(w.pointer(f, x, [(r, x.strides[0]), (safe, x.strides[1])]))
            each = _device(f, maths.log, total) - (chosen - top)
            loss.set(loss.get() + f.select(ignored, f.const(0, "float"), each))
            count.set(count.get() + f.select(ignored, f.const(0, "float"), f.const(1, "float")))
        f.store(loss.get() / count.get(), w.pointer(f, out, []), "float")

    w.flag = Value(None, "null", "ptr", "i64")  # type: ignore[arg-type]
    w.trial(act)


def _cross_entropy_gradient(w: Writer, step: Step) -> None:
    g, x, target, weight, sums = (None if n is None else w.cell(n) for n in step.takes)
    ignore, reduction, smoothing = step.static[0]
    if weight is not None or smoothing or reduction != 1 or g is None or x is None or target is None or sums is None or x.dtype != F32 or target.dtype != I64:
        raise NotNative("cross_entropy of this kind")
    if len(x.shape) != 2 or sums.shape != (2, x.shape[0]) or math.prod(g.shape) != 1 or g.dtype != F32:
        raise NotNative("cross_entropy of this kind")
    out = w.make(step.gives[0])
    rows, classes = x.shape

    def act(f: Function) -> None:
        count = f.slot(0, "float")
        with f.loop(0, rows) as r:
            k = f.load(w.pointer(f, target, [(r, target.strides[0])]))
            count.set(count.get() + f.select(f.compare("eq", k, f.const(ignore, "i64")), f.const(0, "float"), f.const(1, "float")))
        share = f.load(w.pointer(f, g, [])) / count.get()
        with f.loop(0, rows) as r:
            k = f.load(w.pointer(f, target, [(r, target.strides[0])]))
            ignored = f.compare("eq", k, f.const(ignore, "i64"))
            at = w.pointer(f, sums, [(r, sums.strides[1])])
            top = f.load(at)
            total = f.load(Value(f, f.emit("ptr", f"getelementptr i8, ptr {at.name}, i64 {f.const(sums.strides[0]).name}").name, "ptr", "float"))
            scale = f.select(ignored, f.const(0, "float"), share / total)
            source = _line(w, w.pointer(f, x, [(r, x.strides[0])]), classes, x.strides[1], x)
            made = _line(w, w.pointer(f, out, [(r, out.strides[0])]), classes, out.strides[1], out)
            w.nest(f, source.shape, [source, made], lambda p: f.store(f.select(ignored, f.const(0, "float"), _device(f, maths.exp, f.load(p[0]) - top) * scale), p[1], "float"))
            outside = f.binary("or", f.binary("or", k < 0, k >= classes), ignored)
            with f.when(f.binary("xor", outside, True)):
                p = w.pointer(f, out, [(r, out.strides[0]), (k, out.strides[1])])
                f.store(f.load(p) - share, p, "float")

    w.trial(act)


FORMS["cross_entropy"] = _cross_entropy
FORMS["cross_entropy_gradient"] = _cross_entropy_gradient


def relaid(a: Any, order: list[int]) -> Any:
    """A copy whose dimensions lie in memory in a given order."""
    back = [order.index(k) for k in range(a.ndim)]
    made = np.empty([a.shape[k] for k in order], a.dtype).transpose(back)
    np.copyto(made, a)
    return made


class Segment:
    """A run of steps as one native function.

    Attributes:
        start, stop: its places among the steps; gives: the values that live on after it, for which arrays are made before;
        order: the blocks that the function takes, in order; after: steps whose Python part follows it.
    """

    def __init__(self, start: int, stop: int, writer: Writer, needed: set[int], steps: list[Step], again: Writer | None = None):
        self.start, self.stop, self.steps = start, stop, steps[start:stop]
        makers = {n: s for s in self.steps for n in s.gives}
        looks = {id(s) for s in self.steps for n in s.gives if writer.cells[n].block != ("made", n)}  # steps that are views
        kept = {n for n in needed if n in makers and id(makers[n]) not in looks}
        self.views: list[Step] = []
        pending = [makers[n] for n in needed if n in makers and id(makers[n]) in looks]
        while pending:  # a view that lives on needs what it looks at
            s = pending.pop()
            if s in self.views:
                continue
            self.views.append(s)
            for n in s.takes:
                if n in makers:
                    if id(makers[n]) in looks:
                        pending.append(makers[n])
                    else:
                        kept.add(n)
        self.views.sort(key=self.steps.index)
        self.gives = sorted(kept)
        name = "bibun_segment"
        self.size: int = writer.scratch_without(kept)
        text = writer.function(name)
        if again is not None:
            again.scratch_without(kept)
            if again.function(name) != text:
                raise NotNative("sizes have become part of it")
        digest = hashlib.sha256(text.encode()).hexdigest()[:20]

        def write(module: Module) -> None:
            module.__dict__.update(writer.module.__dict__)
            module.unroll = False
            module.text = lambda: text.replace(name, f"{name}_{digest}")  # type: ignore[method-assign]

        names = [f"{name}_{digest}{more}" for more in (("", ".bounds", ".bad") if bounds.on() else ("",))]
        at, *told = build.load(f"segment {text}", write, names)
        self.call = builtin("segment", at, writer.words, shared=False)
        if told:
            self.call = bounds.watched("segment", self.call, *told)
        self.order = writer.order
        self.flagged = writer.flagged
        self.shapes: dict[int, Any] = {n: writer.array(n).shape for s in self.steps for n in s.takes if n is not None} if writer.flagged else {}
        touched = [writer.cells[s.takes[0]].block for s in self.steps if s.kind == "write"]
        self.writes = sorted({block[1] for block in touched if block[0] == "outside"})
        self.flag = np.zeros(1, np.int64)
        self.layouts = writer.layouts
        self.sizes = writer.sizes
        self.scratch = threading.local()

    def room(self, size: int) -> Any:
        """This thread's scratch block, of so many bytes at least."""
        made = getattr(self.scratch, "block", None)
        if made is None or made.size < size:
            whole = np.empty(size + 64, np.uint8)
            start = -whole.__array_interface__["data"][0] % 64
            made = self.scratch.block = whole[start : start + size]
        return made

    def unsure(self, program: Any) -> list[int]:
        """The values from outside of which no guard says how they lie: what another step has made may come otherwise than it was recorded."""
        sure = {n for n, s in program.sources.items() if s[0] in ("tensor", "argument") or s[0] == "grad" and isinstance(s[1], Tensor) or s[0] == "constant" and s[1].__class__ is not tuple}
        return [n for kind, *rest in self.order if kind == "outside" and (n := rest[0]) not in sure and self.layouts[n].ndim]

    def source(self, program: Any, text: Any) -> list[str]:
        """The lines that run it."""
        lines = []
        text.names.setdefault("empty", np.empty)
        for n in self.gives:
            a = self.layouts[n]
            made = text.object(a.dtype, "d")
            if a.contiguous:
                lines.append(f"v{n} = empty({a.shape!r}, {made})")
            else:
                order = a.order
                back = tuple([order.index(k) for k in range(a.ndim)])
                lines.append(f"v{n} = empty({tuple([a.shape[k] for k in order])!r}, {made}).transpose({back!r})")
        text.names.setdefault("relaid", relaid)
        for n in self.unsure(program):
            a = self.layouts[n]
            lines.append(f"if v{n}.strides != {a.strides!r}: v{n} = relaid(v{n}, {a.order!r})")
        given = []
        for block in self.order:
            given.append(f"{text.object(self.room, 'r')}({self.size!r})" if block == ("scratch",) else f"v{block[1]}")
        flag = text.object(self.flag, "e")
        lines.append(f"{text.object(self.call, 'n')}({', '.join([*given, flag, *self.sizes])})")
        for s in self.views:
            lines += program._step(s, text)
        if self.flagged:
            check = []
            for s in self.steps:
                if s.kind == "run" and s.what.name == "cross_entropy":  # the plain one raises what is to be said; the classes' scores do not matter
                    n = s.takes[0]
                    check += [f"v{n} = zeros({self.shapes[n]!r}, 'f')", *program._step(s, text)]
            text.names.setdefault("zeros", np.zeros)
            lines += [f"if {flag}[0]:", f"    {flag}[0] = 0", *["    " + c for c in check]]
        lines += [f"written(v{n})" for n in self.writes]
        for s in self.steps:
            if s.kind == "grad":
                lines += program._step(s, text)
        return lines


def find_segments(
    layouts: list[Layout], steps: list[Step], groups: dict[int, Any], wanted: set[int], sure: set[int], sizes: tuple[str, ...] = (), elsewhere: list[Layout] | None = None
) -> dict[int, Segment]:
    """The runs of a program, by the place of their first step.

    Args:
        sure: values from outside of which guards say how they lie; only these, and what a run makes, are written to.
        sizes, elsewhere: of a general program the variables, and the layouts for other sizes: a run is only taken when its code is the
            same for both, so that no size has become a part of it.
    """
    if not native():
        return {}
    from .program import reads

    found: dict[int, Segment] = {}
    readers: dict[int, int] = {}  # value -> the last place that reads it
    for k, step in enumerate(steps):
        for n in reads(step):
            readers[n] = k
    k = 0
    while k < len(steps):
        writer = Writer(layouts, sizes)
        start, computed = k, 0
        while k < len(steps) and k - start < _MOST and k not in groups:
            step = steps[k]
            if step.kind != "grad":
                held = dict(writer.cells), list(writer.outside), len(writer.actions)
                try:
                    if step.kind == "write" and writer.cell(step.takes[0]).block[0] == "outside" and writer.cell(step.takes[0]).block[1] not in sure:
                        raise NotNative("memory of which no guard says how it lies")
                    writer.add(step)
                except NotNative:
                    writer.cells, writer.outside = held[0], held[1]
                    del writer.actions[held[2] :]
                    break
                computed += len(writer.actions) > held[2]
            k += 1
        if computed >= 2:
            grads = {s.takes[0] for s in steps[start:k] if s.kind == "grad"}
            needed = {n for s in steps[start:k] for n in s.gives if n in wanted or readers.get(n, -1) >= k or n in grads}
            try:
                again = None
                if elsewhere is not None:
                    again = Writer(elsewhere, sizes)
                    for step in steps[start:k]:
                        if step.kind != "grad":
                            again.add(step)
                found[start] = Segment(start, k, writer, needed, steps, again)
            except (NotNative, TypeError, RuntimeError):
                pass
        if k == start:
            k += 1
    return found

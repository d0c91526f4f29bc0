"""LLVM's intermediate representation, written from Python: typed values with operators, and functions that hold them.

In: calls on a `Function` (or operators on its `Value`s), one per instruction. Out: the text of a `Module`, which
`bibun.native.build` turns into machine code. Types are LLVM's own words (``float``, ``i64``, ``ptr``, ``<16 x float>``).
No optimisation is done here: locals are stack slots and loops are plain, LLVM's passes make of them what they should be.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

__all__ = ["SIZES", "Function", "Later", "Module", "Value", "constant", "element", "is_float", "lanes", "vector"]

#: Bytes of an element in memory.
SIZES = {"float": 4, "double": 8, "half": 2, "bfloat": 2, "i1": 1, "i8": 1, "i16": 2, "i32": 4, "i64": 8, "ptr": 8}
_BITS = {"half": 16, "bfloat": 16, "float": 32, "double": 64, "i1": 1, "i8": 8, "i16": 16, "i32": 32, "i64": 64}
_MANGLED = {"float": "f32", "double": "f64", "half": "f16", "bfloat": "bf16", "ptr": "p0"}
_VECTOR = re.compile(r"<(\d+) x (\w+)>")


@lru_cache(None)
def _parts(t: str) -> tuple[int, str]:
    found = _VECTOR.match(t)
    return (int(found[1]), found[2]) if found else (0, t)


def lanes(t: str) -> int:
    """How many elements a vector type holds; 0 for a scalar type."""
    return _parts(t)[0]


def element(t: str) -> str:
    """The scalar type of a vector's elements; a scalar type itself."""
    return _parts(t)[1]


def vector(n: int, t: str) -> str:
    """The type of ``n`` elements; the scalar type where ``n`` is 0."""
    return f"<{n} x {t}>" if n else t


def is_float(t: str) -> bool:
    return element(t) in ("float", "double", "half", "bfloat")


def mangled(t: str) -> str:
    """How a type is written in the name of an intrinsic."""
    n, e = _parts(t)
    return (f"v{n}" if n else "") + _MANGLED.get(e, e)


def constant(x: Any, t: str) -> str:
    """A number as a constant of a type."""
    n, e = _parts(t)
    if e in ("float", "double", "half", "bfloat"):
        x = float(x)
        if e == "float" and math.isfinite(x):
            try:
                x = struct.unpack("<f", struct.pack("<f", x))[0]
            except OverflowError:
                x = math.copysign(math.inf, x)
        if e in ("half", "bfloat"):
            raise TypeError("constants of narrow types are not used: compute in float")
        said = f"0x{struct.unpack('<Q', struct.pack('<d', x))[0]:016X}"
    elif e == "i1":
        said = "true" if x else "false"
    elif e == "ptr":
        said = "null"
    else:
        said = str(int(x))
    return f"splat ({e} {said})" if n else said


class Later(int):
    """A number that is known when the code runs, and writes itself; as an int it is an example of what it may be."""

    def write(self, f: Function) -> Value:
        """Its value within a function."""
        raise NotImplementedError


class Value:
    """The result of an instruction: a name, a type, and for a pointer the type of what it points to."""

    __slots__ = ("f", "name", "of", "signed", "type")

    def __init__(self, f: Function, name: str, t: str, of: str | None = None, signed: bool = True):
        self.f, self.name, self.type, self.of, self.signed = f, name, t, of, signed

    def __add__(self, other: Any) -> Value:
        if self.type == "ptr":
            return self.f.offset(self, other)
        return self.f.binary("add", self, other)

    def __radd__(self, other: Any) -> Value:
        return self.f.binary("add", other, self)

    def __sub__(self, other: Any) -> Value:
        return self.f.binary("sub", self, other)

    def __rsub__(self, other: Any) -> Value:
        return self.f.binary("sub", other, self)

    def __mul__(self, other: Any) -> Value:
        return self.f.binary("mul", self, other)

    def __rmul__(self, other: Any) -> Value:
        return self.f.binary("mul", other, self)

    def __truediv__(self, other: Any) -> Value:
        return self.f.binary("div", self, other)

    def __rtruediv__(self, other: Any) -> Value:
        return self.f.binary("div", other, self)

    def __floordiv__(self, other: Any) -> Value:
        return self.f.binary("quot", self, other)

    def __mod__(self, other: Any) -> Value:
        return self.f.binary("rem", self, other)

    def __and__(self, other: Any) -> Value:
        return self.f.binary("and", self, other)

    def __rand__(self, other: Any) -> Value:
        return self.f.binary("and", other, self)

    def __or__(self, other: Any) -> Value:
        return self.f.binary("or", self, other)

    def __ror__(self, other: Any) -> Value:
        return self.f.binary("or", other, self)

    def __xor__(self, other: Any) -> Value:
        return self.f.binary("xor", self, other)

    def __lshift__(self, other: Any) -> Value:
        return self.f.binary("shl", self, other)

    def __rshift__(self, other: Any) -> Value:
        return self.f.binary("shr", self, other)

    def __neg__(self) -> Value:
        return self.f.negative(self)

    def __invert__(self) -> Value:
        return self.f.binary("xor", self, self.f.const(-1 if self.type != "i1" else 1, self.type))

    def __lt__(self, other: Any) -> Value:
        return self.f.compare("lt", self, other)

    def __le__(self, other: Any) -> Value:
        return self.f.compare("le", self, other)

    def __gt__(self, other: Any) -> Value:
        return self.f.compare("gt", self, other)

    def __ge__(self, other: Any) -> Value:
        return self.f.compare("ge", self, other)

    def __eq__(self, other: Any) -> Value:  # type: ignore[override]
        return self.f.compare("eq", self, other)

    def __ne__(self, other: Any) -> Value:  # type: ignore[override]
        return self.f.compare("ne", self, other)

    __hash__ = object.__hash__

    def __pow__(self, other: Any) -> Value:
        if other == 2:
            return self * self
        raise TypeError("only squares are powers of values")

    def conj(self) -> Value:
        """Itself: the numbers here are real."""
        return self

    def __bool__(self) -> bool:
        raise TypeError("a value of the program being built has no truth value here: use select")


class Slot:
    """A local variable: a stack slot that LLVM turns into registers."""

    __slots__ = ("address", "f", "of", "signed", "type")

    def __init__(self, f: Function, t: str, of: str | None = None, signed: bool = True):
        self.f, self.type, self.of, self.signed = f, t, of, signed
        self.address = f.fresh("v")
        f.slots.append(f"{self.address} = alloca {t}")

    def get(self) -> Value:
        return self.f.emit(self.type, f"load {self.type}, ptr {self.address}", self.of, self.signed)

    def set(self, x: Any) -> None:
        x = self.f.coerce(x, self.type)
        self.f.line(f"store {self.type} {x.name}, ptr {self.address}")


class Module:
    """Functions, declarations and globals of one object file."""

    #: Whether loads and stores are looked at first (`bounds`).
    checked = False

    def __init__(self) -> None:
        self.declared: dict[str, str] = {}
        self.globals: dict[str, str] = {}
        self.functions: dict[str, Function] = {}
        self.metadata: list[str] = []
        #: Whether its loops are written in vectors already, so that LLVM need not look for what could be vectorised.
        self.explicit, self.unroll = False, True

    def declare(self, name: str, text: str) -> None:
        if name not in self.functions:
            self.declared.setdefault(name, text)

    def loop_hint(self, *hints: str) -> str:
        """Metadata that tells LLVM how to treat a loop; gives its name."""
        k = len(self.metadata)
        texts = [f"!{k} = distinct !{{!{k}{''.join(f', !{k + 1 + i}' for i in range(len(hints)))}}}"]
        texts += [f"!{k + 1 + i} = !{{{h}}}" for i, h in enumerate(hints)]
        self.metadata += texts
        return f"!{k}"

    def text(self) -> str:
        declared = [text for name, text in self.declared.items() if name not in self.functions]
        return "\n".join([*self.globals.values(), *declared, *(f.text() for f in self.functions.values()), *self.metadata, ""])


class Function:
    """A function under construction.

    Args:
        params: (type, name) pairs; the values are in `args`.
        fast: LLVM's fast-math words for floating-point instructions, ``contract`` by default.
        attributes: words after the parameter list; linkage: before the return type.
        distinct: whether pointer parameters never overlap.
    """

    def __init__(
        self,
        module: Module,
        name: str,
        returns: str,
        params: list[tuple[str, str]],
        *,
        fast: str = "contract",
        attributes: str = "nounwind",
        linkage: str = "",
        distinct: bool = False,
    ):
        self.module, self.name, self.returns, self.params = module, name, returns, params
        self.fast, self.attributes, self.linkage, self.distinct = fast, attributes, linkage, distinct
        self.count = 0
        self.lines: list[str] = []
        self.slots: list[str] = []
        self.args = [Value(self, f"%{n}", t) for t, n in params]
        self.sizes: dict[str, Value] | None = None  # what numbers that are known `Later` are made of
        self.ended = False  # whether the current block has its terminator
        self.unwatched = False
        module.functions[name] = self

    # text

    def fresh(self, stem: str = "t") -> str:
        self.count += 1
        return f"%{stem}{self.count}"

    def label_name(self, stem: str) -> str:
        self.count += 1
        return f"{stem}{self.count}"

    def line(self, text: str) -> None:
        if not self.ended:
            self.lines.append("  " + text)

    def label(self, name: str) -> None:
        self.lines.append(name + ":")
        self.ended = False

    def jump(self, name: str, hint: str = "") -> None:
        self.line(f"br label %{name}" + (f", !llvm.loop {hint}" if hint else ""))
        self.ended = True

    def branch(self, condition: Value, yes: str, no: str) -> None:
        self.line(f"br i1 {condition.name}, label %{yes}, label %{no}")
        self.ended = True

    def give(self, x: Any = None) -> None:
        """Return from the function."""
        if x is None:
            self.line("ret void")
        else:
            x = self.coerce(x, self.returns)
            self.line(f"ret {x.type} {x.name}")
        self.ended = True

    def emit(self, t: str, text: str, of: str | None = None, signed: bool = True) -> Value:
        name = self.fresh()
        self.line(f"{name} = {text}")
        return Value(self, name, t, of, signed)

    def text(self) -> str:
        marks = " noalias" if self.distinct else ""
        params = ", ".join(f"{t}{marks if t == 'ptr' else ''} %{n}" for t, n in self.params)
        slots = "".join(f"  {s}\n" for s in self.slots)
        body = "\n".join(self.lines)
        return f"define {self.linkage} {self.returns} @{self.name}({params}) {self.attributes} {{\nentry:\n{slots}{body}\n}}\n"

    # values

    def const(self, x: Any, t: str = "i64") -> Value:
        if isinstance(x, Later):
            return self.convert(x.write(self), t)
        return Value(self, constant(x, t), t)

    def coerce(self, x: Any, t: str) -> Value:
        """``x`` as a value of type ``t``: numbers become constants, scalars are spread over vectors."""
        if not isinstance(x, Value):
            return self.const(x, t)
        if x.type == t:
            return x
        if lanes(t) and not lanes(x.type) and element(t) == x.type:
            return self.spread(x, lanes(t))
        raise TypeError(f"a value of type {x.type} stands where one of type {t} is wanted (in {self.name})")

    def _pair(self, a: Any, b: Any) -> tuple[Value, Value]:
        if not isinstance(a, Value):
            return self.coerce(a, b.type), b
        if isinstance(b, Value) and lanes(b.type) and not lanes(a.type):
            return self.coerce(a, b.type), b
        return a, self.coerce(b, a.type)

    def binary(self, op: str, a: Any, b: Any) -> Value:
        a, b = self._pair(a, b)
        t = a.type
        if is_float(t):
            word = {"add": "fadd", "sub": "fsub", "mul": "fmul", "div": "fdiv", "rem": "frem"}.get(op)
            if word is None:
                raise TypeError(f"{op} of {t} (in {self.name})")
            return self.emit(t, f"{word} {self.fast} {t} {a.name}, {b.name}")
        signed = a.signed and b.signed
        word = {"quot": "sdiv" if signed else "udiv", "rem": "srem" if signed else "urem", "shr": "ashr" if signed else "lshr"}.get(op, op)
        if op == "div":
            raise TypeError(f"true division of {t}: convert first, or write // (in {self.name})")
        return self.emit(t, f"{word} {t} {a.name}, {b.name}", None, signed)

    def negative(self, a: Value) -> Value:
        return self.emit(a.type, f"fneg {a.type} {a.name}") if is_float(a.type) else self.binary("sub", 0, a)

    def compare(self, op: str, a: Any, b: Any) -> Value:
        a, b = self._pair(a, b)
        t = vector(lanes(a.type), "i1")
        if is_float(a.type):
            return self.emit(t, f"fcmp {'une' if op == 'ne' else 'o' + op} {a.type} {a.name}, {b.name}")
        word = op if op in ("eq", "ne") else ("s" if a.signed and b.signed else "u") + op
        return self.emit(t, f"icmp {word} {a.type} {a.name}, {b.name}")

    def select(self, condition: Value, a: Any, b: Any) -> Value:
        if not isinstance(a, Value) and not isinstance(b, Value):
            raise TypeError("select between two plain numbers: give one a type")
        a, b = self._pair(a, b)
        if lanes(condition.type) and not lanes(a.type):
            a, b = self.spread(a, lanes(condition.type)), self.spread(b, lanes(condition.type))
        return self.emit(a.type, f"select {condition.type} {condition.name}, {a.type} {a.name}, {b.type} {b.name}", a.of, a.signed)

    def convert(self, a: Any, t: str, signed: bool = True) -> Value:
        """``a`` in another number type, rounded towards zero where that is an integer."""
        if not isinstance(a, Value):
            return Value(self, constant(a, t), t, None, signed)
        s = a.type
        if lanes(s) and not lanes(t):
            t = vector(lanes(s), t)
        if s == t:
            return Value(self, a.name, t, a.of, signed)
        e, d = element(s), element(t)
        if is_float(s) and is_float(t):
            word = "fpext" if _BITS[d] > _BITS[e] else "fptrunc"
        elif is_float(s):
            word = "fptosi" if signed else "fptoui"
        elif is_float(t):
            word = "uitofp" if e == "i1" or not a.signed else "sitofp"
        elif e == "ptr":
            word = "ptrtoint"
        elif d == "ptr":
            word = "inttoptr"
        elif _BITS[d] < _BITS[e]:
            word = "trunc" if d != "i1" else "trunc"
        else:
            word = "zext" if e == "i1" or not a.signed else "sext"
        return self.emit(t, f"{word} {s} {a.name} to {t}", None, signed)

    def bits(self, a: Value, t: str, signed: bool = True) -> Value:
        """The same bits as another type of that width."""
        if lanes(a.type) and not lanes(t):
            t = vector(lanes(a.type), t)
        return self.emit(t, f"bitcast {a.type} {a.name} to {t}", None, signed)

    def spread(self, x: Value, n: int) -> Value:
        t = vector(n, x.type)
        one = self.emit(t, f"insertelement {t} poison, {x.type} {x.name}, i32 0")
        return self.emit(t, f"shufflevector {t} {one.name}, {t} poison, <{n} x i32> zeroinitializer", None, x.signed)

    def lane(self, x: Value, i: Any) -> Value:
        i = self.coerce(i, "i64")
        return self.emit(element(x.type), f"extractelement {x.type} {x.name}, i64 {i.name}")

    # memory

    def inside(self, p: Value, t: str, mask: Value | None = None) -> Value:
        """The address where a value of type ``t`` (its lanes that the mask says) is read or written: ``p``, where nobody watches."""
        if not self.module.checked or self.unwatched:
            return p
        item = SIZES[element(t)]
        first, end = self.const(0), self.const(item * max(lanes(t), 1))
        if mask is not None:  # from the first lane that it says to the last
            first = end = self.const(0)
            for i in range(lanes(t)):
                end = self.select(self.lane(mask, i), self.const(item * (i + 1)), end)
            for i in reversed(range(lanes(t))):
                first = self.select(self.lane(mask, i), self.const(item * i), first)
        q = self.emit("ptr", f"getelementptr i8, ptr {p.name}, i64 {first.name}")
        found = self.emit("ptr", f"call ptr @bounds.at(ptr {q.name}, i64 {(end - first).name})")
        good = self.emit("i1", f"icmp eq ptr {found.name}, {q.name}")
        return self.emit("ptr", f"select i1 {good.name}, ptr {p.name}, ptr @bounds.nowhere", p.of, p.signed)

    def offset(self, p: Value, i: Any) -> Value:
        i = self.coerce(i, "i64") if not isinstance(i, Value) or i.type == "i64" else self.convert(i, "i64")
        return self.emit("ptr", f"getelementptr {p.of or 'i8'}, ptr {p.name}, i64 {i.name}", p.of, p.signed)

    def load(self, p: Value, t: str | None = None, *, of: str | None = None, signed: bool = True) -> Value:
        t = t or p.of
        assert t is not None
        p = self.inside(p, t)
        return self.emit(t, f"load {t}, ptr {p.name}, align {SIZES[element(t)]}", of, signed)

    def store(self, x: Any, p: Value, t: str | None = None, hint: str = "") -> None:
        t = t or (x.type if isinstance(x, Value) and lanes(x.type) else p.of)
        assert t is not None
        x = self.coerce(x, t)
        p = self.inside(p, t)
        self.line(f"store {t} {x.name}, ptr {p.name}, align {SIZES[element(t)]}{hint}")

    # calls

    def call(self, name: str, returns: str, *args: Value, fast: bool = False) -> Value:
        """Call a function by its name, declared if it is not of this module."""
        self.module.declare(name, f"declare {returns} @{name}({', '.join(a.type for a in args)})")
        given = ", ".join(f"{a.type} {a.name}" for a in args)
        if returns == "void":
            self.line(f"call void @{name}({given})")
            return Value(self, "", "void")
        return self.emit(returns, f"call {self.fast + ' ' if fast and self.fast else ''}{returns} @{name}({given})")

    def call_at(self, address: Value, returns: str, *args: Value) -> Value:
        """Call the function at an address."""
        given = ", ".join(f"{a.type} {a.name}" for a in args)
        if returns == "void":
            self.line(f"call void {address.name}({given})")
            return Value(self, "", "void")
        return self.emit(returns, f"call {returns} {address.name}({given})")

    def intrinsic(self, name: str, *args: Any, overload: tuple[str, ...] | None = None, returns: str | None = None) -> Value:
        """Call one of LLVM's intrinsics, overloaded on the type of its arguments."""
        t = max((a.type for a in args if isinstance(a, Value)), key=lanes)
        values = [self.coerce(a, t) if not isinstance(a, Value) or a.type != t and element(t) == a.type else a for a in args]
        full = name + "".join("." + mangled(o) for o in (overload or (t,)))
        returns = returns or t
        made = self.call(full, returns, *values, fast=is_float(returns))
        made.signed = values[0].signed
        return made

    def fma(self, a: Any, b: Any, c: Any) -> Value:
        return self.intrinsic("llvm.fma", a, b, c)

    def minimum(self, a: Any, b: Any) -> Value:
        """The smaller; NaN where either is."""
        a, b = self._pair(a, b)
        return self.intrinsic("llvm.minimum" if is_float(a.type) else "llvm.smin" if a.signed else "llvm.umin", a, b)

    def maximum(self, a: Any, b: Any) -> Value:
        """The larger; NaN where either is."""
        a, b = self._pair(a, b)
        return self.intrinsic("llvm.maximum" if is_float(a.type) else "llvm.smax" if a.signed else "llvm.umax", a, b)

    def reduce(self, op: str, x: Value) -> Value:
        """The sum (``add``), ``max`` or ``min`` of a vector's lanes."""
        e = element(x.type)
        if op == "add" and is_float(e):
            name = f"llvm.vector.reduce.fadd.{mangled(x.type)}"
            self.module.declare(name, f"declare {e} @{name}({e}, {x.type})")
            return self.emit(e, f"call reassoc {e} @{name}({e} {constant(-0.0, e)}, {x.type} {x.name})")
        word = {"add": "add", "max": "fmaximum" if is_float(e) else "smax", "min": "fminimum" if is_float(e) else "smin"}[op]
        name = f"llvm.vector.reduce.{word}.{mangled(x.type)}"
        return self.call(name, e, x)

    # control

    @contextmanager
    def loop(self, start: Any, stop: Any, step: Any = 1, hint: str = "") -> Iterator[Value]:
        """Run the block for an i64 from ``start`` up to ``stop``."""
        i = Slot(self, "i64")
        i.set(start)
        stop = self.coerce(stop, "i64")
        head, body, after, end = (self.label_name(n) for n in ("head", "body", "next", "end"))
        self.jump(head)
        self.label(head)
        self.branch(i.get() < stop, body, end)
        self.label(body)
        yield i.get()
        self.jump(after)
        self.label(after)
        self.advance(i, step)
        self.jump(head, hint)
        self.label(end)

    def advance(self, i: Slot, step: Any) -> None:
        """Move a loop's counter on; it never wraps."""
        i.set(self.emit("i64", f"add nsw i64 {i.get().name}, {self.coerce(step, 'i64').name}"))

    @contextmanager
    def when(self, condition: Value) -> Iterator[None]:
        """Run the block where the condition holds."""
        yes, end = self.label_name("then"), self.label_name("end")
        self.branch(condition, yes, end)
        self.label(yes)
        yield
        self.jump(end)
        self.label(end)

    def slot(self, x: Any, t: str | None = None) -> Slot:
        """A local variable that starts as ``x``."""
        made = Slot(self, t or x.type, getattr(x, "of", None), getattr(x, "signed", True))
        made.set(x)
        return made

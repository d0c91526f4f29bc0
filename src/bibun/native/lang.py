"""Kernels written as plain Python functions: a small typed subset of Python, turned into LLVM's representation.

In: a function whose parameters are annotated with the types below. Out: an `ir.Function` in a module. What the subset holds:

- numbers (`f32`, `f64`, `i8` … `i64`, `u8` … `u64`, `boolean`), pointers (`Ptr[f32]`) read and written as ``p[i]`` and moved as
  ``p + i``, vectors of numbers (`Vec`), ``T``: whatever type the function is made for;
- assignment, ``+=`` and the like, ``for i in range(...)``, ``while``, ``if``, ``return``, conditional expressions (both sides are
  computed, one is chosen), ``and``/``or``/``not`` of conditions (both sides are computed);
- calls of other functions of the subset (`device`), of the built-ins below, of types (``f32(x)`` converts);
- what is known when the kernel is made (numbers, flags, types given to it) is computed then: an ``if`` on such a value leaves
  only one branch, ``for i in unrolled(4)`` writes its body four times, ``bundle(4, x)`` is four variables.

A name gets the type of what is first assigned to it. A number written out takes the type of what it meets.
"""

from __future__ import annotations

import ast
import inspect
import linecache
import textwrap
from collections.abc import Callable
from typing import Any

from . import build, ir
from .ir import Function, Module, Slot, Value

__all__ = [
    "Device", "Ptr", "T", "Type", "U", "Vec", "allocate", "any_of", "atomic_add", "atomic_get", "atomic_set", "atomic_swap", "bits", "boolean", "bundle", "ceil", "copysign", "cosine", "device", "external", "f32", "f64", "fabs", "first_lanes", "floor", "fma", "gather", "highest_bit", "hint_loop", "i8", "i16", "i32",
    "i64", "is_vector", "lane", "load", "load_where", "lookup", "maximum", "minimum", "null", "pause", "prefetch", "rint", "scaled", "scatter", "select", "shuffle", "sine", "spread", "sqrt", "store", "store_where", "stream", "table", "total", "trunc", "type_size", "u8", "u16", "u32", "u64", "unrolled", "bf16", "f16", "void",
]


class Type:
    """A type of the subset; called in a kernel, it converts a number to itself."""

    def __init__(self, name: str, word: str, signed: bool = True, of: Type | None = None):
        self.name, self.word, self.signed, self.of = name, word, signed, of

    def __repr__(self) -> str:
        return self.name

    def __call__(self, x: Any) -> Any:
        raise TypeError(f"{self.name}(...) has a meaning only inside a kernel")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Type) and (self.word, self.signed, self.of) == (other.word, other.signed, other.of)

    def __hash__(self) -> int:
        return hash((self.word, self.signed))


f32, f64, f16, bf16 = Type("f32", "float"), Type("f64", "double"), Type("f16", "half"), Type("bf16", "bfloat")
i8, i16, i32, i64 = (Type(f"i{n}", f"i{n}") for n in (8, 16, 32, 64))
u8, u16, u32, u64 = (Type(f"u{n}", f"i{n}", signed=False) for n in (8, 16, 32, 64))
boolean, void = Type("boolean", "i1", signed=False), Type("void", "void")


class _Pointers:
    def __getitem__(self, t: Type) -> Type:
        return Type(f"Ptr[{t}]", "ptr", of=t)


class _Vectors:
    def __getitem__(self, what: tuple[Type, int]) -> Type:
        t, n = what
        return Type(f"Vec[{t}, {n}]", ir.vector(n, t.word), t.signed)


#: ``Ptr[f32]``: the address of numbers. ``Vec[f32, 16]``: sixteen of them side by side.
Ptr, Vec = _Pointers(), _Vectors()
#: Types left open, bound by the arguments or when the kernel is made.
T, U = Type("T", "?T"), Type("U", "?U")


class Intrinsic:
    """Something that only has a meaning inside a kernel, where it writes instructions."""

    def __init__(self, emit: Callable[..., Any]):
        self.emit, self.__name__ = emit, emit.__name__.strip("_")
        self.__doc__ = emit.__doc__

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError(f"{self.__name__}(...) has a meaning only inside a kernel")


def intrinsic(emit: Callable[..., Any]) -> Any:
    return Intrinsic(emit)


def _unary(name: str, python: Callable[[Any], Any] | None = None) -> Any:
    def emit(f: Function, x: Any) -> Any:
        return f.intrinsic(name, x)

    emit.__name__ = name.rpartition(".")[2]
    return Intrinsic(emit)


sqrt, fabs, floor, ceil, trunc = (_unary(f"llvm.{n}") for n in ("sqrt", "fabs", "floor", "ceil", "trunc"))
rint = _unary("llvm.roundeven")
#: Those of the processor's library of mathematics, number by number.
sine, cosine = _unary("llvm.sin"), _unary("llvm.cos")


@intrinsic
def fma(f: Function, a: Any, b: Any, c: Any) -> Any:
    """a·b + c, rounded once."""
    return f.fma(a, b, c)


@intrinsic
def minimum(f: Function, a: Any, b: Any) -> Any:
    return min(a, b) if not isinstance(a, Value) and not isinstance(b, Value) else f.minimum(a, b)


@intrinsic
def maximum(f: Function, a: Any, b: Any) -> Any:
    return max(a, b) if not isinstance(a, Value) and not isinstance(b, Value) else f.maximum(a, b)


@intrinsic
def copysign(f: Function, a: Any, b: Any) -> Any:
    return f.intrinsic("llvm.copysign", a, b)


@intrinsic
def select(f: Function, condition: Any, a: Any, b: Any) -> Any:
    return f.select(condition, a, b)


@intrinsic
def bits(f: Function, x: Value, t: Type) -> Any:
    """The same bits as another type."""
    return f.bits(x, t.word, t.signed)


@intrinsic
def spread(f: Function, x: Any, t: Type) -> Any:
    """A number in every lane of a vector type."""
    return f.coerce(x, t.word)


@intrinsic
def any_of(f: Function, x: Value) -> Any:
    """Whether a condition holds in any lane."""
    return f.call(f"llvm.vector.reduce.or.{ir.mangled(x.type)}", "i1", x) if ir.lanes(x.type) else x


@intrinsic
def is_vector(f: Function, x: Value) -> bool:
    return ir.lanes(x.type) > 0


@intrinsic
def lane(f: Function, x: Value, i: Any) -> Any:
    return f.lane(x, i)


@intrinsic
def total(f: Function, x: Value, op: str = "add") -> Any:
    """The sum (or "max", "min") of a vector's lanes."""
    return f.reduce(op, x)


@intrinsic
def load(f: Function, p: Value, t: Type) -> Any:
    """A value of another type than the pointer's, read at an address: a vector of its elements, usually."""
    return f.load(p, t.word, of=t.of.word if t.of else None, signed=t.signed)


@intrinsic
def store(f: Function, p: Value, x: Value) -> None:
    """Write a vector at an address."""
    f.store(x, p, x.type)


@intrinsic
def stream(f: Function, p: Value, x: Value) -> None:
    """Write a vector at an address that is a multiple of its size, past the caches."""
    size = ir.SIZES[ir.element(x.type)] * max(ir.lanes(x.type), 1)
    if "!streamed" not in f.module.globals:
        f.module.globals["!streamed"] = f"!{(k := len(f.module.metadata))} = !{{i32 1}}"
        f.module.metadata.append("")
        f.module.streamed = f"!{k}"  # type: ignore[attr-defined]
    p = f.inside(p, x.type)
    f.line(f"store {x.type} {x.name}, ptr {p.name}, align {size}, !nontemporal {f.module.streamed}")  # type: ignore[attr-defined]


@intrinsic
def shuffle(f: Function, a: Value, b: Value, places: tuple[int, ...]) -> Any:
    """A vector of lanes picked from two: their lanes are numbered on from the first's to the second's."""
    picked = ", ".join(f"i32 {p}" for p in places)
    made = ir.vector(len(places), ir.element(a.type))
    return f.emit(made, f"shufflevector {a.type} {a.name}, {b.type} {b.name}, <{len(places)} x i32> <{picked}>", None, a.signed)


@intrinsic
def first_lanes(f: Function, n: Any, width: int) -> Any:
    """Conditions for ``width`` lanes: whether the lane's number is below ``n``."""
    limit = f.spread(f.convert(f.minimum(f.maximum(f.coerce(n, "i64"), 0), width), "i32"), width)
    t = ir.vector(width, "i32")
    return f.compare("lt", Value(f, f"<{', '.join(f'i32 {i}' for i in range(width))}>", t), limit)


@intrinsic
def load_where(f: Function, p: Value, t: Type, mask: Value) -> Any:
    """A vector's lanes read where the mask says so (nothing else is touched), zeros elsewhere."""
    name = f"llvm.masked.load.{ir.mangled(t.word)}.p0"
    f.module.declare(name, f"declare {t.word} @{name}(ptr, i32, {mask.type}, {t.word})")
    size = ir.SIZES[ir.element(t.word)]
    p = f.inside(p, t.word, mask)
    return f.emit(t.word, f"call {t.word} @{name}(ptr {p.name}, i32 {size}, {mask.type} {mask.name}, {t.word} zeroinitializer)", None, t.signed)


@intrinsic
def store_where(f: Function, p: Value, x: Value, mask: Value) -> None:
    """Write the lanes that the mask says, and nothing else."""
    name = f"llvm.masked.store.{ir.mangled(x.type)}.p0"
    f.module.declare(name, f"declare void @{name}({x.type}, ptr, i32, {mask.type})")
    p = f.inside(p, x.type, mask)
    f.line(f"call void @{name}({x.type} {x.name}, ptr {p.name}, i32 {ir.SIZES[ir.element(x.type)]}, {mask.type} {mask.name})")


def _apart(f: Function, p: Value, step: Any, n: int, e: str) -> Value:
    """The addresses of ``n`` numbers of type ``e`` that lie ``step`` apart."""
    numbers = Value(f, f"<{', '.join(f'i64 {i}' for i in range(n))}>", ir.vector(n, "i64"))
    apart = f.binary("mul", numbers, f.spread(f.coerce(step, "i64"), n))
    return f.emit(ir.vector(n, "ptr"), f"getelementptr {e}, ptr {p.name}, {apart.type} {apart.name}")


@intrinsic
def gather(f: Function, p: Value, step: Any, t: Type, mask: Value) -> Any:
    """A vector of what lies ``step`` apart, read where the mask says so, zeros elsewhere."""
    n, e = ir.lanes(t.word), ir.element(t.word)
    places = _apart(f, p, step, n, e)
    name = f"llvm.masked.gather.{ir.mangled(t.word)}.v{n}p0"
    f.module.declare(name, f"declare {t.word} @{name}({places.type}, i32, {mask.type}, {t.word})")
    given = f"{places.type} {places.name}, i32 {ir.SIZES[e]}, {mask.type} {mask.name}, {t.word} zeroinitializer"
    return f.emit(t.word, f"call {t.word} @{name}({given})", None, t.signed)


@intrinsic
def scatter(f: Function, p: Value, step: Any, x: Value, mask: Value) -> None:
    """Write a vector to places that lie ``step`` apart, where the mask says so."""
    n, e = ir.lanes(x.type), ir.element(x.type)
    places = _apart(f, p, step, n, e)
    name = f"llvm.masked.scatter.{ir.mangled(x.type)}.v{n}p0"
    f.module.declare(name, f"declare void @{name}({x.type}, {places.type}, i32, {mask.type})")
    f.line(f"call void @{name}({x.type} {x.name}, {places.type} {places.name}, i32 {ir.SIZES[e]}, {mask.type} {mask.name})")


@intrinsic
def allocate(f: Function, t: Type, n: int) -> Any:
    """``n`` numbers on the stack, for the length of the call."""
    address = f.fresh("a")
    f.slots.append(f"{address} = alloca [{n} x {t.word}], align 64")
    return Value(f, address, "ptr", t.word, t.signed)


@intrinsic
def table(f: Function, t: Type, values: tuple[int, ...]) -> Any:
    """The address of numbers that never change."""
    name = f"@table.{abs(hash((t.word, values))) % 2**48:x}"
    said = ", ".join(f"{t.word} {ir.constant(v, t.word)}" for v in values)
    f.module.globals[name] = f"{name} = internal unnamed_addr constant [{len(values)} x {t.word}] [{said}], align 64"
    return Value(f, name, "ptr", t.word, t.signed)


@intrinsic
def lookup(f: Function, t: Type, values: tuple[Any, ...], i: Value) -> Any:
    """The i-th of numbers that never change; of sixteen float32 that which the lowest four bits of i say."""
    from . import build

    n = ir.lanes(i.type)
    sixteen = t.word == "float" and len(values) == 16
    if sixteen and n in (8, 16) and ("avx512f" if n == 16 else "avx2") in build.features()[2]:
        name, word = ("llvm.x86.avx512.permvar.sf.512", "<16 x float>") if n == 16 else ("llvm.x86.avx2.permps", "<8 x float>")
        parts = []
        for k in range(0, 16, n):
            said = ", ".join(f"float {ir.constant(x, 'float')}" for x in values[k : k + n])
            parts.append(f.call(name, word, Value(f, f"<{said}>", word), i))
        return parts[0] if n == 16 else f.select((i & 8) == 0, *parts)
    if sixteen:
        i = i & 15
    start = table.emit(f, t, values)
    if not n:
        return f.load(f.offset(start, i), signed=t.signed)
    places = f.emit(ir.vector(n, "ptr"), f"getelementptr {t.word}, ptr {start.name}, {i.type} {i.name}")
    name, made, mask = f"llvm.masked.gather.v{n}{ir.mangled(t.word)}.v{n}p0", ir.vector(n, t.word), ir.vector(n, "i1")
    f.module.declare(name, f"declare {made} @{name}({places.type}, i32, {mask}, {made})")
    return f.emit(made, f"call {made} @{name}({places.type} {places.name}, i32 {ir.SIZES[t.word]}, {mask} splat (i1 true), {made} poison)", None, t.signed)


@intrinsic
def scaled(f: Function, x: Value, n: Value) -> Any:
    """x·2ⁿ, rounded once, for whole floats n from -250 to 250 (-2000 to 2000 in float64); NaN where n is."""
    from . import build

    x = f.coerce(x, n.type)
    if x.type in ("<16 x float>", "<8 x double>") and "avx512f" in build.features()[2]:
        kind, mask = ("ps", "i16") if x.type == "<16 x float>" else ("pd", "i8")
        name = f"llvm.x86.avx512.mask.scalef.{kind}.512"
        return f.call(name, x.type, x, n, Value(f, "zeroinitializer", x.type), Value(f, "-1", mask), Value(f, "4", "i32"))
    double = ir.element(x.type) == "double"
    whole = f.convert(n, "i32")
    half = whole >> 1
    for part in (half, whole - half):
        x = x * (f.bits(f.convert(part + 1023, "i64") << 52, "double") if double else f.bits((part + 127) << 23, "float"))
    return x


@intrinsic
def highest_bit(f: Function, x: Value) -> Any:
    """The place of the highest bit that is set in a positive whole number."""
    name = f"llvm.ctlz.{x.type}"
    n = f.call(name, x.type, x, f.const(True, "i1"))
    return f.binary("sub", f.const(ir.SIZES[x.type] * 8 - 1, x.type), n)


@intrinsic
def null(f: Function, t: Type) -> Any:
    return Value(f, "null", "ptr", t.word, t.signed)


@intrinsic
def type_size(f: Function, t: Type) -> int:
    return ir.SIZES[t.word]


@intrinsic
def bundle(f: Function, n: int, x: Any) -> Any:
    """``n`` variables that start as ``x``, picked by numbers that are known when the kernel is made."""
    return [f.slot(x) for _ in range(n)]


@intrinsic
def atomic_add(f: Function, p: Value, x: Any) -> Any:
    """Add to a shared number; gives what it was before."""
    x = f.coerce(x, p.of or "i64")
    return f.emit(x.type, f"atomicrmw add ptr {p.name}, {x.type} {x.name} seq_cst")


@intrinsic
def atomic_swap(f: Function, p: Value, x: Any) -> Any:
    x = f.coerce(x, p.of or "i64")
    return f.emit(x.type, f"atomicrmw xchg ptr {p.name}, {x.type} {x.name} seq_cst")


@intrinsic
def atomic_get(f: Function, p: Value) -> Any:
    t = p.of or "i64"
    return f.emit(t, f"load atomic {t}, ptr {p.name} seq_cst, align {ir.SIZES[t]}")


@intrinsic
def atomic_set(f: Function, p: Value, x: Any) -> None:
    t = p.of or "i64"
    f.line(f"store atomic {t} {f.coerce(x, t).name}, ptr {p.name} seq_cst, align {ir.SIZES[t]}")


@intrinsic
def pause(f: Function) -> None:
    """Tell the processor that this is a waiting loop."""
    f.line(f'call void asm sideeffect "{_PAUSES.get(_machine(), "")}", "~{{memory}}"()')


@intrinsic
def prefetch(f: Function, p: Value) -> None:
    """Have the cache line at an address fetched, which need not be one that can be read."""
    f.module.declare("llvm.prefetch.p0", "declare void @llvm.prefetch.p0(ptr, i32 immarg, i32 immarg, i32 immarg)")
    f.line(f"call void @llvm.prefetch.p0(ptr {p.name}, i32 0, i32 3, i32 1)")


_PAUSES = {"x86_64": "pause", "AMD64": "pause", "aarch64": "yield", "arm64": "yield"}


def _machine() -> str:
    import platform

    return platform.machine()


#: ``for i in unrolled(n)``: the body is written n times, with i known each time.
unrolled = range


@intrinsic
def hint_loop(f: Function, *hints: str) -> None:
    """Say something to LLVM of the loop that follows; see `Module.loop_hint`."""
    f.next_hint = f.module.loop_hint(*hints)  # type: ignore[attr-defined]


class external:
    """A function of C, found by its name when the kernel is loaded."""

    def __init__(self, name: str, returns: Type, *params: Type):
        self.name, self.returns, self.params = name, returns, params

    def __call__(self, *args: Any) -> Any:
        raise TypeError(f"{self.name} can be called only inside a kernel")


def _text(python: Any) -> str:
    """The text of a function that is written at the left edge of its file: to where the edge is next touched. (`inspect` reads word by word
    where a function ends, which takes as long as all that is made of it.)"""
    code = python.__code__
    lines = linecache.getlines(code.co_filename)
    first = end = code.co_firstlineno - 1
    while end < len(lines) and not lines[end].startswith("def "):
        end += 1
    end += 1
    while end < len(lines) and (lines[end][:1] in " )#\n"):
        end += 1
    return "".join(lines[first:end])


class Declared:
    """A function that another module holds, as one who calls it sees it."""

    def __init__(self, params: list[tuple[str, str]], returns: Type):
        self.name, self.params, self.returns, self.result = "", params, returns.word, returns


class Device:
    """A function of the subset that others call; made anew for each set of types it is called with."""

    def __init__(self, python: Callable[..., Any], fast: str, inline: bool, distinct: bool = False):
        self.python, self.fast, self.inline, self.distinct = python, fast, inline, distinct
        #: Whether it is compiled once for all modules that call it: what lies outside of the package, no key of cached code knows.
        self.shared = not inline and python.__module__.startswith("bibun.native.")
        self.__name__, self.__doc__ = python.__name__, python.__doc__
        self._tree: Any = None
        self._source = ""

    def __call__(self, *args: Any) -> Any:
        raise TypeError(f"{self.__name__} can be called only inside a kernel")

    def __repr__(self) -> str:
        return f"{self.python.__module__}.{self.__name__}"  # in the keys of cached code

    @property
    def source(self) -> str:
        """What a cache key of anything built from this must hold."""
        self.tree()
        return self._source

    def tree(self) -> Any:
        if self._tree is None:
            try:
                self._source = _text(self.python)
                self._tree = ast.parse(self._source).body[0]
            except SyntaxError:
                self._source = textwrap.dedent(inspect.getsource(self.python))
                self._tree = ast.parse(self._source).body[0]
        return self._tree

    def make(self, module: Module, given: list[Any], known: dict[str, Any], name: str | None = None) -> Any:
        """The function for arguments like ``given`` (Values, or Python objects that are known), in ``module``."""
        tree = self.tree()
        env: dict[str, Any] = dict(known)
        params: list[tuple[str, str]] = []
        typed: list[tuple[str, Type]] = []
        marks = []
        for arg, value in zip(tree.args.args, given):
            if not isinstance(value, (Value, Type)) and (arg.annotation is None or not isinstance(value, (int, float))):
                env[arg.arg] = value
                marks.append(f"{arg.arg}={getattr(value, '__name__', value)}")
                continue
            t = self.bound(arg.annotation, value, env)
            params.append((t.word, arg.arg))
            typed.append((arg.arg, t))
            marks.append(f"{t.word}{t.of or ''}{'' if t.signed else 'u'}")
        full = name or f"{self.__name__}({','.join(marks)};{','.join(f'{k}={v}' for k, v in sorted(known.items(), key=lambda kv: kv[0]))})"
        quoted = name or '"' + full.replace('"', "'").replace("\\", "/") + '"'
        if quoted in module.functions:
            return module.functions[quoted]
        returns = self.annotation(tree.returns, env) if tree.returns is not None else void
        if not name and self.shared and module.explicit and not module.checked:
            made = Declared(params, returns)
            key = f"shared|{self!r}|{full}|{self.source}|{build.sources()}"

            def write(other: Module, name: str) -> None:
                other.explicit = True
                self.make(other, given, known, name)

            made.name = build.shared(key, self.__name__, write)
            return made
        inside = not name
        words = "nounwind " + ("alwaysinline" if self.inline and inside else "")
        f = Function(module, quoted, returns.word, params, fast=self.fast, attributes=words, linkage="internal" if inside else "", distinct=self.distinct or not inside and not self.shared)
        f.result = returns  # type: ignore[attr-defined]
        for value, (_, t) in zip(f.args, typed):
            value.of, value.signed = (t.of.word if t.of else None), t.signed if not t.of else t.of.signed
            env[value.name[1:]] = f.slot(value)
        Translator(f, env, self).block(tree.body)
        f.give() if returns.word == "void" else f.line("unreachable")
        return f

    def annotation(self, node: Any, env: dict[str, Any]) -> Type:
        return self._resolve(self._meant(node, env), env)

    def _meant(self, node: Any, env: dict[str, Any]) -> Any:
        """What an annotation says, in which names may stand for types and numbers that are known."""
        if isinstance(node, ast.Name):
            known = env.get(node.id)
            return known if isinstance(known, (Type, int)) else self.python.__globals__[node.id]
        if isinstance(node, ast.Constant):
            return node.value
        if isinstance(node, ast.Tuple):
            return tuple([self._meant(n, env) for n in node.elts])
        if isinstance(node, ast.Subscript):
            return self._meant(node.value, env)[self._meant(node.slice, env)]
        raise TypeError(f"{self.__name__}: no type: {ast.unparse(node)}")

    def _resolve(self, t: Any, env: dict[str, Any]) -> Type:
        if t is None:
            return void
        if t.word.startswith("?"):
            return env[t.name]
        if t.of is not None and t.of.word.startswith("?"):
            return Ptr[env[t.of.name]]
        return t

    def bound(self, node: Any, value: Any, env: dict[str, Any]) -> Type:
        """The type of a parameter, binding open types to that of the argument."""
        t = self._meant(node, env)
        if isinstance(value, Type):
            have = value
        elif isinstance(value, Value):
            have = Type(value.type, value.type, value.signed, Type(value.of, value.of, value.signed) if value.of else None)
        else:
            return self._resolve(t, env)
        for want, got in ((t, have), (t.of, have.of)):
            if want is not None and want.word.startswith("?") and want.name not in env and got is not None:
                env[want.name] = got
        made = self._resolve(t, env)
        if made.word != have.word and isinstance(value, Value):
            raise TypeError(f"{self.__name__}() wants {made.word} and was given {have.word}")
        return made


def device(python: Any = None, *, fast: str = "", inline: bool = True) -> Any:
    """Make a Python function one of the subset. ``fast`` are LLVM's fast-math words for it (none: exactly as written)."""
    if python is None:
        return lambda p: Device(p, fast, inline)
    return Device(python, fast, inline)


_OPERATORS = {
    ast.Add: "add", ast.Sub: "sub", ast.Mult: "mul", ast.Div: "div", ast.FloorDiv: "quot", ast.Mod: "rem", ast.BitAnd: "and", ast.BitOr: "or",
    ast.BitXor: "xor", ast.LShift: "shl", ast.RShift: "shr",
}
_PYTHON = {
    ast.Add: lambda a, b: a + b, ast.Sub: lambda a, b: a - b, ast.Mult: lambda a, b: a * b, ast.Div: lambda a, b: a / b, ast.FloorDiv: lambda a, b: a // b,
    ast.Mod: lambda a, b: a % b, ast.BitAnd: lambda a, b: a & b, ast.BitOr: lambda a, b: a | b, ast.BitXor: lambda a, b: a ^ b,
    ast.LShift: lambda a, b: a << b, ast.RShift: lambda a, b: a >> b, ast.Pow: lambda a, b: a**b, ast.Lt: lambda a, b: a < b, ast.LtE: lambda a, b: a <= b,
    ast.Gt: lambda a, b: a > b, ast.GtE: lambda a, b: a >= b, ast.Eq: lambda a, b: a == b, ast.NotEq: lambda a, b: a != b,
    ast.Is: lambda a, b: a is b, ast.IsNot: lambda a, b: a is not b, ast.In: lambda a, b: a in b, ast.NotIn: lambda a, b: a not in b,
}  # fmt: skip
_COMPARISONS = {ast.Lt: "lt", ast.LtE: "le", ast.Gt: "gt", ast.GtE: "ge", ast.Eq: "eq", ast.NotEq: "ne"}


class Translator:
    """Writes the body of one function."""

    def __init__(self, f: Function, env: dict[str, Any], source: Device):
        self.f, self.env, self.source = f, env, source
        self.globals = source.python.__globals__
        f.next_hint = ""  # type: ignore[attr-defined]

    def fail(self, node: Any, why: str) -> Any:
        raise TypeError(f"{self.source.__name__}, line {node.lineno}: {why}: {ast.unparse(node)}")

    # statements

    def block(self, statements: list[Any]) -> None:
        for s in statements:
            try:
                getattr(self, "do_" + type(s).__name__, self.unknown)(s)
            except TypeError as error:
                if "line " in str(error):
                    raise
                self.fail(s, str(error))

    def unknown(self, node: Any) -> Any:
        self.fail(node, f"{type(node).__name__} is not of the subset")

    def do_Pass(self, s: Any) -> None:
        pass

    def do_Expr(self, s: Any) -> None:
        if not isinstance(s.value, ast.Constant):  # a docstring
            self.value(s.value)

    def do_Return(self, s: Any) -> None:
        if s.value is None:
            self.f.give()
        else:
            self.f.give(self.value(s.value))

    def do_Assign(self, s: Any) -> None:
        made = self.value(s.value)
        for target in s.targets:
            self.assign(target, made)

    def do_AnnAssign(self, s: Any) -> None:
        t = self.source.annotation(s.annotation, self.env)
        made = self.value(s.value)
        self.assign(s.target, self.f.coerce(made, t.word) if not isinstance(made, Value) else made)

    def do_AugAssign(self, s: Any) -> None:
        self.assign(s.target, self.operate(type(s.op), self.value(_loaded(s.target)), self.value(s.value), s))

    def assign(self, target: Any, made: Any) -> None:
        if isinstance(target, ast.Name):
            known = self.env.get(target.id)
            if isinstance(known, Slot):
                known.set(made)
            elif isinstance(made, Value):
                self.env[target.id] = self.f.slot(made)
            else:
                self.env[target.id] = made
        elif isinstance(target, ast.Subscript):
            base, i = self.value(target.value), self.value(target.slice)
            if isinstance(base, list):
                base[i].set(made)
            else:
                self.f.store(made if isinstance(made, Value) and made.type == base.of else self.f.coerce(made, base.of), self.f.offset(base, i), base.of)
        elif isinstance(target, ast.Tuple):
            for t, v in zip(target.elts, made):
                self.assign(t, v)
        else:
            self.unknown(target)

    def do_If(self, s: Any) -> None:
        test = self.value(s.test)
        if not isinstance(test, Value):
            self.block(s.body if test else s.orelse)
            return
        f = self.f
        yes, no, end = f.label_name("then"), f.label_name("else"), f.label_name("end")
        before = dict(self.env)
        f.branch(test, yes, no)
        f.label(yes)
        self.block(s.body)
        f.jump(end)
        self.env = {**before}  # names first met in a branch live there alone
        f.label(no)
        self.block(s.orelse)
        f.jump(end)
        self.env = before
        f.label(end)

    def do_While(self, s: Any) -> None:
        f = self.f
        hint, f.next_hint = f.next_hint, ""  # type: ignore[attr-defined]
        head, body, end = f.label_name("while"), f.label_name("do"), f.label_name("done")
        f.jump(head)
        f.label(head)
        test = self.value(s.test)
        if isinstance(test, Value):
            f.branch(test, body, end)
        else:
            f.jump(body if test else end)
        f.label(body)
        before = dict(self.env)
        self.inside(s.body, head, end)
        self.env = before
        f.jump(head, hint)
        f.label(end)

    def inside(self, body: list[Any], head: str, end: str) -> None:
        outer = getattr(self, "labels", None)
        self.labels = (head, end)
        self.block(body)
        self.labels = outer  # type: ignore[assignment]

    def do_Break(self, s: Any) -> None:
        self.f.jump(self.labels[1])

    def do_Continue(self, s: Any) -> None:
        self.f.jump(self.labels[0])

    def do_For(self, s: Any) -> None:
        called = s.iter
        f = self.f
        if not isinstance(called, ast.Call) or not isinstance(called.func, ast.Name) or called.func.id not in ("range", "unrolled"):
            for item in self.value(called):
                self.assign(s.target, item)
                self.block(s.body)
            return
        bounds = [self.value(a) for a in called.args]
        if called.func.id == "unrolled":
            before = self.env.get(s.target.id)
            for i in range(*bounds):
                self.env[s.target.id] = i
                self.block(s.body)
            self.env[s.target.id] = before
            return
        start, stop, step = (0, bounds[0], 1) if len(bounds) == 1 else (*bounds, 1)[:3]
        hint, f.next_hint = f.next_hint, ""  # type: ignore[attr-defined]
        at = Slot(f, "i64")
        at.set(start)
        stop = f.coerce(stop, "i64")
        head, body, after, end = (f.label_name(n) for n in ("head", "body", "next", "end"))
        f.jump(head)
        f.label(head)
        f.branch(at.get() < stop, body, end)
        f.label(body)
        before = dict(self.env)
        self.env[s.target.id] = at
        self.inside(s.body, after, end)
        self.env = before
        f.jump(after)
        f.label(after)
        f.advance(at, step)
        f.jump(head, hint)
        f.label(end)

    # expressions

    def value(self, node: Any) -> Any:
        method: Any = getattr(self, "of_" + type(node).__name__, None)
        if method is None:
            self.unknown(node)
        return method(node)

    def of_Constant(self, e: Any) -> Any:
        return e.value

    def of_Name(self, e: Any) -> Any:
        name = e.id
        if name in self.env:
            found = self.env[name]
            return found.get() if isinstance(found, Slot) else found
        if name in self.globals:
            found = self.globals[name]
            return self.env.get(found.name, found) if isinstance(found, Type) else found
        builtin = {"min": minimum, "max": maximum, "abs": fabs, "range": range, "len": len, "int": int, "float": float, "True": True}.get(name)
        return builtin if builtin is not None else self.fail(e, f"{name} is not known")

    def of_Attribute(self, e: Any) -> Any:
        return getattr(self.value(e.value), e.attr)

    def of_Tuple(self, e: Any) -> Any:
        return tuple(self.value(x) for x in e.elts)

    def of_Subscript(self, e: Any) -> Any:
        base = self.value(e.value)
        i = self.value(e.slice)
        if isinstance(base, Value):
            if base.type != "ptr":
                return self.f.lane(base, i)
            return self.f.load(self.f.offset(base, i), base.of, signed=base.signed)
        made = base[i]
        return made.get() if isinstance(made, Slot) else made

    def of_BinOp(self, e: Any) -> Any:
        return self.operate(type(e.op), self.value(e.left), self.value(e.right), e)

    def operate(self, op: Any, a: Any, b: Any, node: Any) -> Any:
        if not isinstance(a, Value) and not isinstance(b, Value):
            return _PYTHON[op](a, b)
        if op not in _OPERATORS:
            self.fail(node, "no such operator on values")
        if isinstance(a, Value) and a.type == "ptr":
            return self.f.offset(a, b if op is ast.Add else -b if not isinstance(b, Value) else self.f.negative(b))
        if isinstance(a, Value) and isinstance(b, Value) and a.type != b.type and not ir.is_float(a.type) and not ir.is_float(b.type) and not ir.lanes(
            a.type
        ):
            wide = a.type if ir.SIZES[a.type] >= ir.SIZES[b.type] else b.type
            a, b = self.f.convert(a, wide, a.signed), self.f.convert(b, wide, b.signed)
        return self.f.binary(_OPERATORS[op], a, b)

    def of_UnaryOp(self, e: Any) -> Any:
        x = self.value(e.operand)
        if isinstance(e.op, ast.USub):
            return -x
        if isinstance(e.op, ast.Not):
            return self.f.binary("xor", x, True) if isinstance(x, Value) else not x
        if isinstance(e.op, ast.Invert):
            return ~x
        return x

    def of_Compare(self, e: Any) -> Any:
        left, made = self.value(e.left), None
        for op, right_node in zip(e.ops, e.comparators):
            right = self.value(right_node)
            if not isinstance(left, Value) and not isinstance(right, Value) or type(op) not in _COMPARISONS:
                one: Any = _PYTHON[type(op)](left, right)
            else:
                one = self.f.compare(_COMPARISONS[type(op)], left, right)
            made = one if made is None else self.both(made, one)
            left = right
        return made

    def both(self, a: Any, b: Any) -> Any:
        if not isinstance(a, Value):
            return b if a else False
        if not isinstance(b, Value):
            return a if b else False
        return self.f.binary("and", a, b)

    def of_BoolOp(self, e: Any) -> Any:
        made = self.value(e.values[0])
        for node in e.values[1:]:
            if isinstance(e.op, ast.And):
                if made is False:
                    return False
                made = self.both(made, self.value(node))
            else:
                if made is True:
                    return True
                other = self.value(node)
                if not isinstance(made, Value):
                    made = other if not made else True
                elif isinstance(other, Value):
                    made = self.f.binary("or", made, other)
                elif other:
                    made = True
        return made

    def of_IfExp(self, e: Any) -> Any:
        test = self.value(e.test)
        if not isinstance(test, Value):
            return self.value(e.body if test else e.orelse)
        return self.f.select(test, self.value(e.body), self.value(e.orelse))

    def of_Call(self, e: Any) -> Any:
        called = self.value(e.func)
        args = [self.value(a) for a in e.args]
        f = self.f
        if isinstance(called, Intrinsic):
            return called.emit(f, *args, **{k.arg: self.value(k.value) for k in e.keywords})
        if isinstance(called, Type):
            (x,) = args
            if called.word == "ptr":
                of: Any = called.of
                return Value(f, (x if x.type == "ptr" else f.convert(x, "ptr")).name, "ptr", of.word, of.signed)
            return f.convert(x, called.word, called.signed) if isinstance(x, Value) else Value(f, ir.constant(x, called.word), called.word, None, called.signed)
        if isinstance(called, external):
            values = [f.coerce(a, t.word) for a, t in zip(args, called.params)]
            made = f.call(called.name, called.returns.word, *values)
            made.of = called.returns.of.word if called.returns.of else None
            return made
        if isinstance(called, Device):
            known = {k.arg: self.value(k.value) for k in e.keywords}
            callee = called.make(f.module, args, known)
            wanted = iter(callee.params)
            given = zip(called.tree().args.args, args)
            values = [f.coerce(a, next(wanted)[0]) for p, a in given if isinstance(a, Value) or isinstance(a, (int, float)) and p.annotation is not None]
            made = f.call(callee.name, callee.returns, *values)
            result = callee.result  # type: ignore[attr-defined]
            made.of, made.signed = (result.of.word if result.of else None), result.signed
            return made
        if callable(called) and not any(isinstance(a, Value) for a in args):
            return called(*args)
        return self.fail(e, "this cannot be called in a kernel")


def _loaded(target: Any) -> Any:
    """The expression that reads what an assignment writes."""
    made = ast.copy_location(type(target)(**{k: getattr(target, k) for k in target._fields}), target)
    made.ctx = ast.Load()
    return made

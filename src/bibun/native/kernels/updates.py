"""Update rules of optimizers over many large arrays, one pass through memory for all of a step.

In: a rule ``rule(x, flags, numbers, parameter, gradient, *state)`` as `bibun.optim.arithmetic` describes it, and the arrays and
numbers of each parameter. The rule is run once on values that write LLVM's instructions (`Written`), which makes the body of a
loop; where it asks something of a number (is a weight small?) the answer becomes part of what the loop is for. Sums of products
are rounded once, as PyTorch's vector code rounds them, so that results are PyTorch's to the bit.

All parameters of a step go into one table, a row of addresses and numbers for each, and into one call.
"""

from __future__ import annotations

import hashlib
import inspect
import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import build, ir
from ..entry import DATA
from ..ir import Function, Module, Value
from ..kernel import builtin, make_entry

__all__ = ["CHUNK", "kernel_of", "run_updates"]

#: Elements that a thread takes at a time.
CHUNK = 1 << 14

_WORDS = {np.dtype(np.float32): "float", np.dtype(np.float64): "double"}
_ASK: dict[str, Callable[[float, float], bool]] = {
    "==": operator.eq, "!=": operator.ne, ">": operator.gt, "<": operator.lt, ">=": operator.ge, "<=": operator.le,
    "abs<": lambda a, b: abs(a) < b,
}  # fmt: skip


class Number:
    """A scalar of a rule: a value in the loop, a known number where the rule asks for one."""

    __slots__ = ("answers", "given", "index", "value")

    def __init__(self, index: int, value: Value, given: float, answers: list[Any]):
        self.index, self.value, self.given, self.answers = index, value, given, answers

    def ask(self, question: str, other: float) -> bool:
        answer = _ASK[question](self.given, other)
        self.answers.append((self.index, question, other, answer))
        return answer

    def __eq__(self, other: Any) -> bool:
        return self.ask("==", other)

    def __ne__(self, other: Any) -> bool:
        return self.ask("!=", other)

    def __gt__(self, other: Any) -> bool:
        return self.ask(">", other)

    def __lt__(self, other: Any) -> bool:
        return self.ask("<", other)

    def __ge__(self, other: Any) -> bool:
        return self.ask(">=", other)

    def __le__(self, other: Any) -> bool:
        return self.ask("<=", other)

    __hash__ = None  # type: ignore[assignment]


class Cell:
    """The element of an array that the loop is at."""

    __slots__ = ("changed", "value")

    def __init__(self, value: Value):
        self.value, self.changed = value, False

    def put(self, value: Any) -> None:
        self.value, self.changed = value, True


def _value(a: Any) -> Any:
    return a.value if isinstance(a, (Cell, Number)) else a


class Written:
    """The vocabulary of update rules as instructions: each operation gives a value, places for results are not needed."""

    u = d = e = None

    def __init__(self, f: Function):
        self.f = f
        self.fused = "fma" in build.features()[2]

    def product_sum(self, a: Any, b: Any, c: Any) -> Any:
        """a·b + c."""
        return self.f.fma(a, b, c) if self.fused else a * b + c

    # into a place

    def neg(self, a: Any, out: Any) -> Any:
        return -_value(a)

    def add(self, a: Any, b: Any, s: Any, out: Any) -> Any:
        return self.product_sum(_value(s), _value(b), _value(a))

    def mul(self, a: Any, b: Any, out: Any) -> Any:
        return _value(a) * _value(b)

    def div(self, a: Any, b: Any, out: Any) -> Any:
        return _value(a) / _value(b)

    scale, over = mul, div

    def plus(self, a: Any, s: Any, out: Any) -> Any:
        return _value(a) + _value(s)

    def sqrt(self, a: Any, out: Any) -> Any:
        return self.f.intrinsic("llvm.sqrt", _value(a))

    def abs(self, a: Any, out: Any) -> Any:
        return self.f.intrinsic("llvm.fabs", _value(a))

    def reciprocal(self, a: Any, out: Any) -> Any:
        return 1.0 / _value(a)

    def minus_square(self, a: Any, b: Any, out: Any) -> Any:
        b = _value(b)
        return self.product_sum(-b, b, _value(a))

    def by_sign(self, a: Any, positive: Any, negative: Any, zero: Any, out: Any) -> Any:
        a, select = _value(a), self.f.select
        return select(a > 0.0, _value(positive), select(a < 0.0, _value(negative), _value(zero)))

    def unless_negative(self, a: Any, b: Any, out: Any) -> Any:
        return self.f.select(_value(b) < 0.0, 0.0, _value(a))

    # in place

    def copy_(self, a: Cell, b: Any) -> None:
        a.put(_value(b))

    def mul_(self, a: Cell, s: Any) -> None:
        a.put(a.value * _value(s))

    def add_(self, a: Cell, b: Any, s: Any = None) -> None:
        a.put(a.value + _value(b) if s is None else self.add(a, b, s, None))

    def lerp_(self, a: Cell, b: Any, w: Number) -> None:
        b = _value(b)
        step = b - a.value
        if w.ask("abs<", 0.5):
            a.put(self.product_sum(w.value, step, a.value))
        else:
            a.put(self.product_sum(-step, 1.0 - w.value, b))

    def addcmul_(self, a: Cell, b: Any, c: Any, s: Any = None) -> None:
        b = _value(b)
        a.put(self.product_sum(b if s is None else b * _value(s), _value(c), a.value))

    def addcdiv_(self, a: Cell, b: Any, c: Any, s: Any = None) -> None:
        b = _value(b)
        a.put(a.value + (b if s is None else b * _value(s)) / _value(c))

    def maximum_(self, a: Cell, b: Any) -> None:
        a.put(self.f.maximum(a.value, _value(b)))

    def clamp_(self, a: Cell, low: Any, high: Any) -> None:
        f = self.f
        a.put(f.minimum(f.maximum(a.value, _value(low)), _value(high)))


def _write(module: Module, name: str, rule: Any, flags: Any, word: str, arrays: int, given: tuple[float, ...]) -> list[Any]:
    """Write the kernel of a rule, and tell what the rule asked of its numbers, with the answers."""
    answers: list[Any] = []
    width = 1 + arrays + len(given)
    # The loop, as a function of its own: its arrays are told to lie apart. (Where two are the same array it is right as well.)
    params = [("ptr", f"a{i}") for i in range(arrays)] + [("i64", "begin"), ("i64", "end")] + [(word, f"n{i}") for i in range(len(given))]
    inner = Function(
        module, name + ".loop", "void", params, fast="", attributes="nounwind noinline " + build.attributes(), linkage="internal", distinct=True
    )
    pointers = inner.args[:arrays]
    begin, end, *values = inner.args[arrays:]
    for p in pointers:
        p.of = word
    numbers = [Number(i, v, x, answers) for i, (v, x) in enumerate(zip(values, given))]
    with inner.loop(begin, end) as i:
        places = [p + i for p in pointers]
        cells = [Cell(inner.load(p)) for p in places]
        rule(Written(inner), flags, numbers, *cells)
        for cell, place in zip(cells, places):
            if cell.changed:
                inner.store(cell.value, place)
    inner.give()

    def body(f: Function, given_values: list[Value], low: Value, high: Value) -> None:
        # A row is (where its elements end in the count of all, ndarray objects, numbers as float64).
        table, rows = given_values
        table.of = "i64"
        row, start = f.slot(f.const(0)), f.slot(f.const(0))
        head, work, skip, after, done = (f.label_name(n) for n in ("row", "work", "skip", "after", "done"))
        f.jump(head)
        f.label(head)
        at = table + row.get() * width
        stop = f.load(at)
        f.branch(stop > low, work, skip)
        f.label(work)
        first, last = f.maximum(low, start.get()) - start.get(), f.minimum(high, stop) - start.get()
        addresses = []
        for k in range(arrays):
            held = f.convert(f.load(at + (1 + k)), "ptr")
            addresses.append(f.load(f.offset(held, DATA), "ptr"))
        scalars = [f.convert(f.load(at + (1 + arrays + k), "double"), word) for k in range(len(given))]
        f.call(name + ".loop", "void", *addresses, first, last, *scalars)
        f.jump(skip)
        f.label(skip)
        start.set(stop)
        row.set(row.get() + 1)
        f.branch(stop < high, after, done)
        f.label(after)
        f.branch(row.get() < rows, head, done)
        f.label(done)

    make_entry(module, name, [("ptr", "table"), ("i64", "rows")], body)
    return answers


#: (rule, flags, type, arrays) to the kernels made for it, each behind the answers it is for.
_made: dict[Any, list[tuple[list[Any], Any, frozenset[int]]]] = {}


def kernel_of(rule: Any, flags: Any, dtype: Any, arrays: int, numbers: Any) -> tuple[Any, frozenset[int]]:
    """The kernel of a rule for arrays of a dtype and such numbers; and the places of the numbers on which it depends which one it is.

    It takes (table, rows, elements of all, elements that a thread takes at a time); of the table `run_updates` tells.
    """
    key = rule, flags, dtype, arrays
    known = _made.get(key)
    if known is None:
        known = _made[key] = []
    for answers, made, asked in known:
        for index, question, other, answer in answers:
            if _ASK[question](numbers[index], other) is not answer:
                break
        else:
            return made, asked
    word = _WORDS[dtype]
    answers = _write(Module(), "kernel", rule, flags, word, arrays, numbers)
    said = f"update|{inspect.getsource(rule)}|{flags}|{word}|{arrays}|{answers}|{build.sources()}"
    name = f"{rule.__name__.strip('_')}_{hashlib.sha256(said.encode()).hexdigest()[:12]}"
    at = build.load(said, lambda module: _write(module, name, rule, flags, word, arrays, numbers), [name])[0]  # type: ignore[arg-type,return-value]
    made = builtin(rule.__name__.strip("_"), at, ("ptr", "i64"))
    asked = frozenset(index for index, *_ in answers)
    known.append((answers, made, asked))
    return made, asked


def run_updates(jobs: list[Any]) -> None:
    """Apply rules to arrays.

    Args:
        jobs: (rule, flags, numbers, arrays) of each parameter: its own array, its gradient's and those of its state, all of one
            size and one dtype (float32 or float64), contiguous. Numbers are floats, already rounded to that dtype.
    """
    groups: dict[Any, list[Any]] = {}
    for rule, flags, numbers, arrays in jobs:
        call, _ = kernel_of(rule, flags, arrays[0].dtype, len(arrays), numbers)
        groups.setdefault((call, len(arrays), len(numbers)), []).append((arrays, numbers))
    for (call, n, scalars), rows in groups.items():
        table = np.empty((len(rows), 1 + n + scalars), np.int64)
        total = 0
        ends = []
        for arrays, _ in rows:
            total += arrays[0].size
            ends.append(total)
        table[:, 0] = ends
        table[:, 1 : 1 + n] = [[id(a) for a in arrays] for arrays, _ in rows]
        table[:, 1 + n :].view(np.float64)[...] = [numbers for _, numbers in rows]
        call(table, len(rows), total, CHUNK)


assert ir.SIZES["ptr"] == 8

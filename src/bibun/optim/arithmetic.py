"""The arithmetic that update rules are written in: a handful of in-place operations with PyTorch's roundings.

A rule such as Adam's is one function over a *vocabulary* ``x``: ``x.lerp_(m, g, w)``, ``x.addcdiv_(p, m, d, s)``.
Handed `Arrays` it runs on ndarrays with scratch memory that is made once; handed `Singles`, on one-element arrays
through Python floats; handed `Halves`, on float16 and bfloat16, computing in float32; handed `TENSORS`, on Tensors, so
that it can be differentiated. Scalars of a rule pass through ``x.numbers`` first. `Scratch` chooses, `Blocks` walks
large arrays in pieces that stay in cache.

What a vocabulary offers, operands ``a`` and ``b`` of one shape, scalars ``s``: in place ``mul_(a, s)``,
``add_(a, b, s)`` (a + s·b, one rounding where that is cheap), ``lerp_``, ``addcmul_``, ``addcdiv_``, ``maximum_``,
``clamp_``, ``copy_``; and with a place for the result (`x.u`, `x.d` or `x.e`, for scratch) ``neg``, ``add``, ``mul``,
``div``, ``plus`` (a + scalar), ``scale`` (a · scalar), ``over`` (a / scalar), ``sqrt``, ``abs``, ``minus_square``,
``reciprocal``, ``by_sign`` and ``unless_negative``. A rule goes on with what such a call returns, for not every
vocabulary has places.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

__all__ = ["BLOCK", "TENSORS", "Arrays", "Blocks", "Complexes", "Halves", "Scratch", "Singles"]

#: Elements of a block: six float32 arrays of this length fit in a core's second-level cache, and NumPy's cost of a
#: call is small beside the work on one.
BLOCK = 32768

#: Up to so many elements, a + s·b is rounded once, as fused multiply-add does. Beyond, the second pass would be felt.
FUSED = 4096

ndarray = np.ndarray
add, subtract, multiply, divide, sqrt = np.add, np.subtract, np.multiply, np.divide, np.sqrt
maximum, absolute, negative, copyto, dot = np.maximum, np.absolute, np.negative, np.copyto, np.dot
F32, F64 = np.dtype(np.float32), np.dtype(np.float64)


@functools.cache
def row_of_sums() -> int | None:
    """How to have BLAS compute a + s·b with one rounding: a's row in the product of [1, s] and [a, b], if that works.

    A kernel with fused multiply-add rounds each element once, if it takes the two rows in the right order. Which order
    that is depends on the processor, so it is tried; None where neither will do.
    """
    for row in (0, 1):
        for n in (2, 3, 5, 8, 17, 100):
            rows, weights, got = np.empty((2, n), F32), np.ones(2, F32), np.empty(n, F32)
            rows[row], rows[1 - row] = -1, 1 + 2.0**-12
            weights[1 - row] = 1 - 2.0**-12
            dot(weights, rows, got)
            if (got != -(2.0**-24)).any():
                break
        else:
            return row
    return None


class Arrays:
    """Rules over ndarrays of one shape and dtype (float32 or float64), scratch memory included.

    ``t`` is scratch of the operations themselves; ``u``, ``d`` and ``e`` are places that a rule names.
    """

    __slots__ = ("d", "dtype", "e", "known", "left", "pair", "right", "t", "u", "weight", "weights")

    def __init__(self, shape: tuple[int, ...], memory: Any, known: dict[float, Any]):
        n = math.prod(shape)
        self.dtype = memory.dtype
        self.known = known
        self.t, self.u, self.d, self.e = (memory[i, :n].reshape(shape) for i in range(4))
        self.pair = None
        if 2 <= n <= FUSED and self.dtype == F32:
            row = row_of_sums()
            if row is not None:
                self.pair = memory[4, : 2 * n].reshape(2, n)
                self.left, self.right = self.pair[row].reshape(shape), self.pair[1 - row].reshape(shape)
                self.weights = np.ones(2, F32)
                self.weight = self.weights[1 - row : 2 - row]

    def run(self, rule: Any, flags: Any, numbers: Any, *arrays: Any) -> None:
        """Apply a rule to parameter, gradient and state."""
        rule(self, flags, numbers, *arrays)

    def numbers(self, values: Any) -> Any:
        """Scalars as 0-d arrays, which NumPy takes in half the time of a Python number."""
        known = self.known
        out = []
        for v in values:
            c = known.get(v)
            if c is None:
                if len(known) > 256:
                    known.clear()
                c = known[v] = np.array(v, self.dtype)
            out.append(c)
        return out

    # into a place

    def neg(self, a: Any, out: Any) -> Any:
        return negative(a, out)

    def add(self, a: Any, b: Any, s: Any, out: Any) -> Any:
        if self.pair is not None and out.flags.c_contiguous:
            copyto(self.left, a)
            copyto(self.right, b)
            self.weight[0] = s
            dot(self.weights, self.pair, out.reshape(-1))
            return out
        t = self.t
        multiply(b, s, t)
        return add(a, t, out)

    def mul(self, a: Any, b: Any, out: Any) -> Any:
        return multiply(a, b, out)

    def div(self, a: Any, b: Any, out: Any) -> Any:
        return divide(a, b, out)

    scale, over = mul, div

    def plus(self, a: Any, s: Any, out: Any) -> Any:
        return add(a, s, out)

    def sqrt(self, a: Any, out: Any) -> Any:
        return sqrt(a, out)

    def abs(self, a: Any, out: Any) -> Any:
        return absolute(a, out)

    def reciprocal(self, a: Any, out: Any) -> Any:
        return np.reciprocal(a, out)

    def minus_square(self, a: Any, b: Any, out: Any) -> Any:
        b = b.astype(F64)  # variance = mean square - squared mean: what is left needs the square's exact digits
        b *= b
        return subtract(a, b, out, casting="same_kind")

    def by_sign(self, a: Any, positive: Any, negative: Any, zero: Any, out: Any) -> Any:
        out[...] = zero
        copyto(out, positive, where=a > 0)
        copyto(out, negative, where=a < 0)
        return out

    def unless_negative(self, a: Any, b: Any, out: Any) -> Any:
        copyto(out, a)
        copyto(out, 0.0, where=b < 0)
        return out

    # in place

    def copy_(self, a: Any, b: Any) -> None:
        copyto(a, b)

    def mul_(self, a: Any, s: Any) -> None:
        multiply(a, s, a)

    def add_(self, a: Any, b: Any, s: Any = None) -> None:
        if s is None:
            add(a, b, a)
        else:
            self.add(a, b, s, a)

    def lerp_(self, a: Any, b: Any, w: Any) -> None:
        t = self.t
        if abs(w.item()) < 0.5:
            subtract(b, a, t)
            multiply(t, w, t)
            add(a, t, a)
        else:
            subtract(b, a, t)
            multiply(t, 1 - w, t)
            subtract(b, t, a)

    def addcmul_(self, a: Any, b: Any, c: Any, s: Any = None) -> None:
        t = self.t
        if s is None:
            multiply(b, c, t)
        else:
            multiply(b, s, t)
            multiply(t, c, t)
        add(a, t, a)

    def addcdiv_(self, a: Any, b: Any, c: Any, s: Any = None) -> None:
        t = self.t
        if s is None:
            divide(b, c, t)
        else:
            multiply(b, s, t)
            divide(t, c, t)
        add(a, t, a)

    def maximum_(self, a: Any, b: Any) -> None:
        maximum(a, b, out=a)

    def clamp_(self, a: Any, low: Any, high: Any) -> None:
        np.clip(a, low, high, a)


class Halves(Arrays):
    """Rules over float16 and bfloat16 arrays: every operation computes in float32 and is rounded once."""

    __slots__ = ()

    def __init__(self, shape: tuple[int, ...], memory: Any, known: dict[float, Any]):
        super().__init__(shape, memory, known)
        self.pair = None

    def numbers(self, values: Any) -> Any:
        return [np.array(v, F32) for v in values]

    def neg(self, a: Any, out: Any) -> Any:
        return _put(out, -_wide(a))

    def add(self, a: Any, b: Any, s: Any, out: Any) -> Any:
        return _put(out, _wide(a) + s * _wide(b))

    def mul(self, a: Any, b: Any, out: Any) -> Any:
        return _put(out, _wide(a) * _wide(b))

    def div(self, a: Any, b: Any, out: Any) -> Any:
        return _put(out, _wide(a) / _wide(b))

    scale, over = mul, div

    def plus(self, a: Any, s: Any, out: Any) -> Any:
        return _put(out, _wide(a) + s)

    def sqrt(self, a: Any, out: Any) -> Any:
        return _put(out, sqrt(_wide(a)))

    def abs(self, a: Any, out: Any) -> Any:
        return _put(out, absolute(_wide(a)))

    def reciprocal(self, a: Any, out: Any) -> Any:
        return _put(out, 1 / _wide(a))

    def minus_square(self, a: Any, b: Any, out: Any) -> Any:
        b = _wide(b)
        return _put(out, _wide(a) - b * b)

    def mul_(self, a: Any, s: Any) -> None:
        _put(a, _wide(a) * _wide(s))

    def add_(self, a: Any, b: Any, s: Any = None) -> None:
        b = _wide(b)
        _put(a, _wide(a) + (b if s is None else s * b))

    def lerp_(self, a: Any, b: Any, w: Any) -> None:
        wide, b = _wide(a), _wide(b)
        _put(a, wide + w * (b - wide) if abs(w.item()) < 0.5 else b - (b - wide) * (1 - w))

    def addcmul_(self, a: Any, b: Any, c: Any, s: Any = None) -> None:
        b = _wide(b)
        _put(a, _wide(a) + (b if s is None else s * b) * _wide(c))

    def addcdiv_(self, a: Any, b: Any, c: Any, s: Any = None) -> None:
        b = _wide(b)
        _put(a, _wide(a) + (b if s is None else s * b) / _wide(c))


def _wide(a: Any) -> Any:
    return a.astype(F32)


def _put(out: Any, value: Any) -> Any:
    out[...] = value
    return out


class Singles:
    """Rules over arrays of one element, through Python floats: a tenth of the cost of NumPy's calls.

    Doubles hold products of float32 numbers exactly, so a + s·b is rounded once for them.
    """

    __slots__ = ("cell", "dtype")
    u = d = e = None

    def __init__(self, dtype: Any):
        self.dtype = dtype
        self.cell = np.zeros((), dtype)

    def run(self, rule: Any, flags: Any, numbers: Any, p: Any, g: Any, *states: Any) -> None:
        """Apply a rule to parameter, gradient and state."""
        rule(self, flags, numbers, p, g.item(), *states)

    def rounded(self, v: float) -> float:
        cell = self.cell
        cell.fill(v)
        return cell.item()

    def numbers(self, values: Any) -> Any:
        """Scalars rounded to the arrays' dtype."""
        return [self.rounded(v) for v in values]

    def neg(self, a: Any, out: Any) -> Any:
        return -_number(a)

    def add(self, a: Any, b: Any, s: Any, out: Any) -> Any:
        return self.rounded(_number(a) + s * _number(b))

    def mul(self, a: Any, b: Any, out: Any) -> Any:
        return self.rounded(_number(a) * _number(b))

    def div(self, a: Any, b: Any, out: Any) -> Any:
        return self.rounded(_quotient(_number(a), _number(b)))

    scale, over = mul, div

    def plus(self, a: Any, s: Any, out: Any) -> Any:
        return self.rounded(_number(a) + s)

    def sqrt(self, a: Any, out: Any) -> Any:
        a = _number(a)
        return self.rounded(math.sqrt(a)) if a >= 0 else math.nan

    def abs(self, a: Any, out: Any) -> Any:
        return abs(_number(a))

    def reciprocal(self, a: Any, out: Any) -> Any:
        return self.rounded(_quotient(1.0, _number(a)))

    def minus_square(self, a: Any, b: Any, out: Any) -> Any:
        b = _number(b)
        return self.rounded(_number(a) - b * b)

    def by_sign(self, a: Any, positive: Any, negative: Any, zero: Any, out: Any) -> Any:
        a = _number(a)
        return positive if a > 0 else negative if a < 0 else zero

    def unless_negative(self, a: Any, b: Any, out: Any) -> Any:
        return 0.0 if _number(b) < 0 else _number(a)

    def copy_(self, a: Any, b: Any) -> None:
        a.fill(_number(b))

    def mul_(self, a: Any, s: Any) -> None:
        a.fill(a.item() * _number(s))

    def add_(self, a: Any, b: Any, s: Any = None) -> None:
        b = _number(b)
        a.fill(a.item() + (b if s is None else s * b))

    def lerp_(self, a: Any, b: Any, w: Any) -> None:
        old, b = a.item(), _number(b)
        step = self.rounded(b - old)
        a.fill(old + w * step if abs(w) < 0.5 else b - step * self.rounded(1 - w))

    def addcmul_(self, a: Any, b: Any, c: Any, s: Any = None) -> None:
        b = _number(b)
        a.fill(a.item() + (b if s is None else self.rounded(s * b)) * _number(c))

    def addcdiv_(self, a: Any, b: Any, c: Any, s: Any = None) -> None:
        b = _number(b)
        a.fill(a.item() + self.rounded(_quotient(b if s is None else self.rounded(s * b), _number(c))))

    def maximum_(self, a: Any, b: Any) -> None:
        b = _number(b)
        if b > a.item() or b != b:
            a.fill(b)

    def clamp_(self, a: Any, low: Any, high: Any) -> None:
        v = a.item()
        if v == v:
            a.fill(min(max(v, low), high))


def _number(a: Any) -> Any:
    return a.item() if a.__class__ is ndarray else a


def _quotient(a: float, b: float) -> float:
    """a / b as IEEE arithmetic has it, where Python raises."""
    try:
        return a / b
    except ZeroDivisionError:
        return math.nan if a == 0 or a != a else math.copysign(math.inf, a) * math.copysign(1.0, b)


class Blocks:
    """A vocabulary for arrays longer than `BLOCK`: rules are applied block by block, so that each stays in cache."""

    __slots__ = ("dtype", "order", "shape", "tail", "words")

    def __init__(self, a: Any, scratch: Scratch):
        self.shape, self.dtype = a.shape, a.dtype
        self.words = scratch.words((BLOCK,), a.dtype)
        rest = a.size % BLOCK
        self.tail = scratch.words((rest,), a.dtype) if rest else None
        # The order of the dimensions in memory; a dense array becomes flat when they are put in it.
        self.order = None if a.flags.c_contiguous else tuple(np.argsort([-abs(s) for s in a.strides], kind="stable"))

    def numbers(self, values: Any) -> Any:
        return self.words.numbers(values)

    def run(self, rule: Any, flags: Any, numbers: Any, *arrays: Any) -> None:
        flat = [self.flattened(a, i == 1) for i, a in enumerate(arrays)]
        if any(f is None for f in flat):
            # Some strange layout: no blocks, memory of its own.
            whole = type(self.words)(self.shape, np.empty((5, arrays[0].size), self.dtype), {})
            rule(whole, flags, numbers, *arrays)
            return
        words, n = self.words, arrays[0].size
        for i in range(0, n - BLOCK + 1, BLOCK):
            j = i + BLOCK
            rule(words, flags, numbers, *[f[i:j] for f in flat])
        if self.tail is not None:
            i = n - n % BLOCK
            rule(self.tail, flags, numbers, *[f[i:] for f in flat])

    def flattened(self, a: Any, copy: bool) -> Any:
        """``a`` in one dimension, in this parameter's order in memory; a copy only where allowed, else None."""
        if self.order is not None:
            a = a.transpose(self.order)
        if not a.flags.c_contiguous:
            if not copy:
                return None
            a = np.ascontiguousarray(a)
        return a.reshape(-1)


class Complexes:
    """A vocabulary for complex arrays: real and imaginary parts take the rule each for itself, as PyTorch has it."""

    __slots__ = ("dense", "dtype", "scratch", "words")

    def __init__(self, a: Any, scratch: Scratch):
        self.dtype = a.real.dtype
        self.scratch = scratch
        self.dense = a.flags.c_contiguous
        self.words = scratch.for_array(a.reshape(-1).view(self.dtype) if self.dense else a.real)

    def numbers(self, values: Any) -> Any:
        return self.words.numbers(values)

    def run(self, rule: Any, flags: Any, numbers: Any, *arrays: Any) -> None:
        if self.dense and all(a.flags.c_contiguous for a in arrays):
            self.words.run(rule, flags, numbers, *[a.reshape(-1).view(self.dtype) for a in arrays])
        else:
            words = self.scratch.for_array(arrays[0].real)
            words.run(rule, flags, numbers, *[a.real for a in arrays])
            words.run(rule, flags, numbers, *[a.imag for a in arrays])


class Scratch:
    """The vocabularies of one optimizer, and the scratch memory they share: five blocks for each dtype."""

    def __init__(self) -> None:
        self.memory: dict[Any, Any] = {}
        self.known: dict[Any, dict[float, Any]] = {}
        self.singles: dict[Any, Singles] = {}
        self.shapes: dict[Any, Arrays] = {}

    def for_array(self, a: Any) -> Any:
        """The vocabulary for arrays like ``a``."""
        dtype = a.dtype
        kind = dtype.kind
        if kind == "c":
            return Complexes(a, self)
        if kind in "biu":
            raise RuntimeError("For integral input tensors, argument alpha must not be a floating point number.")
        if a.size == 1 and (dtype == F32 or dtype == F64):
            words = self.singles.get(dtype)
            if words is None:
                words = self.singles[dtype] = Singles(dtype)
            return words
        if a.size > BLOCK:
            return Blocks(a, self)
        return self.words(a.shape, dtype)

    def words(self, shape: tuple[int, ...], dtype: Any) -> Arrays:
        """The vocabulary for arrays of one shape, not larger than a block."""
        words = self.shapes.get((shape, dtype))
        if words is None:
            if len(self.shapes) > 512:
                self.shapes.clear()
            n = math.prod(shape)
            need = max(2 * n if n <= FUSED else n, 64)
            memory = self.memory.get(dtype)
            if memory is None or memory.shape[1] < need:
                memory = self.memory[dtype] = np.empty((5, 1 << (need - 1).bit_length()), dtype)
            kind = Arrays if dtype == F32 or dtype == F64 else Halves
            words = self.shapes[shape, dtype] = kind(shape, memory, self.known.setdefault(dtype, {}))
        return words


class _Tensors:
    """Rules over Tensors, by Tensor's own methods, so that a step can be differentiated.

    Operands that later steps overwrite are cloned where the graph would keep them.
    """

    u = d = e = None

    def numbers(self, values: Any) -> Any:
        return values

    def neg(self, a: Any, out: Any) -> Any:
        return -a

    def add(self, a: Any, b: Any, s: Any, out: Any) -> Any:
        return a + b.clone() * s

    def mul(self, a: Any, b: Any, out: Any) -> Any:
        return a * b.clone()

    def div(self, a: Any, b: Any, out: Any) -> Any:
        return a / b

    def scale(self, a: Any, s: Any, out: Any) -> Any:
        return a * s

    def over(self, a: Any, s: Any, out: Any) -> Any:
        return a / s

    def plus(self, a: Any, s: Any, out: Any) -> Any:
        return a + s

    def sqrt(self, a: Any, out: Any) -> Any:
        return a.sqrt()

    def abs(self, a: Any, out: Any) -> Any:
        return a.abs()

    def reciprocal(self, a: Any, out: Any) -> Any:
        return a.reciprocal()

    def minus_square(self, a: Any, b: Any, out: Any) -> Any:
        b = b.clone()
        return a - b * b

    def by_sign(self, a: Any, positive: Any, negative: Any, zero: Any, out: Any) -> Any:
        out = a.detach() * 0 + zero
        return out.masked_fill(a > 0, positive).masked_fill(a < 0, negative)

    def unless_negative(self, a: Any, b: Any, out: Any) -> Any:
        return a.masked_fill(b < 0, 0.0)

    def copy_(self, a: Any, b: Any) -> None:
        a.copy_(b.detach())  # PyTorch's first velocity is out of the graph, too

    def mul_(self, a: Any, s: Any) -> None:
        a.mul_(s)

    def add_(self, a: Any, b: Any, s: Any = None) -> None:
        a.add_(b if s is None else b.clone() * s)

    def lerp_(self, a: Any, b: Any, w: Any) -> None:
        a.lerp_(b, w)

    def addcmul_(self, a: Any, b: Any, c: Any, s: Any = None) -> None:
        product = b.clone() * c.clone()
        a.add_(product if s is None else product * s)

    def addcdiv_(self, a: Any, b: Any, c: Any, s: Any = None) -> None:
        quotient = b.clone() / c.clone()
        a.add_(quotient if s is None else quotient * s)

    def maximum_(self, a: Any, b: Any) -> None:
        a.copy_(a.clone().maximum(b.clone()))

    def clamp_(self, a: Any, low: Any, high: Any) -> None:
        a.clamp_(low, high)


TENSORS = _Tensors()

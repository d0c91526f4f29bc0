"""The arithmetic that update rules are written in: a handful of in-place operations with PyTorch's roundings.

A rule such as Adam's is one function over a *vocabulary* ``x``: ``x.lerp_(m, g, w)``, ``x.addcdiv_(p, m, d, s)``.
Handed `Arrays` it runs on ndarrays with scratch memory that is made once; handed `Singles`, on one-element arrays
through Python floats; handed `Halves`, on float16 and bfloat16, computing in float32; handed `TENSORS`, on Tensors, so
that it can be differentiated. Scalars of a rule pass through ``x.numbers`` first; arrays whose vocabularies are of one
``kind`` can share them. `scratch` chooses the vocabulary for an array.

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

__all__ = ["FUSED", "TENSORS", "Arrays", "Halves", "Singles", "row_of_sums"]

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

    __slots__ = ("d", "dtype", "e", "kind", "known", "left", "pair", "right", "t", "u", "weight", "weights")

    def __init__(self, shape: tuple[int, ...], memory: Any, known: dict[float, Any]):
        n = math.prod(shape)
        self.dtype = self.kind = memory.dtype
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

    __slots__ = ("cell", "dtype", "kind")
    u = d = e = None

    def __init__(self, dtype: Any):
        self.dtype = dtype
        self.kind = self
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

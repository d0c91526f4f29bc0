"""Fused multiply-add and the C library's own logarithms on arrays: a·b + c rounded once, as PyTorch's kernels (built
for processors with AVX2 or better) round it, and log, log1p, exp, tan of doubles with the very bits of the C library.

In come float arrays; out go new arrays or `out`. NumPy has no fused multiply-add, so it is made of exact products:
those of float32 fit in a float64, those of float64 are kept as a sum of two doubles.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

_SPLIT = 134217729.0  # 2^27 + 1: cuts a double in two halves of 26 bits (Veltkamp, 1968)
_BLOCK = 16384  # so many doubles and the temporaries beside them stay in the second-level cache


def _two_sum(a: Any, b: Any) -> tuple[Any, Any]:
    """a + b as its rounded value and the exact rest (Knuth, 1969)."""
    s = a + b
    t = s - a
    return s, (a - (s - t)) + (b - t)


def _two_product(a: Any, b: Any) -> tuple[Any, Any]:
    """a · b as its rounded value and the exact rest (Dekker, 1971)."""
    p = a * b
    t = a * _SPLIT
    ah = t - (t - a)
    al = a - ah
    t = b * _SPLIT
    bh = t - (t - b)
    bl = b - bh
    return p, al * bl - (((p - ah * bh) - al * bh) - ah * bl)


def _round_to_odd(s: np.ndarray, rest: np.ndarray) -> np.ndarray:
    """Of the two doubles around s + rest the one whose last bit is set: a second rounding then does no harm."""
    low = (rest != 0) & ((s.view(np.int64) & 1) == 0)
    if low.any():
        s = np.where(low, np.nextafter(s, np.where(rest > 0, np.inf, -np.inf)), s)
    return s


def fma64(a: np.ndarray, b: float, c: float, out: np.ndarray | None = None) -> np.ndarray:
    """a·b + c for a float64 vector and two numbers, rounded once (Boldo and Melquiond, 2008)."""
    out = np.empty_like(a) if out is None else out
    if c == 0 or math.frexp(b)[0] in (0.5, -0.5):  # the product, or the sum, is exact: one rounding as it is
        np.multiply(a, b, out=out)
        return np.add(out, c, out=out)
    scale = math.frexp(max(abs(b), abs(c)))[1]
    if not -900 < scale < 900:  # products of halves could leave the range; such a stream is nobody's
        return np.add(np.multiply(a, b, out=out), c, out=out)
    for start in range(0, len(a), _BLOCK):
        part = slice(start, start + _BLOCK)
        p, p_rest = _two_product(a[part], b)
        t, t_rest = _two_sum(c, p_rest)
        s, s_rest = _two_sum(p, t)
        z, rest = _two_sum(t_rest, s_rest)
        np.add(s, _round_to_odd(z, rest), out=out[part])
    return out


def add_to_float32(products: np.ndarray, c: float, exact: bool, out: np.ndarray) -> None:
    """out = products + c in float32, where `products` are exact doubles, which are spoilt. `exact` says that the sums
    fit in a double too, so that they are rounded once on their way into `out` anyhow."""
    if exact:
        products += c
        out[...] = products
    else:
        s, rest = _two_sum(products, c)
        out[...] = _round_to_odd(s, rest)


def fma32(a: np.ndarray, b: float, c: float, out: np.ndarray) -> np.ndarray:
    """out = a·b + c for a float32 vector and two numbers that are float32 values, rounded once."""
    for start in range(0, len(a), _BLOCK):
        part = slice(start, start + _BLOCK)
        products = a[part].astype(np.float64)
        products *= b
        add_to_float32(products, c, c == 0, out[part])
    return out


def sum_is_exact(step: float, largest: float, c: float) -> bool:
    """Whether multiples of `step` up to `largest` plus c fit in a double."""
    if c:
        step = min(step, math.ldexp(1.0, math.frexp(c)[1] - 24))  # c is a float32 value
    return max(largest, abs(c)) <= math.ldexp(step, 52)


if sys.version_info >= (3, 13):
    fma = math.fma
else:

    def fma(a: float, b: float, c: float) -> float:
        """a·b + c of doubles, rounded once."""
        if b == 1 or c == 0:
            return a * b + c
        p, p_rest = _two_product(a, b)
        t, t_rest = _two_sum(c, p_rest)
        s, s_rest = _two_sum(p, t)
        z, rest = _two_sum(t_rest, s_rest)
        if rest and not int(math.ldexp(math.frexp(z)[0], 53)) & 1:
            z = math.nextafter(z, math.copysign(math.inf, rest))
        return s + z


def libm(function: Callable[[float], float], a: np.ndarray) -> np.ndarray:
    """function of each element, through Python's `math`. NumPy's own loops for log, log1p, exp and tan differ from the
    C library's in the last bit for up to one double in ten, which shows in float64 results."""
    return np.fromiter(map(function, a.ravel().tolist()), np.float64, a.size).reshape(a.shape)

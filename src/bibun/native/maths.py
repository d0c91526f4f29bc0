"""Elementary functions for kernels: plain scalar definitions that LLVM vectorises, within 2 ULP of the true value in float32.

Each takes and gives one float32 (or a vector of them). Arguments are reduced after Cody and Waite, *Software Manual for the
Elementary Functions* (1980); the polynomials are Chebyshev interpolants of our own, found at 40 digits. NaN, infinities and
denormals come out as NumPy has them. Those of float64 are in `doubles`.

Where arguments are vectors, some functions take another polynomial for each of sixteen intervals (`_by_pieces`), whose coefficients
are then picked out of registers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from .lang import (
    T,
    any_of,
    bits,
    copysign,
    device,
    f32,
    f64,
    fabs,
    fma,
    i32,
    i64,
    is_vector,
    lookup,
    minimum,
    rint,
    scaled,
    select,
    u32,
    unrolled,
)

__all__ = ["cos", "cos_near", "erf", "erfc", "exp", "exp2", "expm1", "gelu", "gelu_slope", "log", "log1p", "log1p_exp", "normal_cdf", "normal_pdf", "power", "sigmoid", "sin", "sin_near", "tanh"]

_LOG2E = math.log2(math.e)
# ln 2 in three parts: the first has trailing zeros, so that n·LN2_HIGH is exact for the n that occur.
_LN2_HIGH, _LN2_LOW = 0.693145751953125, 1.42860682030941723212e-6
_ROOT_HALF, _ROOT_HALF_LOW = 0.7071067690849304, 1.2101617152815436e-08
_TINY = 1.1754943508222875e-38


@device
def _at_least(x: T, low: T) -> T:
    """The larger, or x where it is NaN: in one instruction, unlike `maximum`."""
    return select(low > x, low, x)


@device
def _at_most(x: T, high: T) -> T:
    return select(high < x, high, x)


@device
def exp_sum(x: T, low: T) -> T:
    """exp(x + low) for a small ``low``."""
    x = _at_most(_at_least(x, -104.0), 89.0)
    n = rint(x * _LOG2E)
    r = fma(n, -_LN2_HIGH, x)
    r = fma(n, -_LN2_LOW, r) + low
    p = fma(r, 0.001393367419950664, 0.008369174785912037)
    p = fma(p, r, 0.041666463017463684)
    p = fma(p, r, 0.16666504740715027)
    p = fma(p, r, 0.5)
    p = fma(p, r, 1.0)
    return scaled(fma(p, r, 1.0), n)


@device
def exp_rest(x: T, low: T) -> T:
    """What rounding to `exp_sum` leaves away. It begins with the same steps, which LLVM does once for both."""
    x = _at_most(_at_least(x, -104.0), 89.0)
    n = rint(x * _LOG2E)
    r = fma(n, -_LN2_HIGH, x)
    r = fma(n, -_LN2_LOW, r) + low
    p = fma(r, 0.001393367419950664, 0.008369174785912037)
    p = fma(p, r, 0.041666463017463684)
    p = fma(p, r, 0.16666504740715027)
    p = fma(p, r, 0.5)
    p = fma(p, r, 1.0)
    return scaled(fma(p, r, 1.0 - fma(p, r, 1.0)), n)


@device
def exp(x: T) -> T:
    return exp_sum(x, T(-0.0))


# Functions by pieces: sixteen intervals, which grow as their distance from 0 does; the number of the one that holds x is in the bits
# of 1 + scale·x, and x goes to 15/scale. In each a polynomial in the distance from a number near its middle.
_EDGES = (0, 0.25, 0.5, 0.75, 1, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 9, 11, 13, 15)


def _pieces(f: Callable[[float], float], scale: float, odd: bool = False, degree: int = 6) -> Any:
    """The middles and the coefficients, lowest first, as sixteen each, in the order of the lowest four bits of an interval's number.

    The middles are such that f there is nearly a float32, after Gal, "Computing Elementary Functions: A New Approach for Achieving
    High Accuracy and Good Performance" (1986). An ``odd`` function is x + x·p(x) in the first interval."""
    rows = []
    for low, high in zip(_EDGES, _EDGES[1:]):
        middle, half = 0.5 * (low + high) / scale, 0.5 * (high - low) / scale
        nodes = middle + half * np.cos(np.pi * np.arange(0.5, degree + 1) / (degree + 1))
        if odd and not low:
            middle, found = 0.0, [0.0, *np.polynomial.polynomial.polyfit(nodes, [f(x) / x - 1 for x in nodes], degree - 1)]
        else:
            near = [float(x) for x in np.float32(middle) * (1 + np.arange(-99, 100) * 2.0**-20).astype(np.float32)]
            middle = min(near, key=lambda x: abs(float(np.float32(f(x))) - f(x)) / (abs(f(x)) + 1e-30))
            found = np.polynomial.polynomial.polyfit((nodes - middle) / half, [f(x) for x in nodes], degree) / half ** np.arange(degree + 1)
        rows.append((middle, *map(float, found)))
    return tuple(tuple(rows[(i + 4) % 16][k] for i in range(16)) for k in range(degree + 2))


@device
def _by_pieces(x: T, pieces, scale, odd) -> T:
    place = fma(x, scale, 1.0)
    i = bits(place, i32) >> 21
    table = pieces()
    d = x - lookup(f32, table[0], i)
    p = lookup(f32, table[-1], i)
    for k in unrolled(len(table) - 2, 1, -1):
        p = fma(p, d, lookup(f32, table[k], i))
    first = lookup(f32, table[1], i)
    return fma(p, d, select(place < 1.25, x, first) if odd else first)


@device
def expm1(x: T) -> T:
    """exp(x) - 1, exact to the last bits near 0."""
    x = _at_most(_at_least(x, -104.0), 89.0)
    n = rint(x * _LOG2E)
    r = fma(n, -_LN2_HIGH, x)
    r = fma(n, -_LN2_LOW, r)
    p = fma(r, 1 / 40320, 1 / 5040)
    p = fma(p, r, 1 / 720)
    p = fma(p, r, 1 / 120)
    p = fma(p, r, 1 / 24)
    p = fma(p, r, 1 / 6)
    p = fma(p, r, 0.5)
    p = fma(p * r, r, r)  # exp(r) - 1
    whole = i32(n)
    half = whole >> 1
    a = bits((half + 127) << 23, T)
    b = bits((whole - half + 127) << 23, T)
    scale = a * b
    made = fma(p, scale, scale - 1.0)
    return select(n == 0.0, select(x == 0.0, x, p), select(whole > 126, (p * a + a) * b, made))


@device
def log_reduced(x: T, k: T) -> T:
    """log(x) + k·ln 2 for a positive finite x that is not denormal, k whole."""
    i = bits(x, i32)
    shifted = i - 0x3F3504F3  # √½
    e = shifted >> 23
    m = bits(i - (e << 23), T)
    n = T(e) + k
    f = m - 1.0
    s = f / (2.0 + f)
    z = s * s
    r = fma(z, 2 / 11, 2 / 9)
    r = fma(r, z, 2 / 7)
    r = fma(r, z, 2 / 5)
    r = fma(r, z, 2 / 3) * z
    square = 0.5 * f * f
    return fma(n, _LN2_HIGH, 0.0) - ((square - fma(s, square + r, n * _LN2_LOW)) - f)


@cache
def _log_pieces() -> Any:
    """Numbers near 1/m for sixteen intervals of m, and their logarithms with the sign changed, which are nearly float32; 1 for that of 1."""
    rows = []
    for k in range(16):
        ends = np.array([_FIRST + (k << 19), _FIRST + (k + 1 << 19)], np.int32).view(np.float32)
        near = [1.0] if ends[0] < 1 < ends[1] else [float(x) for x in np.float32(2 / ends.sum()) * (1 + np.arange(-999, 1000) * 2.0**-20).astype(np.float32)]
        rows.append(min(((x, -math.log(x)) for x in near), key=lambda r: abs(float(np.float32(r[1])) - r[1])))
    return tuple(zip(*rows))


#: The bits of the least m, a little below √½.
_FIRST = 0x3F330000


@device
def _log_by_pieces(x: T, low: T, k: T) -> T:
    """log(x + low) + k·ln 2 for a positive finite x that is not denormal, k whole, and a small low; either may be None."""
    table = _log_pieces()
    shifted = bits(x, i32) - _FIRST
    e = shifted >> 23
    i = shifted >> 19
    inverse = lookup(f32, table[0], i)
    r = fma(bits(bits(x, i32) - (e << 23), T), inverse, -1.0)
    if low is not None:
        r = fma(low * bits((127 - minimum(e, 127)) << 23, T), inverse, r)
    n = T(e) if k is None else T(e) + k
    p = fma(r, 1 / 7, -1 / 6)
    p = fma(p, r, 1 / 5)
    p = fma(p, r, -1 / 4)
    p = fma(p, r, 1 / 3)
    p = fma(p, r, -1 / 2)
    return fma(n, _LN2_HIGH, lookup(f32, table[1], i)) + fma(r * r, p, fma(n, _LN2_LOW, r))


@device
def _log_scaled(x: T) -> T:
    """log(x) for any x."""
    small = x < _TINY
    made = _log_by_pieces(select(small, x * 8388608.0, x), None, select(small, T(-23.0), T(0.0)))
    return select((x > 0.0) and (x < math.inf), made, select(x == 0.0, T(-math.inf), select(x < 0.0, T(math.nan), x)))


@device
def log(x: T) -> T:
    if is_vector(x):
        made = _log_by_pieces(x, None, None)
        if any_of(not ((x >= _TINY) and (x < math.inf))):
            made = _log_scaled(x)
        return made
    small = x < _TINY
    made = log_reduced(select(small, x * 8388608.0, x), select(small, T(-23.0) + x * 0.0, x * 0.0))
    made = select(x == math.inf, x, made)
    made = select(x == 0.0, x * 0.0 - math.inf, made)
    return select(x >= 0.0, made, select(x < 0.0, x * 0.0 + math.nan, x + x))


@device
def log1p(x: T) -> T:
    """log(1 + x), exact to the last bits near 0."""
    u = 1.0 + x
    if is_vector(x):
        t = u - 1.0
        made = copysign(_log_by_pieces(u, (x - t) + (1.0 - (u - t)), None), x)
        if any_of(not ((u > 0.0) and (u < math.inf))):
            made = select((u > 0.0) and (u < math.inf), made, select(u == 0.0, T(-math.inf), select(u < 0.0, T(math.nan), x)))
        return made
    d = select(fabs(x) < 1.0, x - (u - 1.0), 1.0 - (u - x))  # what rounding took from u
    made = log(u) + select(u == math.inf, x * 0.0, d / u)
    return select(fabs(x) < 1e-7, x, select(x == math.inf, x, select(u == 0.0, x * 0.0 - math.inf, made)))


@cache
def _log2_pieces() -> Any:
    """What is added to the logarithm to base 2 of x times the inverse, as sums of two numbers."""
    exact = [-math.log2(x) for x in _log_pieces()[0]]
    high = [float(np.float32(x)) for x in exact]
    return tuple(high), tuple(x - h for x, h in zip(exact, high))


@device
def _power_of_two(f: T, n: T) -> T:
    """2ⁿ⁺ᶠ for a whole n and f from -½ to ½."""
    p = fma(f, 0.00015453163359779865, 0.0013390863314270973)
    p = fma(p, f, 0.009618083015084267)
    p = fma(p, f, 0.055503569543361664)
    p = fma(p, f, 0.24022650718688965)
    p = fma(p, f, 0.6931471824645996)
    return scaled(fma(p, f, 1.0), n)


@device
def exp2(x: T) -> T:
    x = _at_most(_at_least(x, -151.0), 129.0)
    n = rint(x)
    return _power_of_two(x - n, n)


@device
def power(x: T, y: T) -> T:
    """x to the power of y, its logarithm in float64."""
    a = fabs(x)
    b, k = a, T(0.0)
    if any_of(a < _TINY):
        b = select(a < _TINY, a * 8388608.0, a)
        k = select(a < _TINY, T(-23.0), T(0.0))
    shifted = bits(b, i32) - _FIRST
    e = shifted >> 23
    i = shifted >> 19
    r = fma(f64(bits(bits(b, i32) - (e << 23), T)), f64(lookup(f32, _log_pieces()[0], i)), -1.0)
    p = fma(r, -0.2407351665833971, 0.2888658488017879)
    p = fma(p, r, -0.36067364691157333)
    p = fma(p, r, 0.48089821746947425)
    p = fma(p, r, -0.7213475204511312)
    p = fma(p, r, 1.4426950408965624)
    rest = fma(p, r, f64(lookup(f32, _log2_pieces()[1], i)))
    logarithm = rest + f64(lookup(f32, _log2_pieces()[0], i)) + f64(T(e) + k)
    if any_of(not ((a > 0.0) and (a < math.inf))):
        logarithm = select(a < math.inf, select(a == 0.0, f64(-math.inf), logarithm), f64(a))
    t = f64(y) * logarithm
    t = select(t > 200.0, f64(200.0), select(t < -200.0, f64(-200.0), t))
    n = rint(t)
    made = select((a == 1.0) or (y == 0.0), T(1.0), _power_of_two(T(t - n), T(n)))
    whole = rint(y) == y
    odd = whole and (2.0 * rint(0.5 * y) != y)
    made = select(odd, copysign(made, x), made)
    return select((x < 0.0) and (x > -math.inf) and not whole, T(math.nan), select(x == 1.0, T(1.0), made))


@cache
def _log1p_pieces() -> Any:
    return _pieces(math.log1p, 14.99, True, 4)


@device
def log1p_exp(x: T) -> T:
    """log(1 + exp(x))."""
    e = exp(-fabs(x))
    return _at_least(x, 0.0) + (_by_pieces(e, _log1p_pieces, 14.99, True) if is_vector(x) else log1p(e))


@cache
def _tanh_pieces() -> Any:
    return _pieces(math.tanh, 1.65, odd=True)


@device
def tanh(x: T) -> T:
    a = fabs(x)
    if is_vector(x):
        return copysign(_by_pieces(_at_most(a, 9.05), _tanh_pieces, 1.65, True), x)
    z = x * x
    p = fma(z, 0.002269501684162354, -0.008323187058278775)
    p = fma(p, z, 0.021762502907359264)
    p = fma(p, z, -0.0539584616274522)
    p = fma(p, z, 0.13333300146188914)
    p = fma(p, z, -0.33333333149374506)
    near = fma(p * z, x, x)
    far = 1.0 - 2.0 / (exp(_at_most(a + a, 40.0)) + 1.0)
    return copysign(select(a < 0.625, near, far), x)


@device
def sigmoid(x: T) -> T:
    """1/(1 + exp(-x)), as exp(x)/(1 + exp(x)) on the left, where that keeps small values."""
    e = exp(-fabs(x))
    return select(x < 0.0, e, T(1.0)) / (1.0 + e)


@device
def _scaled_erfcx(a: T, low: T, scale: T, scale_low: T) -> T:
    """(scale + scale_low)·exp(b²)·erfc(b) for b = a + low, 0 ≤ b ≤ 10.2; what rounding takes on the way is put back at the end."""
    q = (a - 2.0) / (a + 2.0)
    p = fma(q, 8.383818212433098e-05, 0.0001778078769999818)
    p = fma(p, q, -0.00040183451642194525)
    p = fma(p, q, -0.0014301499271922352)
    p = fma(p, q, 0.0012506210333167137)
    p = fma(p, q, 0.008712785678741647)
    p = fma(p, q, -0.00802978425990106)
    p = fma(p, q, -0.05421843722837164)
    p = fma(p, q, 0.16405087960761197)
    p = fma(p, q, -0.16603048495117276)
    p = fma(p, q, -0.09276381482235581)
    p = fma(p, q, 1.2769783823067076)
    d = fma(a, 2.0, 1.0)
    d_low = fma(a, 2.0, 1.0 - d)
    part = 1.0 / d
    made = p * part
    rest = fma(-made, d, p) - made * d_low
    rest = fma(rest, part, low * fma(a + a, made, -1.1283791670955126))
    return fma(scale, made, fma(scale_low, made, scale * rest))


@device
def erfc_scaled(a: T, low: T, square: T, rest: T) -> T:
    """erfc(a + low) for a ≥ 0, given the square as a sum of two numbers: what keeps the tail exact."""
    return _scaled_erfcx(a, low, exp_sum(-square, -rest), exp_rest(-square, -rest))


@device
def _erf_near(x: T) -> T:
    """erf(x) for |x| ≤ 1."""
    z = x * x
    p = fma(z, 7.875875062685488e-05, -0.000801686428716587)
    p = fma(p, z, 0.005189087423433974)
    p = fma(p, z, -0.026854212010626412)
    p = fma(p, z, 0.11283594715160218)
    p = fma(p, z, -0.37612626666720334)
    p = fma(p, z, 0.1283791658483509)
    return fma(p, x, x)


@cache
def _erf_pieces() -> Any:
    return _pieces(math.erf, 3.8, odd=True)


@device
def erf(x: T) -> T:
    a = fabs(x)
    if is_vector(x):
        return copysign(_by_pieces(_at_most(a, 3.94), _erf_pieces, 3.8, True), x)
    b = minimum(a, 10.2)
    s = b * b
    far = 1.0 - erfc_scaled(b, b * 0.0, s, fma(b, b, -s))
    return select(a < 1.0, _erf_near(x), select(x == x, copysign(far, x), x))


@device
def erfc(x: T) -> T:
    a = minimum(fabs(x), 10.2)
    s = a * a
    made = erfc_scaled(a, a * 0.0, s, fma(a, a, -s))
    return select(fabs(x) < 0.5, 1.0 - _erf_near(x), select(x >= 0.0, made, 2.0 - made))


def _mills(a: float) -> float:
    """(1 - Φ(a))·exp(a²/2)."""
    return 0.5 * math.erfc(a * math.sqrt(0.5)) * math.exp(0.5 * a * a)


@cache
def _mills_pieces() -> Any:
    return _pieces(_mills, 1.0)


@cache
def _gelu_pieces() -> Any:
    return _pieces(lambda a: 2 * a * _mills(a), 1.0, odd=True)


@cache
def _slope_pieces() -> Any:
    return _pieces(lambda a: _mills(a) - a / math.sqrt(2 * math.pi), 1.0)


@device
def _bell_whole(a: T) -> T:
    """n, of exp(-a²/2) = 2ⁿ·(1 + `_bell_rest`)."""
    return rint(a * a * (-0.5 * _LOG2E))


@device
def _bell(a: T, p: T) -> T:
    """p·(1 + r), of exp(-a²/2) = 2ⁿ·(1 + r)."""
    s = a * a
    n = _bell_whole(a)
    r = fma(n, -2 * _LN2_HIGH, -s) + fma(n, -2 * _LN2_LOW, -fma(a, a, -s))
    e = fma(r, 2.1771405954496004e-05, 0.0002615373523440212)
    e = fma(e, r, 0.0026041539385914803)
    e = fma(e, r, 0.020833130925893784)
    e = fma(e, r, 0.125)
    e = fma(e, r, 0.5) * r
    return fma(p, e, p)


@device
def normal_cdf(x: T) -> T:
    """Φ(x): the probability that a standard normal variable is below x; exact in the left tail too."""
    if is_vector(x):
        b = _at_most(fabs(x), 14.9)
        tail = scaled(_bell(b, _by_pieces(b, _mills_pieces, 1.0, False)), _bell_whole(b))
        return select(x < 0.0, tail, 1.0 - tail)
    a = minimum(fabs(x), 14.3)
    h = 0.5 * a
    s = h * a
    b = a * _ROOT_HALF
    made = 0.5 * erfc_scaled(b, fma(a, _ROOT_HALF, -b) + a * _ROOT_HALF_LOW, s, fma(h, a, -s))
    near = fma(_erf_near(x * math.sqrt(0.5)), 0.5, 0.5)
    return select(fabs(x) < 0.7, near, select(x >= 0.0, 1.0 - made, select(x == x, made, x)))


@device
def normal_pdf(x: T) -> T:
    """exp(-x²/2)/√(2π)."""
    a = minimum(fabs(x), 16.0)
    h = 0.5 * a
    s = h * a
    return exp_sum(-s, -fma(h, a, -s)) * (1 / math.sqrt(2 * math.pi))


@device
def gelu(x: T) -> T:
    """x·Φ(x), as max(x, 0) - |x|·Φ(-|x|)."""
    if is_vector(x):
        a = _at_most(fabs(x), 14.9)
        return _at_least(x, 0.0) - scaled(_bell(a, _by_pieces(a, _gelu_pieces, 1.0, True)), _bell_whole(a) - 1.0)
    return x * normal_cdf(x)


@device
def gelu_slope(x: T) -> T:
    """Φ(x) + x·φ(x), the derivative of x·Φ(x)."""
    a = _at_most(fabs(x), 14.9)
    if is_vector(x):
        left = scaled(_bell(a, _by_pieces(a, _slope_pieces, 1.0, False)), _bell_whole(a))
        return select(x < 0.0, left, 1.0 - left)
    h = 0.5 * a
    s = h * a
    e = exp_sum(-s, -fma(h, a, -s))
    tail = 0.5 * _scaled_erfcx(_at_most(a * math.sqrt(0.5), 10.2), a * 0.0, e, a * 0.0)
    near = fma(_erf_near(x * math.sqrt(0.5)), 0.5, 0.5)
    cdf = select(a < 0.7, near, select(x >= 0.0, 1.0 - tail, tail))
    return fma(x, e * (1 / math.sqrt(2 * math.pi)), cdf)


# 2/π in 304 bits, and for each possible exponent of a float32, by eights, the three digits in base 2³² of 2/π·2^(8k-88) that
# matter for its product with a whole number of 31 bits, modulo 4 and with 62 bits behind the point: Payne and Hanek, "Radian
# Reduction for Trigonometric Functions" (1983).
_TWO_OVER_PI = 0xA2F9836E4E441529FC2757D1F534DDC0DB6295993C439041FE5163ABDEBBC561B7246E3A424D
_DIGITS = tuple(
    (_TWO_OVER_PI << 512 >> (512 + 304 + 88 - 8 * k - 32)) >> (32 * j) & 0xFFFFFFFF for k in range(32) for j in (2, 1, 0)
)


@device
def _turned(x: T, quarters: i64) -> T:
    """sin(x + quarters·π/2)."""
    d = f64(x)
    n = rint(d * (2 / math.pi))
    r = fma(n, -1.5707963267948966, d)
    r = fma(n, -6.123233995736766e-17, r)
    near = fabs(x) < 1e6
    q = i64(select(near, n, f64(0.0)))
    # far from 0: the bits of 2/π that reach below the point
    i = i64(bits(x, u32))
    e = (i >> 23) & 255
    m = ((i & 0x7FFFFF) | 0x800000) << (e & 7)
    first = (e >> 3) * 3
    turns = ((m * i64(lookup(u32, _DIGITS, first))) << 32) + m * i64(lookup(u32, _DIGITS, first + 1)) + ((m * i64(lookup(u32, _DIGITS, first + 2))) >> 32)
    whole = (turns + (1 << 61)) >> 62
    rest = f64(turns - (whole << 62)) * (math.pi / 2**63)
    minus = x < 0.0
    r = select(near, r, select(minus, -rest, rest))
    q = select(near, q, select(minus, 0 - whole, whole)) + quarters
    y = T(r)
    z = y * y
    p = fma(z, 2.7249851595671443e-06, -0.0001984008616301497)
    p = fma(p, z, 0.00833333187365056)
    p = fma(p, z, -0.16666666663852564)
    s = fma(p * z, y, y)
    c = fma(z, -2.730085583235917e-07, 2.4800599451969803e-05)
    c = fma(c, z, -0.0013888887669751557)
    c = fma(c, z, 0.04166666666430827)
    c = fma(c * z, z, fma(z, -0.5, 1.0))
    made = select((q & 1) == 1, c, select(x == 0.0, x, s))
    made = select((q & 2) == 2, -made, made)
    return select(fabs(x) < math.inf, made, x - x)


# π/2 as a sum of three float32
_QUARTER = (1.5707963705062866, -4.371138828673793e-08, -1.7151245100058819e-15)
#: Up to here `sin_near` and `cos_near` are right.
NEAR = 100000.0


@device
def _turned_near(x: T, quarters: i64) -> T:
    """sin(x + quarters·π/2) for |x| ≤ `NEAR` and for what is not finite, in float32 alone."""
    t = fma(x, 2 / math.pi, 12582912.0)  # where the last place is 1
    n = t - 12582912.0
    q = bits(t, i32) + i32(quarters)
    first = fma(n, -_QUARTER[0], x)  # exact
    y = fma(n, -_QUARTER[1], first)
    low = n * -_QUARTER[2]
    z = y * y
    p = fma(z, 2.7249851595671443e-06, -0.0001984008616301497)
    p = fma(p, z, 0.00833333187365056)
    p = fma(p, z, -0.16666666663852564)
    s = fma(p * z, y, low) + y
    c = fma(z, -2.730085583235917e-07, 2.4800599451969803e-05)
    c = fma(c, z, -0.0013888887669751557)
    c = fma(c, z, 0.04166666666430827)
    c = fma(c * z, z, fma(z, -0.5, fma(-y, low, 1.0)))
    odd = (q & 1) == 1
    made = select(odd, c, select(x == 0.0, x, s))
    return bits(bits(made, i32) ^ ((q & 2) << 30), T)


@device
def sin_near(x: T) -> T:
    return _turned_near(x, 0)


@device
def cos_near(x: T) -> T:
    return _turned_near(x, 1)


@device
def sin(x: T) -> T:
    return _turned(x, 0)


@device
def cos(x: T) -> T:
    return _turned(x, 1)

"""Elementary functions of float64 for kernels, within 2 ULP of the true value: the counterparts of those of `maths`, by the same names.

Each takes and gives one float64 or a vector of them, and says nothing but multiplications, additions, choices and at most two
divisions: tables would be read number by number. The polynomials are Chebyshev interpolants of our own, found at 60 digits. What NaN,
infinities and denormals give is what NumPy has.
"""

from __future__ import annotations

import math

from .lang import T, any_of, bits, copysign, cosine, device, fabs, fma, i64, rint, scaled, select, sine, unrolled

__all__ = ["cos", "cos_near", "erf", "erfc", "exp", "exp2", "expm1", "gelu", "gelu_slope", "log", "log1p", "log1p_exp", "normal_cdf", "normal_pdf", "power", "sigmoid", "sin", "sin_near", "tanh"]

_LOG2E = math.log2(math.e)
# ln 2 as a sum: of the first 40 bits, so that its products with whole numbers that occur are exact.
_LN2_HIGH, _LN2_LOW = 0.6931471805592082, 7.371002565167799e-13
_ROOT_HALF, _ROOT_HALF_LOW = 0.7071067811865476, -4.833646656726457e-17
_TINY = 2.2250738585072014e-308

# (exp(r) - 1 - r)/r² for |r| ≤ ln(2)/2
_EXP = (
    0.5, 0.1666666666666667, 0.04166666666666667, 0.00833333333332612, 0.0013888888888883737, 0.00019841269874873975, 2.480158732558584e-05,
    2.755725533255441e-06, 2.7557273594799413e-07, 2.510524515390137e-08, 2.0914707069612355e-09,
)  # fmt: skip
# (2·atanh(√z)/√z - 2)/z for z ≤ 0.02945
_LOG = (0.666666666666667, 0.3999999999989924, 0.2857142862609589, 0.2222221111514416, 0.18182890556695602, 0.1533167403016786, 0.1461703754879165)
# the same for z ≤ 1/9
_LOG_WIDE = (
    0.6666666666666666, 0.40000000000000013, 0.28571428571421936, 0.2222222222333306, 0.181818180859226, 0.15384620257534107,
    0.13333176845154815, 0.11767999621908995, 0.10480378055059916, 0.09942174626855363, 0.06333514257523104, 0.15232286637463646,
)  # fmt: skip
# (2·atanh(√z)/√z - 2 - 2/3·z)/z² for z ≤ 0.02945
_LOG_REST = (
    0.40000000000000024, 0.28571428571338325, 0.22222222271185313, 0.18181808234003144, 0.15385575782820043, 0.13285924657242199, 0.1291402271694836,
)  # fmt: skip
# (sin(√z)/√z - 1)/z and (cos(√z) - 1 + z/2)/z² for z ≤ (π/4)²
_SIN = (-0.16666666666666666, 0.008333333333330946, -0.0001984126983675497, 2.755731610068303e-06, -2.5051131455427946e-08, 1.591810123027412e-10)
_COS = (0.041666666666666664, -0.0013888888888887395, 2.4801587298763433e-05, -2.7557317270560326e-07, 2.0876146024689747e-09, -1.1382614868556325e-11)
# erf(√z)/√z - 1 for z ≤ 1
_ERF = (
    0.12837916709551256, -0.37612638903183543, 0.11283791670945006, -0.02686617064323777, 0.0052239776071164225, -0.0008548325975389692,
    0.00012055294904839707, -1.492473690741966e-05, 1.6447424703317362e-06, -1.6208483801871705e-07, 1.3720064546777686e-08, -7.795898827002142e-10,
)  # fmt: skip
# (1 + 2a)·exp(a²)·erfc(a) in q = (a - 4)/(a + 4), for a from 0 to 27.4: the constant as a sum of two numbers, and the rest
_ERFC_FIRST, _ERFC_LOW = 1.2329951186255526, -4.9361451678142836e-17
_ERFC = (
    -0.13962111684056286, 0.015379652102621042, 0.06809705425473414, -0.1010390660363707, 0.09373283499688893,
    -0.06633036581108195, 0.03716751556127147, -0.01619773406461013, 0.005031969763652847, -0.0007577733027442623, -0.00019925553039734192,
    0.000150622079740619, -2.4403163176592525e-05, -1.1224365307564075e-05, 5.718043609773559e-06, 3.0071444837511043e-07, -8.356147219289347e-07,
    6.318100986366053e-08, 1.1588542956541465e-07, -7.783296115022292e-09, -1.391155394532715e-08, -1.8947876100626392e-09,
)  # fmt: skip


@device
def _at_least(x: T, low: T) -> T:
    """The larger, or x where it is NaN."""
    return select(low > x, low, x)


@device
def _at_most(x: T, high: T) -> T:
    return select(high < x, high, x)


@device
def _polynomial(x: T, coefficients) -> T:
    p = x * 0.0 + coefficients[-1] if len(coefficients) == 1 else fma(x, coefficients[-1], coefficients[-2])
    for k in unrolled(len(coefficients) - 3, -1, -1):
        p = fma(p, x, coefficients[k])
    return p


@device
def _whole(x: T) -> T:
    """n, of exp(x) = 2ⁿ·(1 + `_rest`)."""
    return rint(x * _LOG2E)


@device
def _rest(x: T, low: T) -> T:
    """r, of exp(x + low) = 2ⁿ·(1 + r) for a small ``low``."""
    n = _whole(x)
    r = fma(n, -_LN2_LOW, fma(n, -_LN2_HIGH, x)) + low
    return fma(r * r, _polynomial(r, _EXP), r)


@device
def exp(x: T) -> T:
    x = _at_most(_at_least(x, -746.0), 710.0)
    return scaled(1.0 + _rest(x, T(-0.0)), _whole(x))


@device
def exp2(x: T) -> T:
    x = _at_most(_at_least(x, -1080.0), 1025.0)
    n = rint(x)
    f = x - n
    r = fma(f, 0.6931471805599453, f * 2.3190468138462996e-17)
    return scaled(1.0 + fma(r * r, _polynomial(r, _EXP), r), n)


@device
def _power_of_two(n: T) -> T:
    """2ⁿ for a whole n from -1022 to 1023."""
    return bits((i64(n) + 1023) << 52, T)


@device
def expm1(x: T) -> T:
    """exp(x) - 1, exact to the last bits near 0."""
    x = _at_most(_at_least(x, -40.0), 710.0)
    n = _whole(x)
    r = _rest(x, T(-0.0))
    half = scaled(T(0.5), n)
    return select(n == 0.0, select(x == 0.0, x, r), 2.0 * fma(r, half, half - 0.5))


@device
def _exponent(x: T) -> T:
    """n, of x = 2ⁿ·m with m from √½ to √2, for a positive finite x that is not denormal."""
    return T((bits(x, i64) - 0x3FE6A09E667F3BCD) >> 52)


@device
def _mantissa(x: T) -> T:
    """m, of x = 2ⁿ·m."""
    i = bits(x, i64)
    return bits(i - ((i - 0x3FE6A09E667F3BCD) >> 52 << 52), T)


@device
def _log_of(f: T, low: T, n: T, coefficients) -> T:
    """log(1 + f + low) + n·ln 2; either of the last may be None."""
    s = f / (2.0 + f)
    z = s * s
    square = 0.5 * f * f
    r = fma(s, fma(_polynomial(z, coefficients), z, square), (0.0 if low is None else low) if n is None else n * _LN2_LOW if low is None else fma(n, _LN2_LOW, low))
    made = f - (square - r)
    return made if n is None else fma(n, _LN2_HIGH, made)


@device
def _log_scaled(x: T) -> T:
    """log(x) for any x."""
    small = x < _TINY
    b = select(small, x * 18014398509481984.0, x)
    made = _log_of(_mantissa(b) - 1.0, None, _exponent(b) + select(small, T(-54.0), T(0.0)), _LOG)
    return select((x > 0.0) and (x < math.inf), made, select(x == 0.0, T(-math.inf), select(x < 0.0, T(math.nan), x)))


@device
def log(x: T) -> T:
    made = _log_of(_mantissa(x) - 1.0, None, _exponent(x), _LOG)
    if any_of(not ((x >= _TINY) and (x < math.inf))):
        made = _log_scaled(x)
    return made


@device
def log1p(x: T) -> T:
    """log(1 + x), exact to the last bits near 0."""
    u = 1.0 + x
    t = u - 1.0
    n, m = _exponent(u), _mantissa(u)
    low = ((x - t) + (1.0 - (u - t))) * _power_of_two(_at_least(-n, -1000.0))
    made = copysign(_log_of(m - 1.0, low / m, n, _LOG), x)
    return select((u > 0.0) and (u < math.inf), made, select(u == 0.0, T(-math.inf), select(u < 0.0, T(math.nan), x)))


@device
def log1p_exp(x: T) -> T:
    """log(1 + exp(x))."""
    return _at_least(x, 0.0) + _log_of(exp(-fabs(x)), None, None, _LOG_WIDE)


@device
def tanh(x: T) -> T:
    e = expm1(_at_most(fabs(x), 20.0) * 2.0)
    d = e + 2.0
    part = 1.0 / d
    made = e * part
    rest = fma(-made, d, e) - made * (2.0 - (d - e))
    return copysign(fma(rest, part, made), x)


@device
def sigmoid(x: T) -> T:
    """1/(1 + exp(-x)), as exp(x)/(1 + exp(x)) on the left, where that keeps small values."""
    e = exp(-fabs(x))
    return select(x < 0.0, e, T(1.0)) / (1.0 + e)


@device
def _erfcx(a: T, low: T, e: T, e_low: T) -> T:
    """(e + e_low)·exp(b²)·erfc(b) for b = a + low, 0 ≤ b ≤ 27.4; what rounding takes on the way is put back at the end."""
    far = a + 4.0
    d = fma(a, 2.0, 1.0)
    part = 1.0 / (far * d)  # of both at once
    q = (a - 4.0) * (part * d)
    q = fma(part * d, fma(q, -a, fma(q + 1.0, -4.0, a)), q)
    p = _polynomial(q, _ERFC)
    sum = fma(p, q, _ERFC_FIRST)
    p_low = fma(p, q, _ERFC_FIRST - sum) + _ERFC_LOW
    part = part * far
    made = sum * part
    rest = fma(-made, d, sum) + fma(-made, fma(a, 2.0, 1.0 - d), p_low)
    rest = fma(rest, part, low * fma(a + a, made, -1.1283791670955126))
    return fma(e, made, fma(e_low, made, e * rest))


@device
def _tail(a: T, low: T, square: T, rest: T) -> T:
    """m, of erfc(a + low) = 2ⁿ·m with n = `_whole(-square)`, for a ≥ 0, given the square of it as a sum of two numbers."""
    r = _rest(-square, -rest)
    e = 1.0 + r
    return _erfcx(a, low, e, r - (e - 1.0))


@device
def _erf_near(x: T) -> T:
    """erf(x) for |x| ≤ 1."""
    return fma(_polynomial(x * x, _ERF), x, x)


@device
def erf(x: T) -> T:
    a = fabs(x)
    b = _at_most(a, 6.0)
    s = b * b
    far = 1.0 - scaled(_tail(b, T(0.0), s, fma(b, b, -s)), _whole(-s))
    return select(a < 1.0, _erf_near(x), copysign(far, x))


@device
def erfc(x: T) -> T:
    a = _at_most(fabs(x), 27.4)
    s = a * a
    made = scaled(_tail(a, T(0.0), s, fma(a, a, -s)), _whole(-s))
    return select(fabs(x) < 0.5, 1.0 - _erf_near(x), select(x < 0.0, 2.0 - made, made))


@device
def _normal_tail(a: T) -> T:
    """m, of Φ(-a) = 2ⁿ⁻¹·m with n = `_whole(-a²/2)`, for 0 ≤ a ≤ 38.7."""
    h = 0.5 * a
    s = h * a
    b = a * _ROOT_HALF
    return _tail(b, fma(a, _ROOT_HALF, -b) + a * _ROOT_HALF_LOW, s, fma(h, a, -s))


@device
def normal_cdf(x: T) -> T:
    """Φ(x): the probability that a standard normal variable is below x; exact in the left tail too."""
    a = _at_most(fabs(x), 38.7)
    tail = scaled(_normal_tail(a), _whole(-(0.5 * a * a)) - 1.0)
    return select(x < 0.0, tail, 1.0 - tail)


@device
def normal_pdf(x: T) -> T:
    """exp(-x²/2)/√(2π)."""
    a = _at_most(fabs(x), 39.0)
    h = 0.5 * a
    s = h * a
    r = _rest(-s, -fma(h, a, -s))
    return scaled(fma(r, 0.3989422804014327, 0.3989422804014327), _whole(-s))


@device
def gelu(x: T) -> T:
    """x·Φ(x), as max(x, 0) - |x|·Φ(-|x|)."""
    a = _at_most(fabs(x), 38.7)
    return _at_least(x, 0.0) - scaled(a * _normal_tail(a), _whole(-(0.5 * a * a)) - 1.0)


@device
def gelu_slope(x: T) -> T:
    """Φ(x) + x·φ(x), the derivative of x·Φ(x)."""
    a = _at_most(fabs(x), 38.7)
    h = 0.5 * a
    s = h * a
    r = _rest(-s, -fma(h, a, -s))
    left = scaled(fma(-a, fma(r, 0.3989422804014327, 0.3989422804014327), 0.5 * _normal_tail(a)), _whole(-s))
    return select(x < 0.0, left, 1.0 - left)


@device
def power(x: T, y: T) -> T:
    """x to the power of y, its logarithm as a sum of two numbers."""
    a = fabs(x)
    small = a < _TINY
    b = select(small, a * 18014398509481984.0, a)
    n = _exponent(b) + select(small, T(-54.0), T(0.0))
    m = _mantissa(b)
    # s = (m - 1)/(m + 1), as s + s_low
    d = m + 1.0
    part = 1.0 / d
    s = (m - 1.0) * part
    s_low = (fma(-s, d, m - 1.0) - s * (m - (d - 1.0))) * part
    # log m = 2s + s·z·(2/3 + z·…), z = s²
    z = s * s
    z_low = fma(s, s, -z) + 2.0 * s * s_low
    rest = fma(z, _polynomial(z, _LOG_REST), 3.700743415417188e-17)
    c = 0.6666666666666666 + rest
    c_low = rest - (c - 0.6666666666666666)
    t = z * c
    t_low = fma(z, c, -t) + fma(z, c_low, z_low * c)
    u = s * t
    u_low = fma(s, t, -u) + fma(s, t_low, s_low * t)
    # n·ln 2 + 2s + u
    first = n * _LN2_HIGH
    h = first + 2.0 * s
    v = h - first
    low = (first - (h - v)) + (2.0 * s - v)
    high = h + u
    v = high - h
    low = low + ((h - (high - v)) + (u - v)) + (u_low + fma(n, _LN2_LOW, 2.0 * s_low))
    k = _at_most(_at_least(y, -1e20), 1e20)
    t = k * high
    t_low = fma(k, high, -t) + k * low
    ends = not ((a > 0.0) and (a < math.inf))
    t = select(ends, select(a == 0.0, T(-math.inf), a) * k, t)
    far = (t > 720.0) or (t < -760.0) or ends
    t = _at_most(_at_least(t, -760.0), 720.0)
    made = scaled(1.0 + _rest(t, select(far, T(0.0), t_low)), _whole(t))
    made = select((a == 1.0) or (y == 0.0), T(1.0), made)
    whole = rint(y) == y
    odd = whole and (2.0 * rint(0.5 * y) != y)
    made = select(odd, copysign(made, x), made)
    return select((x < 0.0) and (x > -math.inf) and not whole, T(math.nan), select(x == 1.0, T(1.0), made))


# π/2 as a sum of three numbers
_QUARTER = (1.5707963267948966, 6.123233995736766e-17, -1.4973849048591698e-33)
#: Up to here `sin_near` and `cos_near` are right.
NEAR = 1048576.0


@device
def _turned(x: T, quarters: i64) -> T:
    """sin(x + quarters·π/2) for |x| ≤ `NEAR` and for what is not finite."""
    t = fma(x, 2 / math.pi, 6755399441055744.0)  # where the last place is 1
    n = t - 6755399441055744.0
    q = bits(t, i64) + quarters
    first = fma(n, -_QUARTER[0], x)  # exact
    second = n * _QUARTER[1]
    y = first - second
    v = y - first
    low = (first - (y - v)) - (second + v) - fma(n, _QUARTER[2], fma(n, _QUARTER[1], -second))
    z = y * y
    s = fma(_polynomial(z, _SIN) * z, y, low) + y
    c = fma(_polynomial(z, _COS) * z, z, fma(z, -0.5, fma(-y, low, 1.0)))
    made = select((q & 1) == 1, c, select(x == 0.0, x, s))
    return bits(bits(made, i64) ^ ((q & 2) << 62), T)


@device
def sin_near(x: T) -> T:
    return _turned(x, 0)


@device
def cos_near(x: T) -> T:
    return _turned(x, 1)


@device
def sin(x: T) -> T:
    made = _turned(x, 0)
    if any_of((fabs(x) > NEAR) and (fabs(x) < math.inf)):
        made = sine(x)
    return made


@device
def cos(x: T) -> T:
    made = _turned(x, 1)
    if any_of((fabs(x) > NEAR) and (fabs(x) < math.inf)):
        made = cosine(x)
    return made

"""Special functions in NumPy: error functions, gamma functions, Bessel functions of imaginary argument, Hurwitz's zeta.

In go float32 or float64 arrays, out come arrays of the same shape and dtype. Relative errors are near 1e-7 in float32
and 1e-15 to 1e-14 in float64 (near zeros of a function: the absolute error). Few elements go through Python's `math`,
many through polynomials evaluated block by block, so that temporaries stay in the cache. The coefficients come from
``tools/special_coefficients.py``.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

BLOCK = 16384
#: Up to so many elements, Python's `math` is faster than array functions.
FEW = 96
PI = math.pi
SQRT2 = math.sqrt(2.0)

# fmt: off
ERF_NEAR_32 = (
    0.1283791658, -0.3761262667, 0.1128359472, -0.02685421201, 0.005189087423, -0.0008016864287, 7.875875063e-5)
ERF_FAR_32 = (
    -1.849605507, -2.6389677, -0.8431047416, -0.04157574036, 0.01007780803, -0.002054300957,
    0.0003202395664, -3.296083137e-5, 1.637151415e-6)
ERF = (
    0.96546873866986731, -0.14053608902271712, 0.019852496688983707, -0.0022854855611440673, 0.00021751715604160107,
    -1.7537169441492005e-5, 1.2233827383524027e-6, -7.5115691607106235e-8, 4.1158005976616647e-9,
    -2.0352493866103599e-10, 9.1676067489981638e-12, -3.7910973708931528e-13, 1.4548169783352386e-14,
    -5.1647287894230198e-16,)
ERFCX = (
    1.2375126308378276, -0.14024059858554702, 0.0035854154854636915, 0.0822767384901511, -0.10880393014170754,
    0.092304321160195604, -0.058693398590545786, 0.028362277421561449, -0.0097465795476404853, 0.0017556258319879622,
    0.00029371359494706954, -0.00029015397673060641, 5.1649407160546034e-5, 2.2383902048770412e-5,
    -1.1445047333414064e-5, -9.7282291674642975e-7, 1.7534398492983324e-6, -5.8312272417966876e-8,
    -2.6114212677970117e-7, 2.435345815508129e-8, 4.0966696513670463e-8, -4.4451412320571298e-9,
    -6.5428610761367575e-9, 5.77532716341681e-10, 9.0127775785465465e-10, -4.8144805017310764e-11,
    -7.3251091951694615e-11, 1.5733568011081219e-12,)
LGAMMA = (
    0.42278433509846714, 0.16123351671205661, -0.016838075263299524, 0.0025726010534730684, -0.00046159693929213195,
    9.0328447835674491e-5, -1.8636779870240908e-5, 3.9817931620256285e-6, -8.7169827618622476e-7,
    1.9425295488626735e-7, -4.38732735289113e-8, 1.0013286400346485e-8, -2.3045756643126746e-9,
    5.3404449714795305e-10, -1.2443965139504531e-10, 2.9142792947264201e-11, -6.8835162216435384e-12,
    1.6248266047021698e-12, -3.6245027257627047e-13, 8.6021109915195619e-14, -2.9863629685293872e-14,
    7.1351877170524609e-15,)
I0E_SMALL = (
    0.33839763720473804, -0.3046826723431984, 0.17162090152220878, -0.094901097048047644, 0.049305284239670708,
    -0.023737414805899469, 0.010546460394594998, -0.0043243099950505759, 0.0016394756169413358,
    -0.00057637557453858237, 0.00018850288509584166, -5.7541950100821037e-5, 1.6448448070728897e-5,
    -4.4167383584587506e-6, 1.1173875391201037e-6, -2.6707938539406117e-7, 6.0469950225419189e-8,
    -1.300025009986248e-8, 2.6598237246823867e-9, -5.1897956016352629e-10, 9.6758090353732369e-11,
    -1.7268262914415556e-11, 2.9550526631296251e-12, -4.8564467831104933e-13, 7.6761854984683801e-14,
    -1.1685332865345506e-14, 1.7153911715225191e-15, -2.4312698460190524e-16, 3.3299420638804252e-17,
    -4.3447706395547664e-18,)
I0E_LARGE = (
    0.40224520550705442, 0.0033691164782556941, 6.889758346916824e-5, 2.8913705208347565e-6, 2.0489185894690637e-7,
    2.2666689904981781e-8, 3.3962320257083863e-9, 4.9406023882249738e-10, 1.1889147107846069e-11,
    -3.1499165279633727e-11, -1.321581184044441e-11, -1.7941785315052209e-12, 7.1801244512175646e-13,
    3.8527783828690237e-13, 1.5400862236224082e-14, -4.1505693599391809e-14, -9.5548468490416648e-15,
    3.8116814243351243e-15, 1.7725601203735499e-15, -3.4255224890000574e-16, -2.8275912723664776e-16,
    3.4628248226046364e-17, 4.4627353687004707e-17, -4.8949510529179174e-18, -7.0393378424586627e-18,
    1.2410185249324504e-18,)
I1E_SMALL = (
    0.12629359322181683, -0.17641651835783406, 0.1026436586898471, -0.052945981208094991, 0.024726449030626517,
    -0.010564084894626198, 0.0041564229443128882, -0.0015135724506312531, 0.00051228595616857577,
    -0.00016176081582589675, 4.7815651075500542e-5, -1.3273163656039436e-5, 3.4702513081376785e-6,
    -8.5687202646954547e-7, 2.0032947535521353e-7, -4.4450591287963281e-8, 9.3815373864957718e-9,
    -1.8872497517228293e-9, 3.625590281552117e-10, -6.6634897235020277e-11, 1.1736186298890902e-11,
    -1.9839743977649436e-12, 3.223793365945566e-13, -5.0421855047270319e-14, 7.6006842946491863e-15,
    -1.1055969469116041e-15, 1.5536318810494502e-16, -2.1114142633880919e-17, 2.7773010799570169e-18,
    -3.4890144727163898e-19,)
I1E_LARGE = (
    0.38928811750914006, -0.0097610974913614684, -0.00011058893876262372, -3.8825648088776904e-6,
    -2.5122362378702089e-7, -2.6314688468895195e-8, -3.835380385964237e-9, -5.5897434621965881e-10,
    -1.8974958123505018e-11, 3.2526035830156192e-11, 1.4125807436610372e-11, 2.0356285441456589e-12,
    -7.1985517760768248e-13, -4.0835511112298253e-13, -2.1015418488893192e-14, 4.2724400298942042e-14,
    1.0420277129407893e-14, -3.8144038484367589e-15, -1.8803547176404082e-15, 3.3082398311004077e-16,
    2.9625933885063071e-16, -3.2111387638450758e-17, -4.6472555560369852e-17, 4.4782909949543999e-18,
    7.3146018724367757e-18, -1.172845558678173e-18,)
ERFINV_CENTRAL = (
    1.50140935175, 0.616600691871, -0.0261082817529, -0.0195735618337, 0.00852594239123, -0.000487890635756,
    -0.000836490773861, 0.000292169011509, 2.51825623187e-5, -4.14343310226e-5, 4.13954429994e-6, 2.94365337241e-6,)
ERFINV_TAIL = (
    4.14272484527, 2.12109409817, 0.00269744782326, -0.00520754062081, 0.00447968601692, -0.00288976939221,
    -0.00100175971847, 0.000682546595581, 0.00607825208453, -0.00601680147891, -0.000422010625643, 0.0014587223908,)
ERFINV_FAR = (
    16.9201222286, 10.6315378291, -0.0139820440254, 0.00636529925974, -0.0029582214647, 0.00130358927202,
    -0.000161640279659, -7.06684779981e-5, -0.000578471919766, 0.000352749482226, 0.000420629454164,
    -0.000303298807781,)
# fmt: on


def horner(t: Any, coefficients: tuple[float, ...]) -> Any:
    """The polynomial with the given coefficients, constant first, at ``t``."""
    r = t * coefficients[-1]
    r += coefficients[-2]
    for c in coefficients[-3::-1]:
        r *= t
        r += c
    return r


def clenshaw(t: Any, coefficients: tuple[float, ...]) -> Any:
    """The sum of Chebyshev polynomials with the given coefficients at ``t``."""
    b0, b1 = np.zeros_like(t), np.zeros_like(t)
    double = t * 2
    for c in coefficients[:0:-1]:
        b0, b1 = double * b0 - b1 + c, b0
    return t * b0 - b1 + coefficients[0]


def blocked(
    kernel: Callable[..., Any],
    scalar: Callable[[float], float] | None = None,
    narrow: Callable[[Any], Any] | None = None,
) -> Callable[..., Any]:
    """A function of an array from a kernel on 1-d float64 blocks.

    ``scalar`` computes one element with Python floats (for few elements), ``narrow`` a float32 block in float32.
    Further arguments are handed through.
    """

    @functools.wraps(kernel)
    def call(x: Any, *more: Any) -> Any:
        d = x.dtype
        if scalar is not None and x.size <= FEW and not more:
            return np.array([scalar(v) for v in x.ravel().tolist()], d).reshape(x.shape)
        flat = x.reshape(-1)
        out = np.empty(flat.shape, d)
        for at in range(0, flat.size, BLOCK):
            part = flat[at : at + BLOCK]
            if d == np.float32:
                out[at : at + BLOCK] = narrow(part) if narrow is not None else kernel(part.astype(np.float64), *more)
            else:
                out[at : at + BLOCK] = kernel(part, *more)
        return out.reshape(x.shape)

    return call


# Error functions


def _erf_small(x: Any) -> Any:
    """erf for |x| <= 1."""
    return x * horner(2 * (x * x) - 1, ERF)


def _erfcx_positive(x: Any) -> Any:
    """exp(x²) erfc(x) for x >= 0."""
    return horner((x - 3.75) / (x + 3.75), ERFCX) / (1 + 2 * x)


def _gauss(x: Any) -> Any:
    """exp(-x²), the rounding of x² made good."""
    high = x.astype(np.float32).astype(np.float64)
    return np.exp(-high * high) * np.exp((high - x) * (high + x))


def _erfc_positive(x: Any) -> Any:
    x = np.minimum(x, 40.0)
    return _gauss(x) * _erfcx_positive(x)


def _erf(x: Any) -> Any:
    size = np.abs(x)
    large = size > 1
    out = _erf_small(np.where(large, 0, x))
    if large.any():
        out[large] = np.copysign(1 - _erfc_positive(size[large]), x[large])
    return out


def _erf_narrow(x: Any) -> Any:
    """In float32: a polynomial up to 1, then 1 - exp(polynomial)."""
    size = np.abs(x)
    t = np.minimum(size, np.float32(1))
    t *= t
    near = horner(t, ERF_NEAR_32)
    near *= x
    near += x
    v = np.minimum(size, np.float32(4))
    v -= 1
    far = horner(v, ERF_FAR_32)
    np.exp(far, out=far)
    np.subtract(1, far, out=far)
    np.copysign(far, x, out=far)
    return np.where(size < 1, near, far)


def _erfc(x: Any) -> Any:
    out = 1 - _erf_small(np.where(np.abs(x) <= 1, x, 0))
    high, low = x > 0.5, x < -1
    if high.any():
        out[high] = _erfc_positive(x[high])
    if low.any():
        out[low] = 2 - _erfc_positive(-x[low])
    out[np.isnan(x)] = np.nan
    return out


def _erfcx(x: Any) -> Any:
    out = _erfcx_positive(np.minimum(np.abs(x), 1e150))
    low = x < 0
    if low.any():
        v = np.maximum(x[low], -30.0)
        high = v.astype(np.float32).astype(np.float64)
        out[low] = 2 * np.exp(high * high) * np.exp((v - high) * (v + high)) - out[low]
    out[x > 1e150] = 1 / (x[x > 1e150] * math.sqrt(PI))
    return out


erf = blocked(_erf, math.erf, _erf_narrow)
erfc = blocked(_erfc, math.erfc)
erfcx = blocked(_erfcx)


def _erfc_inverse(q: Any, one_sided: Any) -> Any:
    """The y >= 0 with erfc(y) = q, for 0 < q <= 1; ``one_sided`` is 1 - q, free of cancellation."""
    near = one_sided < 0.5
    w = np.where(near, -np.log1p(-one_sided * one_sided), -np.log(np.where(near, 1.0, q * (2 - q))))
    s = np.sqrt(w)
    y = np.where(
        w < 5,
        horner(w / 2.5 - 1, ERFINV_CENTRAL),
        np.where(s < 6.4, horner((s - 2.2) / 2.1 - 1, ERFINV_TAIL), horner((s - 6.4) / 10.6 - 1, ERFINV_FAR)),
    )
    y = y * np.where(near, one_sided, np.sqrt(-np.expm1(-w)))
    # One step of Halley's method; in the tail relative to q, near 0 on erf.
    slope = math.sqrt(PI) / 2
    inside = np.where(near, y, 0)
    error = (
        np.where(
            near,
            (one_sided - _erf_small(inside)) * np.exp(inside * inside),
            _erfcx_positive(y) - q * np.exp(np.minimum(y * y, 700.0)),
        )
        * slope
    )
    far = y * y > 700
    if far.any():
        error[far] = (_erfcx_positive(y[far]) - np.exp(y[far] * y[far] + np.log(q[far]))) * slope
    return y + error / (1 - y * error)


def _erfinv(x: Any) -> Any:
    size = np.abs(x)
    out = np.copysign(_erfc_inverse(np.where(size < 1, 1 - size, 0.5), np.where(size < 1, size, 0.5)), x)
    return np.where(size < 1, np.where(x == 0, x, out), np.where(size == 1, np.copysign(np.inf, x), np.nan))


def _ndtri(p: Any) -> Any:
    low = p < 0.5
    q = 2 * np.where(low, p, 1 - p)
    fine = (q > 0) & (q <= 1)
    q = np.where(fine, q, 0.5)
    out = _erfc_inverse(q, 1 - q) * np.where(low, -SQRT2, SQRT2)
    return np.where(fine, out, np.where(p == 0, -np.inf, np.where(p == 1, np.inf, np.nan)))


def _log_ndtr(x: Any) -> Any:
    t = np.maximum(x, -1e150) / SQRT2
    low = x < -1
    below = np.where(low, t, -1)
    return np.where(
        x == -np.inf,
        x,
        np.where(low, np.log(_erfcx_positive(-below) / 2) - below * below, np.log1p(-_erfc(np.where(low, 1, t)) / 2)),
    )


erfinv = blocked(_erfinv)
ndtri = blocked(_ndtri)
log_ndtr = blocked(_log_ndtr)


# Gamma functions


def _stirling(x: Any) -> Any:
    """log Γ(x) for x >= 12."""
    r = 1 / (x * x)
    series = horner(r, (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360, 1 / 156)) / x
    return (x - 0.5) * np.log(x) - x + 0.9189385332046728 + series


def _lgamma_positive(x: Any) -> Any:
    large = x >= 12
    y = np.where(large, 2.0, x)
    # Below 1.5: upwards by one or two, minus the logarithm of the factors.
    low, lowest = y < 1.5, y < 0.5
    shift = np.where(
        lowest, -np.log(np.where(lowest, y * (y + 1), 1)), np.where(low, -np.log1p(np.where(low, y - 1, 0)), 0)
    )
    y = np.where(lowest, y + 2, np.where(low, y + 1, y))
    # Above 2.5: downwards.
    product = np.ones_like(y)
    for _ in range(10):
        high = y > 2.5
        if not high.any():
            break
        y = np.where(high, y - 1, y)
        product = np.where(high, product * y, product)
    u = y - 2
    out = u * horner(2 * u, LGAMMA) + shift + np.log(product)
    if large.any():
        out[large] = _stirling(x[large])
    out[np.isinf(x)] = np.inf
    return out


def sine_of_pi(x: Any) -> Any:
    """sin(πx), exact at integers."""
    r = np.remainder(x, 2.0)
    return np.sin(PI * np.where(r > 1.5, r - 2, np.where(r > 0.5, 1 - r, r)))


def _lgamma(x: Any) -> Any:
    low = x < 0
    if not (low.any() or (x == 0).any()):
        return _lgamma_positive(x)
    out = _lgamma_positive(np.where(low, 1 - x, np.where(x == 0, 1, x)))
    s = np.abs(sine_of_pi(np.where(np.isinf(x), 0, x)))
    out = np.where(low, np.log(PI / s) - out, out)
    return np.where(np.isinf(x) | (x == 0) | (low & (s == 0)), np.inf, out)


def _lgamma_scalar(x: float) -> float:
    try:
        return math.lgamma(x)
    except ValueError:
        return math.inf


lgamma = blocked(_lgamma, _lgamma_scalar)


def _digamma_positive(x: Any) -> Any:
    total = np.zeros_like(x)
    for _ in range(10):
        low = x < 10
        if not low.any():
            break
        total = np.where(low, total - 1 / x, total)
        x = np.where(low, x + 1, x)
    r = 1 / (x * x)
    series = r * horner(r, (1 / 12, -1 / 120, 1 / 252, -1 / 240, 1 / 132, -691 / 32760, 1 / 12))
    return total + np.log(x) - 0.5 / x - series


def _digamma(x: Any) -> Any:
    low = x <= 0
    if not low.any():
        return _digamma_positive(x)
    out = _digamma_positive(np.where(low, 1 - x, x))
    r = np.remainder(x, 1.0)  # tan(πx) has period 1
    r = np.where(r > 0.5, r - 1, r)
    out = np.where(low, out - PI / np.tan(PI * r), out)
    return np.where(x == 0, np.copysign(np.inf, -x), np.where(low & (r == 0), np.nan, out))


digamma = blocked(_digamma)

#: (2k)! / B_2k
EULER_MACLAURIN = (
    12.0,
    -720.0,
    30240.0,
    -1209600.0,
    47900160.0,
    -1.8924375803183791606e9,
    7.47242496e10,
    -2.950130727918164224e12,
    1.1646782814350067249e14,
    -4.5979787224074726105e15,
    1.8152105401943546773e17,
    -7.1661652561756670113e18,
)


def _zeta(q: Any, s: Any) -> Any:
    """Hurwitz's zeta function: the sum of (q + k)**-s over k, by the Euler-Maclaurin formula (Johansson, 2015)."""
    whole = q == np.floor(q)
    bad = (s < 1) | ((q <= 0) & ~whole & (s != np.floor(s)))
    pole = (s == 1) | ((q <= 0) & whole)
    a = np.where(bad | pole | np.isnan(q), 1.0, q)
    power = np.where(bad | pole, 2.0, s)
    total = np.zeros_like(a)
    for k in range(10000):
        near = a < 10
        if k >= 10 and not near.any():
            break
        step = near | (k < 10)
        total = np.where(step, total + a**-power, total)
        a = np.where(step, a + 1, a)
    term = a**-power
    total = total + a * term / (power - 1) + term / 2
    factor = power.copy()
    term = term / a
    for j, c in enumerate(EULER_MACLAURIN):
        total = total + factor * term / c
        factor = factor * (power + 2 * j + 1) * (power + 2 * j + 2)
        term = term / (a * a)
    return np.where(bad | np.isnan(q), np.nan, np.where(pole, np.inf, total))


def zeta(s: Any, q: Any) -> Any:
    """Hurwitz's zeta function of ``s`` at ``q``."""
    s, q = np.broadcast_arrays(s, q)
    return _zeta(q.astype(np.float64), s.astype(np.float64)).astype(q.dtype)


def polygamma(x: Any, n: int) -> Any:
    """The n-th derivative of digamma, n >= 1; by reflection for n = 1 below 0.5."""
    v = x.astype(np.float64)
    if n == 1:
        low = v < 0.5
        s = sine_of_pi(v)
        inner = _zeta(np.where(low, 1 - v, v), np.full_like(v, 2.0))
        return np.where(low, (PI / s) ** 2 - inner, inner).astype(x.dtype)
    return (_zeta(v, np.full_like(v, n + 1.0)) * ((-1) ** (n + 1) * math.gamma(n + 1))).astype(x.dtype)


# Bessel functions of imaginary argument


def _bessel(x: Any, small: Any, large: Any, odd: bool) -> Any:
    """exp(-|x|) I(x)."""
    size = np.abs(x)
    near = size <= 8
    first = clenshaw(np.where(near, size, 0) / 4 - 1, small)
    if odd:
        first = first * size
    far = np.where(near, 8, size)
    out = np.where(near, first, clenshaw(16 / far - 1, large) / np.sqrt(far))
    return np.copysign(out, x) if odd else out


i0e = blocked(lambda x: _bessel(x, I0E_SMALL, I0E_LARGE, False))
i1e = blocked(lambda x: _bessel(x, I1E_SMALL, I1E_LARGE, True))
i0 = blocked(lambda x: _bessel(x, I0E_SMALL, I0E_LARGE, False) * np.exp(np.abs(x)))
i1 = blocked(lambda x: _bessel(x, I1E_SMALL, I1E_LARGE, True) * np.exp(np.abs(x)))

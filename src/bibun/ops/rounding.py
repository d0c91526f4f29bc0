"""Rounding and the pieces of a floating-point number; elementwise, integers stay as they are."""

from __future__ import annotations

from typing import Any

from .elementwise import no_rule, pass_rule, zero_rule
from .primitive import elementwise, primitive


def rounded(xp: Any, x: Any, name: str) -> Any:
    """``x`` rounded by an array function: integers as they are, complex numbers and booleans refused."""
    kind = x.dtype.kind
    if kind in "iu":
        return x.copy()
    if kind == "c":
        raise NotImplementedError(f"{name} is not supported for complex inputs")
    if kind == "b":
        raise NotImplementedError(f"\"{name}\" not implemented for 'Bool'")
    return getattr(xp, name)(x)


@elementwise
def floor(xp, x):
    """The largest integer not above ``x``."""
    return rounded(xp, x, "floor")


@elementwise
def ceil(xp, x):
    """The smallest integer not below ``x``."""
    return rounded(xp, x, "ceil")


@elementwise
def trunc(xp, x):
    """``x`` without its fraction."""
    return rounded(xp, x, "trunc")


@elementwise
def round(xp, x):
    """The nearest integer, halves to even."""
    return rounded(xp, x, "rint")


@elementwise(grad="RoundBackward1")
def round_decimals(xp, x, /, decimals):
    """The nearest multiple of ``10**-decimals``."""
    if x.dtype.kind != "f":
        raise NotImplementedError('"round_cpu" not implemented for integers with decimals')
    scale = x.dtype.type(10.0 ** abs(decimals))
    return xp.rint(x * scale) / scale if decimals > 0 else xp.rint(x / scale) * scale


floor.native(lambda xp, x: xp.floor(x))
ceil.native(lambda xp, x: xp.ceil(x))
trunc.native(lambda xp, x: xp.trunc(x))
round.native(lambda xp, x: xp.rint(x))
for _each in (floor, ceil, trunc, round, round_decimals):
    _each.derivative(x=zero_rule).drawn_from((-3, 3))


@elementwise
def frac(xp, x):
    """The fraction, with the sign of ``x``."""
    if x.dtype.kind != "f":
        raise NotImplementedError('"frac_cpu" is implemented for floating numbers only')
    return xp.subtract(x, xp.trunc(x))


frac.native(lambda xp, x: x - xp.trunc(x))
frac.derivative(x=pass_rule)
frac.drawn_from((-3, 3))


@elementwise(kind="float", refuses="c")
def copysign(xp, x, y):
    """The magnitude of ``x`` with the sign of ``y``."""
    return xp.copysign(x, y)


copysign.derivative(x=lambda xp, g, x, out: g * xp.where(x == 0, 0, out / xp.where(x == 0, 1, x)), y=zero_rule)
copysign.drawn_from((-3, 3))


@primitive
def nextafter(xp, x, y):
    """The next number after ``x`` towards ``y``, of their dtype (so narrow floats are not widened here)."""
    return xp.nextafter(x, y)


nextafter.batching(lambda apply, size, arrays, dims: _aligned(apply, arrays, dims))


def _aligned(apply: Any, arrays: Any, dims: Any) -> Any:
    """A call on broadcasting arrays whose batch dimensions are brought to the front."""
    ndim = max(a.ndim - (d is not None) for a, d in zip(arrays, dims))
    lined = []
    for a, d in zip(arrays, dims):
        if d is not None:
            a = a.movedim(d, 0)
            a = a.reshape((a.shape[0],) + (1,) * (ndim - a.ndim + 1) + tuple(a.shape[1:]))
        lined.append(a)
    return apply(*lined), 0


def _nextafter_part(xp: Any, g: Any, at_equal: Any, shape: Any) -> Any:
    from .shape import sum_to

    return sum_to(xp, xp.where(at_equal, 0, g), shape)


nextafter.derivative(
    x=lambda xp, g, x, y, x_shape: _nextafter_part(xp, g, x == y, x_shape),
    y=lambda xp, g, x, y, y_shape: _nextafter_part(xp, g, x != y, y_shape),
)


@elementwise
def heaviside(xp, x, values):
    """0 below 0, 1 above, ``values`` at 0."""
    return xp.where(x == 0, values, xp.where(x > 0, x.dtype.type(1), x.dtype.type(0)))


heaviside.grad_name = "NotImplemented"
heaviside.derivative(x=no_rule("heaviside"), values=no_rule("heaviside"))
heaviside.drawn_from((-3, 3))


@primitive(outputs="mantissa exponent", nondiff="exponent")
def frexp(xp, x):
    """``x`` as mantissa in [0.5, 1) and power of two."""
    mantissa, exponent = xp.frexp(x.astype(xp.float32) if x.dtype in xp.NARROW else x)
    return mantissa.astype(x.dtype), exponent


frexp.derivative(x=lambda xp, g_mantissa, exponent: g_mantissa / xp.exp2(exponent))
frexp.batching(lambda apply, size, arrays, dims: (apply(arrays[0]), dims[0]))


@elementwise
def nan_to_num(xp, x, /, nan, posinf, neginf):
    """``x`` with numbers in place of NaN and the infinities."""
    return xp.nan_to_num(x, nan=nan, posinf=posinf, neginf=neginf) if x.dtype.kind in "fc" else x.copy()


nan_to_num.derivative(x=lambda xp, g, x: xp.where(xp.isfinite(x), g, 0))
nan_to_num.drawn_from((-3, 3))

"""Trigonometric and hyperbolic functions and their inverses; elementwise, integers become floats."""

from __future__ import annotations

from typing import Any

from .primitive import elementwise

PI = 3.141592653589793


@elementwise(kind="float")
def sin(xp, x):
    """The sine."""
    return xp.sin(x)


sin.derivative(x=lambda xp, g, x: g * xp.cos(x).conj())
sin.drawn_from((-3, 3))


@elementwise(kind="float")
def cos(xp, x):
    """The cosine."""
    return xp.cos(x)


cos.derivative(x=lambda xp, g, x: g * -xp.sin(x).conj())
cos.drawn_from((-3, 3))


@elementwise(kind="float")
def tan(xp, x):
    """The tangent."""
    return xp.tan(x)


tan.derivative(x=lambda g, out: g * (out * out + 1).conj())
tan.drawn_from((-0.9, 0.9))


@elementwise(kind="float")
def sinh(xp, x):
    """The hyperbolic sine."""
    return xp.sinh(x)


sinh.derivative(x=lambda xp, g, x: g * xp.cosh(x).conj())
sinh.drawn_from((-3, 3))


@elementwise(kind="float")
def cosh(xp, x):
    """The hyperbolic cosine."""
    return xp.cosh(x)


cosh.derivative(x=lambda xp, g, x: g * xp.sinh(x).conj())
cosh.drawn_from((-3, 3))


@elementwise(kind="float")
def tanh(xp, x):
    """The hyperbolic tangent."""
    return xp.tanh(x)


@elementwise(grad="TanhBackward")
def tanh_gradient(xp, grad, result):
    """grad·(1 - result²), by the result."""
    return grad * (1 - result * result)


tanh.derivative(x=lambda xp, g, out: xp.tanh_gradient(g, out.conj()))
tanh.drawn_from((-3, 3))
tanh_gradient.derivative(
    grad=lambda xp, g, result: xp.tanh_gradient(g, result.conj()),
    result=lambda g, grad, result: g * (grad * result * -2).conj(),
)
tanh_gradient.drawn_from((-1, 1))


@elementwise(kind="float")
def asin(xp, x):
    """The inverse sine."""
    return xp.asin(x)


asin.derivative(x=lambda xp, g, x: g * xp.rsqrt(1 - x * x).conj())
asin.drawn_from((-0.9, 0.9))


@elementwise(kind="float")
def acos(xp, x):
    """The inverse cosine."""
    return xp.acos(x)


acos.derivative(x=lambda xp, g, x: g * -xp.rsqrt(1 - x * x).conj())
acos.drawn_from((-0.9, 0.9))


@elementwise(kind="float")
def atan(xp, x):
    """The inverse tangent."""
    return xp.atan(x)


atan.derivative(x=lambda g, x: g / (x * x + 1).conj())
atan.drawn_from((-3, 3))


@elementwise(kind="float")
def asinh(xp, x):
    """The inverse hyperbolic sine."""
    return xp.asinh(x)


asinh.derivative(x=lambda xp, g, x: g * xp.rsqrt(x * x + 1).conj())
asinh.drawn_from((-3, 3))


def _acosh_derivative(xp: Any, g: Any, x: Any, x_dtype: Any) -> Any:
    if x_dtype.kind == "c":  # sqrt(a b) is sqrt(a) sqrt(b) up to a sign only
        return g * (xp.rsqrt(x + 1) * xp.rsqrt(x - 1)).conj()
    return g * xp.rsqrt(x * x - 1)


@elementwise(kind="float")
def acosh(xp, x):
    """The inverse hyperbolic cosine."""
    return xp.acosh(x)


acosh.derivative(x=_acosh_derivative)
acosh.drawn_from((1.2, 3))


@elementwise(kind="float")
def atanh(xp, x):
    """The inverse hyperbolic tangent."""
    return xp.atanh(x)


atanh.derivative(x=lambda g, x: g / (1 - x * x).conj())
atanh.drawn_from((-0.9, 0.9))


def _over_norm(xp: Any, g: Any, x: Any, y: Any, part: Any) -> Any:
    size = x * x + y * y
    return xp.where(size == 0, 0, g * part / xp.where(size == 0, 1, size))


@elementwise(kind="float", refuses="c")
def atan2(xp, x, y):
    """The angle of the point (y, x)."""
    return xp.atan2(x, y)


atan2.derivative(x=lambda xp, g, x, y: _over_norm(xp, g, x, y, y), y=lambda xp, g, x, y: _over_norm(xp, g, x, y, -x))
atan2.drawn_from((-3, 3))


def _sinc_derivative(xp: Any, g: Any, x: Any) -> Any:
    angle = x * PI
    below = angle * x
    flat = below == 0
    # At 0 the first term of the series, so that the second derivative is right too.
    slope = xp.where(
        flat, x * (-PI * PI / 3), (angle * xp.cos(angle) - xp.sin(angle)) / xp.where(flat, 1, below)
    )
    return g * slope.conj()


@elementwise(kind="float")
def sinc(xp, x):
    """``sin(πx) / (πx)``, 1 at 0."""
    angle = xp.where(x == 0, 1, x * PI).astype(x.dtype)
    return xp.where(x == 0, 1, xp.sin(angle) / angle).astype(x.dtype)


sinc.derivative(x=_sinc_derivative)
sinc.drawn_from((-3, 3))


@elementwise(kind="float", grad="Deg2Rad", refuses="c")
def deg2rad(xp, x):
    """Degrees as radians."""
    return xp.multiply(x, PI / 180)


deg2rad.derivative(x=lambda g: g * (PI / 180))
deg2rad.drawn_from((-3, 3))


@elementwise(kind="float", grad="Rad2Deg", refuses="c")
def rad2deg(xp, x):
    """Radians as degrees."""
    return xp.multiply(x, 180 / PI)


rad2deg.derivative(x=lambda g: g * (180 / PI))
rad2deg.drawn_from((-3, 3))

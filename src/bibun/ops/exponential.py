"""Exponentials, logarithms and the functions built of them; elementwise, integers become floats."""

from __future__ import annotations

from typing import Any

from .elementwise import LN2
from .primitive import elementwise

LN10 = 2.302585092994046


@elementwise(kind="float")
def exp(xp, x):
    """``e**x``."""
    return xp.exp(x)


exp.derivative(x=lambda g, out: g * out.conj())
exp.drawn_from((-2, 2))


@elementwise(kind="float")
def exp2(xp, x):
    """``2**x``."""
    return xp.exp2(x)


exp2.derivative(x=lambda g, out: g * (out * LN2).conj())
exp2.drawn_from((-2, 2))


@elementwise(kind="float")
def expm1(xp, x):
    """``e**x - 1``, accurate near 0."""
    return xp.expm1(x)


expm1.derivative(x=lambda g, out: g * (out + 1).conj())
expm1.drawn_from((-2, 2))


@elementwise(kind="float")
def log(xp, x):
    """The natural logarithm."""
    return xp.log(x)


log.derivative(x=lambda g, x: g / x.conj())
log.drawn_from((0.3, 2))


@elementwise(kind="float")
def log2(xp, x):
    """The logarithm to base 2."""
    return xp.log2(x)


log2.derivative(x=lambda g, x: g / (x * LN2).conj())
log2.drawn_from((0.3, 2))


@elementwise(kind="float")
def log10(xp, x):
    """The logarithm to base 10."""
    return xp.log10(x)


log10.derivative(x=lambda g, x: g / (x * LN10).conj())
log10.drawn_from((0.3, 2))


@elementwise(kind="float", grad="Log1P")
def log1p(xp, x):
    """``log(1 + x)``, accurate near 0."""
    return xp.log1p(x)


log1p.derivative(x=lambda g, x: g / (x + 1).conj())
log1p.drawn_from((-0.7, 2))


@elementwise(refuses="biu")
def logaddexp(xp, x, y):
    """``log(e**x + e**y)`` without overflow."""
    if x.dtype.kind == "c":
        high = xp.where(x.real >= y.real, x, y)
        low = xp.where(x.real >= y.real, y, x)
        return high + xp.log1p(xp.exp(low - high))
    if x.dtype.kind != "f":
        raise TypeError("logaddexp takes floating numbers")
    return xp.logaddexp(x, y)


logaddexp.derivative(
    x=lambda xp, g, x, y: g / (xp.exp(y - x) + 1).conj(), y=lambda xp, g, x, y: g / (xp.exp(x - y) + 1).conj()
)
logaddexp.drawn_from((-2, 2))


@elementwise(refuses="biu")
def logaddexp2(xp, x, y):
    """``log2(2**x + 2**y)`` without overflow."""
    if x.dtype.kind != "f":
        raise TypeError("logaddexp2 takes floating numbers")
    return xp.logaddexp2(x, y)


logaddexp2.derivative(x=lambda xp, g, x, y: g / (xp.exp2(y - x) + 1), y=lambda xp, g, x, y: g / (xp.exp2(x - y) + 1))
logaddexp2.drawn_from((-2, 2))


def times_log(xp: Any, x: Any, y: Any, logarithm: Any) -> Any:
    """``x logarithm(y)``, 0 where x is 0, NaN where y is NaN."""
    return xp.where(xp.isnan(y), y, xp.where(x == 0, 0, x * logarithm(y)))


@elementwise(kind="float")
def xlogy(xp, x, y):
    """``x log(y)``, 0 where x is 0."""
    return times_log(xp, x, y, xp.log)


xlogy.derivative(x=lambda xp, g, x, y: xp.where((x == 0) & (y <= 0), 0, xp.xlogy(g, y)), y=lambda g, x, y: g * x / y)
xlogy.drawn_from((-2, 2), (0.3, 2))
#: The same of a number and a tensor, of a tensor and a number.
xlogy_of_number, xlogy_by_number = xlogy.named("XlogyBackward1"), xlogy.named("XlogyBackward2")


@elementwise(kind="float", grad="SpecialXlog1Py")
def xlog1py(xp, x, y):
    """``x log1p(y)``, 0 where x is 0."""
    return times_log(xp, x, y, xp.log1p)


xlog1py.derivative(
    x=lambda xp, g, x, y: xp.where((x == 0) & (y <= -1), 0, xp.xlog1py(g, y)), y=lambda g, x, y: g * x / (y + 1)
)
xlog1py.drawn_from((-2, 2), (-0.6, 3))
xlog1py_of_number, xlog1py_by_number = (
    xlog1py.named("SpecialXlog1PyBackward1"),
    xlog1py.named("SpecialXlog1PyBackward2"),
)


@elementwise(kind="float", grad="SpecialEntr")
def entr(xp, x):
    """``-x log x``: 0 at 0, -inf below."""
    return xp.where(
        x > 0, -x * xp.log(xp.where(x > 0, x, 1)), xp.where(x == 0, 0, xp.where(xp.isnan(x), x, -xp.inf))
    ).astype(x.dtype)


entr.derivative(x=lambda xp, g, x: g * (-xp.log(x) - 1))
entr.drawn_from((0.3, 2))


@elementwise(kind="float")
def sigmoid(xp, x):
    """``1 / (1 + e**-x)``."""
    return xp.sigmoid(x)


@elementwise(grad="SigmoidBackward")
def sigmoid_gradient(xp, grad, result):
    """grad·(1 - result)·result, by the result."""
    return grad * ((1 - result) * result)


sigmoid.derivative(x=lambda xp, g, out: xp.sigmoid_gradient(g, out.conj()))
sigmoid.drawn_from((-2, 2))
sigmoid_gradient.derivative(
    grad=lambda xp, g, result: xp.sigmoid_gradient(g, result.conj()),
    result=lambda g, grad, result: g * (grad * (1 - result * 2)).conj(),
)
sigmoid_gradient.drawn_from((-2, 2), (0.1, 0.9))


@elementwise(kind="float", refuses="c")
def logit(xp, x, /, eps):
    """``log(x / (1 - x))``, with ``x`` first brought into [eps, 1 - eps] where ``eps`` is not None."""
    if eps is not None:
        x = xp.clip(x, eps, 1 - eps)
    return xp.log(x / (1 - x))


def _logit_derivative(xp: Any, g: Any, x: Any, eps: float | None) -> Any:
    if eps is None:
        return xp.where((x >= 0) & (x <= 1), g / (x * (1 - x)), float("nan"))
    return xp.where((x >= eps) & (x <= 1 - eps), g / (x * (1 - x)), 0)


logit.derivative(x=_logit_derivative)
logit.drawn_from((0.1, 0.9))

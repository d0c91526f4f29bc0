"""Elementwise arithmetic: sums, products, quotients and powers.

In: arrays of one dtype (the family has promoted and broadcasting is NumPy's). Out: an array of the broadcast shape.
The further elementwise families stand beside this file: exponential, trigonometric, rounding, comparison, bitwise,
special.
"""

from __future__ import annotations

from typing import Any

from .primitive import elementwise

__all__ = ["add", "divide", "multiply", "negative", "pow", "subtract"]


@elementwise
def add(xp, x, y):
    """``x + y``."""
    return xp.add(x, y)


add.derivative(x=lambda g: g, y=lambda g: g)


@elementwise(grad="Sub")
def subtract(xp, x, y):
    """``x - y``."""
    return xp.subtract(x, y)


subtract.derivative(x=lambda g: g, y=lambda g: -g)


@elementwise(grad="Mul")
def multiply(xp, x, y):
    """``x * y``."""
    return xp.multiply(x, y)


multiply.derivative(x=lambda g, y: g * y.conj(), y=lambda g, x: g * x.conj())


@elementwise(kind="float", grad="Div")
def divide(xp, x, y):
    """``x / y``; integers become floats."""
    return xp.divide(x, y)


divide.derivative(x=lambda g, y: g / y.conj(), y=lambda g, x, y: -g * ((x / y) / y).conj())


@elementwise(grad="Neg")
def negative(xp, x):
    """``-x``."""
    return xp.negative(x)


negative.derivative(x=lambda g: -g)


def power_base(xp: Any, g: Any, x: Any, y: Any) -> Any:
    """d(x**y)/dx: zero where the exponent is zero, also at x = 0."""
    return xp.where(y == 0, xp.zeros_like(g), g * (y * xp.pow(x, y - 1)).conj())


def power_exponent(xp: Any, g: Any, x: Any, y: Any, out: Any) -> Any:
    """d(x**y)/dy = x**y log x: zero, the limit from the right, at x = 0 where the exponent's real part is not negative."""
    zero = (x == 0) & (xp.real(y) >= 0)
    return xp.where(zero, xp.zeros_like(g), g * (out * xp.log(xp.where(zero, xp.ones_like(x), x))).conj())


@elementwise(grad="PowBackward1")
def pow(xp, x, y):
    """``x ** y``; an integer to a negative power is truncated towards zero."""
    if x.dtype.kind in "iu" and y.dtype.kind == "i" and y.size and (y < 0).any():
        # Only 1 and -1 have an integer inverse; NumPy refuses all.
        magnitude = xp.pow(x, xp.abs(y))
        return xp.where(y >= 0, magnitude, xp.where(xp.abs(x) == 1, magnitude, xp.zeros_like(x)))
    return xp.pow(x, y)


pow.derivative(x=power_base, y=power_exponent)

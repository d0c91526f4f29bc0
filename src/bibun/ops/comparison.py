"""Comparisons, logic, bits and the questions a number answers with yes or no. None is differentiable."""

from __future__ import annotations

from typing import Any

from .primitive import elementwise


@elementwise(kind="compare")
def equal(xp, x, y):
    """``x == y``."""
    return xp.equal(x, y)


@elementwise(kind="compare")
def not_equal(xp, x, y):
    """``x != y``."""
    return xp.not_equal(x, y)


@elementwise(kind="order")
def less(xp, x, y):
    """``x < y``."""
    return xp.less(x, y)


@elementwise(kind="order")
def less_equal(xp, x, y):
    """``x <= y``."""
    return xp.less_equal(x, y)


@elementwise(kind="order")
def greater(xp, x, y):
    """``x > y``."""
    return xp.greater(x, y)


@elementwise(kind="order")
def greater_equal(xp, x, y):
    """``x >= y``."""
    return xp.greater_equal(x, y)


@elementwise(kind="compare")
def isclose(xp, x, y, /, rtol, atol, equal_nan):
    """``|x - y| <= atol + rtol |y|``, or equal."""
    same = xp.equal(x, y)
    if x.dtype.kind in "biu":
        if rtol == 0 and atol == 0:
            return same
        x, y = x.astype(xp.float64), y.astype(xp.float64)
    if equal_nan:
        same = same | (xp.isnan(x) & xp.isnan(y))
    gap = xp.abs(x - y)
    return same | (xp.isfinite(gap) & (gap <= atol + xp.abs(rtol * y)))


# Logic: any dtype, of which zero is false


@elementwise(kind="logical")
def logical_and(xp, x, y):
    """Whether both are not zero."""
    return xp.logical_and(x, y)


@elementwise(kind="logical")
def logical_or(xp, x, y):
    """Whether either is not zero."""
    return xp.logical_or(x, y)


@elementwise(kind="logical")
def logical_xor(xp, x, y):
    """Whether just one is not zero."""
    return xp.logical_xor(x, y)


@elementwise(kind="logical")
def logical_not(xp, x):
    """Whether it is zero."""
    return xp.logical_not(x)


# Bits


@elementwise(kind="integer")
def bitwise_and(xp, x, y):
    """The bits set in both."""
    return xp.bitwise_and(x, y)


@elementwise(kind="integer")
def bitwise_or(xp, x, y):
    """The bits set in either."""
    return xp.bitwise_or(x, y)


@elementwise(kind="integer")
def bitwise_xor(xp, x, y):
    """The bits set in just one."""
    return xp.bitwise_xor(x, y)


@elementwise(kind="integer")
def bitwise_invert(xp, x):
    """The other bits."""
    return xp.bitwise_invert(x)


def shift_error(x: Any, name: str) -> None:
    if x.dtype.kind == "b":
        raise NotImplementedError(f"\"{name}_cpu\" not implemented for 'Bool'")


@elementwise(kind="integer")
def bitwise_left_shift(xp, x, y):
    """Bits moved up; 0 for a shift that is negative or too wide."""
    shift_error(x, "lshift")
    lost = (y < 0) | (y >= x.dtype.itemsize * 8)
    return xp.where(lost, 0, xp.bitwise_left_shift(x, xp.where(lost, 0, y))).astype(x.dtype)


@elementwise(kind="integer")
def bitwise_right_shift(xp, x, y):
    """Bits moved down, the sign kept; the sign alone for a shift that is negative or too wide."""
    shift_error(x, "rshift")
    if x.dtype.kind == "u":
        lost = y >= x.dtype.itemsize * 8
        return xp.where(lost, 0, xp.bitwise_right_shift(x, xp.where(lost, 0, y))).astype(x.dtype)
    widest = x.dtype.itemsize * 8 - 1
    return xp.bitwise_right_shift(x, xp.where((y < 0) | (y > widest), widest, y).astype(x.dtype))


@elementwise(kind="integer")
def gcd(xp, x, y):
    """The greatest common divisor."""
    shift_error(x, "gcd")
    return xp.gcd(x, y)


@elementwise(kind="integer")
def lcm(xp, x, y):
    """The least common multiple."""
    shift_error(x, "lcm")
    return xp.lcm(x, y)


# Questions


def asked(xp: Any, x: Any, question: Any, other: bool) -> Any:
    """The answer of an array function for floats and complex numbers; ``other`` for integers."""
    return question(x) if x.dtype.kind in "fc" else xp.full(x.shape, other, dtype=xp.bool_)


@elementwise(kind="compare")
def isnan(xp, x):
    """Whether it is NaN."""
    return asked(xp, x, xp.isnan, False)


isnan.native(lambda xp, x: xp.isnan(x))


@elementwise(kind="compare")
def isinf(xp, x):
    """Whether it is infinite."""
    return asked(xp, x, xp.isinf, False)


@elementwise(kind="compare")
def isfinite(xp, x):
    """Whether it is neither infinite nor NaN."""
    return asked(xp, x, xp.isfinite, True)


@elementwise(kind="compare")
def isposinf(xp, x):
    """Whether it is the positive infinity."""
    if x.dtype.kind == "c":
        raise RuntimeError("isposinf does not support complex inputs.")
    return asked(xp, x, lambda x: x == xp.inf, False)


@elementwise(kind="compare")
def isneginf(xp, x):
    """Whether it is the negative infinity."""
    if x.dtype.kind == "c":
        raise RuntimeError("isneginf does not support complex inputs.")
    return asked(xp, x, lambda x: x == -xp.inf, False)


@elementwise(kind="compare")
def isreal(xp, x):
    """Whether it has no imaginary part."""
    return x.imag == 0 if x.dtype.kind == "c" else xp.full(x.shape, True, dtype=xp.bool_)


@elementwise(kind="compare")
def signbit(xp, x):
    """Whether the sign is negative, also of -0."""
    if x.dtype.kind == "c":
        raise RuntimeError("signbit is not implemented for complex tensors.")
    return (
        xp.signbit(x)
        if x.dtype.kind == "f"
        else x < 0
        if x.dtype.kind == "i"
        else xp.full(x.shape, False, dtype=xp.bool_)
    )

# What the tests draw: a few values, so that many are equal

for _each in (equal, not_equal, less, less_equal, greater, greater_equal, isclose, logical_and, logical_or, logical_xor):
    _each.drawn_from((-2, 2))
for _each in (logical_not, isnan, isinf, isfinite, isposinf, isneginf, isreal, signbit):
    _each.drawn_from((-2, 2))
for _each in (bitwise_and, bitwise_or, bitwise_xor, bitwise_invert, gcd, lcm):
    _each.drawn_from((-12, 12))
for _each in (bitwise_left_shift, bitwise_right_shift):
    _each.drawn_from((0, 5))

"""Elementwise arithmetic: sums, products, quotients, remainders, powers and what is fused of them.

In: arrays of one dtype (the family has promoted; broadcasting is NumPy's). Out: an array of the broadcast shape. The
other elementwise entries stand beside this file: exponential, trigonometric, rounding, selection, comparison, special.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .primitive import elementwise, linear, refusal
from .shape import recast

LN2 = 0.6931471805599453


def zero_rule(xp: Any, g: Any) -> Any:
    """The derivative of what is constant almost everywhere."""
    return xp.zeros_like(g)


def pass_rule(g: Any) -> Any:
    """The derivative of the identity."""
    return g


def no_rule(name: str) -> Callable[..., Any]:
    """The derivative of an operation that PyTorch records and then refuses to differentiate."""
    return refusal(RuntimeError, f"derivative for aten::{name} is not implemented")


def check_divisor(x: Any, y: Any) -> None:
    """Refuse integer division by zero, as PyTorch does."""
    if x.dtype.kind in "iu" and not y.all():
        raise RuntimeError("ZeroDivisionError")


# Sums, products, quotients


@elementwise
def add(xp, x, y):
    """``x + y``."""
    return xp.add(x, y)


add.derivative(x=pass_rule, y=pass_rule)
add.drawn_from((-2, 2))


@elementwise(grad="Add")
def add_scaled(xp, x, y, /, alpha):
    """``x + alpha y``."""
    return xp.add(x, xp.multiply(y, alpha))


add_scaled.derivative(x=pass_rule, y=lambda g, alpha: g * alpha.conjugate())
add_scaled.drawn_from((-2, 2))


@elementwise(kind="difference", grad="Sub")
def subtract(xp, x, y):
    """``x - y``."""
    return xp.subtract(x, y)


subtract.derivative(x=pass_rule, y=lambda g: -g)
subtract.drawn_from((-2, 2))


@elementwise(kind="difference", grad="RsubBackward1")
def rsub(xp, x, y):
    """``y - x``."""
    return xp.subtract(y, x)


rsub.derivative(x=lambda g: -g, y=pass_rule)
rsub.drawn_from((-2, 2))


@elementwise(grad="Mul")
def multiply(xp, x, y):
    """``x * y``."""
    return xp.multiply(x, y)


multiply.derivative(x=lambda g, y: g * y.conj(), y=lambda g, x: g * x.conj())
multiply.drawn_from((-2, 2))


@elementwise(kind="float", grad="Div")
def divide(xp, x, y):
    """``x / y``; integers become floats."""
    return xp.divide(x, y)


divide.derivative(x=lambda g, y: g / y.conj(), y=lambda g, x, y: -g * ((x / y) / y).conj())
divide.drawn_from((-2, 2), (0.5, 2))


@elementwise(grad="DivBackward2")
def divide_floor(xp, x, y):
    """The quotient rounded down: ``torch.div(x, y, rounding_mode="floor")``."""
    check_divisor(x, y)
    if x.dtype.kind == "f":
        # Division by zero gives what true division gives.
        return xp.where(y == 0, xp.divide(x, y), xp.floor_divide(x, y))
    return xp.floor_divide(x, y)


divide_floor.derivative(x=zero_rule, y=zero_rule)
divide_floor.native(lambda xp, x, y: xp.floor_divide(x, y))
divide_floor.drawn_from((-5, 5), (0.6, 1.6))
floor_divide = divide_floor.named("NotImplemented0")
floor_divide.grad_name, floor_divide.derivatives = "NotImplemented", {}
floor_divide.derivative(x=no_rule("floor_divide"), y=no_rule("floor_divide"))


@elementwise(grad="DivBackward2")
def divide_trunc(xp, x, y):
    """The quotient rounded towards zero: ``torch.div(x, y, rounding_mode="trunc")``."""
    check_divisor(x, y)
    if x.dtype.kind in "iu":
        quotient = xp.floor_divide(x, y)
        return quotient + ((quotient < 0) & (quotient * y != x)).astype(x.dtype) if x.dtype.kind == "i" else quotient
    return xp.trunc(xp.divide(x, y))


divide_trunc.derivative(x=zero_rule, y=zero_rule)
divide_trunc.native(lambda xp, x, y: xp.trunc(xp.divide(x, y)))
divide_trunc.drawn_from((-5, 5), (0.6, 1.6))


@elementwise(grad="RemainderBackward1", refuses="bc")
def remainder(xp, x, y):
    """What is left of ``x`` by ``y``, with the sign of ``y``, as Python's ``%``."""
    check_divisor(x, y)
    return xp.remainder(x, y)


remainder.native(lambda xp, x, y: xp.remainder(x, y))
remainder.derivative(x=pass_rule, y=lambda xp, g, x, y: -g * xp.divide_floor(x, y))
remainder.drawn_from((-5, 5), (0.6, 1.6))


@elementwise(grad="FmodBackward1", refuses="bc")
def fmod(xp, x, y):
    """What is left of ``x`` by ``y``, with the sign of ``x``, as C's ``fmod``."""
    check_divisor(x, y)
    return xp.fmod(x, y)


fmod.native(lambda xp, x, y: xp.fmod(x, y))
fmod.derivative(x=pass_rule, y=lambda xp, g, x, y: -g * xp.divide_trunc(x, y))
fmod.drawn_from((-5, 5), (0.6, 1.6))


@elementwise(grad="Neg")
def negative(xp, x):
    """``-x``."""
    return xp.negative(x)


negative.derivative(x=lambda g: -g)
negative.drawn_from((-2, 2))


@elementwise(kind="float")
def reciprocal(xp, x):
    """``1 / x``."""
    return xp.reciprocal(x)


reciprocal.derivative(x=lambda g, out: -g * (out * out).conj())
reciprocal.drawn_from((0.3, 2))


@elementwise(refuses="b")
def abs(xp, x):
    """The magnitude; real for complex."""
    return xp.abs(x)


abs.derivative(x=lambda xp, g, x: g * xp.sgn(x))
abs.drawn_from((-2, 2))


@elementwise
def sign(xp, x):
    """-1, 0 or 1; zero for NaN."""
    if x.dtype.kind == "c":
        raise NotImplementedError(
            "Unlike NumPy, torch.sign is not intended to support complex numbers. Please use torch.sgn instead."
        )
    if x.dtype.kind == "b":
        return x.copy()
    return xp.sgn(x)


sign.derivative(x=zero_rule)
sign.drawn_from((-2, 2))


def _sgn_derivative(xp: Any, g: Any, x: Any, out: Any, x_dtype: Any) -> Any:
    """Of x/|x|: the part of g across the direction of x, divided by |x|."""
    if x_dtype.kind != "c":
        return xp.zeros_like(g)
    size = xp.abs(x)
    along = out * xp.real(g * out.conj())
    return xp.where(size == 0, 0, (g - along) / xp.where(size == 0, 1, size))


@elementwise
def sgn(xp, x):
    """``x / |x|``, 0 at 0."""
    return x.copy() if x.dtype.kind == "b" else xp.sgn(x)


sgn.derivative(x=_sgn_derivative)


@sgn.tangent
def _sgn_tangent(xp, t_x, x, out, x_dtype):
    return _sgn_derivative(xp, t_x, x, out, x_dtype)


sgn.drawn_from((-2, 2))


# Powers


def _power_base(xp: Any, g: Any, x: Any, y: Any) -> Any:
    """d(x**y)/dx: zero where the exponent is zero, also at x = 0."""
    return xp.where(y == 0, 0, g * (y * xp.pow(x, y - 1)).conj())


def _power_exponent(xp: Any, g: Any, x: Any, y: Any, out: Any) -> Any:
    """d(x**y)/dy = x**y log x: zero, the limit from the right, at x = 0 for exponents of real part >= 0."""
    zero = (x == 0) & (xp.real(y) >= 0)
    return xp.where(zero, 0, g * (out * xp.log(xp.where(zero, 1, x))).conj())


@elementwise(grad="PowBackward1")
def pow(xp, x, y):
    """``x ** y``; an integer to a negative power is truncated towards zero."""
    kind = x.dtype.kind
    if kind == "i" and (y < 0).any():
        # Only 1 and -1 have an integer inverse; NumPy refuses all.
        magnitude = xp.pow(x, xp.abs(y))
        return xp.where((y >= 0) | (xp.abs(x) == 1), magnitude, 0).astype(x.dtype)
    if kind == "b":
        raise NotImplementedError("\"pow\" not implemented for 'Bool'")
    if kind == "c":
        return xp.where((x == 0) & (y == 0), 1, xp.pow(x, y)).astype(x.dtype)
    return xp.pow(x, y)


pow.derivative(x=_power_base, y=_power_exponent)
pow.native(lambda xp, x, y: xp.pow(x, y))
pow.drawn_from((0.3, 2), (-2, 2))
#: A number to the power of a tensor.
pow_of_number = pow.named("PowBackward2")


def _power_scalar(xp: Any, g: Any, x: Any, exponent: Any) -> Any:
    if exponent == 0:
        return xp.zeros_like(g)
    if exponent == 2:
        return g * (x * 2).conj()
    return g * (xp.pow_scalar(x, exponent - 1) * exponent).conj()


@elementwise(grad="Pow")
def pow_scalar(xp, x, /, exponent):
    """``x ** exponent`` for a number."""
    return xp.pow_scalar(x, exponent)


pow_scalar.derivative(x=_power_scalar)
pow_scalar.drawn_from((0.3, 2))


@elementwise(grad="Pow")
def square(xp, x):
    """``x * x``."""
    return xp.square(x)


square.derivative(x=lambda g, x: g * (x * 2).conj())
square.drawn_from((-2, 2))


@elementwise(kind="float")
def sqrt(xp, x):
    """The square root; NaN below zero."""
    return xp.sqrt(x)


sqrt.derivative(x=lambda g, out: g / (out * 2).conj())
sqrt.drawn_from((0.3, 2))


@elementwise(kind="float")
def rsqrt(xp, x):
    """``1 / sqrt(x)``."""
    return xp.reciprocal(xp.sqrt(x))


rsqrt.derivative(x=lambda g, out: g * (out * out * out * -0.5).conj())
rsqrt.drawn_from((0.3, 2))


@elementwise(kind="float")
def ldexp(xp, x, y):
    """``x 2**y``."""
    return xp.multiply(x, xp.exp2(y))


ldexp.derivative(x=lambda xp, g, y: g * xp.exp2(y), y=lambda g, out: g * out * LN2)
ldexp.drawn_from((-2, 2))


@elementwise(refuses="biu")
def hypot(xp, x, y):
    """``sqrt(x² + y²)`` without undue overflow."""
    return xp.hypot(x, y)


hypot.derivative(x=lambda g, x, out: g * (x / out), y=lambda g, y, out: g * (y / out))
hypot.drawn_from((-2, 2))


# Fused


@elementwise
def addcmul(xp, x, tensor1, tensor2, /, value):
    """``x + value tensor1 tensor2``."""
    product = xp.multiply(tensor1, tensor2)
    return xp.add(x, product if value == 1 else xp.multiply(product, value))


addcmul.derivative(
    x=pass_rule,
    tensor1=lambda g, tensor2, value: g * (tensor2 * value).conj(),
    tensor2=lambda g, tensor1, value: g * (tensor1 * value).conj(),
)
addcmul.drawn_from((-2, 2))


@elementwise
def addcdiv(xp, x, tensor1, tensor2, /, value):
    """``x + value tensor1 / tensor2``."""
    quotient = xp.divide(tensor1, tensor2)
    return xp.add(x, quotient if value == 1 else xp.multiply(quotient, value))


addcdiv.derivative(
    x=pass_rule,
    tensor1=lambda g, tensor2, value: g * (value / tensor2).conj(),
    tensor2=lambda g, tensor1, tensor2, value: -g * (tensor1 / tensor2 / tensor2 * value).conj(),
)
addcdiv.drawn_from((-2, 2), (-2, 2), (0.5, 2))


@elementwise(grad="LerpBackward1")
def lerp(xp, x, end, weight):
    """``x + weight (end - x)``, exact at both ends."""
    step = end - x
    return xp.where(xp.abs(weight) < 0.5, x + weight * step, end - step * (1 - weight))


lerp.derivative(
    x=lambda g, weight: g * (1 - weight).conj(),
    end=lambda g, weight: g * weight.conj(),
    weight=lambda g, x, end: g * (end - x).conj(),
)
lerp.drawn_from((-2, 2))


def conjugate(number: Any) -> Any:
    """The conjugate of a Python number."""
    return number.conjugate() if isinstance(number, complex) else number


@elementwise(grad="Lerp")
def lerp_scalar(xp, x, end, /, weight):
    """`lerp` with a number as weight."""
    step = end - x
    return x + step * weight if -0.5 < weight.real < 0.5 else end - step * (1 - weight)


lerp_scalar.derivative(x=lambda g, weight: g * conjugate(1 - weight), end=lambda g, weight: g * conjugate(weight))
lerp_scalar.drawn_from((-2, 2))


# Parts, conversion, copies


@elementwise(tangent="linear")
def conj(xp, x):
    """The complex conjugate."""
    return xp.conj(x)


conj.derivative(x=lambda g: g.conj())
conj.drawn_from((-2, 2))
conj_physical = conj.named("ConjPhysicalBackward0")


@elementwise(tangent="linear")
def complex_(xp, real, imag):
    """The complex numbers of given parts."""
    return xp.complex(real, imag)


complex_.derivative(real=lambda xp, g: xp.real(g), imag=lambda xp, g: xp.imag(g))
complex_.drawn_from((-2, 2))


@elementwise
def polar(xp, abs, angle):
    """The complex numbers of given magnitude and angle."""
    return xp.complex(abs * xp.cos(angle), abs * xp.sin(angle))


polar.derivative(
    abs=lambda xp, g, out: xp.real(g.conj() * xp.sgn(out)), angle=lambda xp, g, out: xp.real(g.conj() * (out * 1j))
)
polar.drawn_from((0.3, 2), (-3, 3))


def _angle_derivative(xp: Any, g: Any, x: Any, x_dtype: Any) -> Any:
    if x_dtype.kind != "c":
        return xp.zeros_like(g)
    size = xp.abs(x)
    return xp.where(size == 0, 0, g * (x * 1j) / xp.where(size == 0, 1, size * size))


@elementwise(kind="float")
def angle(xp, x):
    """The argument of a complex number; 0 or π of a real one."""
    if x.dtype.kind == "c":
        return xp.atan2(x.imag, x.real)
    return xp.where(xp.isnan(x), x, xp.where(x < 0, x.dtype.type(3.141592653589793), x.dtype.type(0)))


angle.derivative(x=_angle_derivative)
angle.drawn_from((-2, 2))


@linear(grad="ToCopy")
def astype(xp, x, /, dtype):
    """``x`` in another dtype."""
    return xp.astype(x, dtype)


astype.derivative(x=lambda xp, g, x_dtype: recast(xp, g, x_dtype))
astype.batching(lambda apply, size, arrays, dims, dtype: (apply(arrays[0]), dims[0]))


@linear(grad="Clone")
def copy(xp, x, /):
    """A fresh array equal to ``x``, with its memory order."""
    return xp.copy(x)


copy.derivative(x=pass_rule)
copy.batching(lambda apply, size, arrays, dims: (apply(arrays[0]), dims[0]))

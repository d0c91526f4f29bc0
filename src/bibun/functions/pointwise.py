"""Pointwise functions: arithmetic, powers, exponentials, trigonometry, rounding, bounds; with PyTorch's signatures.

In: tensors, and Python numbers where PyTorch takes them. Out: tensors of the broadcast shape and the promoted dtype.
Comparisons, logic and bits are in `comparison`, Python's operators in `operators`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import dtypes
from ..autograd import dispatch
from ..autograd.direct import make_elementwise, make_one
from ..autograd.dispatch import F32, F64, apply, common_dtype, make_binary, make_unary
from ..backends import cpu
from ..backends.large import LARGE
from ..errors import combination_error
from ..ops import elementwise, exponential, rounding, selection, special, trigonometric
from .core import converted, tensor_argument
from .register import (
    FUNCTIONS,
    METHODS,
    array_function_of,
    binary,
    function,
    inplace_of,
    number_check,
    say,
    unary,
    write_out,
)

Number = (int, float, complex)


def is_tensor(x: Any) -> bool:
    return isinstance(x, dispatch.Tensor)


# Functions of one operand that are one primitive

neg = unary(elementwise.negative, name="neg", aliases="negative")
abs = unary(elementwise.abs, aliases="absolute")
sign = unary(elementwise.sign)
sgn = unary(elementwise.sgn)
sqrt = unary(elementwise.sqrt)
rsqrt = unary(elementwise.rsqrt)
reciprocal = unary(elementwise.reciprocal)
angle = unary(elementwise.angle, inplace=False)
exp = unary(exponential.exp)
exp2 = unary(exponential.exp2)
expm1 = unary(exponential.expm1)
log = unary(exponential.log)
log2 = unary(exponential.log2)
log10 = unary(exponential.log10)
log1p = unary(exponential.log1p)
sigmoid = unary(exponential.sigmoid)
sin = unary(trigonometric.sin)
cos = unary(trigonometric.cos)
tan = unary(trigonometric.tan)
sinh = unary(trigonometric.sinh)
cosh = unary(trigonometric.cosh)
tanh = unary(trigonometric.tanh)
asin = unary(trigonometric.asin, aliases="arcsin")
acos = unary(trigonometric.acos, aliases="arccos")
atan = unary(trigonometric.atan, aliases="arctan")
asinh = unary(trigonometric.asinh, aliases="arcsinh")
acosh = unary(trigonometric.acosh, aliases="arccosh")
atanh = unary(trigonometric.atanh, aliases="arctanh")
sinc = unary(trigonometric.sinc)
deg2rad = unary(trigonometric.deg2rad)
rad2deg = unary(trigonometric.rad2deg)
floor = unary(rounding.floor)
ceil = unary(rounding.ceil)
trunc = unary(rounding.trunc, aliases="fix")
frac = unary(rounding.frac)
erf = unary(special.erf)
erfc = unary(special.erfc)
erfinv = unary(special.erfinv)
lgamma = unary(special.lgamma)
digamma = unary(special.digamma)
i0 = unary(special.i0)

# Of two operands

atan2 = binary(trigonometric.atan2, aliases="arctan2", numbers="none")
hypot = binary(elementwise.hypot, numbers="none")
maximum = binary(selection.maximum, inplace=False, numbers="none")
minimum = binary(selection.minimum, inplace=False, numbers="none")
fmax = binary(selection.fmax, inplace=False, numbers="none")
fmin = binary(selection.fmin, inplace=False, numbers="none")
logaddexp = binary(exponential.logaddexp, inplace=False, numbers="none")
logaddexp2 = binary(exponential.logaddexp2, inplace=False, numbers="none")
ldexp = binary(elementwise.ldexp, numbers="none")
copysign = binary(rounding.copysign, numbers="second")
igamma = binary(special.igamma, numbers="none")
igammac = binary(special.igammac, numbers="none")
mul = binary(elementwise.multiply, name="mul", aliases="multiply")
floor_divide = binary(elementwise.floor_divide, name="floor_divide")

_add, _sub, _div = (
    make_binary(p, array_function_of(p), p is elementwise.divide)
    for p in (elementwise.add, elementwise.subtract, elementwise.divide)
)
_clamp, _clamp_min, _clamp_max = (
    (p, make_one(p, cpu.clip)) for p in (selection.clamp, selection.clamp_min, selection.clamp_max)
)
_copy = make_one(elementwise.copy, cpu.copy)
_pow_scalar = make_one(elementwise.pow_scalar, cpu.pow_scalar)
_square = make_unary(elementwise.square, np.square, True)
subtract_scaled = elementwise.add_scaled.named("SubBackward0")
_add_scaled = make_elementwise(elementwise.add_scaled)
_subtract_scaled = make_elementwise(subtract_scaled)
_addcmul = make_elementwise(elementwise.addcmul)
_addcdiv = make_elementwise(elementwise.addcdiv)
_lerp = make_elementwise(elementwise.lerp)
_lerp_scalar = make_elementwise(elementwise.lerp_scalar)
_where = make_elementwise(selection.where)
_nan_to_num = make_elementwise(rounding.nan_to_num)


def entered(name: str, method: Any, public: Any, aliases: str = "") -> None:
    """Enter a function whose method and ``out=`` form are written out, and its in-place form."""
    method.__name__ = method.__qualname__ = public.__name__ = public.__qualname__ = name
    method.__doc__ = public.__doc__
    for each in (name, *aliases.split()):
        FUNCTIONS[each], METHODS[each] = public, method
        METHODS[each + "_"] = FUNCTIONS[each + "_"] = inplace_of(method, each + "_")


def checked_alpha(name: str, input: Any, other: Any, alpha: Any) -> Any:
    """``alpha`` as a number, with PyTorch's refusals."""
    if (alpha.__class__ is float or alpha.__class__ is int) and is_tensor(input) and input._a.dtype.kind == "f":
        return alpha
    if is_tensor(alpha):
        alpha = alpha.item()
    d = common_dtype([getattr(x, "_a", x) for x in (input, other)])
    if isinstance(alpha, bool) and d.kind != "b":
        raise RuntimeError("Boolean alpha only supported for Boolean results.")
    if isinstance(alpha, float) and d.kind in "iub":
        raise RuntimeError("For integral input tensors, argument alpha must not be a floating point number.")
    if isinstance(alpha, complex) and d.kind != "c":
        raise RuntimeError("For non-complex input tensors, argument alpha must not be a complex number.")
    return bool(alpha) if d.kind == "b" else alpha


def checked_operand(name: str, x: Any, argument: str = "other", position: int = 2) -> None:
    """Refuse what is neither tensor nor number."""
    if not isinstance(x, dispatch.OPERANDS):
        raise TypeError(f"{name}(): argument '{argument}' (position {position}) must be Tensor, not {type(x).__name__}")


def _add_method(input: Any, other: Any, *, alpha: Any = 1) -> Any:
    if alpha.__class__ is int and alpha == 1:
        return _add(input, other)
    checked_operand("add", other)
    return _add_scaled((input, other), (checked_alpha("add", input, other, alpha),))


def add(input: Any, other: Any, *, alpha: Any = 1, out: Any = None) -> Any:
    """``input + alpha other``, broadcast and promoted.

    >>> import bibun as torch
    >>> torch.add(torch.tensor([1.0, 2.0]), torch.tensor([3.0, 4.0]), alpha=10)
    tensor([31., 42.])
    """
    try:
        r = _add(input, other) if alpha.__class__ is int and alpha == 1 else _add_method(input, other, alpha=alpha)
    except Exception:
        said = say(add, input, other)
        if said is NotImplemented:
            raise
        return said
    return r if out is None else write_out(out, r)


def _sub_method(input: Any, other: Any, *, alpha: Any = 1) -> Any:
    if alpha.__class__ is int and alpha == 1:
        return _sub(input, other)
    checked_operand("sub", other)
    for x in (input, other):
        if is_tensor(x) and x._a.dtype.kind == "b":
            raise RuntimeError(dispatch.BOOLEAN_DIFFERENCE[0])
    return _subtract_scaled((input, other), (-checked_alpha("sub", input, other, alpha),))


def sub(input: Any, other: Any, *, alpha: Any = 1, out: Any = None) -> Any:
    """``input - alpha other``, broadcast and promoted."""
    try:
        r = _sub(input, other) if alpha.__class__ is int and alpha == 1 else _sub_method(input, other, alpha=alpha)
    except Exception:
        said = say(sub, input, other)
        if said is NotImplemented:
            raise
        return said
    return r if out is None else write_out(out, r)


subtract_scaled = elementwise.add_scaled.named("SubBackward0")
entered("add", _add_method, add)
entered("sub", _sub_method, sub, aliases="subtract")


_refuse_rsub: Any = number_check("rsub", "second")


@function(inplace=False)
def rsub(input: Any, other: Any, *, alpha: Any = 1) -> Any:
    """``other - alpha input``."""
    if not is_tensor(input):
        _refuse_rsub(input, other)
    if alpha == 1:
        return apply(elementwise.rsub, (input, other))
    return _subtract_scaled((other, input), (-checked_alpha("rsub", input, other, alpha),))


def _div_method(input: Any, other: Any, *, rounding_mode: str | None = None) -> Any:
    if rounding_mode is None:
        return _div(input, other)
    checked_operand("div", other)
    if rounding_mode == "floor":
        return apply(elementwise.divide_floor, (input, other))
    if rounding_mode == "trunc":
        return apply(elementwise.divide_trunc, (input, other))
    raise RuntimeError(f"div expected rounding_mode to be one of None, 'trunc', or 'floor' but found '{rounding_mode}'")


def div(input: Any, other: Any, *, rounding_mode: str | None = None, out: Any = None) -> Any:
    """``input / other``; ``rounding_mode`` "floor" or "trunc" rounds the quotient and keeps integers.

    >>> import bibun as torch
    >>> torch.div(torch.tensor([7, -7]), 2), torch.div(torch.tensor([7, -7]), 2, rounding_mode="floor")
    (tensor([ 3.5000, -3.5000]), tensor([ 3, -4]))
    """
    try:
        r = _div(input, other) if rounding_mode is None else _div_method(input, other, rounding_mode=rounding_mode)
    except Exception:
        said = say(div, input, other)
        if said is NotImplemented:
            raise
        return said
    return r if out is None else write_out(out, r)


entered("div", _div_method, div, aliases="divide")


@function(inplace=True)
def true_divide(input: Any, other: Any) -> Any:
    """``input / other``; integers become floats."""
    return _div(input, other)


def _remainders(name: str, prim: Any, numbers: str) -> Any:
    refuse = number_check(name, numbers)
    assert refuse is not None
    by_tensor = make_binary(prim, array_function_of(prim), True)
    number = prim.named(prim.grad_name[:-1] + "0")
    by_number = make_binary(number, array_function_of(number), True)

    def call(input: Any, other: Any) -> Any:
        if not is_tensor(input):
            refuse(input, other)
        return by_tensor(input, other) if is_tensor(other) else by_number(input, other)

    call.__name__ = call.__qualname__ = name
    call.__doc__ = prim.doc
    return function(call, inplace=True)


remainder = _remainders("remainder", elementwise.remainder, "one")
fmod = _remainders("fmod", elementwise.fmod, "second")


# Powers


def _pow(input: Any, exponent: Any) -> Any:
    if exponent.__class__ is int or exponent.__class__ is float:
        if exponent == 2:
            return square_or_power(input)
        if is_tensor(input):
            d = input._a.dtype
            if (d is F32 or d is F64) and input._a.size < LARGE:
                return _pow_scalar(input, exponent)
    return power(input, exponent)


def square_or_power(input: Any) -> Any:
    """``input ** 2``."""
    if is_tensor(input) and input._a.dtype.kind in "fc":
        return _square(input)
    return power(input, 2)


POWERS = ("Tensor input, Tensor exponent", "Number self, Tensor exponent", "Tensor input, Number exponent")


def power(input: Any, exponent: Any) -> Any:
    """``input ** exponent`` for operands of any kind."""
    if is_tensor(exponent):
        if is_tensor(input):
            return apply(elementwise.pow, (input, exponent))
        checked_operand("pow", input, "input", 1)
        return apply(elementwise.pow_of_number, (input, exponent))
    if not is_tensor(input) or not isinstance(exponent, (*Number, np.generic)):
        signatures = (f"{a}, *, Tensor out = None" for a in POWERS)
        raise combination_error("pow", (input, exponent), {}, list(signatures))
    if isinstance(exponent, np.generic):
        exponent = exponent.item()
    d = input._a.dtype
    common = common_dtype([input._a, exponent])
    if common.kind in "iub" and exponent < 0:
        raise RuntimeError("Integers to negative integer powers are not allowed.")
    if common.kind == "b":
        return input.clone() if exponent else input.logical_or(~input)
    return apply(elementwise.pow_scalar, (input if common == d else converted(input, common),), (exponent,))


@function(inplace=True)
def pow(input: Any, exponent: Any) -> Any:
    """``input ** exponent``, either of which may be a number.

    >>> import bibun as torch
    >>> torch.pow(torch.tensor([1.0, 2.0, 3.0]), 2), torch.pow(2, torch.tensor([1, 2]))
    (tensor([1., 4., 9.]), tensor([2, 4]))
    """
    return _pow(input, exponent)


@function(inplace=True)
def square(input: Any) -> Any:
    """``input ** 2``."""
    return square_or_power(tensor_argument(input, "square"))


@function(inplace=True)
def float_power(input: Any, exponent: Any) -> Any:
    """``input ** exponent`` in double precision."""
    wide = (
        np.dtype(np.complex128)
        if any(isinstance(x, complex) or is_tensor(x) and x._a.dtype.kind == "c" for x in (input, exponent))
        else F64
    )

    def widened(x: Any) -> Any:
        return x if not is_tensor(x) or x._a.dtype == wide else converted(x, wide)

    return _pow(widened(input), widened(exponent))


def _xlogs(prim: Any, of_number: Any, by_number: Any, name: str = "") -> Any:
    calls = [make_binary(p, array_function_of(p), True) for p in (prim, of_number, by_number)]

    refuse = number_check(name or prim.name, "one")
    assert refuse is not None

    def call(input: Any, other: Any) -> Any:
        if not is_tensor(input):
            refuse(input, other)
        return calls[0 if is_tensor(input) and is_tensor(other) else 2 if is_tensor(input) else 1](input, other)

    call.__doc__ = prim.doc
    call.__name__ = call.__qualname__ = prim.name
    return call


xlogy = function(_xlogs(exponential.xlogy, exponential.xlogy_of_number, exponential.xlogy_by_number), inplace=True)
xlog1py = _xlogs(exponential.xlog1py, exponential.xlog1py_of_number, exponential.xlog1py_by_number, "special_xlog1py")


@function(inplace=True)
def logit(input: Any, eps: float | None = None) -> Any:
    """``log(x / (1 - x))``, ``x`` first brought into [eps, 1 - eps] where eps is given."""
    return apply(exponential.logit, (tensor_argument(input, "logit"),), (eps,))


@function(inplace=False, method=False)
def polygamma(n: int, input: Any) -> Any:
    """The n-th derivative of `digamma`."""
    if isinstance(n, bool) or not isinstance(n, int):
        raise TypeError(f"polygamma(): argument 'n' (position 1) must be int, not {type(n).__name__}")
    if n < 0:
        raise RuntimeError("polygamma(n, x) does not support negative n.")
    return digamma(input) if n == 0 else apply(special.polygamma, (input,), (n,))


METHODS["polygamma"] = lambda self, n: polygamma(n, self)
METHODS["polygamma_"] = inplace_of(METHODS["polygamma"], "polygamma_")


@function(inplace=True, aliases="")
def mvlgamma(input: Any, p: int) -> Any:
    """The logarithm of the multivariate gamma function of dimension ``p``."""
    if p < 1:
        raise RuntimeError(f"p has to be greater than or equal to 1, but got p = {p}")
    return apply(special.mvlgamma, (tensor_argument(input, "mvlgamma"),), (p,))


# Rounding


_round = make_unary(rounding.round, array_function_of(rounding.round), True)


@function(inplace=True)
def round(input: Any, *, decimals: int = 0) -> Any:
    """The nearest integer, halves to even; or the nearest multiple of ``10**-decimals``.

    >>> import bibun as torch
    >>> torch.round(torch.tensor([0.5, 1.5, 2.3])), torch.round(torch.tensor(2.346), decimals=2)
    (tensor([0., 2., 2.]), tensor(2.3500))
    """
    if decimals == 0:
        return _round(input)
    tensor_argument(input, "round")
    if input._a.dtype.kind in "iub":
        raise NotImplementedError(f"\"round_cpu\" not implemented for '{input.dtype.scalar_name}'")
    return apply(rounding.round_decimals, (input,), (decimals,))


@function(inplace=True)
def nan_to_num(input: Any, nan: float | None = 0.0, posinf: float | None = None, neginf: float | None = None) -> Any:
    """``input`` with numbers in place of NaN, of infinity (the dtype's largest) and of -infinity (its smallest)."""
    d = tensor_argument(input, "nan_to_num")._a.dtype
    if d.kind in "fcV":
        limits = dtypes.finfo(input.dtype)
        posinf = limits.max if posinf is None else posinf
        neginf = limits.min if neginf is None else neginf
    return _nan_to_num((input,), (0.0 if nan is None else nan, posinf, neginf))


def both_tensors(name: str, input: Any, other: Any) -> None:
    tensor_argument(input, name)
    tensor_argument(other, name, "other", 2)


@function(inplace=True)
def nextafter(input: Any, other: Any) -> Any:
    """The next floating number after ``input`` towards ``other``."""
    both_tensors("nextafter", input, other)
    if input._a.dtype != other._a.dtype:
        common = common_dtype([input._a, other._a])
        input, other = (x if x._a.dtype == common else converted(x, common) for x in (input, other))
    return apply(rounding.nextafter, (input, other))


@function(inplace=True)
def heaviside(input: Any, values: Any) -> Any:
    """0 below 0, 1 above, ``values`` at 0."""
    tensor_argument(input, "heaviside")
    tensor_argument(values, "heaviside", "values", 2)
    if input._a.dtype != values._a.dtype:
        raise RuntimeError("heaviside is not yet implemented for tensors with different dtypes.")
    if input._a.dtype.kind == "c":
        raise RuntimeError("heaviside is not yet implemented for complex tensors.")
    return apply(rounding.heaviside, (input, values))


@function(inplace=False)
def frexp(input: Any) -> Any:
    """``input`` as (mantissa, exponent): mantissa in [0.5, 1) times a power of two."""
    if tensor_argument(input, "frexp")._a.dtype.kind not in "fV":
        raise RuntimeError("torch.frexp() only supports floating-point dtypes")
    from ..return_types import frexp as pair

    return pair(apply(rounding.frexp, (input,)))


@function(inplace=False)
def positive(input: Any) -> Any:
    """``input`` itself."""
    if tensor_argument(input, "positive")._a.dtype.kind == "b":
        raise RuntimeError("The `+` operator, on a bool tensor is not supported.")
    return input


# Bounds and choices


@function(inplace=True, aliases="clip")
def clamp(input: Any, min: Any = None, max: Any = None) -> Any:
    """``input`` brought between ``min`` and ``max``, numbers or tensors, either of which may be None.

    >>> import bibun as torch
    >>> torch.clamp(torch.tensor([-2.0, 0.5, 2.0]), min=-1, max=1)
    tensor([-1.0000,  0.5000,  1.0000])
    """
    if min is None and max is None:
        raise RuntimeError("torch.clamp: At least one of 'min' or 'max' must not be None")
    if is_tensor(min) or is_tensor(max):
        return apply(selection.clamp_between, (input, min, max))
    return _clamped(_clamp, tensor_argument(input, "clamp"), min, max)


def _clamped(way: Any, input: Any, low: Any, high: Any) -> Any:
    prim, call = way
    d = input._a.dtype
    if d is not F32 and d is not F64:
        common = common_dtype([input._a, *[b for b in (low, high) if b is not None]])
        if common != d:
            input = converted(input, common)
    return call(input, low, high) if input._a.size < LARGE else apply(prim, (input,), (low, high))


_refuse_low: Any = number_check("clamp_min", "second")
_refuse_high: Any = number_check("clamp_max", "second")


@function(inplace=True)
def clamp_min(input: Any, min: Any) -> Any:
    """``input`` brought to ``min`` or above."""
    if not is_tensor(input):
        _refuse_low(input, min)
    if is_tensor(min):
        return apply(selection.clamp_min_tensor, (input, min))
    return _clamped(_clamp_min, tensor_argument(input, "clamp_min"), min, None)


@function(inplace=True)
def clamp_max(input: Any, max: Any) -> Any:
    """``input`` brought to ``max`` or below."""
    if not is_tensor(input):
        _refuse_high(input, max)
    if is_tensor(max):
        return apply(selection.clamp_max_tensor, (input, max))
    return _clamped(_clamp_max, tensor_argument(input, "clamp_max"), None, max)


def choose(condition: Any, input: Any, other: Any) -> Any:
    """`where` with all three arguments."""
    tensor_argument(condition, "where", "condition")
    kind = condition._a.dtype
    if kind.kind != "b":
        if kind != np.uint8:
            given = condition.dtype.scalar_name
            raise RuntimeError(f"where expected condition to be a boolean tensor, but got a tensor with dtype {given}")
        condition = condition.bool()
    return _where((condition, input, other))


@function(method=False)
def where(condition: Any, input: Any = None, other: Any = None) -> Any:
    """``input`` where the condition holds, ``other`` elsewhere; the indices of what holds if only a condition is given.

    >>> import bibun as torch
    >>> x = torch.tensor([-1.0, 2.0])
    >>> torch.where(x > 0, x, 0.0)
    tensor([0., 2.])
    """
    if input is None and other is None:
        return condition.nonzero(as_tuple=True)
    return choose(condition, input, other)


METHODS["where"] = lambda self, condition, other: choose(condition, self, other)


# Fused


def _value(x: Any, value: Any) -> Any:
    if is_tensor(value):
        value = value.item()
    return int(value) if x._a.dtype.kind in "iu" and not isinstance(value, int) else value


@function(inplace=True)
def addcmul(input: Any, tensor1: Any, tensor2: Any, *, value: Any = 1) -> Any:
    """``input + value tensor1 tensor2``."""
    tensor_argument(tensor1, "addcmul", "tensor1", 2)
    tensor_argument(tensor2, "addcmul", "tensor2", 3)
    return _addcmul((input, tensor1, tensor2), (_value(input, value),))


@function(inplace=True)
def addcdiv(input: Any, tensor1: Any, tensor2: Any, *, value: Any = 1) -> Any:
    """``input + value tensor1 / tensor2``."""
    tensor_argument(tensor1, "addcdiv", "tensor1", 2)
    tensor_argument(tensor2, "addcdiv", "tensor2", 3)
    if tensor1._a.dtype.kind in "iub" and tensor2._a.dtype.kind in "iub":
        raise RuntimeError(
            "Integer division with addcdiv is no longer supported, and in a future  release addcdiv will perform a "
            "true division of tensor1 and tensor2. The historic addcdiv behavior can be implemented as (input + "
            "value * torch.trunc(tensor1 / tensor2)).to(input.dtype) for integer inputs and as "
            "(input + value * tensor1 / tensor2) for float inputs."
        )
    return _addcdiv((input, tensor1, tensor2), (value.item() if is_tensor(value) else value,))


@function(inplace=True)
def lerp(input: Any, end: Any, weight: Any) -> Any:
    """``input + weight (end - input)``, exact at both ends."""
    tensor_argument(input, "lerp")
    tensor_argument(end, "lerp", "end", 2)
    if input._a.dtype != end._a.dtype:
        expected, given = input.dtype.scalar_name.lower(), end.dtype.scalar_name.lower()
        raise RuntimeError(f"expected dtype {expected} for `end` but got dtype {given}")
    if is_tensor(weight):
        if input._a.dtype != weight._a.dtype:
            expected, given = input.dtype.scalar_name.lower(), weight.dtype.scalar_name.lower()
            raise RuntimeError(f"expected dtype {expected} for `weight` but got dtype {given}")
        return _lerp((input, end, weight))
    if input._a.dtype.kind in "iub":
        raise NotImplementedError(f"\"lerp_kernel_scalar\" not implemented for '{input.dtype.scalar_name}'")
    return _lerp_scalar((input, end), (weight,))


# Complex numbers and copies


@function(inplace=False, out=False)
def conj(input: Any) -> Any:
    """The complex conjugate; a real tensor itself."""
    return apply(elementwise.conj, (input,)) if input._a.dtype.kind == "c" else input


@function(inplace=True)
def conj_physical(input: Any) -> Any:
    """The complex conjugate; a real tensor itself."""
    return apply(elementwise.conj_physical, (input,)) if input._a.dtype.kind == "c" else input


@function(method=False, out=False)
def resolve_conj(input: Any) -> Any:
    """``input``: conjugation is done at once here."""
    return input


@function(out=False)
def is_neg(input: Any) -> bool:
    """Whether the tensor is negated lazily: never here."""
    return False


def apply_(self: Any, callable: Any) -> Any:
    """Replace each element by what a Python function gives for it; slow."""
    return _replaced("apply_", self, lambda: [callable(v) for v in self.reshape(-1).tolist()])


def map_(self: Any, tensor: Any, callable: Any) -> Any:
    """Replace each element by what a Python function gives for it and that of ``tensor``; slow."""
    other = tensor.expand(self.shape)
    return _replaced("map_", self, lambda: list(map(callable, self.reshape(-1).tolist(), other.reshape(-1).tolist())))


def _replaced(name: str, x: Any, values: Any) -> Any:
    if x.requires_grad:
        raise TypeError(f"Can't call {name}() on Variable that requires grad. Use var.detach().{name}() instead.")
    return x.copy_(dispatch.wrap(np.array(values(), dtype=x._a.dtype).reshape(x._a.shape)))


METHODS["apply_"], METHODS["map_"] = apply_, map_


@function(method=False, out=False)
def resolve_neg(input: Any) -> Any:
    """``input``: negation is done at once here."""
    return input


def _check_parts(a: Any, b: Any) -> None:
    first, second = a.dtype.scalar_name, b.dtype.scalar_name
    if not {first, second} <= {"Half", "Float", "Double"}:
        raise RuntimeError(f"Expected both inputs to be Half, Float or Double tensors but got {first} and {second}")
    if first != second:
        raise RuntimeError(
            f"Expected object of scalar type {first} but got scalar type {second} for second argument"
        )


@function(name="complex", method=False)
def complex_(real: Any, imag: Any) -> Any:
    """The complex numbers of given real and imaginary parts."""
    _check_parts(tensor_argument(real, "complex", "real"), tensor_argument(imag, "complex", "imag", 2))
    return apply(elementwise.complex_, (real, imag))


@function(method=False)
def polar(abs: Any, angle: Any) -> Any:
    """The complex numbers of given magnitude and angle."""
    _check_parts(tensor_argument(abs, "polar", "abs"), tensor_argument(angle, "polar", "angle", 2))
    return apply(elementwise.polar, (abs, angle))


@function(out=False)
def clone(input: Any, *, memory_format: Any = None) -> Any:
    """A copy, in the graph: gradients pass through it.

    >>> import bibun as torch
    >>> x = torch.ones(2, requires_grad=True)
    >>> x.clone().sum().backward(); x.grad
    tensor([1., 1.])
    """
    if memory_format is dtypes.contiguous_format and not input._a.flags.c_contiguous:
        return apply(dispatch_rowmajor(), (input,))
    made = _copy(tensor_argument(input, "clone"))
    if memory_format is None or memory_format is dtypes.preserve_format:
        return made
    if input._a.__class__ is not np.ndarray and memory_format is not dtypes.contiguous_format:
        raise RuntimeError(
            "NYI: Tensor.clone(memory_format) inside vmap is only supported with memory_format torch.preserve_format or "
            f"torch.contiguous_format (got {memory_format})"
        )
    return made.contiguous(memory_format=memory_format)


def dispatch_rowmajor() -> Any:
    """The copy into row-major memory."""
    from ..ops.primitive import REGISTRY

    return REGISTRY["rowmajor"]

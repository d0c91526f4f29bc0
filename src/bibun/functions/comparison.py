"""Comparisons, logic, bits and yes-or-no questions, with PyTorch's signatures; none is differentiable."""

from __future__ import annotations

from typing import Any

from ..autograd.dispatch import apply
from ..ops import comparison as ops
from .core import tensor_argument
from .register import binary, function, unary

eq = binary(ops.equal, name="eq", numbers="second")
ne = binary(ops.not_equal, name="ne", aliases="not_equal", numbers="second")
lt = binary(ops.less, name="lt", aliases="less", numbers="second")
le = binary(ops.less_equal, name="le", aliases="less_equal", numbers="second")
gt = binary(ops.greater, name="gt", aliases="greater", numbers="second")
ge = binary(ops.greater_equal, name="ge", aliases="greater_equal", numbers="second")

logical_and = binary(ops.logical_and, numbers="none")
logical_or = binary(ops.logical_or, numbers="none")
logical_xor = binary(ops.logical_xor, numbers="none")
logical_not = unary(ops.logical_not)

bitwise_and = binary(ops.bitwise_and, numbers="one")
bitwise_or = binary(ops.bitwise_or, numbers="one")
bitwise_xor = binary(ops.bitwise_xor, numbers="one")
bitwise_not = unary(ops.bitwise_invert, name="bitwise_not")
bitwise_left_shift = binary(ops.bitwise_left_shift, numbers="one")
bitwise_right_shift = binary(ops.bitwise_right_shift, numbers="one")
gcd = binary(ops.gcd, numbers="none")
lcm = binary(ops.lcm, numbers="none")

isnan = unary(ops.isnan, inplace=False)
isinf = unary(ops.isinf, inplace=False)
isfinite = unary(ops.isfinite, inplace=False)
isposinf = unary(ops.isposinf, inplace=False)
isneginf = unary(ops.isneginf, inplace=False)
isreal = unary(ops.isreal, inplace=False)
signbit = unary(ops.signbit, inplace=False)


def _both(name: str, input: Any, other: Any, rtol: float, atol: float) -> None:
    tensor_argument(input, name)
    tensor_argument(other, name, "other", 2)
    if input._a.dtype != other._a.dtype:
        raise RuntimeError(f"{input.dtype.scalar_name} did not match {other.dtype.scalar_name}")
    for what, tolerance in (("rtol", rtol), ("atol", atol)):
        if tolerance < 0:
            raise RuntimeError(f"{what} must be greater than or equal to zero, but got {tolerance}")


@function(out=False)
def isclose(input: Any, other: Any, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False) -> Any:
    """Whether ``|input - other| <= atol + rtol |other|``, element by element.

    >>> import bibun as torch
    >>> torch.isclose(torch.tensor([1.0, 1.0]), torch.tensor([1.000001, 1.1]))
    tensor([ True, False])
    """
    _both("isclose", input, other, rtol, atol)
    return apply(ops.isclose, (input, other), (rtol, atol, equal_nan))


@function(out=False)
def allclose(input: Any, other: Any, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False) -> bool:
    """Whether `isclose` holds for all elements."""
    _both("allclose", input, other, rtol, atol)
    return bool(apply(ops.isclose, (input, other), (rtol, atol, equal_nan))._a.all())

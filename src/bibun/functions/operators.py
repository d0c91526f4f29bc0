"""Python's operators on tensors.

In: a tensor and an operand (tensor, number, array). Out: a tensor, or NotImplemented for other operands, so that Python
asks the operand's class. The in-place operators (``x += y``) run the plain one, write back and rebase history.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..autograd import dispatch
from ..autograd.dispatch import apply
from ..ops import comparison
from ..ops import elementwise as ops
from .pointwise import _pow, fmod, positive  # noqa: F401
from .register import METHODS, inplace_of, operator

add, subtract, multiply, divide = (operator(p) for p in (ops.add, ops.subtract, ops.multiply, ops.divide))


def guarded(call: Callable[[Any, Any], Any], name: str) -> Callable[[Any, Any], Any]:
    """A function of two operands as an operator: NotImplemented for what is no operand."""

    def method(self: Any, other: Any) -> Any:
        return call(self, other) if isinstance(other, dispatch.OPERANDS) else NotImplemented

    method.__name__ = method.__qualname__ = name
    return method


def reflected(call: Callable[[Any, Any], Any], name: str) -> Callable[[Any, Any], Any]:
    """The operator with its operands in the other order."""
    return guarded(lambda self, other: call(other, self), name)


METHODS["__add__"] = METHODS["__radd__"] = add
METHODS["__mul__"] = METHODS["__rmul__"] = multiply
METHODS["__sub__"] = subtract
METHODS["__rsub__"] = operator(ops.rsub)
METHODS["__truediv__"] = METHODS["__div__"] = divide


def _rtruediv(self: Any, other: Any) -> Any:
    """``other / self``, by way of the reciprocal as PyTorch does."""
    if not isinstance(other, dispatch.OPERANDS):
        return NotImplemented
    return multiply(METHODS["reciprocal"](self), other)


METHODS["__rtruediv__"] = METHODS["__rdiv__"] = _rtruediv
METHODS["__neg__"] = METHODS["neg"]
METHODS["__pos__"] = METHODS["positive"]
METHODS["__abs__"] = METHODS["abs"]
METHODS["__pow__"] = guarded(_pow, "__pow__")
METHODS["__rpow__"] = reflected(_pow, "__rpow__")
METHODS["__mod__"] = guarded(METHODS["remainder"], "__mod__")
METHODS["__rmod__"] = reflected(METHODS["remainder"], "__rmod__")
METHODS["__floordiv__"] = guarded(METHODS["floor_divide"], "__floordiv__")
METHODS["__rfloordiv__"] = reflected(METHODS["floor_divide"], "__rfloordiv__")

for _name, _prim in (
    ("eq", comparison.equal),
    ("ne", comparison.not_equal),
    ("lt", comparison.less),
    ("le", comparison.less_equal),
    ("gt", comparison.greater),
    ("ge", comparison.greater_equal),
    ("and", comparison.bitwise_and),
    ("or", comparison.bitwise_or),
    ("xor", comparison.bitwise_xor),
    ("lshift", comparison.bitwise_left_shift),
    ("rshift", comparison.bitwise_right_shift),
):
    METHODS[f"__{_name}__"] = operator(_prim)
for _name in ("and", "or", "xor"):
    METHODS[f"__r{_name}__"] = METHODS[f"__{_name}__"]
for _name, _prim in (("lshift", comparison.bitwise_left_shift), ("rshift", comparison.bitwise_right_shift)):
    METHODS[f"__r{_name}__"] = reflected(operator(_prim), f"__r{_name}__")


def _invert(self: Any) -> Any:
    """``~self``."""
    if self._a.dtype.kind not in "iub":
        raise TypeError("~ (operator.invert) is only implemented on integer and Boolean-type tensors")
    return apply(comparison.bitwise_invert, (self,))


METHODS["__invert__"] = _invert


def _inplace(forward: Any, name: str) -> Any:
    call = inplace_of(forward, name)

    def method(self: Any, other: Any) -> Any:
        if not isinstance(other, dispatch.OPERANDS):
            return NotImplemented
        return call(self, other)

    method.__name__ = name
    return method


for _name in ("add", "sub", "mul", "truediv", "pow", "mod", "floordiv", "and", "or", "xor", "lshift", "rshift"):
    METHODS[f"__i{_name}__"] = _inplace(METHODS[f"__{_name}__"], f"__i{_name}__")

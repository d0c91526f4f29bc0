"""Python's operators on tensors.

In: a tensor and an operand (tensor, number, array). Out: a tensor, or NotImplemented for other operands, so that Python
asks the operand's class. The in-place operators (``x += y``) run the plain one, write back and rebase history.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..autograd import dispatch
from ..autograd.dispatch import CONSTANTS, F32, F64, apply, busy
from ..autograd.fp import IGNORE, quiet, restore
from ..autograd.inplace import written_by
from ..autograd.modes import inference_users, of_inference, state
from ..backends.large import LARGE
from ..ops import comparison
from ..ops import elementwise as ops
from .pointwise import _pow
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


# In place


def apart(a: Any, b: Any) -> bool:
    """Whether ``b`` broadcasts to ``a``, and is it or shares nothing with it."""
    return b is a or not b.ndim or (b.shape == a.shape[a.ndim - b.ndim :] or np.broadcast_shapes(a.shape, b.shape) == a.shape) and not np.may_share_memory(a, b)


def over_large(prim: Any, arrays: Any, out: Any) -> bool:
    """Compute large arrays into one of them by a native loop; False where there is none."""
    from ..autograd.large import over

    return over(prim, arrays, out)


def in_memory(prim: Any, ufunc: Any, general: Callable[..., Any], name: str, operator: bool) -> Callable[..., Any]:
    """An in-place call that, where nothing is recorded, writes straight into the tensor's memory."""

    def call(self: Any, other: Any, **kwargs: Any) -> Any:
        a = self._a
        d = a.dtype
        if (d is F32 or d is F64) and not kwargs and not busy[0]:
            kind = other.__class__
            b: Any = None
            if kind is dispatch.Tensor or kind is dispatch.Parameter:
                b = other._a
                if b.dtype is not d or (other._node is not None or other._view is not None) and state.grad:
                    b = None
            elif kind is float or kind is int:
                b = CONSTANTS[d][other] if other else np.array(other, d)
            if inference_users[0] and not state.inference and of_inference(a):
                b = None
            if b is not None and (a.flags.c_contiguous or 0 not in a.strides) and (self._node is None and self._view is None or not state.grad):
                token = quiet(IGNORE)
                try:
                    if a.size < LARGE or not apart(a, b) or not over_large(prim, (a, b), a):
                        ufunc(a, b, a)
                except (ValueError, TypeError, OverflowError):  # shapes apart, memory that must not be written
                    return general(self, other)
                finally:
                    restore(token)
                written_by(a, 1)
                return self
        if operator and not isinstance(other, dispatch.OPERANDS):
            return NotImplemented
        return general(self, other, **kwargs)

    call.__name__ = call.__qualname__ = name
    call.__doc__ = general.__doc__
    return call


def _guarded_inplace(forward: Any, name: str) -> Any:
    call = inplace_of(forward, name)

    def method(self: Any, other: Any) -> Any:
        if not isinstance(other, dispatch.OPERANDS):
            return NotImplemented
        return call(self, other)

    method.__name__ = name
    return method


for _name in ("pow", "mod", "floordiv", "and", "or", "xor", "lshift", "rshift"):
    METHODS[f"__i{_name}__"] = _guarded_inplace(METHODS[f"__{_name}__"], f"__i{_name}__")
for _name, _own, _prim, _aliases in (
    ("add", "add", ops.add, ()),
    ("sub", "sub", ops.subtract, ("subtract_",)),
    ("mul", "mul", ops.multiply, ("multiply_",)),
    ("div", "truediv", ops.divide, ("divide_",)),
):
    _general = inplace_of(METHODS[f"__{_own}__"], f"__i{_own}__")
    METHODS[f"__i{_own}__"] = in_memory(_prim, getattr(np, _prim.name), _general, f"__i{_own}__", True)
    METHODS[f"{_name}_"] = in_memory(_prim, getattr(np, _prim.name), METHODS[f"{_name}_"], f"{_name}_", False)
    for _alias in _aliases:
        METHODS[_alias] = METHODS[f"{_name}_"]
METHODS["__idiv__"] = METHODS["__itruediv__"]

"""The array namespace of one element: what an entry's computation becomes inside a native loop.

`Lanes` stands where a primitive's ``run`` or a derivative rule expects ``xp``; its functions take native values (or Python numbers)
and write instructions. What has no native form here raises `NotNative`, and the caller goes back to arrays.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

from . import doubles, formulas, maths
from .ir import Function, Value, element, is_float, vector
from .ir import lanes as lanes_of

__all__ = ["Lanes", "NotNative"]


class NotNative(Exception):
    """An operation without a native form."""


def _device(f: Function, made: Any, *args: Any) -> Value:
    """Call a function of `maths`, or its counterpart for float64."""
    values = [a for a in args if isinstance(a, Value)]
    t = values[0].type
    if element(t) == "double":
        made = getattr(doubles, made.__name__)
    elif element(t) != "float":
        raise NotNative(f"{made.__name__} of {t}")
    given = [f.coerce(a, t) for a in args]
    callee = made.make(f.module, given, {})
    return f.call(callee.name, callee.returns, *given)


class Lanes:
    """The namespace for a function under construction; ``word`` is the type that numbers without one take."""

    def __init__(self, f: Function, word: str):
        self.f, self.word = f, word
        #: A condition that becomes true where an argument is beyond what short forms hold; the loop is run again then, with the long ones.
        self.far: Any = None
        self.asked_far = False
        self.open: set[str] = set()  # the entries whose formulas are being written

    def __getattr__(self, name: str) -> Any:
        prim = formulas.get(name)
        if prim is None:
            raise NotNative(name)
        return partial(self._by_entry, prim)

    def _by_entry(self, prim: Any, *args: Any) -> Any:
        """What an entry says in terms of others."""
        if prim.name in self.open:
            raise NotNative(prim.name)
        self.open.add(prim.name)
        try:
            return (prim.native_form or prim.run)(self, *args)
        finally:
            self.open.discard(prim.name)

    def value(self, x: Any) -> Value:
        """``x`` as a floating-point value."""
        if not isinstance(x, Value):
            return self.f.const(x, self.word)
        return self.f.convert(x, self.word) if not is_float(x.type) else x

    def truth(self, x: Any) -> Value:
        """``x`` as a condition."""
        if not isinstance(x, Value):
            return self.f.const(bool(x), "i1")
        if element(x.type) == "i1":
            return x
        return self.f.compare("ne", x, self.f.const(0, x.type))

    # arithmetic

    def add(self, x: Any, y: Any) -> Any:
        return self.value(x) + self.value(y)

    def subtract(self, x: Any, y: Any) -> Any:
        return self.value(x) - self.value(y)

    def multiply(self, x: Any, y: Any) -> Any:
        return self.value(x) * self.value(y)

    def divide(self, x: Any, y: Any) -> Any:
        return self.value(x) / self.value(y)

    def fmod(self, x: Any, y: Any) -> Any:
        """What is left of ``x`` by ``y``, exactly, with the sign of ``x``."""
        f = self.f
        x, y = f._pair(self.value(x), self.value(y))
        if self.far is None:
            return f.binary("rem", x, y)
        # A smaller quotient than asked for below is off by one at most, and what it leaves is exact.
        quotient = x / y
        left = f.fma(-self.trunc(quotient), y, x)
        left = f.select(f.compare("lt", left * f.intrinsic("llvm.copysign", f.const(1, x.type), x), 0), left + f.intrinsic("llvm.copysign", y, x), left)
        endless = f.binary("and", f.compare("eq", self.abs(y), math.inf), f.compare("lt", self.abs(x), math.inf))
        left = f.select(endless, x, f.intrinsic("llvm.copysign", left, x))
        beyond = f.binary("and", self.abs(quotient) >= 2.0 ** (22 if element(x.type) == "float" else 50), f.compare("lt", self.abs(x), math.inf))
        self.far.set(f.binary("or", self.far.get(), f.binary("and", beyond, f.compare("lt", 0, self.abs(y)))))
        self.asked_far = True
        return left

    def remainder(self, x: Any, y: Any) -> Any:
        """What is left of ``x`` by ``y``, with the sign of ``y``."""
        f, left = self.f, self.fmod(x, y)
        y = f.coerce(self.value(y), left.type)
        turned = f.binary("xor", f.compare("lt", left, 0), f.compare("lt", y, 0))
        none = f.binary("and", f.compare("eq", left, 0), f.compare("lt", 0, self.abs(y)))
        return f.select(none, f.intrinsic("llvm.copysign", f.const(0, left.type), y), f.select(turned, left + y, left))

    def floor_divide(self, x: Any, y: Any) -> Any:
        """The quotient rounded down, by way of what is left, as it may be rounded to more than it is."""
        f, left = self.f, self.fmod(x, y)
        x, y = (f.coerce(self.value(a), left.type) for a in (x, y))
        turned = f.binary("and", f.compare("ne", left, 0), f.binary("xor", f.compare("lt", left, 0), f.compare("lt", y, 0)))
        made = (x - left) / y
        made = f.select(turned, made - 1, made)
        down = self.floor(made)
        down = f.select(made - down > 0.5, down + 1, down)
        down = f.select(f.compare("eq", made, 0), f.intrinsic("llvm.copysign", f.const(0, left.type), x / y), down)
        return f.select(f.compare("eq", y, 0), x / y, down)

    def negative(self, x: Any) -> Any:
        return -self.value(x)

    def positive(self, x: Any) -> Any:
        return x

    def reciprocal(self, x: Any) -> Any:
        return 1.0 / self.value(x)

    def square(self, x: Any) -> Any:
        x = self.value(x)
        return x * x

    def sqrt(self, x: Any) -> Any:
        return self.f.intrinsic("llvm.sqrt", self.value(x))

    def abs(self, x: Any) -> Any:
        return self.f.intrinsic("llvm.fabs", self.value(x))

    def floor(self, x: Any) -> Any:
        return self.f.intrinsic("llvm.floor", self.value(x))

    def ceil(self, x: Any) -> Any:
        return self.f.intrinsic("llvm.ceil", self.value(x))

    def trunc(self, x: Any) -> Any:
        return self.f.intrinsic("llvm.trunc", self.value(x))

    def rint(self, x: Any) -> Any:
        return self.f.intrinsic("llvm.roundeven", self.value(x))

    def copysign(self, x: Any, y: Any) -> Any:
        return self.f.intrinsic("llvm.copysign", self.value(x), self.value(y))

    def maximum(self, x: Any, y: Any) -> Any:
        return self.f.maximum(self.value(x), self.value(y))

    def minimum(self, x: Any, y: Any) -> Any:
        return self.f.minimum(self.value(x), self.value(y))

    def clip(self, x: Any, low: Any, high: Any) -> Any:
        if low is not None:
            x = self.maximum(x, low)
        return x if high is None else self.minimum(x, high)

    def sgn(self, x: Any) -> Any:
        x = self.value(x)
        zero = self.f.const(0, x.type)
        one = self.f.intrinsic("llvm.copysign", self.f.const(1, x.type), x)
        return self.f.select(self.f.compare("eq", x, zero), zero, self.f.select(self.f.compare("eq", x, x), one, zero))

    sign = sgn

    def pow(self, x: Any, y: Any) -> Any:
        return _device(self.f, maths.power, self.value(x), self.value(y))

    def pow_scalar(self, x: Any, exponent: Any) -> Any:
        x = self.value(x)
        simple = {2: lambda: x * x, 3: lambda: x * x * x, 1: lambda: x, 0.5: lambda: self.sqrt(x), -1: lambda: 1.0 / x, -2: lambda: 1.0 / (x * x)}
        return simple[exponent]() if not isinstance(exponent, Value) and exponent in simple else self.pow(x, exponent)

    def conj(self, x: Any) -> Any:
        return x

    real = conj

    # comparison and choice

    def less(self, x: Any, y: Any) -> Any:
        return self.f.compare("lt", self.value(x), self.value(y))

    def less_equal(self, x: Any, y: Any) -> Any:
        return self.f.compare("le", self.value(x), self.value(y))

    def greater(self, x: Any, y: Any) -> Any:
        return self.f.compare("gt", self.value(x), self.value(y))

    def greater_equal(self, x: Any, y: Any) -> Any:
        return self.f.compare("ge", self.value(x), self.value(y))

    def equal(self, x: Any, y: Any) -> Any:
        return self.f.compare("eq", self.value(x), self.value(y))

    def not_equal(self, x: Any, y: Any) -> Any:
        return self.f.compare("ne", self.value(x), self.value(y))

    def isnan(self, x: Any) -> Any:
        x = self.value(x)
        return self.f.compare("ne", x, x)

    def isinf(self, x: Any) -> Any:
        x = self.abs(x)
        return self.f.compare("eq", x, math.inf)

    def isfinite(self, x: Any) -> Any:
        return self.f.compare("lt", self.abs(x), math.inf)

    def logical_and(self, x: Any, y: Any) -> Any:
        return self.f.binary("and", self.truth(x), self.truth(y))

    def logical_or(self, x: Any, y: Any) -> Any:
        return self.f.binary("or", self.truth(x), self.truth(y))

    def logical_not(self, x: Any) -> Any:
        return self.f.binary("xor", self.truth(x), True)

    def where(self, condition: Any, x: Any, y: Any) -> Any:
        return self.f.select(self.truth(condition), self.value(x), self.value(y))

    def zeros_like(self, x: Any) -> Any:
        return self.f.const(0, vector(lanes_of(x.type), self.word))

    def full_like(self, x: Any, value: Any) -> Any:
        return self.f.const(value, vector(lanes_of(x.type), self.word))

    def ones_like(self, x: Any) -> Any:
        return self.f.const(1, vector(lanes_of(x.type), self.word))

    def relu(self, x: Any) -> Any:
        return self.f.maximum(self.value(x), 0)

    def rectified_gradient(self, grad: Any, result: Any) -> Any:
        return self.where(self.less_equal(result, 0), 0.0, grad)

    def stepwise(self, made: Any, x: Any) -> Any:
        return made

    def tanh_gradient(self, grad: Any, result: Any) -> Any:
        return self.value(grad) * (1 - self.value(result) * result)

    def sigmoid_gradient(self, grad: Any, result: Any) -> Any:
        return self.value(grad) * ((1 - self.value(result)) * result)

    # elementary functions

    def exp(self, x: Any) -> Any:
        return _device(self.f, maths.exp, self.value(x))

    def exp2(self, x: Any) -> Any:
        return _device(self.f, maths.exp2, self.value(x))

    def expm1(self, x: Any) -> Any:
        return _device(self.f, maths.expm1, self.value(x))

    def log(self, x: Any) -> Any:
        return _device(self.f, maths.log, self.value(x))

    def log1p(self, x: Any) -> Any:
        return _device(self.f, maths.log1p, self.value(x))

    def log1p_exp(self, x: Any) -> Any:
        return _device(self.f, maths.log1p_exp, self.value(x))

    def tanh(self, x: Any) -> Any:
        return _device(self.f, maths.tanh, self.value(x))

    def sigmoid(self, x: Any) -> Any:
        return _device(self.f, maths.sigmoid, self.value(x))

    def erf(self, x: Any) -> Any:
        return _device(self.f, maths.erf, self.value(x))

    def erfc(self, x: Any) -> Any:
        return _device(self.f, maths.erfc, self.value(x))

    def normal_cdf(self, x: Any) -> Any:
        return _device(self.f, maths.normal_cdf, self.value(x))

    def gelu(self, x: Any) -> Any:
        return _device(self.f, maths.gelu, self.value(x))

    def gelu_slope(self, x: Any) -> Any:
        return _device(self.f, maths.gelu_slope, self.value(x))

    def sin(self, x: Any) -> Any:
        return self._turned(maths.sin, maths.sin_near, self.value(x))

    def cos(self, x: Any) -> Any:
        return self._turned(maths.cos, maths.cos_near, self.value(x))

    def _turned(self, whole: Any, near: Any, x: Value) -> Value:
        if self.far is None:
            return _device(self.f, whole, x)
        made = _device(self.f, near, x)
        size = self.abs(x)
        beyond = self.f.binary("and", size > (doubles if element(x.type) == "double" else maths).NEAR, size < math.inf)
        self.far.set(self.f.binary("or", self.far.get(), beyond))
        self.asked_far = True
        return made

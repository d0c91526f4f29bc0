"""Elementwise array functions that NumPy lacks or has in another form.

In go arrays of one dtype (or Python numbers beside them), out come arrays. Large arrays are worked on in place of one
temporary wherever that is possible: fresh memory costs more than the arithmetic.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy import floor_divide, inf  # noqa: F401

from .large import LARGE, native, one_loop


def astype(x: Any, dtype: Any, copy: bool = True) -> Any:
    """``x`` in another dtype."""
    if x.size >= LARGE and native():
        from ..native.kernels.casts import cast

        made = cast(x, dtype)
        if made is not NotImplemented:
            return made
    return x.astype(dtype, copy=copy)


def _choice(xp: Any, condition: Any, x: Any, y: Any) -> Any:
    return xp.where(condition, x, y)


def where(condition: Any, x: Any, y: Any) -> Any:
    """``x`` where the condition holds, ``y`` elsewhere."""
    if condition.__class__ is np.ndarray and condition.size >= LARGE and condition.dtype.kind == "b" and (x.__class__ is y.__class__ is np.ndarray):
        made = one_loop("where", _choice, (condition, x, y)) if x.dtype is y.dtype and x.dtype.kind == "f" else NotImplemented
        if made is not NotImplemented:
            return made
    return np.where(condition, x, y)


def conj(x: Any) -> Any:
    """The complex conjugate; a real array itself."""
    return np.conjugate(x) if x.dtype.kind == "c" else x


def complex(real: Any, imag: Any) -> Any:
    """The complex numbers of given parts."""
    shape = np.broadcast_shapes(real.shape, imag.shape)
    out = np.empty(shape, np.complex128 if real.dtype == np.float64 else np.complex64)
    out.real = real
    out.imag = imag
    return out


def sgn(x: Any) -> Any:
    """``x / |x|``, 0 at 0 and, for real numbers, at NaN."""
    if x.dtype.kind == "c":
        size = np.abs(x)
        return np.where(size == 0, 0, x / np.where(size == 0, 1, size)).astype(x.dtype)
    return np.subtract(x > 0, x < 0, dtype=x.dtype)


def sigmoid(x: Any) -> Any:
    """``1 / (1 + e**-x)``."""
    e = np.negative(x, out=...)
    np.exp(e, out=e)
    np.add(e, 1, out=e)
    return np.reciprocal(e, out=e)


def pow_scalar(x: Any, exponent: Any) -> Any:
    """``x ** exponent`` for a number, the common exponents by cheaper means."""
    if exponent == 2:
        return np.square(x)
    if exponent == 1:
        return np.array(x)
    if exponent == 3:
        return x * x * x
    if x.dtype.kind in "fc":
        if exponent == 0.5:
            return np.sqrt(x)
        if exponent == -1:
            return np.reciprocal(x)
        if exponent == -2:
            return np.reciprocal(np.square(x))
        if exponent == 0:
            return np.ones_like(x)
        if x.dtype.kind == "c":
            # Where the base is zero NumPy's complex power gives NaN for positive exponents that are complex.
            return np.power(x, x.dtype.type(exponent))
    return np.power(x, exponent)


def logit(x: Any) -> Any:
    """``log(x / (1 - x))``."""
    return np.log(x / (1 - x))

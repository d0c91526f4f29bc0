"""Array functions that sum up: moments, extremes with their positions, running sums and products, order statistics.

In go ndarrays, axes as non-negative integers or tuples of them (None: all); out come new arrays. Narrow floats (float16,
bfloat16) are accumulated in float32 and rounded once.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import ml_dtypes
import numpy as np

from .large import LARGE, kernels_of, native
from .strides import _LEADING

__all__ = [
    "cumulative_logsumexp",
    "cumulative_max",
    "cumulative_min",
    "cumulative_prod",
    "cumulative_sum",
    "kthvalue",
    "logsumexp",
    "max",
    "max_at",
    "mean",
    "median_all",
    "median_at",
    "min",
    "min_at",
    "mode",
    "prod",
    "prod_others",
    "scan",
    "std",
    "sum",
    "var",
    "vector_norm",
]

F32, F64 = np.dtype(np.float32), np.dtype(np.float64)
NARROW = frozenset(
    np.dtype(t)
    for t in (
        np.float16,
        ml_dtypes.bfloat16,
        ml_dtypes.float8_e4m3fn,
        ml_dtypes.float8_e5m2,
        ml_dtypes.float8_e4m3fnuz,
        ml_dtypes.float8_e5m2fnuz,
    )
)
_add, _multiply = np.add.reduce, np.multiply.reduce
_BLOCK = 64
#: Up to so many elements a sum is a product with ones, which BLAS has done before NumPy's reduction begins.
SHORT = 1 << 13
#: Up to so many elements the place of an extreme is found before NumPy's reduction begins.
_FEW = 1 << 12


class _Ones(dict[int, Any]):
    """Vectors of ones by their length."""

    def __init__(self, dtype: Any):
        self.dtype = dtype

    def __missing__(self, n: int) -> Any:
        made = np.ones(n, self.dtype)
        made.flags.writeable = False
        if len(self) > 256:
            self.clear()
        self[n] = made
        return made


_ONES32, _ONES64 = _Ones(F32), _Ones(F64)


class _Squares(_Ones):
    """Matrices of ones by the number of their rows."""

    def __missing__(self, n: int) -> Any:
        made = self[n] = np.ones((n, n), self.dtype)
        made.flags.writeable = False
        return made


class _Numbers(_Ones):
    """Numbers as 0-d arrays, which NumPy's functions take in half the time of a Python number."""

    def __missing__(self, value: Any) -> Any:
        made = np.array(value, self.dtype)
        made.flags.writeable = False
        if len(self) < 256:
            self[value] = made
        return made


_SQUARES32, _SQUARES64, _NUMBERS32, _NUMBERS64 = _Squares(F32), _Squares(F64), _Numbers(F32), _Numbers(F64)


def square_of_ones(dtype: Any, n: int) -> Any:
    """A matrix of ones: a product with it puts in place of each element the sum of its row. Not to be written."""
    return (_SQUARES32 if dtype is F32 else _SQUARES64)[n]


def number_of(dtype: Any, value: float) -> Any:
    """A number that is not zero as a 0-d array of float32 or float64. Not to be written."""
    return (_NUMBERS32 if dtype is F32 else _NUMBERS64)[value]


def is_few(x: Any, axis: int) -> bool:
    """Whether ``axis`` is the last of so few numbers in order that a product with `square_of_ones` costs less than NumPy's broadcasting."""
    shape = x.shape
    last = len(shape) - 1
    return axis == last and 0 < x.size * shape[last] <= 1 << 15 and shape[last] <= 64 and (x.dtype is F32 or x.dtype is F64) and x.flags.c_contiguous


def count(shape: tuple[int, ...], axis: Any) -> int:
    """How many elements a reduction over ``axis`` takes together."""
    if axis is None:
        return math.prod(shape)
    if axis.__class__ is int:
        return shape[axis]
    return math.prod([shape[a] for a in axis])


def _itself(xp: Any, x: Any) -> Any:
    return x


def _axes(x: Any, axis: Any) -> tuple[int, ...]:
    return tuple(range(x.ndim)) if axis is None else (axis,) if axis.__class__ is int else tuple(sorted(axis))


def _by_columns(x: Any, axes: tuple[int, ...], keepdims: bool, how: str) -> Any:
    """A sum or extreme over neighbouring dimensions that others follow, by a native kernel; else NotImplemented."""
    n = len(axes)
    if not n or axes[-1] == x.ndim - 1 or axes[-1] - axes[0] != n - 1:
        return NotImplemented
    sums = kernels_of("kernels.sums")
    shape = x.shape
    made = sums.column_sums(x, math.prod(shape[: axes[0]]), math.prod(shape[axes[0] : axes[-1] + 1]), math.prod(shape[axes[-1] + 1 :]), how)
    if made is NotImplemented:
        return made
    return made.reshape(shape[: axes[0]] + ((1,) * n if keepdims else ()) + shape[axes[-1] + 1 :])


def _native_sum(x: Any, axis: Any, keepdims: bool) -> Any:
    """`sum` of a large array where the dimensions kept are none, the first, the last or some in between; else NotImplemented."""
    if not native():
        return NotImplemented
    n, axes = x.ndim, _axes(x, axis)
    if len(axes) < n and (made := _by_columns(x, axes, keepdims, "add")) is not NotImplemented:
        return made
    fuse = kernels_of("fuse")
    if len(axes) == n:
        how, cut, kept = "all", None, ()
    elif axes == tuple(range(len(axes))):
        how, cut, kept = "leading", len(axes), x.shape[len(axes) :]
    elif axes == tuple(range(n - len(axes), n)):
        how, cut, kept = "trailing", n - len(axes), x.shape[: n - len(axes)]
    else:
        first = next((i for i, a in enumerate(axes) if i != a), 0)
        if axes[first:] != tuple(range(n - len(axes) + first, n)):
            return NotImplemented
        sums = kernels_of("kernels.sums")
        kept = x.shape[first : n - len(axes) + first]
        made = sums.channel_sums(x, math.prod(x.shape[:first]), math.prod(kept), math.prod(x.shape[first + len(kept) :]))
        if made is NotImplemented:
            return made
        return made.reshape([1 if i in axes else m for i, m in enumerate(x.shape)] if keepdims else kept)
    made = fuse.evaluate("sum", _itself, (x,), x.shape, how, None, cut)
    if made is NotImplemented:
        return made
    return made.reshape([1 if i in axes else m for i, m in enumerate(x.shape)] if keepdims else kept)


def _short_sum(x: Any, axis: Any, keepdims: bool, ones: _Ones) -> Any:
    """`sum` of a short array over all, its first or its last dimensions; None for others."""
    shape = x.shape
    n = len(shape)
    if axis is None or n == 1 and axis != ():
        if n != 1:
            if not n or not x.flags.c_contiguous:
                return None
            x = x.reshape(-1)
        made = x.dot(ones[x.size])
        return np.full((1,) * n, made) if keepdims else made
    if axis.__class__ is tuple:
        k = len(axis)
        if k == n or not k:
            return _short_sum(x, None, keepdims, ones) if k else None
        first = axis[0]
        if k > 1 and (axis != tuple(range(first, first + k)) or first and first + k != n):
            return None
    elif axis.__class__ is int:
        first, k = axis, 1
    else:
        return None
    if not first:
        if n > 2:
            if not x.flags.c_contiguous:
                return None
            x = x.reshape(math.prod(shape[:k]), -1)
        made = ones[x.shape[0]].dot(x)
        return made if n == 2 and not keepdims else made.reshape(((1,) * k if keepdims else ()) + shape[k:])
    if first + k != n:
        return None
    if n > 2:
        if not x.flags.c_contiguous:
            return None
        x = x.reshape(-1, math.prod(shape[first:]))
    made = x.dot(ones[x.shape[1]])
    return made if n == 2 and not keepdims else made.reshape(shape[:first] + ((1,) * k if keepdims else ()))


def sum(x: Any, axis: Any = None, keepdims: bool = False, dtype: Any = None) -> Any:
    """Sum over ``axis`` (an int, a tuple or None for all).

    NumPy adds pairwise along the innermost axis only; a long outer one is summed in blocks, so that rounding errors do
    not grow with its length.
    """
    d = x.dtype
    if (d is F32 or d is F64) and dtype is None:
        n = x.size
        if 0 < n <= SHORT:
            if axis is None and not keepdims:
                return x.ravel().dot((_ONES32 if d is F32 else _ONES64)[n])
            made = _short_sum(x, axis, keepdims, _ONES32 if d is F32 else _ONES64)
            if made is not None:
                return made
        elif n >= LARGE and (made := _native_sum(x, axis, keepdims)) is not NotImplemented:
            return made
        if axis == 0 or axis == (0,):
            n = x.shape[0]
            if n > 4 * _BLOCK and d is F32 and x.ndim > 1 and x.flags.c_contiguous:
                whole = n - n % _BLOCK
                total = sum(_add(x[:whole].reshape((n // _BLOCK, _BLOCK) + x.shape[1:]), 1), axis, keepdims)
                return total if whole == n else total + _add(x[whole:], 0, None, None, keepdims)
        return _add(x, axis, None, None, keepdims)
    if d in NARROW:
        return _add(x, axis, F32, None, keepdims).astype(dtype or d)
    if d.kind == "b" and dtype is None:
        dtype = np.int64
    return _add(x, axis, dtype, None, keepdims)


def prod(x: Any, axis: Any = None, keepdims: bool = False, dtype: Any = None) -> Any:
    """Product over ``axis``."""
    if x.dtype in NARROW:
        return _multiply(x, axis, F32, None, keepdims).astype(dtype or x.dtype)
    return _multiply(x, axis, dtype, None, keepdims)


def mean(x: Any, axis: Any = None, keepdims: bool = False, dtype: Any = None) -> Any:
    """Arithmetic mean over ``axis``; NaN of nothing."""
    d = x.dtype
    n = x.size if axis is None else count(x.shape, axis)
    if (d is F32 or d is F64) and dtype is None and n:
        return sum(x, axis, keepdims) / d.type(n)
    if d in NARROW and dtype is None:
        return (np.asarray(_add(x, axis, F32, None, keepdims)) / np.float32(n)).astype(d)
    total = np.asarray(_add(x, axis, dtype, None, keepdims))
    return total / total.dtype.type(n)


def _wide(x: Any) -> Any:
    return x.astype(F32) if x.dtype in NARROW else x


def var(x: Any, axis: Any = None, correction: float = 1, keepdims: bool = False) -> Any:
    """Variance over ``axis``, divided by n - ``correction``; that of complex numbers is real."""
    d = x.dtype
    if axis is None and not keepdims and 0 < x.size <= SHORT and (d is F32 or d is F64):
        n = x.size
        r = x.reshape(-1)
        r = r - sum(r) / d.type(n)
        return r.dot(r) / d.type(n - correction if n > correction else 0)
    wide = _wide(x)
    n = count(x.shape, axis)
    if not n:
        return np.full_like(sum(wide.real, axis, keepdims), np.nan).astype(x.real.dtype if wide is x else x.dtype)
    r = wide - mean(wide, axis, True)
    square = r * r if r.dtype.kind != "c" else r.real * r.real + r.imag * r.imag
    total = np.asarray(sum(square, axis, keepdims))
    out = total / total.dtype.type(n - correction if n > correction else 0)
    return out if wide is x else out.astype(x.dtype)


def std(x: Any, axis: Any = None, correction: float = 1, keepdims: bool = False) -> Any:
    """Standard deviation: the root of `var`."""
    out = np.sqrt(var(_wide(x), axis, correction, keepdims))
    return out if x.dtype not in NARROW else out.astype(x.dtype)


def logsumexp(x: Any, axis: Any, keepdims: bool = False) -> Any:
    """log(sum(exp(x))), without overflow."""
    wide = _wide(x)
    if not count(x.shape, axis):
        out = np.full_like(sum(wide, axis, keepdims), -np.inf)
        return out if wide is x else out.astype(x.dtype)
    top = np.max(wide.real, axis=axis, keepdims=True)
    top = np.where(np.isinf(top), np.zeros((), top.dtype), top)
    out = np.log(np.asarray(sum(np.exp(wide - top), axis, True))) + top
    if not keepdims:
        out = out.reshape(
            [
                n
                for i, n in enumerate(out.shape)
                if axis is not None and i != axis and not (isinstance(axis, tuple) and i in axis)
            ]
        )
    return out if wide is x else out.astype(x.dtype)


def vector_norm(x: Any, ord: float = 2, axis: Any = None, keepdims: bool = False) -> Any:
    """The ``ord``-norm of the elements taken together; of complex numbers, that of their magnitudes."""
    wide = _wide(x)
    if ord == 2:
        if wide.dtype.kind == "c":
            square = wide.real * wide.real + wide.imag * wide.imag
        else:
            square = wide * wide
        out = np.sqrt(np.asarray(sum(square, axis, keepdims)))
        # Squares that leave the range of the dtype: scale first.
        if not (0 < out < np.inf if out.size == 1 else np.isfinite(out).all() and out.all()):
            size = np.abs(wide)
            top = np.max(size, axis=axis, keepdims=True, initial=0)
            safe = np.where((top == 0) | ~np.isfinite(top), np.ones((), top.dtype), top)
            scaled = np.sqrt(np.asarray(sum((size / safe) ** 2, axis, True))) * safe
            out = scaled if keepdims else scaled.reshape(np.shape(out))
    else:
        size = np.abs(wide)
        if ord == 1:
            out = sum(size, axis, keepdims)
        elif ord == 0:
            out = sum((size != 0).astype(size.dtype), axis, keepdims)
        elif ord == math.inf:
            out = np.max(size, axis=axis, keepdims=keepdims, **({} if size.size else {"initial": 0}))
        elif ord == -math.inf:
            out = np.min(size, axis=axis, keepdims=keepdims, **({} if size.size else {"initial": 0}))
        else:
            out = np.asarray(sum(size ** size.dtype.type(ord), axis, keepdims)) ** size.dtype.type(1 / ord)
    return out if wide is x else np.asarray(out).astype(x.dtype)


# Extremes, and their positions


@lru_cache(1024)
def _counted(n: int, after: int) -> Any:
    """0 … n-1 along a dimension with ``after`` dimensions behind it."""
    made = np.arange(n).reshape((n,) + (1,) * after)
    made.flags.writeable = False
    return made


def along(x: Any, indices: Any, axis: int) -> Any:
    """``np.take_along_axis`` of ``indices`` of ``x``'s dimensions, in a third of its time on small arrays."""
    ndim = x.ndim
    if ndim == 1:
        return x[indices]
    key: list[Any] = [_counted(n, ndim - i - 1) for i, n in enumerate(x.shape)]
    key[axis] = indices
    return x[tuple(key)]


def largest(x: Any) -> Any:
    """The largest of an array that has any numbers, as one of Python's."""
    return np.maximum.reduce(x, None).item() if x.size > _FEW else x.item(x.argmax())


def max(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """The largest over ``axis``; NaN where there is one."""
    if x.size >= LARGE and axis is not None and native() and (made := _by_columns(x, _axes(x, axis), keepdims, "maximum")) is not NotImplemented:
        return made
    if axis is None and not keepdims and 0 < x.size <= _FEW:
        x = x.ravel()
        return x[x.argmax()]
    return np.maximum.reduce(x, axis, None, None, keepdims)


def min(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """The smallest over ``axis``; NaN where there is one."""
    if x.size >= LARGE and axis is not None and native() and (made := _by_columns(x, _axes(x, axis), keepdims, "minimum")) is not NotImplemented:
        return made
    if axis is None and not keepdims and 0 < x.size <= _FEW:
        x = x.ravel()
        return x[x.argmin()]
    return np.minimum.reduce(x, axis, None, None, keepdims)


def _extreme(x: Any, axis: int, keepdims: bool, find: Any) -> tuple[Any, Any]:
    if not x.ndim:
        return np.array(x), np.zeros((), np.int64)
    at = find(x, axis, keepdims=True)
    values = along(x, at, axis)
    if not keepdims:
        at, values = at.squeeze(axis), values.squeeze(axis)
    return values, at


def max_at(x: Any, axis: int, keepdims: bool = False) -> tuple[Any, Any]:
    """(largest, position of the first such) along ``axis``; NaN is larger than all."""
    return _extreme(x, axis, keepdims, np.ndarray.argmax)


def min_at(x: Any, axis: int, keepdims: bool = False) -> tuple[Any, Any]:
    """(smallest, position of the first such) along ``axis``; NaN is smaller than all."""
    return _extreme(x, axis, keepdims, np.ndarray.argmin)


# Running sums, products, extremes


def _accumulated(x: Any, axis: int, dtype: Any, how: str) -> Any:
    """A running sum, product or extreme of a large array by a native kernel, or NotImplemented."""
    if x.size < LARGE or dtype is not None and dtype != x.dtype or not native():
        return NotImplemented
    from ..native.kernels import running

    return running.accumulate(x, axis, how)


def cumulative_sum(x: Any, axis: int, dtype: Any = None) -> Any:
    """Running sum along ``axis``."""
    if not x.ndim:
        return x.astype(dtype or x.dtype)
    if x.dtype in NARROW:
        return np.add.accumulate(x, axis, F32).astype(dtype or x.dtype)
    made = _accumulated(x, axis, dtype, "add")
    return np.add.accumulate(x, axis, dtype or x.dtype) if made is NotImplemented else made


def cumulative_prod(x: Any, axis: int, dtype: Any = None) -> Any:
    """Running product along ``axis``."""
    if not x.ndim:
        return x.astype(dtype or x.dtype)
    if x.dtype in NARROW:
        return np.multiply.accumulate(x, axis, F32).astype(dtype or x.dtype)
    made = _accumulated(x, axis, dtype, "multiply")
    return np.multiply.accumulate(x, axis, dtype or x.dtype) if made is NotImplemented else made


def _running(x: Any, axis: int, top: Any) -> tuple[Any, Any]:
    if not x.ndim:
        return np.array(x), np.zeros((), np.int64)
    if x.size >= LARGE and native():
        from ..native.kernels import running

        made = running.extremes(x, axis, top is np.maximum)
        if made is not NotImplemented:
            return made
    values = top.accumulate(x, axis)
    n = x.shape[axis]
    shape = [1] * x.ndim
    shape[axis] = n
    # The newest place where the running extreme stands itself; of NaNs, each is the extreme of its own place.
    here = (x == values) | (x != x)
    at = np.where(here, np.arange(n).reshape(shape), 0)
    return values, np.maximum.accumulate(at, axis)


def cumulative_max(x: Any, axis: int) -> tuple[Any, Any]:
    """(running maximum, position of the last such) along ``axis``."""
    return _running(x, axis, np.maximum)


def cumulative_min(x: Any, axis: int) -> tuple[Any, Any]:
    """(running minimum, position of the last such) along ``axis``."""
    return _running(x, axis, np.minimum)


def cumulative_logsumexp(x: Any, axis: int) -> Any:
    """Running log(sum(exp(x))) along ``axis``."""
    if not x.ndim:
        return np.array(x)
    wide = _wide(x)
    if wide.dtype.kind == "c":
        out = _complex_logsumexp(wide, axis)
    else:
        out = np.logaddexp.accumulate(wide, axis)
    return out if wide is x else out.astype(x.dtype)


def _complex_logsumexp(x: Any, axis: int) -> Any:
    x = np.moveaxis(x, axis, 0)
    out = np.empty_like(x)
    if len(x):
        out[0] = so_far = x[0]
        for i in range(1, len(x)):
            large, small = (
                np.where(so_far.real >= x[i].real, so_far, x[i]),
                np.where(so_far.real >= x[i].real, x[i], so_far),
            )
            out[i] = so_far = np.where(np.isneginf(large.real), large, large + np.log1p(np.exp(small - large)))
    return np.moveaxis(out, 0, axis)


def scan(x: Any, a: Any, axis: int) -> Any:
    """The recurrence y[k] = x[k] + a[k]·y[k-1] along ``axis``, with y before the first 0 (a[0] does not matter)."""
    if not x.ndim:
        return np.array(x)
    out = np.array(x, dtype=np.result_type(x, a), order="C")
    lead = _LEADING[axis]
    for k in range(1, x.shape[axis]):
        out[(*lead, k, ...)] += a[(*lead, k)] * out[(*lead, k - 1)]
    return out


def prod_others(x: Any, axis: int) -> Any:
    """At each place, the product of all other elements along ``axis``: right where there are zeros too."""
    if not x.ndim:
        return np.ones_like(x)
    if x.all():
        return prod(x, axis, True) / x
    ones = np.ones_like(x[(*_LEADING[axis], slice(0, 1))])
    lead = _LEADING[axis]
    before = cumulative_prod(np.concatenate((ones, x[(*lead, slice(None, -1))]), axis), axis)
    after = cumulative_prod(np.concatenate((ones, x[(*lead, slice(None, 0, -1))]), axis), axis)
    return before * np.flip(after, axis)


# Order statistics


def _picked(x: Any, at: Any, axis: int, keepdims: bool) -> tuple[Any, Any]:
    values = along(x, at, axis)
    return (values, at) if keepdims else (values.squeeze(axis), at.squeeze(axis))


def _order(x: Any, axis: int) -> Any:
    """Positions in sorted order, NaN last; narrow floats have an order of their own that NaN upsets."""
    if x.size >= LARGE:
        from .sorting import argsort_stable

        return argsort_stable(x, axis)
    return np.argsort(x.astype(F32) if x.dtype in NARROW else x, axis, kind="stable")


def kthvalue(x: Any, k: int, axis: int, keepdims: bool = False) -> tuple[Any, Any]:
    """(k-th smallest, counting from 1, its position) along ``axis``; NaN is larger than all."""
    if not x.ndim:
        return np.array(x), np.zeros((), np.int64)
    order = _order(x, axis)
    return _picked(x, order[(*_LEADING[axis], slice(k - 1, k))], axis, keepdims)


def median_at(x: Any, axis: int, keepdims: bool = False, ignore_nan: bool = False) -> tuple[Any, Any]:
    """(lower median, its position) along ``axis``; NaN wherever there is one, or not counted."""
    if not x.ndim:
        return np.array(x), np.zeros((), np.int64)
    order = _order(x, axis)
    n = x.shape[axis]
    middle = np.full([1 if i == axis else m for i, m in enumerate(x.shape)], (n - 1) // 2)
    if x.dtype.kind not in "biu":
        bad = np.isnan(x)
        if bad.any():
            if ignore_nan:
                good = n - bad.sum(axis, keepdims=True)
                middle = np.maximum(good - 1, 0) // 2
            else:
                middle = np.where(bad.any(axis, keepdims=True), 0, middle)
                order = np.where(bad.any(axis, keepdims=True), np.argmax(bad, axis, keepdims=True), order)
    return _picked(x, along(order, middle, axis), axis, keepdims)


def median_all(x: Any) -> Any:
    """The lower median of all elements, NaN if one is."""
    flat = x.reshape(-1)
    if flat.dtype not in (F32, F64) or flat.size < LARGE:
        return median_at(flat, 0)[0]
    if np.isnan(np.max(flat)):
        return np.array(np.nan, flat.dtype)
    half = (flat.size - 1) // 2
    return np.partition(flat, half)[half]


def mode(x: Any, axis: int, keepdims: bool = False) -> tuple[Any, Any]:
    """(most frequent, the smallest of several; last position of it) along ``axis``."""
    if not x.ndim:
        return np.array(x), np.zeros((), np.int64)
    order = _order(x, axis)
    ranked = np.moveaxis(along(x, order, axis), axis, -1)
    n = ranked.shape[-1]
    fresh = np.ones(ranked.shape, bool)
    np.not_equal(ranked[..., 1:], ranked[..., :-1], out=fresh[..., 1:])
    if x.dtype.kind not in "biu":  # NaNs count as equal
        bad = ranked != ranked
        fresh[..., 1:] &= ~(bad[..., 1:] & bad[..., :-1])
    place = np.arange(n)
    start = np.maximum.accumulate(np.where(fresh, place, 0), -1)
    best = np.argmax(place - start, -1, keepdims=True)  # the first end of a longest run
    at = np.moveaxis(along(np.moveaxis(order, axis, -1), best, -1), -1, axis)
    return _picked(x, at, axis, keepdims)

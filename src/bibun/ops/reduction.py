"""Reductions: sums, means, extremes, norms, variances, and running sums and products.

In: an array; ``axis`` a tuple of non-negative integers, one such, or None for all. Out: the reduced array, or for the
functions that say where (`max_at` and its kin) a pair of values and positions.
"""

from __future__ import annotations

from math import inf
from math import prod as product
from typing import Any

from .primitive import linear, primitive
from .shape import array_dtype, recast

# How rules undo a reduction


def kept(shape: tuple[int, ...], axis: Any) -> tuple[int, ...]:
    """The shape that reducing over ``axis`` gives with the reduced dimensions kept."""
    if axis is None:
        return (1,) * len(shape)
    if axis.__class__ is int:
        axis = (axis,)
    return tuple([1 if i in axis else n for i, n in enumerate(shape)])


def unreduced(xp: Any, y: Any, shape: tuple[int, ...], axis: Any, keepdims: bool) -> Any:
    """``y``, reduced over ``axis``, with the reduced dimensions put back with size 1."""
    if keepdims or axis is None or not shape:
        return y if axis is not None or keepdims or not shape else xp.reshape(y, (1,) * len(shape))
    return xp.reshape(y, kept(shape, axis))


def spread(xp: Any, g: Any, shape: tuple[int, ...], axis: Any, keepdims: bool) -> Any:
    """``g`` broadcast (a view) to the shape that was reduced."""
    if axis is not None and not keepdims and shape:
        g = xp.reshape(g, kept(shape, axis))
    return xp.broadcast_to(g, shape)


def taken_together(shape: tuple[int, ...], axis: Any) -> int:
    """How many elements a reduction takes together."""
    if axis is None:
        return product(shape)
    return (
        shape[axis]
        if axis.__class__ is int and shape
        else product([shape[a] for a in axis] if shape and axis.__class__ is not int else ())
    )


def batched(apply: Any, size: int, arrays: Any, dims: Any, axis: Any, *rest: Any) -> Any:
    """The batching rule of reductions whose first static is ``axis``."""
    x = arrays[0].movedim(dims[0], 0)
    if axis is None:
        axis = tuple(range(1, x.ndim))
    elif x.ndim == 1:  # 0-d examples, of which axis 0 may be named
        axis = () if axis.__class__ is not int else axis
        if axis == 0:
            return _batched_scalars(apply, x, rest)
    else:
        axis = axis + 1 if axis.__class__ is int else tuple([a + 1 for a in axis])
    out = apply(x, axis, *rest)
    return out, (0 if not isinstance(out, tuple) else (0,) * len(out))


def _batched_scalars(apply: Any, x: Any, rest: Any) -> Any:
    out = apply(x.unsqueeze(1), 1, *rest)
    outs = tuple([o.squeeze(1) if o.ndim > 1 else o for o in (out if isinstance(out, tuple) else (out,))])
    return (outs, (0,) * len(outs)) if isinstance(out, tuple) else (outs[0], 0)


# Sums and means


@linear(grad="SumBackward1")
def sum(xp, x, /, axis=None, keepdims=False, dtype=None):
    """Sum over axes."""
    return xp.sum(x, axis, keepdims, dtype)


def _sum_back(xp, g, x_shape, x_dtype, axis, keepdims, dtype):
    g = spread(xp, g, x_shape, axis, keepdims)
    return g if dtype is None else recast(xp, g, x_dtype)


sum.derivative(x=_sum_back)
sum.batching(batched)
sum_all = sum.named("SumBackward0")


@linear(grad="MeanBackward1")
def mean(xp, x, /, axis=None, keepdims=False, dtype=None):
    """Arithmetic mean over axes."""
    return xp.mean(x, axis, keepdims, dtype)


def _mean_back(xp, g, x_shape, x_dtype, axis, keepdims, dtype):
    g = spread(xp, g / (taken_together(x_shape, axis) or 1), x_shape, axis, keepdims)
    return g if dtype is None else recast(xp, g, x_dtype)


mean.derivative(x=_mean_back)
mean.batching(batched)
mean_all = mean.named("MeanBackward0")


@primitive(grad="Nansum")
def nansum(xp, x, /, axis=None, keepdims=False, dtype=None):
    """Sum over axes, NaN counting as 0."""
    return xp.sum(xp.where(xp.isnan(x), xp.zeros_like(x), x), axis, keepdims, dtype)


nansum.derivative(
    x=lambda xp, g, x, axis, keepdims: xp.where(
        xp.isnan(x), xp.zeros_like(x), spread(xp, g, tuple(x.shape), axis, keepdims)
    )
)
nansum.batching(batched)


# Products


@primitive(grad="ProdBackward1")
def prod(xp, x, /, axis=None, keepdims=False):
    """Product over one axis, or all."""
    return xp.prod(x, axis, keepdims, x.dtype)


def _prod_back(xp, g, x, axis, keepdims):
    shape = tuple(x.shape)
    if axis is None:
        others = xp.reshape(xp.prod_others(xp.reshape(x, (product(shape),)), 0), shape)
    else:
        others = xp.prod_others(x, axis)
    return spread(xp, g, shape, axis, keepdims) * others.conj()


prod.derivative(x=_prod_back)
prod.batching(batched)
prod_all = prod.named("ProdBackward0")


@primitive(axes="axis")
def prod_others(xp, x, /, axis):
    """At each place, the product of all other elements along ``axis``."""
    return xp.prod_others(x, axis)


def _shifted(xp: Any, x: Any, axis: int, fill: float) -> Any:
    """``x`` moved one place up along ``axis``, ``fill`` coming in."""
    n = x.shape[axis]
    first = xp.full(tuple([1 if i == axis else m for i, m in enumerate(x.shape)]), fill, dtype=x.dtype)
    return xp.concat((first, xp.slice_axis(x, axis, 0, n - 1, 1)), axis)


def _flipped(xp: Any, x: Any, axis: int) -> Any:
    return xp.flip(x, (axis,))


def _running_product_back(xp: Any, g: Any, x: Any, axis: int) -> Any:
    """The gradient of y = cumulative_prod(x), right where there are zeros.

    dx[k] = (product before k) · S[k] with S[k] = g[k] + x[k+1]·S[k+1], a recurrence run from the end.
    """
    if not x.ndim or not x.shape[axis]:
        return g
    before = xp.cumulative_prod(_shifted(xp, x, axis, 1), axis)
    back = xp.scan(_flipped(xp, g, axis), _shifted(xp, _flipped(xp, x.conj(), axis), axis, 0), axis)
    return before.conj() * _flipped(xp, back, axis)


def _prod_others_back(xp, g, x, axis):
    if not x.ndim or not x.shape[axis]:
        return xp.zeros_like(x)
    # out = before * after, both running products of x moved one place: from the start, and from the end.
    turned = _flipped(xp, x, axis)
    before = xp.cumulative_prod(_shifted(xp, x, axis, 1), axis)
    after = _flipped(xp, xp.cumulative_prod(_shifted(xp, turned, axis, 1), axis), axis)

    def through(h: Any, y: Any) -> Any:
        moved = _running_product_back(xp, h, _shifted(xp, y, axis, 1), axis)
        n = y.shape[axis]
        zero = xp.zeros(tuple([1 if i == axis else m for i, m in enumerate(y.shape)]), dtype=y.dtype)
        return xp.concat((xp.slice_axis(moved, axis, 1, n, 1), zero), axis)

    return through(g * after.conj(), x) + _flipped(xp, through(_flipped(xp, g * before.conj(), axis), turned), axis)


prod_others.derivative(x=_prod_others_back)


@primitive(grad="Cumprod", axes="axis")
def cumulative_prod(xp, x, /, axis, dtype=None):
    """Running product along ``axis``."""
    return xp.cumulative_prod(x, axis, dtype)


cumulative_prod.derivative(x=lambda xp, g, x, axis: _running_product_back(xp, g, x, axis))


@primitive(axes="axis")
def scan(xp, x, a, /, axis):
    """The recurrence y[k] = x[k] + a[k]·y[k-1] along ``axis``."""
    return xp.scan(x, a, axis)


def _scan_back(xp: Any, g: Any, a: Any, axis: int) -> Any:
    return _flipped(xp, xp.scan(_flipped(xp, g, axis), _shifted(xp, _flipped(xp, a.conj(), axis), axis, 0), axis), axis)


scan.derivative(
    x=lambda xp, g, a, axis: _scan_back(xp, g, a, axis),
    a=lambda xp, g, a, out, axis: _scan_back(xp, g, a, axis) * _shifted(xp, out, axis, 0).conj(),
)


@linear(grad="Cumsum", axes="axis")
def cumulative_sum(xp, x, /, axis, dtype=None):
    """Running sum along ``axis``."""
    return xp.cumulative_sum(x, axis, dtype)


def _cumulative_sum_back(xp, g, x_shape, x_dtype, axis, dtype):
    if x_shape:
        g = _flipped(xp, xp.cumulative_sum(_flipped(xp, g, axis), axis), axis)
    return g if dtype is None else recast(xp, g, x_dtype)


cumulative_sum.derivative(x=_cumulative_sum_back)


# Extremes


def _share(xp: Any, g: Any, x: Any, out: Any, axis: Any, keepdims: bool) -> Any:
    """``g`` shared evenly among the elements that are the extreme."""
    shape = tuple(x.shape)
    here = xp.astype(xp.equal(x, unreduced(xp, out, shape, axis, keepdims)), array_dtype(g))
    return spread(xp, unreduced(xp, g, shape, axis, keepdims) / xp.sum(here, axis, True), shape, axis, True) * here


@primitive(grad="Amax")
def max(xp, x, /, axis=None, keepdims=False):
    """The largest over axes; equals share the gradient."""
    return xp.max(x, axis=axis, keepdims=keepdims)


@primitive(grad="Amin")
def min(xp, x, /, axis=None, keepdims=False):
    """The smallest over axes; equals share the gradient."""
    return xp.min(x, axis=axis, keepdims=keepdims)


for _extreme in (max, min):
    _extreme.derivative(x=lambda xp, g, x, out, axis, keepdims: _share(xp, g, x, out, axis, keepdims))
    _extreme.batching(batched)


def _share_all(xp: Any, g: Any, x: Any, out: Any) -> Any:
    """As `_share`, over all axes, a NaN being an extreme like another."""
    here = xp.astype(xp.logical_or(xp.equal(x, out), xp.logical_and(xp.isnan(x), xp.isnan(out))), array_dtype(g))
    return xp.broadcast_to(g / xp.sum(here), tuple(x.shape)) * here


@primitive(grad="MaxBackward1")
def max_all(xp, x, /):
    """The largest element."""
    return xp.max(x)


@primitive(grad="MinBackward1")
def min_all(xp, x, /):
    """The smallest element."""
    return xp.min(x)


@primitive(grad="MedianBackward0")
def median_all(xp, x, /):
    """The lower median of all elements, NaN if one is."""
    return xp.median_all(x)


@primitive(grad="NanmedianBackward0")
def nanmedian_all(xp, x, /):
    """The lower median of the elements that are not NaN."""
    return xp.median_at(xp.reshape(x, (x.size,)), 0, False, True)[0]


def _batched_whole(reduce_rows: Any) -> Any:
    return lambda apply, size, arrays, dims: (reduce_rows(arrays[0].movedim(dims[0], 0).reshape((size, -1))), 0)


for _whole, _rows in (
    (max_all, lambda x: x.amax(1)),
    (min_all, lambda x: x.amin(1)),
    (median_all, lambda x: x.median(1)[0]),
    (nanmedian_all, lambda x: x.nanmedian(1)[0]),
):
    _whole.derivative(x=lambda xp, g, x, out: _share_all(xp, g, x, out))
    _whole.batching(_batched_whole(_rows))


@linear
def put_at(xp, g, indices, /, shape, axis):
    """Zeros of the given shape with ``g`` at ``indices``, one place for each row along ``axis``."""
    return xp.put_at(g, indices, shape, axis)


put_at.derivative(g=lambda xp, g, indices, axis: xp.take_along_axis(g, indices, axis))


@put_at.batching
def _put_at_batched(apply, size, arrays, dims, shape, axis):
    g, at = (a.expand((size, *a.shape)) if d is None else a.movedim(d, 0) for a, d in zip(arrays, dims))
    return apply(g, at, (size, *shape), axis + 1), 0


def _put_selected(xp, g_values, indices, x_shape, axis, keepdims):
    """The gradient of a value picked along an axis goes to where it was picked."""
    if not x_shape:
        return g_values
    if not keepdims:
        g_values, indices = xp.expand_dims(g_values, axis), xp.expand_dims(indices, axis)
    return xp.put_at(g_values, indices, x_shape, axis)


def _selection(name: str, run: Any, grad: str | None = None) -> Any:
    """A primitive that gives values picked along an axis, and their positions."""
    made = primitive(run, name=name, grad=grad, outputs="values indices", nondiff="indices")
    made.derivative(
        x=lambda xp, g_values, indices, x_shape, axis, keepdims: _put_selected(
            xp, g_values, indices, x_shape, axis, keepdims
        )
    )
    made.tangent(lambda xp, t_x, indices, axis, keepdims: (_selected(xp, t_x, indices, axis, keepdims), None))
    return made


def _selected(xp: Any, x: Any, indices: Any, axis: int, keepdims: bool) -> Any:
    """The elements of ``x`` at the positions that were picked."""
    if not x.ndim:
        return x
    if keepdims:
        return xp.take_along_axis(x, indices, axis)
    return xp.squeeze(xp.take_along_axis(x, xp.expand_dims(indices, axis), axis), axis)


max_at = _selection("max_at", lambda xp, x, /, axis, keepdims=False: xp.max_at(x, axis, keepdims), "MaxBackward0")
min_at = _selection("min_at", lambda xp, x, /, axis, keepdims=False: xp.min_at(x, axis, keepdims), "MinBackward0")
median_at = _selection(
    "median_at", lambda xp, x, /, axis, keepdims=False: xp.median_at(x, axis, keepdims), "MedianBackward1"
)
nanmedian_at = _selection(
    "nanmedian_at", lambda xp, x, /, axis, keepdims=False: xp.median_at(x, axis, keepdims, True), "NanmedianBackward1"
)
mode = _selection("mode", lambda xp, x, /, axis, keepdims=False: xp.mode(x, axis, keepdims))
for _pick in (max_at, min_at, median_at, nanmedian_at, mode):
    _pick.batching(batched)


@primitive(outputs="values indices", nondiff="indices")
def kthvalue(xp, x, /, k, axis, keepdims=False):
    """(k-th smallest, its position) along ``axis``."""
    return xp.kthvalue(x, k, axis, keepdims)


kthvalue.derivative(
    x=lambda xp, g_values, indices, x_shape, axis, keepdims: _put_selected(
        xp, g_values, indices, x_shape, axis, keepdims
    )
)
kthvalue.tangent(lambda xp, t_x, indices, axis, keepdims: (_selected(xp, t_x, indices, axis, keepdims), None))
kthvalue.batching(
    lambda apply, size, arrays, dims, k, axis, keepdims: batched(
        lambda x, a, kd: apply(x, k, a, kd), size, arrays, dims, axis, keepdims
    )
)


@primitive(outputs="min max")
def aminmax(xp, x, /, axis=None, keepdims=False):
    """(smallest, largest) along one axis, or of all."""
    return xp.min(x, axis=axis, keepdims=keepdims), xp.max(x, axis=axis, keepdims=keepdims)


aminmax.derivative(
    x=lambda xp, g_min, g_max, x, min, max, axis, keepdims: (
        _share(xp, g_min, x, min, axis, keepdims) + _share(xp, g_max, x, max, axis, keepdims)
    )
)
aminmax.batching(batched)


def _running_extreme(name: str, run: Any, grad: str) -> Any:
    made = primitive(run, name=name, grad=grad, outputs="values indices", nondiff="indices", axes="axis")
    made.derivative(
        x=lambda xp, g_values, indices, x_shape, axis: (
            g_values
            if not x_shape
            else xp.scatter_add(xp.zeros(x_shape, dtype=g_values.dtype), indices, g_values, axis)
        )
    )
    made.tangent(lambda xp, t_x, indices, axis: (t_x if not t_x.ndim else xp.take_along_axis(t_x, indices, axis), None))
    return made


cumulative_max = _running_extreme("cumulative_max", lambda xp, x, /, axis: xp.cumulative_max(x, axis), "Cummax")
cumulative_min = _running_extreme("cumulative_min", lambda xp, x, /, axis: xp.cumulative_min(x, axis), "Cummin")


# Positions and truths: not differentiable


@primitive(nondiff="out")
def argmax(xp, x, /, axis=None, keepdims=False):
    """The position of the largest (in the flattened array where ``axis`` is None)."""
    return xp.argmax(x, axis=axis, keepdims=keepdims)


@primitive(nondiff="out")
def argmin(xp, x, /, axis=None, keepdims=False):
    """The position of the smallest (in the flattened array where ``axis`` is None)."""
    return xp.argmin(x, axis=axis, keepdims=keepdims)


@primitive(nondiff="out")
def all(xp, x, /, axis=None, keepdims=False):
    """Whether all are true."""
    return xp.all(x, axis=axis, keepdims=keepdims)


@primitive(nondiff="out")
def any(xp, x, /, axis=None, keepdims=False):
    """Whether any is true."""
    return xp.any(x, axis=axis, keepdims=keepdims)


@primitive(nondiff="out")
def count_nonzero(xp, x, /, axis=None):
    """How many are not zero."""
    return xp.sum(x != 0, axis, False, xp.int64)


for _question in (argmax, argmin):
    _question.batching(
        lambda apply, size, arrays, dims, axis, keepdims: (
            batched(apply, size, arrays, dims, axis, keepdims)
            if axis is not None
            else _batched_position(apply, size, arrays, dims, keepdims)
        )
    )
for _question in (all, any, count_nonzero):
    _question.batching(batched)


def _batched_position(apply: Any, size: int, arrays: Any, dims: Any, keepdims: bool) -> Any:
    x = arrays[0].movedim(dims[0], 0)
    out = apply(x.reshape((size, -1)), 1, False)
    return (out.reshape((size,) + (1,) * (x.ndim - 1)) if keepdims else out), 0


# Moments


def _var_back(xp: Any, g: Any, x: Any, axis: Any, correction: float, keepdims: bool) -> Any:
    shape = tuple(x.shape)
    freedom = taken_together(shape, axis) - correction
    away = x - xp.mean(x, axis, True)
    g = unreduced(xp, g, shape, axis, keepdims)
    if freedom <= 0:  # the variance is not defined: nor is its slope
        return g * xp.where(away == 0, xp.full(shape, float("nan"), dtype=x.dtype), xp.full(shape, inf, dtype=x.dtype))
    return (g * (2 / freedom)) * away


def _std_back(xp: Any, g: Any, x: Any, out: Any, axis: Any, correction: float, keepdims: bool) -> Any:
    zero = out == 0
    slope = xp.where(zero, xp.zeros_like(out), g / (xp.where(zero, xp.ones_like(out), out) * 2))
    return _var_back(xp, slope, x, axis, correction, keepdims)


@primitive
def var(xp, x, /, axis=None, correction=1, keepdims=False):
    """Variance over axes, divided by n - ``correction``."""
    return xp.var(x, axis, correction, keepdims)


@primitive
def std(xp, x, /, axis=None, correction=1, keepdims=False):
    """Standard deviation over axes."""
    return xp.std(x, axis, correction, keepdims)


@primitive(outputs="var mean")
def var_mean(xp, x, /, axis=None, correction=1, keepdims=False):
    """(variance, mean) over axes."""
    return xp.var(x, axis, correction, keepdims), xp.mean(x, axis, keepdims)


@primitive(outputs="std mean")
def std_mean(xp, x, /, axis=None, correction=1, keepdims=False):
    """(standard deviation, mean) over axes."""
    return xp.std(x, axis, correction, keepdims), xp.mean(x, axis, keepdims)


var.derivative(x=lambda xp, g, x, axis, correction, keepdims: _var_back(xp, g, x, axis, correction, keepdims))
std.derivative(x=lambda xp, g, x, out, axis, correction, keepdims: _std_back(xp, g, x, out, axis, correction, keepdims))
var_mean.derivative(
    x=lambda xp, g_var, g_mean, x, axis, correction, keepdims: (
        _var_back(xp, g_var, x, axis, correction, keepdims) + _spread_mean(xp, g_mean, tuple(x.shape), axis, keepdims)
    )
)
std_mean.derivative(
    x=lambda xp, g_std, g_mean, x, std, axis, correction, keepdims: (
        _std_back(xp, g_std, x, std, axis, correction, keepdims)
        + _spread_mean(xp, g_mean, tuple(x.shape), axis, keepdims)
    )
)


def _spread_mean(xp: Any, g: Any, shape: tuple[int, ...], axis: Any, keepdims: bool) -> Any:
    n = taken_together(shape, axis)
    return spread(xp, g / n if n else g, shape, axis, keepdims)


for _moment in (var, std, var_mean, std_mean):
    _moment.batching(batched)


# Exponential sums


@primitive
def logsumexp(xp, x, /, axis=None, keepdims=False):
    """log(sum(exp(x))) over axes."""
    return xp.logsumexp(x, axis, keepdims)


def _logsumexp_back(xp, g, x, out, axis, keepdims):
    shape = tuple(x.shape)
    g, out = unreduced(xp, g, shape, axis, keepdims), unreduced(xp, out, shape, axis, keepdims)
    return g * xp.exp(x - out).conj()


logsumexp.derivative(x=_logsumexp_back)
logsumexp.batching(batched)


@primitive(grad="Logcumsumexp", axes="axis")
def cumulative_logsumexp(xp, x, /, axis):
    """Running log(sum(exp(x))) along ``axis``."""
    return xp.cumulative_logsumexp(x, axis)


def _cumulative_logsumexp_back(xp, g, x, out, axis):
    """dx[k] = Σ_{i≥k} g[i]·exp(x[k] - out[i]) = exp(x[k] - out[k])·S[k], where S[k] = g[k] + exp(out[k] - out[k+1])·S[k+1]:
    no exponent is positive, so nothing overflows."""
    if not x.ndim or not x.shape[axis]:
        return g
    turned = _flipped(xp, out, axis)
    n = turned.shape[axis]
    before = xp.concat((xp.slice_axis(turned, axis, 0, 1, 1), xp.slice_axis(turned, axis, 0, n - 1, 1)), axis)
    nothing = xp.real(turned) == -inf  # sums of nothing yet: exp(-inf - -inf) is to be 0
    slope = xp.exp(xp.where(nothing, xp.zeros_like(turned), turned - before))
    back = xp.scan(_flipped(xp, g, axis), xp.where(nothing, xp.zeros_like(slope), slope).conj(), axis)
    empty = xp.real(out) == -inf
    weight = xp.exp(xp.where(empty, xp.zeros_like(x), x - out))
    return xp.where(empty, xp.zeros_like(weight), weight).conj() * _flipped(xp, back, axis)


cumulative_logsumexp.derivative(x=_cumulative_logsumexp_back)


# Norms


@primitive(grad="LinalgVectorNorm")
def vector_norm(xp, x, /, ord=2, axis=None, keepdims=False):
    """The ``ord``-norm over axes."""
    return xp.vector_norm(x, ord, axis, keepdims)


def norm_back(xp: Any, g: Any, x: Any, out: Any, ord: float, axis: Any, keepdims: bool) -> Any:
    """The gradient of a vector norm, with PyTorch's choices where it has none: 0 at 0, evenly among the largest for inf."""
    shape = tuple(x.shape)
    g, out = unreduced(xp, g, shape, axis, keepdims), unreduced(xp, out, shape, axis, keepdims)
    if ord == 0:
        return xp.zeros_like(x)
    if ord == 1:
        return g * xp.sgn(x)
    if ord == 2:
        zero = out == 0
        return x * xp.where(zero, xp.zeros_like(out), g / xp.where(zero, xp.ones_like(out), out))
    size = xp.abs(x)
    if ord in (inf, -inf):
        here = xp.logical_or(xp.equal(size, out), xp.logical_and(xp.isnan(size), xp.isnan(out)))
        weight = xp.astype(here, array_dtype(g))
        return (xp.sgn(x) * weight) * (g / xp.sum(weight, axis, True))
    zero = size == 0
    safe = xp.where(zero, xp.ones_like(size), size)
    if ord < 1:
        scaled = xp.sgn(x) * xp.where(zero, xp.zeros_like(size), safe ** (ord - 1))
        return scaled * (g * out ** (1 - ord))
    flat = out == 0
    base = xp.where(flat, xp.zeros_like(out), g * xp.where(flat, xp.ones_like(out), out) ** (1 - ord))
    if ord < 2:
        return xp.sgn(x) * xp.where(zero, xp.zeros_like(size), safe ** (ord - 1)) * base
    return x * xp.where(zero, xp.zeros_like(size), safe ** (ord - 2)) * base


vector_norm.derivative(x=lambda xp, g, x, out, ord, axis, keepdims: norm_back(xp, g, x, out, ord, axis, keepdims))
vector_norm.batching(
    lambda apply, size, arrays, dims, ord, axis, keepdims: batched(
        lambda x, a, kd: apply(x, ord, a, kd), size, arrays, dims, axis, keepdims
    )
)

"""Counting: histograms, occurrences, distinct values. Nothing here has a derivative.

In go tensors; out come new tensors of counts, edges or distinct values.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import dtypes, return_types
from ..autograd import dispatch
from ..autograd.dispatch import wrap
from ..autograd.modes import state
from ..errors import normalize_dim, normalize_dims, unsupported_dtype
from ..ops.primitive import Primitive, refusal
from .register import by_example, function
from .shape import only_tensor

I64 = np.dtype(np.int64)


@function(out=False)
@by_example
def bincount(input: Any, weights: Any = None, minlength: int = 0) -> Any:
    """How often each of 0, 1, 2, … occurs in a vector, or the sum of the weights of its occurrences.

    >>> import bibun as torch
    >>> torch.bincount(torch.tensor([1, 0, 1]))
    tensor([1, 2])
    """
    a = only_tensor(input, "bincount")._a
    if a.dtype.kind not in "iu":
        raise unsupported_dtype("bincount_cpu", input.dtype)
    if minlength < 0:
        raise RuntimeError("minlength should be >= 0")
    if a.ndim == 1 and not a.size:
        return wrap(np.zeros(minlength, I64))
    if a.ndim != 1 or a.min() < 0:
        raise RuntimeError("bincount only supports 1-d non-negative integral inputs.")
    if weights is None:
        return wrap(np.bincount(a.astype(I64), minlength=minlength))
    w = weights._a
    if w.shape != a.shape:
        raise RuntimeError("weights should be 1-d and have the same length as input")
    made = np.bincount(a.astype(I64), w.astype(np.float64), minlength)
    return wrap(made.astype(np.float32) if w.dtype == np.float32 else made)


def _extent(a: Any, low: float, high: float, margin: float) -> tuple[float, float]:
    """The range of the data where none is given; of one single value, a margin around it."""
    if low == high and a.size:
        low, high = float(a.min()), float(a.max())
    return (low - margin, high + margin) if low == high else (low, high)


def _binned(a: Any, edges: Any, weights: Any = None) -> Any:
    """Counts, or sums of weights, between edges; the last interval has both its ends."""
    flat = a.reshape(-1)
    at = np.searchsorted(edges, flat, "right") - 1
    at[flat == edges[-1]] = len(edges) - 2
    inside = (at >= 0) & (at < len(edges) - 1) & (flat <= edges[-1])
    w = None if weights is None else weights.reshape(-1)[inside].astype(np.float64)
    return np.bincount(at[inside], w, len(edges) - 1)


def _even(a: Any, low: float, high: float, bins: int) -> Any:
    """Counts in intervals of one width: by arithmetic on the value, as PyTorch counts."""
    flat = a.reshape(-1)
    d = a.dtype
    inside = (flat >= low) & (flat <= high)
    flat = flat[inside]
    at = ((flat - d.type(low)) * d.type(bins) / d.type(d.type(high) - d.type(low))).astype(I64)
    at = np.minimum(at, bins - 1)
    return at, inside


@function()
@by_example
def histc(input: Any, bins: int = 100, min: Any = 0, max: Any = 0) -> Any:
    """How many elements fall into each of ``bins`` intervals between ``min`` and ``max`` (those of the data where equal).

    >>> import bibun as torch
    >>> torch.histc(torch.tensor([1.0, 2.0, 1.0]), bins=4, min=0, max=3)
    tensor([0., 2., 1., 0.])
    """
    a = only_tensor(input, "histc")._a
    if a.dtype.kind in "bc":
        raise unsupported_dtype("histogram_cpu", input.dtype)
    if bins <= 0:
        raise RuntimeError(f"torch.histogram(): bins must be > 0, but got {bins} for dimension 0")
    if max < min:
        raise RuntimeError("torch.histc: max must be larger than min")
    low, high = _extent(a, min, max, 1)
    if not (np.isfinite(low) and np.isfinite(high)):
        raise RuntimeError(f"torch.histc: range of [{low:g}, {high:g}] is not finite")
    wide = (
        a.astype(np.float64)
        if a.dtype.kind in "iu"
        else a.astype(np.float32)
        if a.dtype.kind == "V" or a.itemsize < 4
        else a
    )
    at, _ = _even(wide, low, high, bins)
    return wrap(np.bincount(at, minlength=bins).astype(a.dtype))


@function(out=True)
@by_example
def histogram(input: Any, bins: Any, *, range: Any = None, weight: Any = None, density: bool = False) -> Any:
    """A histogram of all elements and the edges of its bins: so many of one width, or those between given edges."""
    a = only_tensor(input, "histogram")._a
    if a.dtype.kind != "f" or a.itemsize < 4:
        raise unsupported_dtype("histogram_cpu", input.dtype)
    w = None if weight is None else weight._a
    if w is not None and w.shape != a.shape:
        raise RuntimeError(
            f"torch.histogram(): if weight tensor is provided it should have the same shape as the input tensor excluding its innermost "
            f"dimension, but got input with shape {list(a.shape)} and weight with shape {list(w.shape)}"
        )
    if isinstance(bins, dispatch.Tensor):
        edges = bins._a
        if edges.dtype != a.dtype:
            raise RuntimeError("torch.histogram(): input tensor and bins tensors should have the same dtype")
        counts = _binned(a, edges, w)
    else:
        if bins <= 0:
            raise RuntimeError(f"torch.histogram(): bins must be > 0, but got {bins} for dimension 0")
        low, high = (0.0, 0.0) if range is None else range
        if range is not None and low > high:
            raise RuntimeError(
                f"torch.histogram(): min should not exceed max, but got min {low} max {high} for dimension 0"
            )
        low, high = (
            (_extent(a, low, high, 0.5) if a.size else (0.0, 1.0)) if range is None else _extent(a[:0], low, high, 0.5)
        )
        edges = edges_between(low, high, bins, a.dtype)
        at, inside = _even(a, low, high, bins)
        counts = np.bincount(at, None if w is None else w.reshape(-1)[inside].astype(np.float64), bins)
    hist = counts.astype(a.dtype)
    if density:
        hist = hist / hist.sum() / np.diff(edges)
    return return_types.histogram((wrap(np.asarray(hist, a.dtype)), wrap(np.array(edges))))


def edges_between(low: float, high: float, bins: int, dtype: Any) -> Any:
    """The edges of ``bins`` intervals of one width."""
    from .register import FUNCTIONS

    return FUNCTIONS["linspace"](low, high, bins + 1, dtype=dtypes.BY_NUMPY[dtype])._a


@function(method=False, out=False)
def histogramdd(input: Any, bins: Any, *, range: Any = None, weight: Any = None, density: bool = False) -> Any:
    """A histogram of points (the last dimension of ``input``) in as many dimensions, and the edges of its bins."""
    a = only_tensor(input, "histogramdd")._a
    n = a.shape[-1]
    points = a.reshape(-1, n)
    given = [bins] * n if isinstance(bins, int) else list(bins)
    if len(given) != n:
        raise RuntimeError(
            f"torch.histogramdd(): expected {n} sequences of bin edges for a {n}-dimensional histogram but got {len(given)}"
        )
    edges, places, inside = [], [], np.ones(len(points), bool)
    for k, b in enumerate(given):
        column = points[:, k]
        if isinstance(b, dispatch.Tensor):
            e = b._a
            at = np.searchsorted(e, column, "right") - 1
            at[column == e[-1]] = len(e) - 2
            inside &= (at >= 0) & (column <= e[-1])
        else:
            low, high = (
                _extent(column, 0, 0, 0.5)
                if range is None
                else _extent(column[:0], range[2 * k], range[2 * k + 1], 0.5)
            )
            if not a.size and range is None:
                low, high = 0.0, 1.0
            e = edges_between(low, high, b, a.dtype)
            at = np.minimum(((column - low) * b / (high - low)).astype(I64), b - 1)
            inside &= (column >= low) & (column <= high)
        edges.append(e)
        places.append(at)
    shape = tuple([len(e) - 1 for e in edges])
    flat = np.ravel_multi_index([p[inside] for p in places], shape) if n else np.zeros(0, I64)
    w = None if weight is None else weight._a.reshape(-1)[inside].astype(np.float64)
    hist = np.bincount(flat, w, int(np.prod(shape))).reshape(shape).astype(a.dtype)
    if density:
        hist = hist / hist.sum()
        for k, e in enumerate(edges):
            hist = hist / np.diff(e).reshape([-1 if i == k else 1 for i in np.arange(n)])
    return return_types.histogramdd((wrap(np.asarray(hist, a.dtype)), tuple([wrap(np.array(e)) for e in edges])))


# Distinct values


def _distinct(a: Any, axis: Any) -> tuple[Any, Any, Any]:
    """(distinct values or slices in order, the number of each element's, how often each occurs)."""
    d = a.dtype
    work = a.astype(np.float32) if d.kind == "V" else a
    if axis is None:
        values, inverse, counts = np.unique(work, return_inverse=True, return_counts=True, equal_nan=False)
        return values.astype(d), inverse.reshape(a.shape), counts
    if a.shape[axis] == 0:
        return a, np.zeros(0, I64), np.zeros(0, I64)
    rows = np.moveaxis(work, axis, 0).reshape(a.shape[axis], -1)
    if not rows.shape[1]:
        return np.take(a, [0], axis), np.zeros(a.shape[axis], I64), np.array([a.shape[axis]])
    order = np.lexsort(rows.T[::-1])
    ranked = rows[order]
    fresh = np.concatenate(([True], (ranked[1:] != ranked[:-1]).any(1)))
    inverse = np.empty(len(rows), I64)
    inverse[order] = np.cumsum(fresh) - 1
    return np.take(a, order[fresh], axis), inverse, np.diff(np.append(np.flatnonzero(fresh), len(rows)))


def _not_differentiable(name: str, grad: str) -> Primitive:
    """What stands in the graph for a function whose values lead back to its input, but which has no derivative."""
    prim = Primitive(lambda xp, x: x, name=name, grad=grad)
    prim.derivative(x=refusal(NotImplementedError, f"the derivative for '{name}' is not implemented."))
    return prim


#: The functions that do so: by the elements, by slices, by runs.
UNIQUE = [
    _not_differentiable("_unique2", "Unique2Backward0"),
    _not_differentiable("unique_dim", "UniqueDimBackward0"),
    _not_differentiable("unique_consecutive", "UniqueConsecutiveBackward0"),
]


def _answer(
    input: Any, prim: Primitive, values: Any, inverse: Any, counts: Any, return_inverse: bool, return_counts: bool
) -> Any:
    out = [wrap(values)]
    if state.grad and not hasattr(input, "level"):
        if input._view is not None:
            dispatch.refresh(input)
        if input._node is not None:
            dispatch.record(prim, (input,), [input._a], (), out, ((input._a.shape, None),))
    if return_inverse:
        out.append(wrap(inverse))
    if return_counts:
        out.append(wrap(counts))
    return out[0] if len(out) == 1 else tuple(out)


@function(out=False)
def unique(
    input: Any, sorted: bool = True, return_inverse: bool = False, return_counts: bool = False, dim: Any = None
) -> Any:
    """The distinct elements in order (or distinct slices along a dimension), each one's number, and how often each occurs.

    >>> import bibun as torch
    >>> torch.unique(torch.tensor([3, 1, 3]), return_counts=True)
    (tensor([1, 3]), tensor([1, 2]))
    """
    a = only_tensor(input, "unique")._a
    if a.dtype.kind == "c":
        raise unsupported_dtype("unique", input.dtype)
    axis = None if dim is None else normalize_dim(dim, a.ndim)
    if axis is not None and not a.ndim:
        axis = None
    if (
        axis is not None
        and not a.shape[axis]
        and a.size == 0
        and any(n == 0 for i, n in enumerate(a.shape) if i != axis)
    ):
        raise RuntimeError("There are 0 sized dimensions, and they aren't selected, so unique cannot be applied")
    return _answer(input, UNIQUE[axis is not None], *_distinct(a, axis), return_inverse, return_counts)


@function(out=False)
def unique_consecutive(input: Any, return_inverse: bool = False, return_counts: bool = False, dim: Any = None) -> Any:
    """The elements (or slices along a dimension) that differ from the one before, each one's number, and the lengths of runs."""
    a = only_tensor(input, "unique_consecutive")._a
    if dim is None or not a.ndim:
        flat = a.reshape(-1)
        fresh = np.concatenate((np.ones(min(len(flat), 1), bool), flat[1:] != flat[:-1]))
        values, shape = flat[fresh], a.shape
    else:
        axis = normalize_dim(dim, a.ndim)
        rows = np.moveaxis(a, axis, 0)
        n = len(rows)
        flat = rows.reshape(n, -1) if rows.size else rows.reshape(n, 0)
        fresh = np.concatenate((np.ones(min(n, 1), bool), (flat[1:] != flat[:-1]).any(1)))
        values, shape = np.compress(fresh, a, axis), (n,)
    inverse = (np.cumsum(fresh) - 1).reshape(shape)
    counts = np.diff(np.append(np.flatnonzero(fresh), len(fresh)))
    return _answer(input, UNIQUE[2], values, inverse, counts, return_inverse, return_counts)


@function()
def hash_tensor(input: Any, dim: Any = (), *, keepdim: bool = False, mode: int = 0) -> Any:
    """The exclusive or of the elements' 64 bits, as floats of 64 bits or as integers, over all or some dimensions.

    >>> import bibun as torch
    >>> torch.hash_tensor(torch.tensor([1, 2, 4]))
    tensor(7, dtype=torch.uint64)
    """
    a = only_tensor(input, "hash_tensor")._a
    if mode != 0:
        raise RuntimeError(f"Unknown hash_tensor mode: {mode}")
    dims = normalize_dims(tuple(dim) if isinstance(dim, list) else dim, a.ndim) if dim is not None else ()
    if not dims and not a.size:
        raise RuntimeError(
            "hash_tensor: Expected reduction dim to be specified for input.numel() == 0. Specify the reduction dim with the "
            "'dim' argument."
        )
    for d in dims:
        if a.ndim and not a.shape[d]:
            raise IndexError(f"hash_tensor: Expected reduction dim {d} to have non-zero size.")
    if a.dtype.kind == "c":
        raise unsupported_dtype("xor_sum_cpu", input.dtype)
    wide = a.astype(np.int64 if a.dtype.kind in "bi" else np.uint64 if a.dtype.kind == "u" else np.float64)
    how: Any = {"axis": (dims or None) if a.ndim else None, "keepdims": bool(keepdim)}
    return wrap(np.asarray(np.bitwise_xor.reduce(wide.view(np.uint64), **how)))

"""Ordering: sort, topk, searchsorted and their kin; order statistics.

In go tensors and PyTorch's arguments; out come named tuples of values and positions, or tensors of positions.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import dtypes, return_types
from ..autograd import dispatch
from ..autograd.direct import direct
from ..autograd.dispatch import apply, wrap
from ..errors import normalize_dim, unsupported_dtype
from ..ops import reduction as reductions
from ..ops import sorting as ops
from .reduction import _empty_reduction, _refuse_complex, as_dtype, dispatch_where
from .register import METHODS, function
from .shape import only_tensor, values_of

_sort, _topk = direct(ops.sort), direct(ops.topk)


def _real_only(x: Any, name: str) -> Any:
    if only_tensor(x, name)._a.dtype.kind == "c":
        raise (
            unsupported_dtype(f"{name}", x.dtype)
            if name != "sort"
            else RuntimeError("Sort does not support complex dtypes on CPU")
        )
    return x


@function()
def sort(input: Any, dim: int = -1, descending: bool = False, stable: Any = None, *, axis: Any = None) -> Any:
    """The elements in order along a dimension, and where they stood. Equal elements keep their order; NaN is larger than all.

    >>> import bibun as torch
    >>> torch.sort(torch.tensor([3, 1, 2])).indices
    tensor([1, 2, 0])
    """
    dim = normalize_dim(dim if axis is None else axis, _real_only(input, "sort")._a.ndim)
    return return_types.sort(_sort(input, dim, bool(descending)))


@function()
def argsort(input: Any, dim: int = -1, descending: bool = False, stable: bool = False, *, axis: Any = None) -> Any:
    """Where the elements in order along a dimension stood."""
    return METHODS["sort"](input, dim if axis is None else axis, descending)[1]


@function()
def msort(input: Any) -> Any:
    """The elements in order along the first dimension."""
    return METHODS["sort"](input, 0)[0]


@function()
def topk(input: Any, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> Any:
    """The ``k`` largest (or smallest) elements along a dimension, in order, and where they stand.

    >>> import bibun as torch
    >>> torch.topk(torch.tensor([1, 5, 3]), 2).values
    tensor([5, 3])
    """
    dim = normalize_dim(dim, _real_only(input, "topk")._a.ndim)
    n = input._a.shape[dim] if input._a.ndim else 1
    if isinstance(k, dispatch.Tensor):
        k = k.item()
    if not 0 <= k <= n:
        raise RuntimeError("selected index k out of range")
    return return_types.topk(_topk(input, k, dim, bool(largest)))


def _bounds(name: str, right: bool, side: Any) -> bool:
    if side is None:
        return bool(right)
    if side not in ("left", "right"):
        raise RuntimeError(f"torch.searchsorted(): side can only be 'left' or 'right' but got {side}")
    if side == "left" and right:
        raise RuntimeError(
            "torch.searchsorted(): side and right can't be set to opposites, got side of left while right was True"
        )
    return side == "right"


@function(method=False)
def searchsorted(
    sorted_sequence: Any,
    input: Any,
    *,
    out_int32: bool = False,
    right: bool = False,
    side: Any = None,
    sorter: Any = None,
) -> Any:
    """Where the values of ``input`` would be inserted into sorted sequences (one, or one for each row) to keep them sorted.

    >>> import bibun as torch
    >>> torch.searchsorted(torch.tensor([1, 3, 5]), torch.tensor([3, 6]))
    tensor([1, 3])
    """
    right = _bounds("searchsorted", right, side)
    ordered = only_tensor(sorted_sequence, "searchsorted", "sorted_sequence")
    scalar = not isinstance(input, dispatch.Tensor)
    if scalar:
        if ordered._a.ndim != 1:
            raise RuntimeError(
                "torch.searchsorted(): input value can be a scalar only when boundaries tensor dimension is 1, but we got boundaries "
                f"tensor dim({ordered._a.ndim})"
            )
        input = (
            ordered.new_tensor(input)
            if not isinstance(input, float) or ordered._a.dtype.kind == "f"
            else wrap(np.asarray(input))
        )
    a, v = ordered._a, input._a
    if a.ndim == 0:
        raise RuntimeError(
            "torch.searchsorted(): boundaries tensor should have positive dimension, but got 0 dimension"
        )
    if a.ndim > 1 and (a.ndim != v.ndim or a.shape[:-1] != v.shape[:-1]):
        raise RuntimeError(
            "torch.searchsorted(): boundaries tensor should be 1 dimension or the first N-1 dimensions of boundaries tensor and "
            f"input value tensor must match, but we got boundaries tensor {list(a.shape)} and input value tensor {list(v.shape)}"
        )
    if sorter is not None:
        if sorter._a.shape != a.shape:
            raise RuntimeError(
                "torch.searchsorted(): boundary and sorter must have the same size, but got boundary tensor "
                f"{list(a.shape)}and got sorter tensor {list(sorter._a.shape)}"
            )
        if sorter._a.dtype != np.int64:
            raise RuntimeError(
                f"torch.searchsorted(): sorter must be a tensor of long dtype but got dtype {sorter.dtype.scalar_name}"
            )
        ordered = METHODS["gather"](ordered, -1, sorter)
    elif v.dtype != a.dtype and v.ndim:
        raise RuntimeError(
            "torch.searchsorted(): boundary tensor and input value tensor should have same dtype, but got boundary tensor dtype "
            f"{ordered.dtype.scalar_name} and input value tensor dtype {input.dtype.scalar_name}"
        )
    if a.dtype.kind == "V":
        ordered, input = ordered.float(), input.float()
    made = apply(ops.searchsorted, (ordered, input), (right,))
    return as_dtype(made, dtypes.int32) if out_int32 else made


@function(method=False)
def bucketize(input: Any, boundaries: Any, *, out_int32: bool = False, right: bool = False) -> Any:
    """Which of the intervals between sorted boundaries each value falls in.

    >>> import bibun as torch
    >>> torch.bucketize(torch.tensor([3, 6]), torch.tensor([1, 3, 5]))
    tensor([1, 3])
    """
    if only_tensor(boundaries, "bucketize", "boundaries", 2)._a.ndim != 1:
        raise RuntimeError(f"bucketize: boundaries tensor must be 1 dimension, but got dim({boundaries._a.ndim})")
    return searchsorted(boundaries, input, out_int32=out_int32, right=right)


@function(method=False)
def isin(elements: Any, test_elements: Any, *, assume_unique: bool = False, invert: bool = False) -> Any:
    """Whether each of ``elements`` is one of ``test_elements``.

    >>> import bibun as torch
    >>> torch.isin(torch.tensor([1, 2, 3]), torch.tensor([1, 3]))
    tensor([ True, False,  True])
    """
    if not isinstance(elements, dispatch.Tensor) and not isinstance(test_elements, dispatch.Tensor):
        raise TypeError(
            "isin() received an invalid combination of arguments - at least one of elements and test_elements must be a Tensor"
        )
    if not isinstance(elements, dispatch.Tensor):
        elements = wrap(np.asarray(elements))
    if not isinstance(test_elements, dispatch.Tensor):
        test_elements = wrap(np.asarray(test_elements))
    if elements._a.dtype.kind == "V":
        elements, test_elements = elements.float(), test_elements.float()
    made = apply(ops.isin, (elements, test_elements))
    return wrap(~made._a) if invert else made


# Order statistics


@function()
def mode(input: Any, dim: int = -1, keepdim: bool = False) -> Any:
    """The most frequent value along a dimension (the smallest of several), and where it stands."""
    dim = normalize_dim(dim, only_tensor(input, "mode")._a.ndim)
    _refuse_complex(input, "mode")
    _empty_reduction("mode", input, dim)
    return return_types.mode(apply(reductions.mode, (input,), (dim, bool(keepdim))))


@function()
def kthvalue(input: Any, k: int, dim: int = -1, keepdim: bool = False) -> Any:
    """The ``k``-th smallest value along a dimension, counting from 1, and where it stands."""
    dim = normalize_dim(dim, only_tensor(input, "kthvalue")._a.ndim)
    _refuse_complex(input, "kthvalue")
    n = input._a.shape[dim] if input._a.ndim else 1
    if input._a.ndim and not n:
        raise IndexError(f"kthvalue(): Expected reduction dim {dim} to have non-zero size.")
    if not 1 <= k <= n:
        raise RuntimeError(f"kthvalue(): selected number k out of range for dimension {dim}")
    return return_types.kthvalue(apply(reductions.kthvalue, (input,), (k, dim, bool(keepdim))))


def _quantiles(name: str, input: Any, q: Any, dim: Any, keepdim: bool, interpolation: str, ignore_nan: bool) -> Any:
    a = only_tensor(input, name)._a
    if not a.size:
        raise RuntimeError(f"{name}() input tensor must be non-empty")
    if a.dtype.kind != "f" or a.dtype.itemsize < 4:
        raise RuntimeError(f"{name}() input tensor must be either float or double dtype")
    if interpolation not in ("linear", "lower", "higher", "midpoint", "nearest"):
        raise RuntimeError(
            f"{name}() interpolation must be one of linear, lower, higher, midpoint or nearest, but got {interpolation}"
        )
    single = not isinstance(q, dispatch.Tensor)
    if single:
        if not 0 <= q <= 1:
            raise RuntimeError(f"{name}() q must be in the range [0, 1] but got {q:g}")
        q = input.new_tensor(q)
    else:
        if q._a.ndim > 1:
            raise RuntimeError(f"{name}() q must be a scalar or 1D tensor")
        if q._a.dtype != a.dtype:
            raise RuntimeError(f"{name}() q tensor must be same dtype as the input tensor")
        if values_of(q) is not None and not ((q._a >= 0) & (q._a <= 1)).all():
            raise RuntimeError(f"{name}() q values must be in the range [0, 1]")
    ndim = a.ndim
    axis = normalize_dim(dim, ndim) if dim is not None else None
    x = METHODS["flatten"](input) if axis is None else input.movedim(axis, -1) if ndim else input.reshape(1)
    ordered = METHODS["sort"](x, -1)[0]
    n = ordered._a.shape[-1]
    bad, q = METHODS["isnan"](ordered.detach()), q.detach()
    at = q.reshape(-1)
    if ignore_nan:
        ranks = at * (n - 1 - bad.sum(-1, keepdim=True)).clamp(min=0)
    else:
        ranks = dispatch_where(
            bad.any(-1, keepdim=True), q.new_full((), n - 1), (at * (n - 1)).expand((*ordered._a.shape[:-1], q._a.size))
        )
    if interpolation == "lower":
        ranks = ranks.floor()
    elif interpolation == "higher":
        ranks = ranks.ceil()
    elif interpolation == "nearest":
        ranks = ranks.round()
    below = ranks.long()
    out = METHODS["gather"](ordered, -1, below)
    if interpolation in ("linear", "midpoint"):
        weight = ranks - below if interpolation == "linear" else (ranks != below) * 0.5
        above = METHODS["gather"](ordered, -1, ranks.ceil().long())
        out = METHODS["lerp"](out, above, weight.to(ordered.dtype))
    if axis is None:  # one value for each q
        out = out.reshape((q._a.size,) + ((1,) * ndim if keepdim else ()))
    elif ndim:
        out = out.movedim(-1, 0)
        if keepdim:
            out = out.unsqueeze(axis + 1)
    return out.squeeze(0) if not q._a.ndim else out


@function()
def quantile(input: Any, q: Any, dim: Any = None, keepdim: bool = False, *, interpolation: str = "linear") -> Any:
    """The ``q``-quantiles, of all elements or along a dimension; several of ``q`` make a new first dimension.

    >>> import bibun as torch
    >>> torch.quantile(torch.tensor([0.0, 1.0, 2.0, 3.0]), 0.5)
    tensor(1.5000)
    """
    return _quantiles("quantile", input, q, dim, keepdim, interpolation, False)


@function()
def nanquantile(input: Any, q: Any, dim: Any = None, keepdim: bool = False, *, interpolation: str = "linear") -> Any:
    """The ``q``-quantiles of what is not NaN."""
    return _quantiles("nanquantile", input, q, dim, keepdim, interpolation, True)

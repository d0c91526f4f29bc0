"""Reductions: sums, means, extremes, norms, variances, running sums and products, order statistics.

In go tensors and PyTorch's arguments (``dim``, or NumPy's ``axis``); out come reduced tensors, or named tuples of them.
"""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np

from .. import dtypes, return_types
from ..autograd import dispatch
from ..autograd.direct import direct, make_one, make_plain
from ..autograd.dispatch import apply
from ..backends import cpu
from ..errors import normalize_dim, unsupported_dtype
from ..ops import reduction as ops
from ..ops.primitive import REGISTRY
from .register import METHODS, function
from .shape import only_tensor

ndarray = np.ndarray
I64 = np.dtype(np.int64)

_sum = make_one(ops.sum, cpu.sum)
_sum_all = make_one(ops.sum_all, cpu.sum)
_mean = make_one(ops.mean, cpu.mean)
_mean_all = make_one(ops.mean_all, cpu.mean)
_logsumexp, _cumulative_sum, _vector_norm = direct(ops.logsumexp), direct(ops.cumulative_sum), direct(ops.vector_norm)


def axes_of(dim: Any, ndim: int, name: str) -> Any:
    """``dim`` (None, a number or several; none at all means all) as None or a tuple of distinct axes."""
    if dim is None:
        return None
    if dim.__class__ is int:
        if 0 <= dim < ndim:
            return (dim,)
        return (normalize_dim(dim, ndim),) if ndim else _nothing((dim,))
    if isinstance(dim, (str, float, bool)) or not isinstance(dim, (tuple, list)) and not hasattr(dim, "__index__"):
        raise TypeError(
            f"{name}() received an invalid combination of arguments - got ({type(dim).__name__}), but expected one of:\n"
            " * (*, torch.dtype dtype = None)\n * (tuple of ints dim, bool keepdim = False, *, torch.dtype dtype = None)\n"
        )
    if not isinstance(dim, (tuple, list)):
        dim = (operator.index(dim),)
    if not dim:
        return None
    if not ndim:
        return _nothing(dim)
    axes = tuple([normalize_dim(d, ndim) for d in dim])
    if len(set(axes)) != len(axes):
        twice = next(a for i, a in enumerate(axes) if a in axes[:i])
        raise RuntimeError(f"dim {twice} appears multiple times in the list of dims")
    return axes


def _nothing(dims: Any) -> tuple[int, ...]:
    """Dims of a 0-d tensor: checked; reducing over none of its axes leaves it."""
    for i, d in enumerate(dims):
        normalize_dim(d, 0)
        if i:
            raise RuntimeError("dim 0 appears multiple times in the list of dims")
    return ()


def as_dtype(x: Any, dtype: Any) -> Any:
    """``x`` in ``dtype``, where one is given."""
    return x if dtype is None or x._a.dtype == dtype.np else apply(REGISTRY["astype"], (x,), (dtype.np,))


def check_flag(value: Any, name: str, argument: str = "keepdim") -> None:
    """Refuse what is no bool."""
    if value.__class__ is not bool and not isinstance(value, (bool, int, np.bool_)):
        raise TypeError(f"{name}(): argument '{argument}' must be bool, not {type(value).__name__}")


# Sums and means


@function()
def sum(
    input: Any, dim: Any = None, keepdim: bool = False, *, dtype: Any = None, axis: Any = None, keepdims: Any = None
) -> Any:
    """The sum of all elements, or over dimensions; that of integers is int64.

    >>> import bibun as torch
    >>> torch.sum(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), dim=1, keepdim=True)
    tensor([[3.],
            [7.]])
    """
    if dim is None:
        dim = axis
    if keepdims is not None:
        keepdim = keepdims
    a = only_tensor(input, "sum")._a
    target = None
    if dtype is not None:
        target = dtype.np
        if a.dtype.kind == "c" or target.kind in "biu":
            input, target = as_dtype(input, dtype), target if target.kind in "biu" else None
            a = input._a
        elif target == a.dtype:
            target = None
    elif a.dtype.kind in "biu":
        target = I64
    if dim is None:
        return _sum_all(input, None, False, target) if not keepdim else _sum(input, None, True, target)
    axes = axes_of(dim, a.ndim, "sum")
    return _sum(input, axes, bool(keepdim), target)


@function()
def mean(
    input: Any, dim: Any = None, keepdim: bool = False, *, dtype: Any = None, axis: Any = None, keepdims: Any = None
) -> Any:
    """The arithmetic mean of all elements, or over dimensions.

    >>> import bibun as torch
    >>> torch.mean(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), 0)
    tensor([2., 3.])
    """
    if dim is None:
        dim = axis
    if keepdims is not None:
        keepdim = keepdims
    input = as_dtype(only_tensor(input, "mean"), dtype)
    a = input._a
    if a.dtype.kind in "biu":
        what = "Optional dtype" if dtype is not None else "Input dtype"
        raise RuntimeError(
            f"mean(): could not infer output dtype. {what} must be either a floating point or complex dtype. Got: "
            f"{input.dtype.scalar_name}"
        )
    if dim is None:
        return _mean_all(input, None, False, None) if not keepdim else _mean(input, None, True, None)
    axes = axes_of(dim, a.ndim, "mean")
    return _mean(input, axes, bool(keepdim), None)


@function()
def nansum(input: Any, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Any:
    """The sum, NaN counting as 0."""
    if only_tensor(input, "nansum")._a.dtype.kind in "biu":
        return sum(input, dim, keepdim, dtype=dtype)
    if input._a.dtype.kind == "c":
        raise RuntimeError("nansum on CPU does not support complex inputs")
    input = as_dtype(input, dtype)
    return apply(ops.nansum, (input,), (axes_of(dim, input._a.ndim, "nansum"), bool(keepdim), None))


@function()
def nanmean(input: Any, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Any:
    """The mean of what is not NaN."""
    if only_tensor(input, "nanmean")._a.dtype.kind in "biu":
        raise RuntimeError(
            f"nanmean(): expected input to have floating point or complex dtype but got {input.dtype.scalar_name}"
        )
    good = sum(METHODS["isnan"](input).logical_not(), dim, keepdim)
    return nansum(input, dim, keepdim, dtype=dtype) / good


def _one_dim(dim: Any, name: str) -> Any:
    if dim is not None and (isinstance(dim, (tuple, list, float, str, bool)) or not hasattr(dim, "__index__")):
        raise TypeError(
            f"{name}() received an invalid combination of arguments - got ({type(dim).__name__}), but expected one of:\n"
            " * (*, torch.dtype dtype = None)\n * (int dim, bool keepdim = False, *, torch.dtype dtype = None)\n"
        )
    return dim


@function()
def prod(
    input: Any, dim: Any = None, keepdim: bool = False, *, dtype: Any = None, axis: Any = None, keepdims: Any = None
) -> Any:
    """The product of all elements, or along one dimension.

    >>> import bibun as torch
    >>> torch.prod(torch.tensor([2.0, 3.0]))
    tensor(6.)
    """
    dim = _one_dim(axis if dim is None else dim, "prod")
    if keepdims is not None:
        keepdim = keepdims
    input = as_dtype(
        only_tensor(input, "prod"), dtype if dtype is not None or input._a.dtype.kind not in "biu" else dtypes.int64
    )
    if dim is None:
        return apply(ops.prod_all, (input,), (None, False))
    axis = normalize_dim(dim, input._a.ndim)
    return apply(ops.prod, (input,), (axis, bool(keepdim)) if input._a.ndim else (None, False))


# Extremes


def _empty_reduction(name: str, x: Any, dim: Any = None, error: Any = RuntimeError) -> None:
    """Refuse an extreme of nothing."""
    a = x._a
    if dim is None:
        if not a.size:
            tail = " Specify the reduction dim with the 'dim' argument." if error is RuntimeError else ""
            raise error(f"{name}(): Expected reduction dim to be specified for input.numel() == 0.{tail}")
    elif a.ndim and not a.shape[dim]:
        raise IndexError(f"{name}(): Expected reduction dim {dim} to have non-zero size.")


def _refuse_complex(x: Any, name: str) -> None:
    if x._a.dtype.kind == "c":
        raise unsupported_dtype(f"{name}_cpu", x.dtype)


def _picker(name: str, prim: Any, whole: Any, other_name: str | None, complain: bool = True) -> Any:
    kind = getattr(return_types, name)
    of_all, of_each = direct(whole), direct(prim)

    def pick(
        input: Any, dim: Any = None, keepdim: bool = False, *, other: Any = None, axis: Any = None, keepdims: Any = None
    ) -> Any:
        only_tensor(input, name)
        if other_name is not None:
            if other is None and isinstance(dim, dispatch.Tensor):
                other = dim
            if other is not None:
                return METHODS[other_name](input, other)
        if dim is None:
            dim = axis
        if keepdims is not None:
            keepdim = keepdims
        if input._a.dtype.kind == "c":
            raise (
                RuntimeError(f"{name}(): does not support complex input")
                if dim is not None
                else unsupported_dtype(f"{name}_all", input.dtype)
            )
        if dim is None:
            if complain:
                _empty_reduction(name, input)
            elif not input._a.size:
                return (
                    input.new_full((), math.nan)
                    if input._a.dtype.kind not in "iub"
                    else input.new_full((), np.iinfo(input._a.dtype).min)
                )
            return of_all(input)
        if not hasattr(dim, "__index__") or isinstance(dim, bool):
            raise TypeError(
                f"{name}() received an invalid combination of arguments - got (Tensor, {type(dim).__name__}), but expected one of:\n"
                f" * (Tensor input, *, Tensor out = None)\n * (Tensor input, int dim, bool keepdim = False, *, tuple of Tensors out)\n"
            )
        check_flag(keepdim, name)
        dim = normalize_dim(dim, input._a.ndim)
        _empty_reduction(name, input, dim)
        return kind(of_each(input, dim, bool(keepdim)))

    pick.__name__ = pick.__qualname__ = name
    return pick


max = _picker("max", ops.max_at, ops.max_all, "maximum")
max.__doc__ = """The largest element; or, along a dimension, the largest and where it stands; or `torch.maximum` of two tensors.

>>> import bibun as torch
>>> torch.max(torch.tensor([[1, 5], [7, 2]]), 1).indices
tensor([1, 0])
"""
min = _picker("min", ops.min_at, ops.min_all, "minimum")
min.__doc__ = (
    "The smallest element; or, along a dimension, the smallest and where it stands; or `torch.minimum` of two tensors."
)
median = _picker("median", ops.median_at, ops.median_all, None, complain=False)
median.__doc__ = """The lower median; NaN where there is one. Along a dimension, with its position.

>>> import bibun as torch
>>> torch.median(torch.tensor([3.0, 1.0, 2.0, 9.0]))
tensor(2.)
"""
nanmedian = _picker("nanmedian", ops.nanmedian_at, ops.nanmedian_all, None, complain=False)
nanmedian.__doc__ = "The lower median of what is not NaN."
for _f in (max, min, median, nanmedian):
    function(_f)


def _several_extremes(name: str, prim: Any) -> Any:
    call = direct(prim)

    def extreme(input: Any, dim: Any = (), keepdim: bool = False, *, axis: Any = None, keepdims: Any = None) -> Any:
        only_tensor(input, name)
        _refuse_complex(input, name)
        axes = axes_of(dim if axis is None else axis, input._a.ndim, name)
        if axes is None:
            _empty_reduction(name, input)
        else:
            for a in axes:
                _empty_reduction(name, input, a)
        return call(input, axes, bool(keepdim if keepdims is None else keepdims))

    extreme.__name__ = extreme.__qualname__ = name
    return extreme


amax = _several_extremes("amax", ops.max)
amax.__doc__ = """The largest over dimensions; equal ones share the gradient evenly.

>>> import bibun as torch
>>> torch.amax(torch.tensor([[1.0, 5.0], [7.0, 2.0]]), 1)
tensor([5., 7.])
"""
amin = _several_extremes("amin", ops.min)
amin.__doc__ = "The smallest over dimensions; equal ones share the gradient evenly."
function(amax)
function(amin)


@function()
def aminmax(input: Any, *, dim: Any = None, keepdim: bool = False) -> Any:
    """The smallest and the largest, of all elements or along a dimension."""
    only_tensor(input, "aminmax")
    _refuse_complex(input, "aminmax")
    axis = None if dim is None else normalize_dim(dim, input._a.ndim)
    if axis is None and not input._a.size:
        raise RuntimeError(
            "aminmax(): cannot compute aminmax over an empty dimension as the operation has no identity."
        )
    if axis is not None:
        _empty_reduction("aminmax", input, axis)
    return return_types.aminmax(
        apply(ops.aminmax, (input,), (axis if axis is None or input._a.ndim else None, bool(keepdim)))
    )


def _position(name: str, prim: Any) -> Any:
    call = make_plain(prim)

    def place(input: Any, dim: Any = None, keepdim: bool = False, *, axis: Any = None, keepdims: Any = None) -> Any:
        only_tensor(input, name)
        if input._a.dtype.kind in "bc":
            raise RuntimeError(
                f"{name}(): does not support {'bool' if input._a.dtype.kind == 'b' else 'complex'} input"
            )
        dim = axis if dim is None else dim
        keep = bool(keepdim if keepdims is None else keepdims)
        if dim is None:
            _empty_reduction(name, input, None, IndexError)
            return call(input, None, keep)
        dim = normalize_dim(dim, input._a.ndim)
        _empty_reduction(name, input, dim)
        return call(input, dim if input._a.ndim else None, keep)

    place.__name__ = place.__qualname__ = name
    return place


argmax = _position("argmax", ops.argmax)
argmax.__doc__ = """Where the (first) largest element stands: in the flattened tensor, or along a dimension.

>>> import bibun as torch
>>> torch.argmax(torch.tensor([[1, 5], [7, 2]]), dim=1)
tensor([1, 0])
"""
argmin = _position("argmin", ops.argmin)
argmin.__doc__ = "Where the (first) smallest element stands: in the flattened tensor, or along a dimension."
function(argmax)
function(argmin)


# Truth


def _truth(name: str, prim: Any) -> Any:
    call = make_plain(prim)

    def truth(input: Any, dim: Any = None, keepdim: bool = False, *, axis: Any = None, keepdims: Any = None) -> Any:
        a = only_tensor(input, name)._a
        axes = axes_of(axis if dim is None else dim, a.ndim, name)
        if dim is not None and axes is None:  # an empty list of dims: none is reduced
            axes = () if isinstance(dim, (tuple, list)) else None
        made = call(input, axes, bool(keepdim if keepdims is None else keepdims))
        return made.to(dtypes.uint8) if a.dtype == np.uint8 else made

    truth.__name__ = truth.__qualname__ = name
    return truth


all = _truth("all", ops.all)
all.__doc__ = """Whether all elements are true, or all along dimensions.

>>> import bibun as torch
>>> torch.all(torch.tensor([[True, True], [True, False]]), 1)
tensor([ True, False])
"""
any = _truth("any", ops.any)
any.__doc__ = "Whether any element is true, or any along dimensions."
function(all)
function(any)


@function(out=False)
def count_nonzero(input: Any, dim: Any = None) -> Any:
    """How many elements are not zero."""
    return apply(
        ops.count_nonzero, (only_tensor(input, "count_nonzero"),), (axes_of(dim, input._a.ndim, "count_nonzero"),)
    )


# Moments


def _freedom(name: str, dim: Any, unbiased: Any, correction: Any) -> tuple[Any, float]:
    """(dim, correction) of the overloads ``(unbiased)``, ``(dim, unbiased)`` and ``(dim, *, correction)``."""
    if isinstance(dim, bool):
        if unbiased is not None:
            raise TypeError(f"{name}() received an invalid combination of arguments")
        dim, unbiased = None, dim
    if unbiased is not None:
        if not isinstance(unbiased, bool):
            raise TypeError(
                f"{name}() received an invalid combination of arguments - got (int, {type(unbiased).__name__}), but expected one "
                "of:\n * (tuple of ints dim, bool unbiased = True, bool keepdim = False)\n * (tuple of ints dim = None, *, Number "
                "correction = None, bool keepdim = False)\n * (bool unbiased = True)\n"
            )
        return dim, 1 if unbiased else 0
    return dim, 1 if correction is None else correction


def _moment(name: str, prim: Any, pair: bool) -> Any:
    call = direct(prim)

    def moment(
        input: Any,
        dim: Any = None,
        unbiased: Any = None,
        keepdim: bool = False,
        *,
        correction: Any = None,
        axis: Any = None,
        keepdims: Any = None,
    ) -> Any:
        dim, free = _freedom(name, axis if dim is None else dim, unbiased, correction)
        a = only_tensor(input, name)._a
        if a.dtype.kind in "biu":
            word = "std and var" if not pair else name
            raise RuntimeError(f"{word} only support floating point and complex dtypes")
        axes = axes_of(dim, a.ndim, name)
        n = ops.taken_together(a.shape, axes)
        if n - free <= 0 and a.size:
            import warnings

            warnings.warn(
                f"{name}(): degrees of freedom is <= 0. Correction should be strictly less than the reduction factor (input numel "
                "divided by output numel).",
                UserWarning,
                stacklevel=3,
            )
        return call(input, axes, free, bool(keepdim if keepdims is None else keepdims))

    moment.__name__ = moment.__qualname__ = name
    return moment


var = _moment("var", ops.var, False)
var.__doc__ = """The variance, over n - ``correction`` (1 unless given; ``unbiased=False`` is 0).

>>> import bibun as torch
>>> torch.var(torch.tensor([1.0, 2.0, 3.0, 4.0]), correction=0)
tensor(1.2500)
"""
std = _moment("std", ops.std, False)
std.__doc__ = "The standard deviation: the root of `torch.var`."
var_mean = _moment("var_mean", ops.var_mean, True)
var_mean.__doc__ = "The variance and the mean."
std_mean = _moment("std_mean", ops.std_mean, True)
std_mean.__doc__ = "The standard deviation and the mean."
function(var)
function(std)
function(var_mean, method=False, out=False)
function(std_mean, method=False, out=False)


# Exponential sums


@function(space="special")
def logsumexp(input: Any, dim: Any = None, keepdim: bool = False, *, axis: Any = None) -> Any:
    """log(Σ exp(x)) over dimensions, without overflow.

    >>> import bibun as torch
    >>> torch.logsumexp(torch.tensor([0.0, 0.0]), 0)
    tensor(0.6931)
    """
    dim = axis if dim is None else dim
    if dim is None:
        raise TypeError('logsumexp() missing 1 required positional arguments: "dim"')
    x = input.to(dtypes.default) if only_tensor(input, "logsumexp")._a.dtype.kind in "biu" else input
    return _logsumexp(x, axes_of(dim, x._a.ndim, "logsumexp"), bool(keepdim))


function(logsumexp.__wrapped__, name="logsumexp")


# Running


def _running_dtype(input: Any, dtype: Any) -> Any:
    return as_dtype(input, dtype if dtype is not None else dtypes.int64 if input._a.dtype.kind in "biu" else None)


@function(inplace=True)
def cumsum(input: Any, dim: Any = None, *, dtype: Any = None, axis: Any = None) -> Any:
    """The running sum along a dimension.

    >>> import bibun as torch
    >>> torch.cumsum(torch.tensor([1, 2, 3]), 0)
    tensor([1, 3, 6])
    """
    x = _running_dtype(only_tensor(input, "cumsum"), dtype)
    return _cumulative_sum(x, normalize_dim(axis if dim is None else dim, x._a.ndim), None)


@function(inplace=True)
def cumprod(input: Any, dim: Any = None, *, dtype: Any = None, axis: Any = None) -> Any:
    """The running product along a dimension."""
    x = _running_dtype(only_tensor(input, "cumprod"), dtype)
    return apply(ops.cumulative_prod, (x,), (normalize_dim(axis if dim is None else dim, x._a.ndim), None))


@function()
def logcumsumexp(input: Any, dim: int) -> Any:
    """The running log(Σ exp(x)) along a dimension."""
    if only_tensor(input, "logcumsumexp")._a.dtype.kind in "biu":
        raise unsupported_dtype("logcumsumexp_out_cpu", input.dtype)
    return apply(ops.cumulative_logsumexp, (input,), (normalize_dim(dim, input._a.ndim),))


def _running_extreme(name: str, prim: Any) -> None:
    kind = getattr(return_types, name)

    def running(input: Any, dim: int) -> Any:
        _refuse_complex(only_tensor(input, name), name)
        return kind(apply(prim, (input,), (normalize_dim(dim, input._a.ndim),)))

    running.__name__ = running.__qualname__ = name
    running.__doc__ = (
        f"The running {'maximum' if name == 'cummax' else 'minimum'} along a dimension, and the last place of each."
    )
    function(running)


_running_extreme("cummax", ops.cumulative_max)
_running_extreme("cummin", ops.cumulative_min)


# Norms


def vector_norm(x: Any, ord: Any = 2, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Any:
    """The norm of the elements taken as one vector, or along dimensions.

    Formula: (Σ |x|^ord)^(1/ord); the largest magnitude for ``inf``, the smallest for ``-inf``, the number of elements that
    are not zero for 0.

    >>> import bibun as torch
    >>> torch.linalg.vector_norm(torch.tensor([3.0, 4.0]))
    tensor(5.)
    """
    only_tensor(x, "linalg_vector_norm", "x")
    if isinstance(ord, str):
        raise TypeError(f"linalg_vector_norm(): argument 'ord' must be Number, not {type(ord).__name__}")
    if x._a.dtype.kind in "biu":
        raise RuntimeError(
            f"linalg.vector_norm: Expected a floating point or complex tensor as input. Got {x.dtype.scalar_name}"
        )
    if dtype is not None:
        if x._a.dtype.kind == "c" and not dtype.is_complex or x._a.dtype.kind != "c" and dtype.is_complex:
            raise RuntimeError(
                f"linalg.vector_norm: dtype should be {'complex' if x._a.dtype.kind == 'c' else 'floating point'} for "
                f"{'complex' if x._a.dtype.kind == 'c' else 'floating point'} inputs, but got {dtype}"
            )
        x = as_dtype(x, dtype)
    axes = axes_of(dim, x._a.ndim, "linalg_vector_norm")
    if isinstance(dim, (tuple, list)) and not dim and x._a.ndim:
        axes = None
    ord = ord.item() if isinstance(ord, dispatch.Tensor) else ord
    if ord < 0 or ord == math.inf:
        shape = x._a.shape
        name = "inf" if ord == math.inf else "-inf" if ord == -math.inf else f"{ord:g}"
        if axes is None and not x._a.size:
            raise RuntimeError(
                f"linalg.vector_norm cannot compute the {name} norm on an empty tensor because the operation does not have an identity"
            )
        for a in axes or ():
            if not shape[a]:
                raise RuntimeError(
                    f"linalg.vector_norm cannot compute the {name} norm on the dimension {a}because this dimension is empty and the "
                    "operation does not have an identity"
                )
    return _vector_norm(x, ord, axes, bool(keepdim))


function(vector_norm, method=False, space="linalg")


@function()
def norm(input: Any, p: Any = "fro", dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Any:
    """A norm of a tensor: the ``p``-norm of its elements, of each vector along ``dim``, or a matrix norm by name.

    >>> import bibun as torch
    >>> torch.norm(torch.tensor([[3.0, 4.0]]))
    tensor(5.)
    """
    only_tensor(input, "norm")
    if p is None or p == "fro" and not isinstance(p, dispatch.Tensor):
        if isinstance(dim, (tuple, list)) and len(dim) > 2:
            raise RuntimeError(f"Expected at most 2 dimensions, but got {len(dim)} dimensions instead.")
        return vector_norm(input, 2, dim, keepdim, dtype=dtype)
    if isinstance(p, str):
        if p != "nuc":
            raise RuntimeError(f"only valid string values are 'fro' and 'nuc', found {p}")
        from .linalg import matrix_norm

        return matrix_norm(input, "nuc", (-2, -1) if dim is None else dim, keepdim, dtype=dtype)
    return vector_norm(input, p, dim, keepdim, dtype=dtype)


@function()
def dist(input: Any, other: Any, p: Any = 2) -> Any:
    """The ``p``-norm of ``input - other``."""
    return vector_norm(input - other, p)


@function(inplace=True)
def renorm(input: Any, p: Any, dim: int, maxnorm: Any) -> Any:
    """Each slice along ``dim`` whose ``p``-norm exceeds ``maxnorm`` scaled down to it."""
    n = only_tensor(input, "renorm")._a.ndim
    if not p > 0:
        raise RuntimeError("renorm: non-positive-norm not supported")
    if maxnorm < 0:
        raise RuntimeError(f"renorm: expected maxnorm to be >= 0 but got {maxnorm}")
    if n < 2:
        raise RuntimeError(f"renorm: input needs at least 2 dimensions, got {n} dimensions")
    dim = normalize_dim(dim, n)
    size = vector_norm(input, p, tuple([i for i in range(n) if i != dim]), True)
    over = size > maxnorm
    return input * dispatch_where(over, maxnorm / (size + 1e-7), size.new_ones(()))


def dispatch_where(condition: Any, x: Any, y: Any) -> Any:
    """``x`` where the condition holds, else ``y``."""
    return apply(REGISTRY["where"], (condition, x, y))


__all__ = ["as_dtype", "axes_of", "check_flag", "dispatch_where"]

"""``torch.masked``: reductions and normalisations that leave out elements; loads when first touched.

In: a tensor, a mask that broadcasts to it (True: the element counts) or None. Out: what the function of the same name
gives without the elements that do not count; where none counts, the function's identity, or NaN where it has none.
"""

from __future__ import annotations

import math
from typing import Any

from . import dtypes
from .errors import normalize_dims
from .functions.register import FUNCTIONS as _F

__all__ = [
    "amax",
    "amin",
    "argmax",
    "argmin",
    "cumprod",
    "cumsum",
    "log_softmax",
    "logaddexp",
    "logsumexp",
    "mean",
    "median",
    "norm",
    "normalize",
    "prod",
    "softmax",
    "softmin",
    "std",
    "sum",
    "var",
]

_INF = float("inf")


def _lowest(name: str, dtype: Any, sign: int) -> Any:
    """The number that loses every comparison: the lowest of a dtype, or, for ``sign`` -1, the highest."""
    if dtype.is_floating_point or dtype.is_complex:
        return -_INF * sign
    if dtype is dtypes.bool:
        raise NotImplementedError(f"identity of {name} on {dtype} input")
    limits = dtypes.iinfo(dtype)
    return limits.min if sign > 0 else limits.max


def _broadcast(name: str, input: Any, mask: Any) -> Any:
    if mask.dim() > input.dim():
        raise IndexError("_input_mask expected broadcastable mask (got mask dimensionality higher than of the input)")
    if mask.dtype is not dtypes.bool:
        mask = mask.to(dtypes.bool)
    return mask if mask.shape == input.shape else mask.expand(input.shape)


def _filled(name: str, input: Any, mask: Any, dtype: Any, value: Any) -> Any:
    """The input in ``dtype``, with ``value`` in place of what does not count."""
    if dtype is not None and dtype is not input.dtype:
        input = input.to(dtype)
    if mask is None:
        return input
    return input.masked_fill(~_broadcast(name, input, mask), value)


def _all(input: Any, dim: Any) -> tuple[int, ...]:
    """The dimensions to reduce: all of them for None and for none named."""
    if dim is None or dim.__class__ in (tuple, list) and not dim:
        return tuple(range(input.dim()))
    return normalize_dims(tuple(dim) if isinstance(dim, list) else dim, input.dim())


def _total(dtype: Any, input: Any) -> Any:
    """The dtype of sums: int64 for integers."""
    if dtype is not None:
        return dtype
    kind = input.dtype
    return kind if kind.is_floating_point or kind.is_complex else dtypes.int64


def sum(input: Any, dim: Any = None, *, keepdim: bool = False, dtype: Any = None, mask: Any = None) -> Any:
    """The sum of the elements that count; 0 where there are none.

    >>> import bibun as torch
    >>> torch.masked.sum(torch.tensor([[1, 2], [3, 4]]), 1, mask=torch.tensor([[True, False], [False, False]]))
    tensor([1, 0])
    """
    return _F["sum"](_filled("sum", input, mask, _total(dtype, input), 0), _all(input, dim), bool(keepdim))


def prod(input: Any, dim: Any = None, *, keepdim: bool = False, dtype: Any = None, mask: Any = None) -> Any:
    """The product of the elements that count; 1 where there are none."""
    made = _filled("prod", input, mask, _total(dtype, input), 1)
    for d in reversed(_all(input, dim)):
        made = made.prod(d, bool(keepdim))
    return made


def _extreme(name: str, sign: int, input: Any, dim: Any, keepdim: Any, dtype: Any, mask: Any) -> Any:
    dtype = input.dtype if dtype is None else dtype
    lowest = _lowest(name, dtype, sign) if mask is not None else 0
    return _F[name](_filled(name, input, mask, dtype, lowest), _all(input, dim), bool(keepdim))


def amax(input: Any, dim: Any = None, *, keepdim: bool = False, dtype: Any = None, mask: Any = None) -> Any:
    """The largest of the elements that count; the lowest number where there are none."""
    return _extreme("amax", 1, input, dim, keepdim, dtype, mask)


def amin(input: Any, dim: Any = None, *, keepdim: bool = False, dtype: Any = None, mask: Any = None) -> Any:
    """The smallest of the elements that count; the highest number where there are none."""
    return _extreme("amin", -1, input, dim, keepdim, dtype, mask)


def _place(name: str, sign: int, input: Any, dim: Any, keepdim: Any, dtype: Any, mask: Any) -> Any:
    dtype = input.dtype if dtype is None else dtype
    lowest = _lowest(name, dtype, sign) if mask is not None else 0
    made = _filled(name, input, mask, dtype, lowest)
    return _F[name](made, dim, keepdim=bool(keepdim)).to(dtype)


def argmax(input: Any, dim: Any = None, *, keepdim: bool = False, dtype: Any = None, mask: Any = None) -> Any:
    """Where the largest of the elements that count is, as numbers of the input's dtype."""
    return _place("argmax", 1, input, dim, keepdim, dtype, mask)


def argmin(input: Any, dim: Any = None, *, keepdim: bool = False, dtype: Any = None, mask: Any = None) -> Any:
    """Where the smallest of the elements that count is, as numbers of the input's dtype."""
    return _place("argmin", -1, input, dim, keepdim, dtype, mask)


def _counted(input: Any, dims: tuple[int, ...], mask: Any, dtype: Any) -> Any:
    """How many elements count, in the dimensions that remain (with ones for those reduced)."""
    ones = _F["ones"](input.shape, dtype=dtype) if mask is None else _broadcast("sum", input, mask).to(dtype)
    return _F["sum"](ones, dims, True)


def mean(input: Any, dim: Any = None, *, keepdim: bool = False, dtype: Any = None, mask: Any = None) -> Any:
    """The mean of the elements that count; NaN where there are none.

    >>> import bibun as torch
    >>> torch.masked.mean(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), 1, mask=torch.tensor([True, False]))
    tensor([1., 3.])
    """
    dtype = input.dtype if dtype is None else dtype
    if not (dtype.is_floating_point or dtype.is_complex):
        raise ValueError(
            "mean(): Could not infer output dtype. Input dtype must be either a floating point or complex dtype. Got: "
            f"{dtype}"
        )
    dims = _all(input, dim)
    if mask is None:
        whole: Any = math.prod([input.shape[d] for d in dims]) if input.dim() else 1
    else:
        whole = _broadcast("mean", input, mask).to(dtypes.int64).sum(dims, bool(keepdim))
    return sum(input, dims, keepdim=keepdim, dtype=dtype, mask=mask) / whole


def median(input: Any, dim: int = -1, *, keepdim: bool = False, dtype: Any = None, mask: Any = None) -> Any:
    """The median (the lower of two) of the elements that count; NaN where there are none."""
    dtype = input.dtype if dtype is None else dtype
    if dtype.is_floating_point:
        return _F["nanmedian"](_filled("median", input, mask, dtype, float("nan")), dim, bool(keepdim)).values
    if mask is not None and not _broadcast("median", input, mask).any(dim).all():
        raise ValueError("masked median expects no fully masked out rows if dtype is not floating point")
    made = _filled("median", input.to(dtypes.float64), mask, None, float("nan"))
    return _F["nanmedian"](made, dim, bool(keepdim)).values.to(dtype)


def logsumexp(input: Any, dim: Any = None, *, keepdim: bool = False, dtype: Any = None, mask: Any = None) -> Any:
    """The logarithm of the sum of exponentials of the elements that count; -inf where there are none."""
    dtype = input.dtype if dtype is None else dtype
    lowest = _lowest("logsumexp", dtype, 1) if mask is not None or dtype is dtypes.bool else 0
    made = _filled("logsumexp", input, mask, dtype, lowest)
    return _F["logsumexp"](made, _all(input, dim), bool(keepdim)).to(dtype)


def logaddexp(input: Any, other: Any, *, dtype: Any = None, input_mask: Any = None, other_mask: Any = None) -> Any:
    """log(eˣ + eʸ) elementwise, without the summands that do not count."""
    dtype = input.dtype if dtype is None else dtype
    a = _filled("logaddexp", input, input_mask, dtype, -_INF)
    return _F["logaddexp"](a, _filled("logaddexp", other, other_mask, dtype, -_INF)).to(dtype)


def norm(
    input: Any, ord: Any = 2.0, dim: Any = None, *, keepdim: bool = False, dtype: Any = None, mask: Any = None
) -> Any:
    """The ``ord``-norm of the elements that count, the others taken as 0 (as ∞ for the norm of order -∞)."""
    made = _filled("norm", input, mask, dtype, _INF if ord == -_INF else 0)
    return _F["linalg.vector_norm"](made, ord, _all(input, dim), bool(keepdim))


def normalize(input: Any, ord: float, dim: int, *, eps: float = 1e-12, dtype: Any = None, mask: Any = None) -> Any:
    """The input divided by the `norm` of what counts (by ``eps`` if it is less); the rest is 0."""
    made = _filled("normalize", input, mask, dtype, 0)
    size = norm(input, ord, dim, keepdim=True, dtype=dtype, mask=mask)
    return made / _F["maximum"](size, size.new_full((), eps))


def _spread(
    root: bool, input: Any, dim: Any, unbiased: Any, correction: Any, keepdim: Any, dtype: Any, mask: Any
) -> Any:
    if unbiased is not None and correction is not None:
        raise AssertionError("Only one of unbiased and correction may be given")
    less = correction if correction is not None else 1 if unbiased is None else int(unbiased)
    dtype = input.dtype if dtype is None else dtype
    compute = dtype if dtype.is_floating_point or dtype.is_complex else dtypes.float32
    dims = _all(input, dim)
    count = _counted(input, dims, mask, compute)
    middle = _F["sum"](_filled("var", input, mask, compute, 0), dims, True) / count
    x = _filled("var", input.to(compute) - middle, mask, compute, 0)
    total = _F["sum"](x * x.conj(), dims, bool(keepdim))
    if not keepdim:
        count = count.reshape(total.shape)
    if less:
        count = _F["maximum"](count.real - less, count.real.new_zeros(())) if compute.is_complex else (count - less).clamp(min=0)
    made = total / count
    return (made.sqrt() if root else made).to(compute)


def var(
    input: Any,
    dim: Any = None,
    unbiased: bool | None = None,
    *,
    correction: Any = None,
    keepdim: bool = False,
    dtype: Any = None,
    mask: Any = None,
) -> Any:
    """The variance of the elements that count, divided by their number less ``correction`` (1)."""
    return _spread(False, input, dim, unbiased, correction, keepdim, dtype, mask)


def std(
    input: Any,
    dim: Any = None,
    unbiased: bool | None = None,
    *,
    correction: Any = None,
    keepdim: bool = False,
    dtype: Any = None,
    mask: Any = None,
) -> Any:
    """The standard deviation of the elements that count: the root of `var`."""
    return _spread(True, input, dim, unbiased, correction, keepdim, dtype, mask)


def softmax(input: Any, dim: int, *, dtype: Any = None, mask: Any = None) -> Any:
    """Softmax of the elements that count; 0 for the others, NaN where none counts."""
    return _F["softmax"](_filled("softmax", input, mask, dtype, _lowest("softmax", dtype or input.dtype, 1)), dim)


def log_softmax(input: Any, dim: int, *, dtype: Any = None, mask: Any = None) -> Any:
    """The logarithm of `softmax`."""
    return _F["log_softmax"](_filled("log_softmax", input, mask, dtype, -_INF), dim)


def softmin(input: Any, dim: int, *, dtype: Any = None, mask: Any = None) -> Any:
    """`softmax` of the negated input."""
    return _F["softmax"](-_filled("softmin", input, mask, dtype, _INF), dim)


def cumsum(input: Any, dim: int, *, dtype: Any = None, mask: Any = None) -> Any:
    """The sums of the elements that count up to each place."""
    dtype = input.dtype if dtype is None else dtype
    return _F["cumsum"](_filled("cumsum", input, mask, dtype, 0), dim, dtype=dtype)


def cumprod(input: Any, dim: int, *, dtype: Any = None, mask: Any = None) -> Any:
    """The products of the elements that count up to each place."""
    dtype = input.dtype if dtype is None else dtype
    return _F["cumprod"](_filled("cumprod", input, mask, dtype, 1), dim, dtype=dtype)

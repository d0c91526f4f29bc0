"""Sums and differences over sampled functions, and second moments: composites of other public functions.

In go tensors and PyTorch's arguments; out come tensors, differentiable as their parts are.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import dtypes
from ..autograd import dispatch
from ..autograd.dispatch import wrap
from ..errors import normalize_dim
from .register import FUNCTIONS, METHODS, function
from .shape import only_tensor


def _part(x: Any, dim: int, start: int | None, stop: int | None, step: int = 1) -> Any:
    return x[(slice(None),) * dim + (slice(start, stop, step),)]


def _widths(x: Any, y: Any, dim: int, name: str) -> Any:
    """The distances between sample points, shaped to multiply with slices of ``y``."""
    if not x._a.ndim:
        raise RuntimeError(f"{name}: Expected x to have at least 1 dimension")
    d = _part(x, x._a.ndim - 1, 1, None) - _part(x, x._a.ndim - 1, None, -1) if x._a.ndim == 1 else None
    if d is not None:
        if x._a.shape[0] != y._a.shape[dim] and y._a.shape[dim] != 1:
            raise RuntimeError(f"{name}: There must be one `x` value for each sample point")
        return d.view((1,) * dim + (-1,) + (1,) * (y._a.ndim - dim - 1))
    if x._a.shape != y._a.shape:
        missing = y._a.ndim - x._a.ndim
        if missing > 0:
            x = x.view((1,) * missing + tuple(x._a.shape))
    return _part(x, dim, 1, None) - _part(x, dim, None, -1)


def _areas(y: Any, x: Any, dx: Any, dim: int, name: str) -> tuple[Any, Any, int]:
    only_tensor(y, name, "y")
    if not y._a.ndim:
        raise IndexError(f"Dimension specified as {dim} but tensor has no dimensions")
    dim = normalize_dim(dim, y._a.ndim)
    if y._a.dtype.kind == "b":
        raise RuntimeError(f"{name}: received a bool input for `y`, but bool is not supported")
    if x is not None and x._a.dtype.kind == "b":
        raise RuntimeError(f"{name}: received a bool input for `x`, but bool is not supported")
    return (_part(y, dim, 1, None) + _part(y, dim, None, -1)), (None if x is None else _widths(x, y, dim, name)), dim


@function(method=False, out=False, aliases="trapz")
def trapezoid(y: Any, x: Any = None, *, dx: Any = None, dim: int = -1) -> Any:
    """The integral of sampled values by the trapezoidal rule, over points ``x`` or a step ``dx``.

    >>> import bibun as torch
    >>> torch.trapezoid(torch.tensor([1.0, 5.0, 10.0]))
    tensor(10.5000)
    """
    pairs, widths, dim = _areas(y, x, dx, dim, "trapezoid")
    if not y._a.shape[dim]:
        return METHODS["sum"](y, dim) * 0.0
    if widths is None:
        return METHODS["sum"](pairs, dim) * ((1 if dx is None else dx) / 2.0)
    return METHODS["sum"](widths * pairs, dim) / 2.0


@function(method=False, out=False)
def cumulative_trapezoid(y: Any, x: Any = None, *, dx: Any = None, dim: int = -1) -> Any:
    """The running integral of sampled values by the trapezoidal rule."""
    pairs, widths, dim = _areas(y, x, dx, dim, "cumulative_trapezoid")
    if widths is None:
        return METHODS["cumsum"](pairs, dim) * ((1 if dx is None else dx) / 2.0)
    return METHODS["cumsum"](widths * pairs, dim) / 2.0


@function()
def diff(input: Any, n: int = 1, dim: int = -1, prepend: Any = None, append: Any = None) -> Any:
    """The ``n``-th differences of neighbours along a dimension.

    >>> import bibun as torch
    >>> torch.diff(torch.tensor([1, 3, 2]))
    tensor([ 2, -1])
    """
    ndim = only_tensor(input, "diff")._a.ndim
    if not ndim:
        raise RuntimeError("diff expects input to be at least one-dimensional")
    dim = normalize_dim(dim, ndim)
    for extra in (prepend, append):
        if extra is not None and extra._a.ndim != ndim:
            raise RuntimeError("diff expects prepend or append to be the same dimension as input")
    if n < 0:
        raise RuntimeError(f"order must be non-negative but got {n}")
    if not n:
        return input.clone()
    parts = [p for p in (prepend, input, append) if p is not None]
    x = FUNCTIONS["cat"](parts, dim) if len(parts) > 1 else input
    for _ in range(min(n, x._a.shape[dim])):
        later, earlier = _part(x, dim, 1, None), _part(x, dim, None, -1)
        x = METHODS["logical_xor"](later, earlier) if x._a.dtype.kind == "b" else later - earlier
    return x


@function(method=False, out=False)
def gradient(input: Any, *, spacing: Any = 1, dim: Any = None, edge_order: int = 1) -> Any:
    """The numerical gradient by second-order central differences, along each dimension or those given.

    ``spacing`` is a step, a step or a tensor of coordinates for each dimension. Formula: Fornberg, "Generation of Finite
    Difference Formulas on Arbitrarily Spaced Grids" (1988).
    """
    x = only_tensor(input, "gradient")
    if x._a.dtype.kind in "b":
        raise RuntimeError("torch.gradient expects spacing to be a number or tensors; bool input is not supported")
    if edge_order not in (1, 2):
        raise RuntimeError("torch.gradient only supports edge_order=1 and edge_order=2.")
    n = x._a.ndim
    dims = list(range(n)) if dim is None else [dim] if isinstance(dim, int) else list(dim)
    dims = [normalize_dim(d, n) for d in dims]
    if len(set(dims)) != len(dims):
        raise RuntimeError(
            f"dim {next(d for i, d in enumerate(dims) if d in dims[:i])} appears multiple times in the list of dims"
        )
    spacing = 1 if spacing is None else spacing
    if isinstance(spacing, (int, float, complex)) or isinstance(spacing, dispatch.Tensor) and not spacing._a.ndim:
        steps = [spacing] * len(dims)
    else:
        steps = list(spacing)
        if len(steps) != len(dims):
            raise RuntimeError(
                f"torch.gradient expected spacing to be unspecified, a scalar, or a list of length {len(dims)}, but got a list of "
                f"length {len(steps)}"
            )
    if x._a.dtype.kind in "iu":
        x = x.to(dtypes.default)
    out = []
    for d, step in zip(dims, steps):
        size = x._a.shape[d]
        if size <= edge_order:
            raise RuntimeError("torch.gradient expected each dimension size to be at least edge_order+1")
        out.append(_slope(x, d, step, edge_order))
    return tuple(out)


def _slope(x: Any, d: int, step: Any, edge_order: int) -> Any:
    """Differences along one dimension."""
    size = x._a.shape[d]
    if isinstance(step, dispatch.Tensor) and step._a.ndim:
        if step._a.shape != (size,):
            raise RuntimeError(
                f"torch.gradient expected each element of spacing to have one coordinate for each of {size} samples, but got "
                f"{list(step._a.shape)}"
            )
        h = (step[1:] - step[:-1]).to(x.dtype) if step._a.dtype.kind in "iu" else step[1:] - step[:-1]
        shape = (1,) * d + (-1,) + (1,) * (x._a.ndim - d - 1)
        left, right = h[:-1].reshape(shape), h[1:].reshape(shape)
        middle = (
            -(right / left / (left + right)) * _part(x, d, None, -2)
            + ((right - left) / (left * right)) * _part(x, d, 1, -1)
            + (left / right / (left + right)) * _part(x, d, 2, None)
        )
        first, last = (h[0], h[1] if size > 2 else None), (h[-1], h[-2] if size > 2 else None)
    else:
        middle = (_part(x, d, 2, None) - _part(x, d, None, -2)) / (2 * step)
        first = last = (step, step)
    if edge_order == 1:
        start = (_part(x, d, 1, 2) - _part(x, d, 0, 1)) / first[0]
        end = (_part(x, d, size - 1, size) - _part(x, d, size - 2, size - 1)) / last[0]
    else:
        start = _edge(x, d, (0, 1, 2), first)
        end = -_edge(x, d, (size - 1, size - 2, size - 3), last)
    return FUNCTIONS["cat"]([start, middle, end], d)


def _edge(x: Any, d: int, at: tuple[int, int, int], h: tuple[Any, Any]) -> Any:
    """The one-sided second-order difference at the first of three points."""
    a, b = h
    y0, y1, y2 = (_part(x, d, i, i + 1) for i in at)
    return -(2 * a + b) / (a * (a + b)) * y0 + (a + b) / (a * b) * y1 - a / (b * (a + b)) * y2


@function(out=False)
def cov(input: Any, *, correction: int = 1, fweights: Any = None, aweights: Any = None) -> Any:
    """The covariance matrix of variables (rows) over observations (columns).

    >>> import bibun as torch
    >>> torch.cov(torch.tensor([[0.0, 1.0, 2.0], [2.0, 1.0, 0.0]]))
    tensor([[ 1., -1.],
            [-1.,  1.]])
    """
    n = only_tensor(input, "cov")._a.ndim
    if n > 2:
        raise RuntimeError(
            f"cov(): expected input to have two or fewer dimensions but got an input with {n} dimensions"
        )
    if input._a.dtype.kind == "b":
        raise RuntimeError("cov(): bool dtype is not supported for input")
    x = input.reshape(1, -1) if n < 2 else input
    count = x._a.shape[1]
    weights = None
    if fweights is not None:
        if fweights._a.ndim > 1:
            raise RuntimeError(
                f"cov(): expected fweights to have one or fewer dimensions but got fweights with {fweights._a.ndim} dimensions"
            )
        if fweights._a.dtype.kind not in "iu":
            raise RuntimeError(
                f"cov(): expected fweights to have integral dtype but got fweights with {fweights.dtype.scalar_name} dtype"
            )
        if fweights._a.size != count:
            raise RuntimeError(
                f"cov(): expected fweights to have the same numel as there are observations in the input but got {fweights._a.size} "
                f"!= {count}"
            )
        if count and fweights._a.min() < 0:
            raise RuntimeError("cov(): fweights cannot be negative")
        weights = fweights
    if aweights is not None:
        if aweights._a.ndim > 1:
            raise RuntimeError(
                f"cov(): expected aweights to have one or fewer dimensions but got aweights with {aweights._a.ndim} dimensions"
            )
        if aweights._a.dtype.kind != "f":
            raise RuntimeError(
                f"cov(): expected aweights to have floating point dtype but got aweights with {aweights.dtype.scalar_name} dtype"
            )
        if aweights._a.size != count:
            raise RuntimeError(
                f"cov(): expected aweights to have the same numel as there are observations in the input but got {aweights._a.size} "
                f"!= {count}"
            )
        if count and aweights._a.min() < 0:
            raise RuntimeError("cov(): aweights cannot be negative")
        weights = aweights if weights is None else weights * aweights
    total: Any = count if weights is None else METHODS["sum"](weights)
    if weights is not None and count and float(total._a) == 0:
        raise RuntimeError("cov(): weights sum to zero, can't be normalized")
    centre = (METHODS["sum"](x, 1) if weights is None else METHODS["sum"](x * weights, 1)) / (
        total if count else float("nan")
    )
    if weights is None:
        free: Any = count - correction
    elif correction == 0:
        free = total
    elif aweights is None:
        free = total - correction
    else:
        free = total - correction * METHODS["sum"](weights * aweights) / total
    if isinstance(free, dispatch.Tensor):
        if float(free._a) <= 0:
            _warn_freedom()
            free = free * 0
    elif free <= 0:
        _warn_freedom()
        free = 0
    away = x - centre.unsqueeze(1)
    turned = (away if weights is None else away * weights).t()
    if turned._a.dtype.kind == "c":
        turned = turned.conj()
    made = METHODS["matmul"](away, turned)
    if not isinstance(free, dispatch.Tensor):
        free = wrap(np.asarray(free, made._a.real.dtype if made._a.dtype.kind in "fc" else np.float32))
    return METHODS["squeeze"](made / free)


def _warn_freedom() -> None:
    import warnings

    warnings.warn(
        "cov(): degrees of freedom is <= 0. Correction should be strictly less than the number of observations.",
        UserWarning,
        stacklevel=4,
    )


@function(out=False)
def corrcoef(input: Any) -> Any:
    """The matrix of Pearson's correlation coefficients of variables (rows) over observations (columns)."""
    n = only_tensor(input, "corrcoef")._a.ndim
    if n > 2:
        raise RuntimeError(
            f"corrcoef(): expected input to have two or fewer dimensions but got an input with {n} dimensions"
        )
    c = cov(input)
    if not c._a.ndim:
        return c / c
    d = METHODS["diagonal"](c)
    size = METHODS["sqrt"](FUNCTIONS["real"](d) if d._a.dtype.kind == "c" else d)
    c = c / size.view(-1, 1) / size.view(1, -1)
    if c._a.dtype.kind == "c":
        return FUNCTIONS["complex"](
            METHODS["clamp"](FUNCTIONS["real"](c), -1, 1), METHODS["clamp"](FUNCTIONS["imag"](c), -1, 1)
        )
    return METHODS["clamp"](c, -1, 1)

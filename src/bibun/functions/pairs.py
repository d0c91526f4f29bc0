"""Distances between all pairs of rows, and further names that are composed of other functions.

In go tensors; out come tensors.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..autograd.dispatch import apply, wrap
from ..errors import unsupported_dtype
from ..ops import pairs as ops
from .reduction import vector_norm
from .register import FUNCTIONS, METHODS, function, method
from .shape import only_tensor, sizes_of

_MODES = ("use_mm_for_euclid_dist_if_necessary", "use_mm_for_euclid_dist", "donot_use_mm_for_euclid_dist")


@function(method=False, out=False)
def cdist(x1: Any, x2: Any, p: float = 2.0, compute_mode: Any = _MODES[0]) -> Any:
    """The ``p``-norms of the differences of all rows of two (batches of) matrices.

    >>> import bibun as torch
    >>> torch.cdist(torch.zeros(1, 2), torch.tensor([[3.0, 4.0]]))
    tensor([[5.]])
    """
    for x, name in ((x1, "X1"), (x2, "X2")):
        if only_tensor(x, "cdist")._a.ndim < 2:
            raise RuntimeError(f"cdist only supports at least 2D tensors, {name} got: {x._a.ndim}D")
        if x._a.dtype.kind != "f":
            raise (
                unsupported_dtype("cdist", x.dtype)
                if x._a.dtype.kind != "c"
                else RuntimeError(f"cdist only supports floating-point dtypes, {name} got: {x.dtype.scalar_name}")
            )
    a, b = x1._a.shape, x2._a.shape
    if a[-1] != b[-1]:
        raise RuntimeError(f"X1 and X2 must have the same number of columns. X1: {a[-1]} X2: {b[-1]}")
    if p < 0:
        raise RuntimeError("cdist only supports non-negative p values")
    if compute_mode not in _MODES and compute_mode not in (0, 1, 2, None):
        raise ValueError(f"{compute_mode} is not a valid value for compute_mode")
    mode = _MODES.index(compute_mode) if compute_mode in _MODES else compute_mode or 0
    by_product = p == 2 and (mode == 1 or mode == 0 and (a[-2] > 25 or b[-2] > 25))
    return apply(ops.cdist, (x1, x2), (float(p), by_product))


def pdist(input: Any, p: float = 2.0) -> Any:
    """The ``p``-norms of the differences of all pairs of rows, each pair once."""
    if only_tensor(input, "pdist")._a.ndim != 2:
        raise RuntimeError(f"pdist only supports 2D tensors, got: {input._a.ndim}D")
    if p < 0:
        raise RuntimeError("pdist only supports non-negative p values")
    i, j = np.triu_indices(input._a.shape[0], 1)
    away = METHODS["index_select"](input, 0, wrap(i)) - METHODS["index_select"](input, 0, wrap(j))
    return vector_norm(away, p, 1)


function(pdist, space="nn.functional", method=False, out=False)
function(pdist, method=False, out=False)


@function(method=False)
def frobenius_norm(input: Any, dim: Any = (), keepdim: bool = False) -> Any:
    """The root of the sum of squares over one or two dimensions, or all."""
    dims = sizes_of((dim,), "frobenius_norm", "dim")
    if len(dims) > 2:
        raise RuntimeError(f"Expected at most 2 dimensions, but got {len(dims)} dimensions instead.")
    return vector_norm(input, 2, dims or None, keepdim)


@function(method=False)
def nuclear_norm(input: Any, dim: Any = (-2, -1), keepdim: bool = False) -> Any:
    """The sum of the singular values of matrices."""
    return FUNCTIONS["linalg.matrix_norm"](input, "nuc", dim, keepdim)


@function(method=False, out=False)
def norm_except_dim(v: Any, pow: int = 2, dim: int = 0) -> Any:
    """The norm over all dimensions but one, which are kept."""
    if dim == -1:
        return METHODS["norm"](v, pow)
    n = v._a.ndim
    axes = [i for i in range(n) if i != dim % n]
    return vector_norm(v, pow, axes, True) if axes else v.abs()


@method
def sum_to_size(self: Any, *size: Any) -> Any:
    """The sum down to a shape that broadcasts to this tensor's."""
    shape = sizes_of(size, "sum_to_size")
    own = self._a.shape
    extra = len(own) - len(shape)
    if extra < 0 or any(m not in (1, n) for m, n in zip(shape, own[extra:])):
        raise RuntimeError(f"size {{{list(shape)}}} is not expandable to size {{{list(own)}}}.")
    axes = [*range(extra), *[i + extra for i, m in enumerate(shape) if m == 1 and own[i + extra] != 1]]
    if not shape:
        return METHODS["sum"](self)
    return METHODS["sum"](self, axes, False).view(shape) if axes else self


@method
def fill_diagonal_(self: Any, fill_value: Any, wrap: bool = False) -> Any:
    """Overwrite the main diagonal (every so often again, below, in a tall matrix, if ``wrap``)."""
    shape = self._a.shape
    if len(shape) < 2:
        raise RuntimeError("dimensions must larger than 1")
    if len(shape) > 2 and len(set(shape)) > 1:
        raise RuntimeError("all dimensions of input must be of equal length")
    steps = self.stride()
    if len(shape) == 2:
        m, n = shape
        if m > n and wrap:
            for start in range(0, m, n + 1):
                part = self[start : start + n]
                METHODS["diagonal"](part).fill_(fill_value)
            return self
        METHODS["diagonal"](self).fill_(fill_value)
        return self
    METHODS["as_strided"](self, (shape[0],), (sum(steps),), self.storage_offset()).fill_(fill_value)
    return self


@method(name="__reversed__")
def reversed_(self: Any) -> Any:
    """The elements in reverse order of the first dimension."""
    return METHODS["flip"](self, 0) if self._a.ndim else self


@method
def nonzero_static(self: Any, *, size: int, fill_value: int = -1) -> Any:
    """Where elements are not zero: exactly ``size`` rows, cut off or filled up."""
    found = METHODS["nonzero"](self)._a
    out = np.full((size, self._a.ndim), fill_value, np.int64)
    out[: len(found)] = found[:size]
    return wrap(out)


function(nonzero_static, method=False)


@function(method=False)
def slice_inverse(input: Any, src: Any, dim: int = 0, start: Any = None, end: Any = None, step: int = 1) -> Any:
    """``src`` where a slice of it would give ``input``: `torch.slice_scatter` the other way round."""
    return FUNCTIONS["slice_scatter"](src, input, dim, start, end, step)


@function(method=False)
def detach_copy(input: Any) -> Any:
    """A copy out of the graph."""
    return input.detach().clone()


FUNCTIONS["as_strided_"] = METHODS["as_strided_"]

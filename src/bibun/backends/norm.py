"""Array kernels of normalisation.

``axes`` are those over which mean and variance are taken: the trailing ones (layer and group normalisation), (0,) or
(0, 2) (batch normalisation of vectors and of channels). Narrow floats are worked on in float32.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .reduce import NARROW

F32 = np.dtype(np.float32)
_BLOCK = 1024
_add: Any = np.add.reduce
_vecdot: Any = np.vecdot


def _sum(x: Any, axes: tuple[int, ...]) -> Any:
    """Sum over ``axes``, which are kept with size 1."""
    if axes == (0, 2) and x.ndim == 3:
        return _add(_add(x, 2), 0)[None, :, None]
    return _add(x, axes if len(axes) > 1 else axes[0], None, None, True)


def _dot(x: Any, y: Any, axes: tuple[int, ...]) -> Any:
    """Sum of ``x * y`` over ``axes``, which are kept with size 1."""
    if axes == (x.ndim - 1,):
        return _vecdot(x, y)[..., None]
    if axes == (0, 2) and x.ndim == 3:
        return _add(_vecdot(x, y), 0)[None, :, None]
    return _add(x * y, axes, None, None, True)


def _count(shape: tuple[int, ...], axes: tuple[int, ...]) -> int:
    n = 1
    for a in axes:
        n *= shape[a]
    return n


def normalize(
    x: Any, weight: Any, bias: Any, shape: Any, axes: tuple[int, ...], affine: Any, eps: float, centered: bool
) -> Any:
    """(out, normalised, [mean, variance, 1/√(variance + eps)]); without ``centered`` the variance is the mean square,
    the mean not set.

    ``x`` is worked on in ``shape``, weight and bias in the shape ``affine``; the statistics keep their dimensions.
    """
    d = x.dtype
    work = x.astype(F32) if d in NARROW else x
    if shape is not None:
        work = work.reshape(shape)
    n = work.dtype.type(max(_count(work.shape, axes), 1))
    stats = np.empty((3, *[1 if i in axes else size for i, size in enumerate(work.shape)]), work.dtype)
    variance, scale = stats[1], stats[2]
    if centered:
        mean = stats[0]
        np.divide(_sum(work, axes), n, out=mean)
        made = np.subtract(work, mean)
        np.divide(_dot(made, made, axes), n, out=variance)
    else:
        made = work
        np.divide(_dot(work, work, axes), n, out=variance)
    np.add(variance, eps, out=scale)
    np.sqrt(scale, out=scale)
    np.reciprocal(scale, out=scale)
    if centered:
        made *= scale
    else:
        made = np.multiply(made, scale, out=...)
    if weight is not None:
        out = np.multiply(made, weight if weight.shape == affine else weight.reshape(affine), out=...)
        if bias is not None:
            out += bias if bias.shape == affine else bias.reshape(affine)
    elif bias is not None:
        out = np.add(made, bias.reshape(affine), out=...)
    else:
        out = made.copy()  # the program may write into the output, and the backward still needs what was normalised
    if shape is not None:
        out = out.reshape(x.shape)
    return out if out.dtype == d else out.astype(d), made, stats


def normalize_gradient(
    g: Any, x: Any, made: Any, stats: Any, shape: Any, axes: tuple[int, ...], eps: float, centered: bool
) -> Any:
    """r·(g - mean(g) - made·mean(g·made)), the vector-Jacobian product of normalisation."""
    work = g.astype(made.dtype) if g.dtype != made.dtype else g
    if shape is not None:
        work = work.reshape(shape)
    n = made.dtype.type(max(_count(made.shape, axes), 1))
    out = np.multiply(made, _dot(work, made, axes) / -n, out=...)
    if centered:
        out -= _sum(work, axes) / n
    out += work
    out *= stats[2]
    if shape is not None:
        out = out.reshape(x.shape)
    return out if out.dtype == x.dtype else out.astype(x.dtype)


def affine_gradient(
    g: Any,
    x: Any,
    made: Any,
    stats: Any,
    shape: Any,
    axes: tuple[int, ...],
    affine: Any,
    size: Any,
    eps: float,
    centered: bool,
    dtype: Any,
) -> Any:
    """The sum of g·made over all that shares a weight: the weight's gradient, of shape ``size``."""
    work = g.astype(made.dtype) if g.dtype != made.dtype else g
    if shape is not None:
        work = work.reshape(shape)
    extra = made.ndim - len(affine)
    shared = tuple([i for i in range(made.ndim) if i < extra or affine[i - extra] == 1 and made.shape[i] != 1])
    if shared == (0,) and made.ndim == 2:
        # One pass without a temporary, in blocks so that rounding errors do not grow with the number of rows.
        whole = len(work) - len(work) % _BLOCK
        out = np.einsum("ij,ij->j", work[whole:], made[whole:])
        if whole:
            blocks = (-1, _BLOCK, made.shape[1])
            out += _add(np.einsum("bij,bij->bj", work[:whole].reshape(blocks), made[:whole].reshape(blocks)), 0)
    elif shared == (0, 2) and made.ndim == 3:
        out = _dot(work, made, shared)
    else:
        out = _add(work * made, shared) if shared else work * made
    out = out.reshape(size)
    return out if out.dtype == dtype else out.astype(dtype)

"""Array kernels of normalisation.

``axes`` are those over which mean and variance are taken: the trailing ones (layer and group normalisation), (0,) or (0, 2)
(batch normalisation of vectors and of channels). Narrow floats are worked on in float32.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .reduce import NARROW

F32 = np.dtype(np.float32)
_add, _vecdot = np.add.reduce, np.vecdot


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


def normalize(x: Any, weight: Any, bias: Any, shape: Any, axes: tuple[int, ...], affine: Any, eps: float, centered: bool) -> Any:
    """(out, normalised, mean, variance, 1/√(variance + eps)); without ``centered`` the mean is 0 and the variance the mean square.

    ``x`` is worked on in ``shape``, weight and bias in the shape ``affine``; the statistics keep their dimensions.
    """
    d = x.dtype
    work = x.astype(F32) if d in NARROW else x
    if shape is not None:
        work = work.reshape(shape)
    n = work.dtype.type(max(_count(work.shape, axes), 1))
    if centered:
        mean = _sum(work, axes)
        mean = np.divide(mean, n, out=...)
        made = np.subtract(work, mean)
        variance = np.divide(_dot(made, made, axes), n, out=...)
    else:
        mean = np.zeros((), work.dtype)
        made = work
        variance = np.divide(_dot(work, work, axes), n, out=...)
    scale = np.add(variance, work.dtype.type(eps), out=...)
    np.sqrt(scale, out=scale)
    np.reciprocal(scale, out=scale)
    if centered:
        made *= scale
    else:
        made = np.multiply(made, scale, out=...)
    if weight is None and bias is None:
        out = made.copy()        # the program may write into the output, and the backward still needs what was normalised
    else:
        weight = None if weight is None else weight.reshape(affine)
        if weight is not None:
            out = np.multiply(made, weight, out=...)
            if bias is not None:
                out += bias.reshape(affine)
        else:
            out = np.add(made, bias.reshape(affine), out=...)
    if shape is not None:
        out = out.reshape(x.shape)
    return out if out.dtype == d else out.astype(d), made, mean, variance, scale


def normalize_gradient(g: Any, x: Any, made: Any, scale: Any, shape: Any, axes: tuple[int, ...], eps: float, centered: bool) -> Any:
    """scale·(g - mean(g) - made·mean(g·made)), the vector-Jacobian product of normalisation."""
    work = g.astype(made.dtype) if g.dtype != made.dtype else g
    if shape is not None:
        work = work.reshape(shape)
    n = made.dtype.type(max(_count(made.shape, axes), 1))
    out = np.multiply(made, _dot(work, made, axes) / -n, out=...)
    if centered:
        out -= _sum(work, axes) / n
    out += work
    out *= scale
    if shape is not None:
        out = out.reshape(x.shape)
    return out if out.dtype == x.dtype else out.astype(x.dtype)


def affine_gradient(g: Any, x: Any, made: Any, scale: Any, shape: Any, axes: tuple[int, ...], affine: Any, size: Any, eps: float,
                    centered: bool, dtype: Any) -> Any:
    """The sum of g·made over all that shares a weight: the weight's gradient, of shape ``size``."""
    work = g.astype(made.dtype) if g.dtype != made.dtype else g
    if shape is not None:
        work = work.reshape(shape)
    extra = made.ndim - len(affine)
    shared = tuple([i for i in range(made.ndim) if i < extra or affine[i - extra] == 1 and made.shape[i] != 1])
    if shared == (0,) and made.ndim == 2:
        out = np.einsum("ij,ij->j", work, made) if made.size < 4096 else _add(work * made, 0)
    elif shared == (0, 2) and made.ndim == 3:
        out = _dot(work, made, shared)
    else:
        out = _add(work * made, shared) if shared else work * made
    out = out.reshape(size)
    return out if out.dtype == dtype else out.astype(dtype)

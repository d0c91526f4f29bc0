"""Array kernels of normalisation.

``axes`` are those over which mean and variance are taken: the trailing ones (layer and group normalisation), (0,) or
(0, 2) (batch normalisation of vectors and of channels). Narrow floats are worked on in float32. Of the forward only the
input and the statistics are kept: what was normalised is cheaper made again than read again. Large arrays go to native
kernels.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .large import kernels_of, native
from .reduce import NARROW, is_few, number_of, square_of_ones
from .reduce import sum as total

F32 = np.dtype(np.float32)
_BLOCK = 1024
#: Elements from which native kernels take over.
_LARGE = 1 << 12
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


def _work(a: Any, shape: Any, dtype: Any) -> Any:
    """``a`` in the dtype and shape that is worked on."""
    if a.dtype != dtype:
        a = a.astype(dtype)
    return a if shape is None else a.reshape(shape)


def _normalized(x: Any, stats: Any, centered: bool) -> Any:
    if not centered:
        return np.multiply(x, stats[2], out=...)
    made = np.subtract(x, stats[0], out=...)
    made *= stats[2]
    return made


def _normalize_few(x: Any, eps: float) -> tuple[Any, Any]:
    """`normalize` over the last dimension of a few numbers in order, where means are products and nothing is broadcast."""
    d, n = x.dtype, x.shape[-1]
    sums, share = square_of_ones(d, n), number_of(d, 1 / n)
    mean = x.dot(sums)
    np.multiply(mean, share, mean)
    out = np.subtract(x, mean)
    variance = np.multiply(out, out).dot(sums)
    np.multiply(variance, share, variance)
    scale = np.add(variance, number_of(d, eps))
    np.sqrt(scale, scale)
    np.reciprocal(scale, scale)
    stats = np.empty((3, *x.shape[:-1], 1), d)
    stats[0], stats[1], stats[2] = mean[..., :1], variance[..., :1], scale[..., :1]
    return np.multiply(out, scale, out), stats


def _normalize(x: Any, axes: tuple[int, ...], eps: float, centered: bool) -> tuple[Any, Any]:
    """`normalize` without weight and bias, in the shape worked on."""
    n = x.dtype.type(max(_count(x.shape, axes), 1))
    stats = np.empty((3, *[1 if i in axes else size for i, size in enumerate(x.shape)]), x.dtype)
    variance, scale = stats[1], stats[2]
    if centered:
        mean = stats[0]
        np.divide(_sum(x, axes), n, out=mean)
        out = np.subtract(x, mean)
        np.divide(_dot(out, out, axes), n, out=variance)
    else:
        np.divide(_dot(x, x, axes), n, out=variance)
    np.add(variance, eps, out=scale)
    np.sqrt(scale, out=scale)
    np.reciprocal(scale, out=scale)
    if centered:
        out *= scale
        return out, stats
    return np.multiply(x, scale, out=...), stats


def normalize(
    x: Any, weight: Any, bias: Any, shape: Any, axes: tuple[int, ...], affine: Any, eps: float, centered: bool
) -> Any:
    """(out, [mean, variance, 1/√(variance + eps)]); without ``centered`` the variance is the mean square, the mean not
    set.

    ``x`` is worked on in ``shape``, weight and bias in the shape ``affine``; the statistics keep their dimensions.
    """
    d = x.dtype
    work = _work(x, shape, F32 if d in NARROW else d)
    if x.size >= _LARGE and native():
        kernels = kernels_of("kernels.norm")
        wide = work.dtype
        if weight is not None and weight.dtype != wide:
            weight = weight.astype(wide)
        if bias is not None and bias.dtype != wide:
            bias = bias.astype(wide)
        made = kernels.forward(work, weight, bias, axes, affine, eps, centered)
        if made is not NotImplemented:
            out, stats = made
            if shape is not None:
                out = out.reshape(x.shape)
            return out if d == wide else out.astype(d), stats
    if centered and is_few(work, axes[0]) and len(axes) == 1:
        out, stats = _normalize_few(work, eps)
    else:
        out, stats = _normalize(work, axes, eps, centered)
    if weight is not None:
        out *= weight if weight.shape == affine else weight.reshape(affine)
    if bias is not None:
        out += bias if bias.shape == affine else bias.reshape(affine)
    if shape is not None:
        out = out.reshape(x.shape)
    return out if out.dtype == d else out.astype(d), stats


def _pulled_back(g: Any, made: Any, stats: Any, axes: tuple[int, ...], centered: bool) -> Any:
    """r·(g - mean(g) - made·mean(g·made))."""
    n = made.dtype.type(max(_count(made.shape, axes), 1))
    out = np.multiply(made, _dot(g, made, axes) / -n, out=...)
    if centered:
        out -= _sum(g, axes) / n
    out += g
    out *= stats[2]
    return out


def normalize_gradient(
    grad: Any, x: Any, stats: Any, shape: Any, axes: tuple[int, ...], eps: float, centered: bool
) -> Any:
    """The vector-Jacobian product of normalisation without weight and bias."""
    d = stats.dtype
    g, work = _work(grad, shape, d), _work(x, shape, d)
    out: Any = NotImplemented
    if x.size >= _LARGE and native():
        kernels = kernels_of("kernels.norm")
        found = kernels.backward(g, work, None, stats, axes, None, centered, False)
        out = found if found is NotImplemented else found[0]
    if out is NotImplemented:
        out = _pulled_back(g, _normalized(work, stats, centered), stats, axes, centered)
    if shape is not None:
        out = out.reshape(x.shape)
    return out if out.dtype == x.dtype else out.astype(x.dtype)


def _shared(shape: tuple[int, ...], affine: Any) -> tuple[int, ...]:
    """The axes of ``shape`` along which the shape ``affine`` broadcasts."""
    extra = len(shape) - len(affine)
    return tuple([i for i, n in enumerate(shape) if i < extra or affine[i - extra] == 1 and n != 1])


def _products(g: Any, made: Any, shared: tuple[int, ...]) -> Any:
    """The sum of ``g * made`` over the axes ``shared``."""
    if shared == (0,) and made.ndim == 2:
        # One pass without a temporary, in blocks so that rounding errors do not grow with the number of rows.
        whole = len(g) - len(g) % _BLOCK
        out = np.einsum("ij,ij->j", g[whole:], made[whole:])
        if whole:
            blocks = (-1, _BLOCK, made.shape[1])
            out += _add(np.einsum("bij,bij->bj", g[:whole].reshape(blocks), made[:whole].reshape(blocks)), 0)
        return out
    if shared == (0, 2) and made.ndim == 3:
        return _dot(g, made, shared)
    return _add(g * made, shared) if shared else g * made


def affine_gradient(
    grad: Any,
    x: Any,
    stats: Any,
    shape: Any,
    axes: tuple[int, ...],
    affine: Any,
    size: Any,
    eps: float,
    centered: bool,
    dtype: Any,
) -> Any:
    """The sum of grad·normalised x over all that shares a weight: the weight's gradient, of shape ``size``."""
    d = stats.dtype
    made = _normalized(_work(x, shape, d), stats, centered)
    out = _products(_work(grad, shape, d), made, _shared(made.shape, affine)).reshape(size)
    return out if out.dtype == dtype else out.astype(dtype)


def normalize_backward(
    grad: Any,
    x: Any,
    weight: Any,
    stats: Any,
    shape: Any,
    axes: tuple[int, ...],
    affine: Any,
    centered: bool,
    more: Any = None,
) -> Any:
    """(the gradients of x, weight and bias) in one go, the first with ``more`` added."""
    d = stats.dtype
    g, work = _work(grad, shape, d), _work(x, shape, d)
    wide = weight if weight.dtype == d else weight.astype(d)
    found: Any = NotImplemented
    if x.size >= _LARGE and native():
        kernels = kernels_of("kernels.norm")
        found = kernels.backward(g, work, wide, stats, axes, affine, centered, True, more if shape is None else None)
        if found is not NotImplemented and shape is None:
            more = None
    if found is NotImplemented:
        made = _normalized(work, stats, centered)
        shared = _shared(made.shape, affine)
        in_weight = _products(g, made, shared)
        in_bias = total(g, shared) if shared else g
        g = g * (wide if wide.shape == affine else wide.reshape(affine))
        found = _pulled_back(g, made, stats, axes, centered), in_weight, in_bias
    own = weight.dtype
    out, in_weight, in_bias = found
    if shape is not None:
        out = out.reshape(x.shape)
    in_weight, in_bias = in_weight.reshape(weight.shape), in_bias.reshape(weight.shape)
    if own != d:
        in_weight, in_bias = in_weight.astype(own), in_bias.astype(own)
    if out.dtype != x.dtype:
        out = out.astype(x.dtype)
    return out if more is None else out + more, in_weight, in_bias

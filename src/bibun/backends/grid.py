"""Array kernels of sampling images at points of a grid.

In: images (N, C, M) with their spatial dimensions laid flat; a grid (N, *points, rank) of coordinates between -1 and 1,
the last spatial dimension first. Out: for each point the flat positions of the K elements it is made of and their
weights, both (N, K, P), and what is gathered with them, (N, C, P), or scattered. A position M stands for "outside".

A weight is a product over the dimensions of polynomials in the coordinate, so its derivatives of any order are such
products too: ``orders`` says how often each coordinate is differentiated.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .reduce import NARROW

__all__ = ["affine_grid", "grid_gather", "grid_match", "grid_scatter", "sample_places", "sample_weights"]

F32 = np.dtype(np.float32)
#: The cubic convolution kernel's parameter.
A = -0.75
#: The four weights of cubic convolution as polynomials in the fraction t, lowest power first.
CUBIC = np.array([[0, A, -2 * A, A], [1, 0, -A - 3, A + 2], [0, -A, 2 * A + 3, -A - 2], [0, 0, A, -A]])
LINEAR = np.array([[1.0, -1.0], [0.0, 1.0]])
NEAREST = np.array([[1.0]])
POLYNOMIALS = {"bilinear": LINEAR, "nearest": NEAREST, "bicubic": CUBIC}


def _reflected(u: Any, n: int, align: bool) -> tuple[Any, Any]:
    """(coordinates mirrored at the image's edges, whether an odd number of times)."""
    low, span = (0.0, float(n - 1)) if align else (-0.5, float(n))
    if not span:
        return np.zeros_like(u), None
    v = u - u.dtype.type(low)
    below = v < 0
    v = np.abs(v)
    flips, rest = np.divmod(v, u.dtype.type(span))
    odd = flips % 2 == 1
    return np.where(odd, u.dtype.type(span) - rest, rest) + u.dtype.type(low), odd != below


def _coordinates(c: Any, n: int, mode: str, padding: str, align: bool) -> tuple[Any, Any]:
    """(coordinate in elements, its derivative in the grid's)."""
    if align:
        u, slope = (c + 1) / 2 * (n - 1), (n - 1) / 2
    else:
        u, slope = ((c + 1) * n - 1) / 2, n / 2
    factor: Any = c.dtype.type(slope)
    if mode != "bicubic" and padding != "zeros":
        if padding == "reflection":
            u, odd = _reflected(u, n, align)
            factor = c.dtype.type(0) if odd is None else np.where(odd, -factor, factor)
        factor = factor * ((u > 0) & (u < n - 1))
        u = np.where(u > 0, np.minimum(u, n - 1), c.dtype.type(0))
    # What lies this far out, or is NaN, meets no element; and an integer would not hold it.
    return np.where(np.abs(u) < 2**30, u, c.dtype.type(-100)), factor


def _parts(grid: Any, j: int, size: tuple[int, ...], mode: str, padding: str, align: bool) -> tuple[Any, Any, Any]:
    """(first position, fraction, slope) along the dimension of the grid's coordinate ``j``, each (N, P)."""
    n = size[len(size) - 1 - j]
    u, slope = _coordinates(grid[..., j].reshape(len(grid), math.prod(grid.shape[1:-1])), n, mode, padding, align)
    if mode == "nearest":
        return np.rint(u).astype(np.int64), np.zeros_like(u), slope
    low = np.floor(u)
    return low.astype(np.int64) - (mode == "bicubic"), u - low, slope


def sample_places(grid: Any, size: tuple[int, ...], mode: str, padding: str, align: bool) -> Any:
    """The flat positions (N, K, P) of the elements that each point is made of; the number of elements where outside."""
    if grid.dtype in NARROW:
        grid = grid.astype(F32)
    k = len(POLYNOMIALS[mode])
    rank = len(size)
    total: Any = None
    outside: Any = None
    for j in range(rank - 1, -1, -1):
        n = size[rank - 1 - j]
        low = _parts(grid, j, size, mode, padding, align)[0]
        beyond: Any = None
        at = low[:, None] + np.arange(k)[:, None]  # (N, k, P)
        if padding == "zeros":
            beyond = (at < 0) | (at >= n)
        elif padding == "reflection" and mode == "bicubic":
            at = np.clip(_reflected(at.astype(np.float64), n, align)[0], 0, n - 1).astype(np.int64)
        at = np.clip(at, 0, n - 1)
        if total is None:
            total, outside = at, beyond
            continue
        flat = (len(at), total.shape[1] * k, at.shape[-1])
        total = (total[:, :, None] * n + at[:, None]).reshape(flat)
        if padding == "zeros":
            outside = (outside[:, :, None] | beyond[:, None]).reshape(flat)
    if outside is not None:
        total[outside] = math.prod(size)
    return total


def _evaluated(mode: str, t: Any, order: int) -> Any:
    """The ``order``-th derivatives of the weights at the fractions ``t``, (N, k, P)."""
    c = POLYNOMIALS[mode]
    for _ in range(order):
        c = c[:, 1:] * np.arange(1, c.shape[1])
    made = np.zeros((len(t), len(c), t.shape[-1]), t.dtype)
    for i in range(c.shape[1] - 1, -1, -1):
        made = made * t[:, None] + c[:, i].astype(t.dtype)[:, None]
    return made


def sample_weights(grid: Any, size: tuple[int, ...], mode: str, padding: str, align: bool, orders: Any) -> Any:
    """The weights (N, K, P) that belong to `sample_places`, or their derivatives; zeros for what is outside are not made."""
    if grid.dtype in NARROW:
        grid = grid.astype(F32)
    rank = len(size)
    total: Any = None
    for j in range(rank - 1, -1, -1):
        _, t, slope = _parts(grid, j, size, mode, padding, align)
        w = _evaluated(mode, t, orders[j])
        for _ in range(orders[j]):
            w *= slope[:, None] if np.ndim(slope) else slope
        total = w if total is None else (total[:, :, None] * w[:, None]).reshape(len(w), total.shape[1] * w.shape[1], w.shape[-1])
    return total


def grid_gather(x: Any, places: Any, weights: Any) -> Any:
    """(N, C, P): the weighted sums of elements of ``x`` (N, C, M)."""
    d = x.dtype
    if d in NARROW:
        return grid_gather(x.astype(F32), places, weights).astype(d)
    weights = np.where(places < x.shape[2], weights, 0)
    made = np.empty((x.shape[0], x.shape[1], places.shape[2]), d)
    for image, at, w, out in zip(x, places, weights, made):
        if not out.size:
            continue
        np.multiply(image.take(at[0], 1, mode="clip"), w[0], out=out)
        for k in range(1, len(at)):
            part = image.take(at[k], 1, mode="clip")
            part *= w[k]
            out += part
    if made.size and not np.isfinite(np.add.reduce(made, None)) and (places >= x.shape[2]).any():
        padded = np.concatenate([x, np.zeros((*x.shape[:2], 1), d)], 2)  # an infinity times a zero is NaN
        return grid_gather(padded, places, weights)
    return made


def grid_scatter(g: Any, places: Any, weights: Any, count: int) -> Any:
    """(N, C, ``count``): ``g`` (N, C, P) times the weights, added at the positions."""
    d = g.dtype
    if d in NARROW:
        return grid_scatter(g.astype(F32), places, weights, count).astype(d)
    n, c = g.shape[:2]
    made = np.zeros((n, c, count), d)
    if g.size:
        for i in range(n):
            at = places[i].reshape(-1)
            for j in range(c):
                share = (g[i, j] * weights[i]).reshape(-1)
                made[i, j] = np.bincount(at, share, count + 1)[:count]
    return made


def grid_match(g: Any, x: Any, places: Any) -> Any:
    """(N, K, P): for each point and place, the sum over channels of ``g`` (N, C, P) times the element of ``x`` there."""
    d = g.dtype
    if d in NARROW:
        return grid_match(g.astype(F32), x.astype(F32), places)
    made = np.zeros(places.shape, d)
    if g.size:
        for image, weight, at, out in zip(x, g, places, made):
            for k in range(len(at)):
                np.einsum("cp,cp->p", image.take(at[k], 1, mode="clip"), weight, out=out[k])
        made[places >= x.shape[2]] = 0
    return made


def _base(size: tuple[int, ...], align: bool, dtype: Any) -> Any:
    """The coordinates of all points of an image and a one, (P, rank + 1), the last dimension first."""
    rank = len(size)
    made = np.ones((*size, rank + 1), dtype)
    for j in range(rank):
        n = size[rank - 1 - j]
        line = np.linspace(-1, 1, n, dtype=np.float64) if n > 1 else np.zeros(1)
        if not align:
            line = line * ((n - 1) / n)
        made[..., j] = line.reshape((n, *(1,) * j))
    return made.reshape(-1, rank + 1)


def affine_grid(theta: Any, size: tuple[int, ...], align: bool, transposed: bool) -> Any:
    """(N, *size, rank): all points of an image mapped by ``theta`` (N, rank, rank + 1); transposed, back to the latter."""
    d = theta.dtype
    if d in NARROW:
        return affine_grid(theta.astype(F32), size, align, transposed).astype(d)
    base = _base(size, align, d)
    if transposed:
        return np.matmul(theta.reshape(len(theta), math.prod(size), len(size)).swapaxes(1, 2), base)
    return np.matmul(base, theta.swapaxes(1, 2)).reshape(len(theta), *size, len(size))

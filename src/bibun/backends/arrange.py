"""Array functions that put elements elsewhere: joining, repeating, reversing, padding, and gradients of views.

In go ndarrays with normalised axes; out come new arrays (`flip` and `rot90` too copy, as PyTorch's do). The functions
named ``…_backward`` put a gradient where a view of `bibun.backends.strides` looked.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .large import LARGE, kernels_of, native
from .strides import _LEADING, broadcast_to, unfold

__all__ = [
    "block_diag",
    "concat",
    "constant_pad",
    "diag_embed",
    "diagonal_backward",
    "flip",
    "pad_back",
    "pad_from_inside",
    "restride",
    "restride_backward",
    "roll",
    "rot90",
    "rowmajor",
    "select_backward",
    "slice_backward",
    "stack",
    "tile",
    "trace",
    "tril",
    "triu",
    "unfold_backward",
]


def concat(arrays: Any, axis: int = 0) -> Any:
    """The arrays one after another; those of shape (0,) among others of more dimensions are passed over."""
    if len(arrays) > 1:
        ndim = arrays[0].ndim
        for a in arrays:
            if a.ndim != ndim:
                kept = [a for a in arrays if a.shape != (0,)]
                return np.concatenate(kept, axis) if kept else np.array(arrays[0])
        if axis > 0 and arrays[0].size >= LARGE and native():
            rows = kernels_of("kernels.rows")
            if (made := rows.join_rows(arrays, axis)) is not NotImplemented:
                return made
    return np.concatenate(arrays, axis)


def stack(arrays: Any, axis: int = 0) -> Any:
    """The arrays side by side along a new axis."""
    first = arrays[0]
    shape = first.shape
    if not axis and len(arrays) <= 8 and first.size < LARGE:
        d = first.dtype
        out = np.empty((len(arrays), *shape), d)
        for i, a in enumerate(arrays):
            if a.dtype is not d:
                break
            out[i] = a
        else:
            return out
    shape = (*shape[:axis], 1, *shape[axis:])
    return np.concatenate([a.reshape(shape) for a in arrays], axis)


def block_diag(arrays: Any) -> Any:
    """Matrices (rows, numbers) along the diagonal of a matrix of zeros."""
    blocks = [a if a.ndim == 2 else a.reshape(1, -1) for a in arrays]
    out = np.zeros(
        (sum(b.shape[0] for b in blocks), sum(b.shape[1] for b in blocks)), np.result_type(*[b.dtype for b in blocks])
    )
    row = column = 0
    for b in blocks:
        out[row : row + b.shape[0], column : column + b.shape[1]] = b
        row, column = row + b.shape[0], column + b.shape[1]
    return out


def flip(x: Any, axis: tuple[int, ...]) -> Any:
    """The order reversed along the axes of a tuple."""
    key = [slice(None)] * x.ndim
    for a in axis:
        key[a] = slice(None, None, -1)
    return np.array(x[tuple(key)], order="C")


def roll(x: Any, shift: tuple[int, ...], axis: tuple[int, ...] | None) -> Any:
    """Elements shifted cyclically along axes (None: as one flat row)."""
    if axis is None:
        return roll(x.reshape(-1), shift, (0,)).reshape(x.shape)
    for s, a in zip(shift, axis):
        n = x.shape[a]
        s = s % n if n else 0
        if s:
            lead = _LEADING[a]
            x = np.concatenate((x[(*lead, slice(n - s, None))], x[(*lead, slice(None, n - s))]), a)
        else:
            x = np.array(x)
    return x if axis else np.array(x)


def rot90(x: Any, k: int, axes: tuple[int, int]) -> Any:
    """A quarter turn, k times, in the plane of two axes."""
    return np.array(np.rot90(x, k, axes), order="K")


def tile(x: Any, repetitions: tuple[int, ...]) -> Any:
    """``x`` repeated as a whole; ``repetitions`` has a number for each dimension of the result."""
    extra = len(repetitions) - x.ndim
    shape = (1,) * extra + x.shape
    x = x.reshape([m for n in shape for m in (1, n)])
    wide = broadcast_to(x, tuple([m for n, r in zip(shape, repetitions) for m in (r, n)]))
    return np.array(wide, order="C").reshape([n * r for n, r in zip(shape, repetitions)])


def tril(x: Any, k: int = 0) -> Any:
    """The lower triangle, up to the k-th diagonal."""
    n, m = x.shape[-2:]
    if x.size >= LARGE and native():
        from ..native.kernels.along import triangle

        made = triangle(x, k, False)
        if made is not NotImplemented:
            return made
    return np.where(np.greater_equal.outer(np.arange(n), np.arange(-k, m - k)), x, np.zeros((), x.dtype))


def triu(x: Any, k: int = 0) -> Any:
    """The upper triangle, from the k-th diagonal."""
    n, m = x.shape[-2:]
    if x.size >= LARGE and native():
        from ..native.kernels.along import triangle

        made = triangle(x, k, True)
        if made is not NotImplemented:
            return made
    return np.where(np.less_equal.outer(np.arange(n), np.arange(-k, m - k)), x, np.zeros((), x.dtype))


def trace(x: Any) -> Any:
    """The sum of the diagonal of the last two dimensions."""
    from .cpu import sum as total

    return total(x.diagonal(0, -2, -1), axis=-1)


# Gradients of views


def select_backward(g: Any, shape: tuple[int, ...], axis: int, index: int) -> Any:
    """Zeros with ``g`` at one position of ``axis``."""
    out = np.zeros(shape, g.dtype)
    key: Any = (*_LEADING[axis], index)
    out[key] = g
    return out


def slice_backward(g: Any, shape: tuple[int, ...], axis: int, start: int, stop: int, step: int = 1) -> Any:
    """Zeros with ``g`` at positions ``start:stop:step`` of ``axis``."""
    out = np.zeros(shape, g.dtype)
    out[(*_LEADING[axis], slice(start, stop, step))] = g
    return out


def _writable_diagonal(x: Any, offset: int, axis1: int, axis2: int) -> Any:
    d = x.diagonal(offset, axis1, axis2)
    d.flags.writeable = True
    return d


def diagonal_backward(g: Any, shape: tuple[int, ...], offset: int, axis1: int, axis2: int) -> Any:
    """Zeros with ``g`` on a diagonal."""
    out = np.zeros(shape, g.dtype)
    _writable_diagonal(out, offset, axis1, axis2)[...] = g
    return out


def diag_embed(x: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    """The last dimension of ``x`` laid on a diagonal of two new dimensions."""
    n = x.shape[-1] + abs(offset)
    shape = list(x.shape[:-1])
    for a in sorted((axis1, axis2)):
        shape.insert(a, n)
    return diagonal_backward(x, tuple(shape), offset, axis1, axis2)


def unfold_backward(g: Any, shape: tuple[int, ...], axis: int, size: int, step: int) -> Any:
    """Windows (last dimension of ``g``) added back along ``axis``."""
    out = np.zeros(shape, g.dtype)
    if not shape:
        return out + g.reshape(())
    if step >= size:  # no two windows meet
        unfold(out, axis, size, step)[...] = g
        return out
    n = g.shape[axis]
    for k in range(size):
        out[(*_LEADING[axis], slice(k, k + step * (n - 1) + 1, step))] += g[..., k]
    return out


def _places(shape: tuple[int, ...], strides: tuple[int, ...], offset: int) -> Any:
    """The memory position of each element of a layout."""
    at = np.full(shape, offset, np.int64)
    for i, (n, stride) in enumerate(zip(shape, strides)):
        at += (np.arange(n) * stride).reshape((n,) + (1,) * (len(shape) - i - 1))
    return at


def _extent(shape: tuple[int, ...], strides: tuple[int, ...], offset: int) -> tuple[int, int]:
    """The first memory position of a layout, and one past the last."""
    if 0 in shape:
        return 0, 0
    return offset, offset + sum([(n - 1) * s for n, s in zip(shape, strides)]) + 1


def _layouts(to_shape: Any, shape: Any, strides: Any, offset: int, to_strides: Any) -> tuple[int, Any, Any, Any]:
    """(memory size, places of the first layout, of the second, how often the second names each of its places or None)."""
    low, high = _extent(shape, strides, offset)
    own_low, own_high = _extent(to_shape, to_strides, 0)
    base, size = min(low, own_low), max(high, own_high) - min(low, own_low)
    source = _places(shape, strides, offset - base)
    target = _places(to_shape, to_strides, -base)
    counts = np.bincount(target.reshape(-1), minlength=size)
    return size, source, target, counts[target] if counts.max(initial=0) > 1 else None


def _add_into(size: int, at: Any, values: Any) -> Any:
    memory = np.zeros(size, values.dtype)
    np.add.at(memory, at.reshape(-1), values.reshape(-1))
    return memory


def restride(g: Any, to_shape: Any, shape: Any, strides: Any, offset: int, to_strides: Any) -> Any:
    """``g`` added into memory by one layout, read by another; what that reads several times is shared among them."""
    size, source, target, counts = _layouts(to_shape, shape, strides, offset, to_strides)
    out = _add_into(size, source, g)[target]
    return out if counts is None else out / counts.astype(out.real.dtype)


def restride_backward(g: Any, to_shape: Any, shape: Any, strides: Any, offset: int, to_strides: Any) -> Any:
    """The transpose of `restride`."""
    size, source, target, counts = _layouts(to_shape, shape, strides, offset, to_strides)
    return _add_into(size, target, g if counts is None else g / counts.astype(g.real.dtype))[source]


# Padding


def constant_pad(x: Any, pad: tuple[tuple[int, int], ...], value: Any = 0) -> Any:
    """``value`` put before and after each dimension; negative numbers cut off."""
    shape = tuple([n + a + b for n, (a, b) in zip(x.shape, pad)])
    if not value:
        out = np.zeros(shape, x.dtype)
    else:
        out = np.full(shape, np.asarray(value).astype(x.dtype), x.dtype)
    inner = tuple([slice(max(a, 0), n - max(b, 0)) for n, (a, b) in zip(shape, pad)])
    given = tuple([slice(max(-a, 0), n - max(-b, 0)) for n, (a, b) in zip(x.shape, pad)])
    out[inner] = x[given]
    return out


def _source_positions(n: int, before: int, after: int, mode: str) -> Any:
    """For each position of a prolonged dimension of n, the position it takes its element from."""
    at = np.arange(-before, n + after)
    if mode == "replicate":
        return np.clip(at, 0, n - 1)
    if mode == "circular":  # what a negative margin cuts off does not come round again
        low, high = max(-before, 0), n - max(-after, 0)
        return low + (at - low) % (high - low)
    at = np.abs(at)
    return np.where(at < n, at, 2 * (n - 1) - at)


def pad_from_inside(x: Any, pad: tuple[tuple[int, int], ...], mode: str) -> Any:
    """Dimensions prolonged by their own elements."""
    for axis, (before, after) in enumerate(pad):
        if before or after:
            x = x.take(_source_positions(x.shape[axis], before, after, mode), axis)
    return x if any(p != (0, 0) for p in pad) else np.array(x)


def pad_back(g: Any, shape: tuple[int, ...], pad: tuple[tuple[int, int], ...], mode: str) -> Any:
    """Each element of a prolonged array added to the place it was taken from."""
    for axis, (before, after) in enumerate(pad):
        if not (before or after):
            continue
        n, lead = shape[axis], _LEADING[axis]
        out = np.zeros((*g.shape[:axis], n, *g.shape[axis + 1 :]), g.dtype)
        low, high = max(-before, 0), n - max(-after, 0)  # what of the dimension was kept
        out[(*lead, slice(low, high))] = g[(*lead, slice(before + low, before + high))]
        at = _source_positions(n, before, after, mode)
        for i in (*range(max(before, 0)), *range(g.shape[axis] - max(after, 0), g.shape[axis])):
            out[(*lead, at[i])] += g[(*lead, i)]
        g = out
    return g


def rowmajor(x: Any) -> Any:
    """A copy in row-major memory."""
    return np.array(x, order="C")

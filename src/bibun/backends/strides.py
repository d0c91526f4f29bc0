"""Views of memory: the array functions that give another look at the same bytes.

In goes an ndarray; out comes an ndarray that shares its memory, with the strides that PyTorch gives such a view (also for
dimensions of size 1, where NumPy's own functions may differ), writable wherever the source is. What cannot be a view
raises `NotAView`; nothing here copies, `reshape` excepted.
"""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np

__all__ = [
    "NotAView",
    "as_strided",
    "broadcast_to",
    "diagonal",
    "expand_dims",
    "offset_in",
    "permute_dims",
    "reshape",
    "root",
    "select",
    "slice_axis",
    "split_with_sizes",
    "squeeze",
    "swapaxes",
    "unbind",
    "unfold",
    "view",
    "view_as_complex",
    "view_as_real",
    "view_dtype",
]

ndarray = np.ndarray
_ALL = slice(None)
_HALF = np.dtype(np.float16)
#: Bytes of a real number -> the dtype of pairs of such.
_PAIRS = {4: np.dtype(np.complex64), 8: np.dtype(np.complex128)}
if hasattr(ml_dtypes, "complex32"):
    _PAIRS[2] = np.dtype(ml_dtypes.complex32)
_LEADING = tuple((_ALL,) * n for n in range(65))


class NotAView(ValueError):
    """The shape asked for cannot be had without copying."""


def root(x: Any) -> Any:
    """The ndarray that owns the memory ``x`` looks at."""
    base = x.base
    while base.__class__ is ndarray:
        x, base = base, base.base
    return x


def offset_in(x: Any, owner: Any) -> int:
    """Bytes from the first element of ``owner`` to the first of ``x``."""
    return x.__array_interface__["data"][0] - owner.__array_interface__["data"][0]


def strided(x: Any, shape: tuple[int, ...], strides: tuple[int, ...], offset: int = 0, dtype: Any = None) -> Any:
    """The memory of ``x`` seen with other shape, byte strides, byte offset from its first element, and dtype."""
    if x.__class__ is not ndarray:
        x = np.asarray(x)
    dtype = dtype or x.dtype
    if 0 in shape:  # nothing to look at: the offset may lie anywhere
        return ndarray(shape, dtype, x[:0] if x.ndim and x.flags.c_contiguous else None)
    if offset >= 0:
        flags = x.flags.forc  # row- or column-major: one block, which the constructor takes as a buffer
        if flags:
            try:
                return ndarray(shape, dtype, x if x.flags.c_contiguous else x.transpose(), offset, strides)
            except ValueError:  # reaches beyond x, within its owner
                pass
    owner = root(x)
    if owner.flags.forc:
        return ndarray(
            shape,
            dtype,
            owner if owner.flags.c_contiguous else owner.transpose(),
            offset_in(x, owner) + offset,
            strides,
        )
    return np.asarray(_Block(x, shape, strides, offset, dtype)).view(dtype)


class _Block:
    """Memory of somebody else's that is itself strided: only an array interface can describe another look at it."""

    def __init__(self, x: Any, shape: tuple[int, ...], strides: tuple[int, ...], offset: int, dtype: Any):
        self.owner = x
        given = x.__array_interface__
        self.__array_interface__ = {
            "version": 3,
            "shape": shape,
            "strides": strides,
            "typestr": f"|V{dtype.itemsize}",
            "data": (given["data"][0] + offset, given["data"][1]),
        }


def as_strided(x: Any, shape: tuple[int, ...], strides: tuple[int, ...], offset: int = 0) -> Any:
    """The memory of ``x`` with strides and offset counted in elements, the offset from the first element of ``x``."""
    size = x.itemsize
    return strided(x, shape, tuple([s * size for s in strides]), offset * size)


def reshape(x: Any, shape: tuple[int, ...]) -> Any:
    """``x`` in another shape: a view where that can be, else a copy."""
    return x.reshape(shape)


def view(x: Any, shape: tuple[int, ...]) -> Any:
    """``x`` in another shape, never copied."""
    try:
        made = x.reshape(shape) if x.flags.c_contiguous else x.reshape(shape, copy=False)
    except ValueError:
        raise NotAView from None
    if 1 in x.shape and x.size:  # whose strides NumPy forgets, PyTorch does not
        wanted = _view_strides(x.shape, x.strides, made.shape)
        if made.strides != wanted:
            return strided(x, made.shape, wanted)
    return made


def _view_strides(shape: tuple[int, ...], strides: tuple[int, ...], wanted: tuple[int, ...]) -> tuple[int, ...]:
    """The strides of a view in another shape, which is known to be possible.

    From the last dimension on, the old dimensions are taken together as long as they lie evenly in memory (one of size 1
    always does); each such block, whose step is that of its last dimension, is dealt out to new dimensions.
    """
    out: list[int] = []
    at = len(wanted) - 1
    block = done = 1
    step = strides[-1] if strides else 0
    for i in range(len(shape) - 1, -1, -1):
        block *= shape[i]
        if i and (shape[i - 1] == 1 or strides[i - 1] == block * step):
            continue
        while at >= 0 and (done < block or wanted[at] == 1):
            out.append(done * step)
            done *= wanted[at]
            at -= 1
        if i:
            block = done = 1
            step = strides[i - 1]
    return tuple(out[::-1])


def view_dtype(x: Any, dtype: Any) -> Any:
    """The same bytes read as another dtype; a last dimension absorbs a change of element size."""
    return x.view(dtype)


def permute_dims(x: Any, axes: tuple[int, ...]) -> Any:
    """The dimensions in another order."""
    return x.transpose(axes)


def swapaxes(x: Any, axis1: int, axis2: int) -> Any:
    """Two dimensions exchanged."""
    return x.swapaxes(axis1, axis2)


def expand_dims(x: Any, axis: int) -> Any:
    """A new dimension of size 1 at ``axis``."""
    shape, strides = x.shape, x.strides
    if axis < 0:
        axis += len(shape) + 1
    step = shape[axis] * strides[axis] if axis < len(shape) else x.itemsize
    made = x.reshape((*shape[:axis], 1, *shape[axis:]))  # never a copy: the other dimensions stay as they are
    wanted = (*strides[:axis], step, *strides[axis:])
    # NumPy is free with the strides of dimensions of size 1, PyTorch is not.
    return made if made.strides == wanted or not x.size else strided(x, made.shape, wanted)


def squeeze(x: Any, axis: tuple[int, ...] | int | None = None) -> Any:
    """Without the dimensions of size 1 that ``axis`` names (None: all there are); others named are left."""
    if axis is None:
        return x.squeeze()
    shape = x.shape
    if axis.__class__ is int:
        return x.squeeze(axis) if shape[axis] == 1 else x.view()
    return x.squeeze(tuple([a for a in axis if shape[a] == 1]))  # type: ignore[union-attr]


def broadcast_to(x: Any, shape: tuple[int, ...]) -> Any:
    """``x`` repeated, without copying, along new leading dimensions and those of size 1."""
    own = x.shape
    if own == shape:
        return x
    added = len(shape) - len(own)
    if added < 0:
        raise ValueError(f"cannot broadcast shape {own} to {shape}")
    strides = []
    for n, stride, wanted in zip(own, x.strides, shape[added:]):
        if n != wanted and n != 1:
            raise ValueError(f"cannot broadcast shape {own} to {shape}")
        strides.append(stride if n == wanted else 0)
    if added:
        leading = [0] * added
        if own:  # a new dimension of size 1 steps over what follows it, as after `unsqueeze`
            for i in range(added - 1, -1, -1):
                if shape[i] == 1:
                    leading[i] = shape[i + 1] * (leading[i + 1] if i + 1 < added else strides[0])
        strides = leading + strides
    if x.flags.c_contiguous and 0 not in shape:
        return ndarray(shape, x.dtype, x, 0, strides)
    return strided(x, shape, tuple(strides))


def select(x: Any, axis: int, index: int) -> Any:
    """The slice of ``x`` at one position of ``axis``, which disappears."""
    return x[(*_LEADING[axis], index, ...)]


def slice_axis(x: Any, axis: int, start: int, stop: int, step: int = 1) -> Any:
    """Positions ``start:stop:step`` of ``axis``."""
    return x[(*_LEADING[axis], slice(start, stop, step))]


def diagonal(x: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    """The diagonal of two dimensions, as the last dimension."""
    made = x.diagonal(offset, axis1, axis2)
    if not made.flags.writeable and x.flags.writeable:
        made.flags.writeable = True
    return made


def unfold(x: Any, axis: int, size: int, step: int) -> Any:
    """Windows of ``size`` along ``axis``, ``step`` apart; the place in the window is a new last dimension."""
    if not x.ndim:
        return strided(x, (size,), (x.itemsize,))
    shape, strides = list(x.shape), list(x.strides)
    stride = strides[axis]
    shape[axis] = (shape[axis] - size) // step + 1
    strides[axis] = stride * step
    return strided(x, (*shape, size), (*strides, stride))


def unbind(x: Any, axis: int) -> list[Any]:
    """All slices along ``axis``, which disappears."""
    if not axis:
        return [x[i, ...] for i in range(x.shape[0])]
    lead = _LEADING[axis]
    return [x[(*lead, i, ...)] for i in range(x.shape[axis])]


def split_with_sizes(x: Any, sizes: tuple[int, ...], axis: int) -> list[Any]:
    """Consecutive pieces of the given sizes along ``axis``."""
    lead, pieces, start = _LEADING[axis], [], 0
    for n in sizes:
        pieces.append(x[(*lead, slice(start, start + n))])
        start += n
    return pieces


def view_as_real(x: Any) -> Any:
    """Complex numbers as pairs of reals, in a new last dimension."""
    part = x.real.dtype if x.dtype.kind == "c" else _HALF  # complex32 has no parts of its own
    return strided(x, (*x.shape, 2), (*x.strides, part.itemsize), 0, part)


def view_as_complex(x: Any) -> Any:
    """Pairs of reals in the last dimension as complex numbers."""
    whole = _PAIRS[x.itemsize]
    return strided(x, x.shape[:-1], x.strides[:-1], 0, whole)

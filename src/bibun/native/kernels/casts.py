"""Arrays of one dtype as another.

In: an array whose elements lie one after another in some order of its dimensions. Out: a new one in the same order, with what C makes of
each element; floats beyond an integer's range become its lowest number, as on x86.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..kernel import kernel
from ..lang import Ptr, T, U, f32, f64, i8, i16, i32, i64, select, u8, void

__all__ = ["cast"]

_TYPES = {
    np.dtype(np.float32): f32, np.dtype(np.float64): f64, np.dtype(np.int64): i64, np.dtype(np.int32): i32,
    np.dtype(np.int16): i16, np.dtype(np.int8): i8, np.dtype(np.uint8): u8, np.dtype(bool): u8,
}  # fmt: skip
#: Floats become these as one instruction of the processor has it.
_WIDE = {np.dtype(np.int64): 63, np.dtype(np.int32): 31}
#: Elements that a thread takes at a time.
_CHUNK = 1 << 14


@kernel(fast="", distinct=True)
def _cast(x: Ptr[T], out: Ptr[U], bits, begin: i64, end: i64) -> void:  # type: ignore[no-untyped-def]
    for i in range(begin, end):
        if bits == 0:
            out[i] = U(x[i])
        elif bits == 1:
            out[i] = U(select(x[i] != T(0), 1, U(0)))
        else:
            out[i] = select((x[i] >= T(-(2.0**bits))) and (x[i] < T(2.0**bits)), U(x[i]), U(-(2**bits)))


def cast(x: Any, dtype: Any) -> Any:
    """``x.astype(dtype)``, or NotImplemented."""
    d, dtype = x.dtype, np.dtype(dtype)
    t, u = _TYPES.get(d), _TYPES.get(dtype)
    if t is None or u is None or d is dtype:
        return NotImplemented
    bits = 1 if dtype.kind == "b" else 0
    if d.kind == "f" and dtype.kind in "iu":
        if dtype not in _WIDE:
            return NotImplemented
        bits = _WIDE[dtype]
    order = () if x.flags.c_contiguous else tuple(sorted(range(x.ndim), key=lambda i: -x.strides[i]))
    if order and not (x := x.transpose(order)).flags.c_contiguous:
        return NotImplemented
    out = np.empty(x.shape, dtype)
    _cast(T=t, U=u, bits=bits)(x, out, x.size, _CHUNK)
    return out.transpose(np.argsort(order)) if order else out

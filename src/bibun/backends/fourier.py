"""Fourier transforms of ndarrays by NumPy's pocketfft, in the precision of the input.

In: an ndarray, axes, scale (0: none, 1: by √n, 2: by n), direction. Out: a new ndarray. `numpy.fft` loads on first use.
"""

from __future__ import annotations

from typing import Any

import numpy as np

#: NumPy's names of the scales, for its forward and for its inverse transforms.
FORWARD = ("backward", "ortho", "forward")
INVERSE = ("forward", "ortho", "backward")


def _complex_of(d: Any) -> Any:
    return np.result_type(d, np.complex64)


def fft_c2c(x: Any, axes: tuple[int, ...], scale: int, forward: bool) -> Any:
    """The transform along ``axes``, one after another."""
    if not axes:
        return x.astype(_complex_of(x.dtype))
    if not x.size:
        return np.zeros(x.shape, _complex_of(x.dtype))
    if len(axes) == 1:
        return (
            np.fft.fft(x, None, axes[0], FORWARD[scale]) if forward else np.fft.ifft(x, None, axes[0], INVERSE[scale])
        )
    return np.fft.fftn(x, None, axes, FORWARD[scale]) if forward else np.fft.ifftn(x, None, axes, INVERSE[scale])


def fft_r2c(x: Any, axes: tuple[int, ...], scale: int, onesided: bool) -> Any:
    """The forward transform of real numbers, whole or its first half along the last axis."""
    if x.dtype.kind == "c":  # a gradient's gradient may come as complex numbers without imaginary part
        x = x.real
    if not onesided:
        return fft_c2c(x, axes, scale, True)
    last = axes[-1]
    if not x.size:
        shape = list(x.shape)
        shape[last] = shape[last] // 2 + 1
        return np.zeros(shape, _complex_of(x.dtype))
    out = np.fft.rfft(x, None, last, FORWARD[scale])
    return fft_c2c(out, axes[:-1], scale, True) if len(axes) > 1 else out


def fft_c2r(x: Any, axes: tuple[int, ...], scale: int, n: int) -> Any:
    """The inverse transform of half a spectrum to ``n`` real numbers along the last axis."""
    last = axes[-1]
    if not x.size:
        shape = list(x.shape)
        shape[last] = n
        return np.zeros(shape, x.real.dtype)
    if len(axes) > 1:
        x = fft_c2c(x, axes[:-1], scale, False)
    return np.fft.irfft(x, n, last, INVERSE[scale])


def scale_middle(x: Any, axis: int, n: int, by: float) -> Any:
    """``x`` times ``by`` along ``axis``, but at frequency 0 and, for even ``n``, at the highest."""
    out = x.copy()
    middle = [slice(None)] * x.ndim
    middle[axis] = slice(1, (n + 1) // 2)
    out[tuple(middle)] *= by
    return out

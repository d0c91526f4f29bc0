"""Discrete Fourier transforms: complex to complex, real to complex and back, each the others' derivative.

In: an array, the axes to transform (a tuple; the last one is the one that is halved), the scale as NumPy's transforms of
that direction name it. Out: complex arrays of the input's precision, or real ones for `fft_c2r`. Every entry is linear.
"""

from __future__ import annotations

from typing import Any

from .primitive import linear


@linear(grad="FftC2C", axes="axes")
def fft_c2c(xp, x, /, axes, scale, forward):
    """The transform of complex numbers along ``axes``: with exp(-i...) where ``forward``, else with exp(+i...).

    ``scale`` is 0 (none), 1 (divide by √n) or 2 (divide by n), n being the number of points transformed.
    """
    return xp.fft_c2c(x, axes, scale, forward)


fft_c2c.derivative(x=lambda xp, g, axes, scale, forward: xp.fft_c2c(g, axes, scale, not forward))


@linear(grad="FftR2C", axes="axes")
def fft_r2c(xp, x, /, axes, scale, onesided):
    """The forward transform of real numbers; ``onesided`` gives the first n // 2 + 1 values of the last axis only."""
    return xp.fft_r2c(x, axes, scale, onesided)


@linear(grad="FftC2R", axes="axes")
def fft_c2r(xp, x, /, axes, scale, n):
    """The transform with exp(+i...) of half a Hermitian spectrum to ``n`` real numbers along the last of ``axes``."""
    return xp.fft_c2r(x, axes, scale, n)


@linear(axes="axis")
def scale_middle(xp, x, /, axis, n, by):
    """``x``, half a spectrum of ``n`` points along ``axis``, times ``by`` at the frequencies that stand for two of the whole."""
    return xp.scale_middle(x, axis, n, by)


scale_middle.derivative(x=lambda xp, g, axis, n, by: xp.scale_middle(g, axis, n, by))


def _r2c_back(xp: Any, g: Any, x_shape: Any, axes: Any, scale: int, onesided: bool) -> Any:
    if not onesided:
        return xp.real(xp.fft_c2c(g, axes, scale, False))
    # The real part of a transform of zeros beyond the half equals that of the half with each pair's weight shared out.
    last = axes[-1]
    return xp.fft_c2r(xp.scale_middle(g, last, x_shape[last], 0.5), axes, scale, x_shape[last])


fft_r2c.derivative(x=_r2c_back)
fft_c2r.derivative(x=lambda xp, g, axes, scale, n: xp.scale_middle(xp.fft_r2c(g, axes, scale, True), axes[-1], n, 2))

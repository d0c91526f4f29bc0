"""Box and Muller's transform in float32, with the bits of PyTorch's vector instructions: the reference for any faster
form of it.

In come raw 32-bit words, groups of 16: 8 for radii, 8 for angles; out go standard normal numbers, 8 cosines and 8
sines. PyTorch evaluates Cephes' logf and sincosf (Moshier, 1989) with fused multiply-adds, whose roundings decide the
last bit. A fused step is made here of float64 products of float32 numbers, which are exact, and one rounding back; the
sum before that is rounded to 53 bits, which could show once in 10^8 numbers or so. Steps whose products are exact in
float32 anyhow (by ½, by the leading parts of log 2 and π/4) stay in float32.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .filling import float32, float64


def _numbers(dtype: Any, *values: float) -> tuple[np.ndarray, ...]:
    """Constants as 0-d arrays: operands of those cost half of what Python's numbers do."""
    return tuple(np.array(np.float32(value) if dtype is not np.int32 else value, dtype) for value in values)


# Minimax polynomials, highest power first.
_LOG = _numbers(
    float64, 7.0376836292e-2, -1.1514610310e-1, 1.1676998740e-1, -1.2420140846e-1, 1.4249322787e-1, -1.6668057665e-1,
    2.0000714765e-1, -2.4999993993e-1, 3.3333331174e-1,
)  # fmt: skip
_COS_SIN = tuple(
    np.array(pair, float32).astype(float64).reshape(2, 1)
    for pair in (
        (2.443315711809948e-5, -1.9515295891e-4),
        (-1.388731625493765e-3, 8.3321608736e-3),
        (4.166664568298827e-2, -1.6666654611e-1),
    )
)
_LN2_HIGH, _LN2_LOW = _numbers(float32, 0.693359375, -2.12194440e-4)
_PI_4 = _numbers(float32, -0.78515625, -2.4187564849853515625e-4, -3.77489497744594108e-8)  # their sum: -π/4
_EIGHTHS, _ANGLE_STEP = _numbers(float32, 1.27323954473516, float(np.float32(2 * math.pi)) * 2.0**-24)  # 4/π; 2π/2^24
_F0, _F1, _HALF, _MINUS_HALF, _MINUS_TWO = _numbers(float32, 0, 1, 0.5, -0.5, -2)
_SQRT_HALF = 0x3F3504F3  # the bits of √½
_I_SQRT_HALF, _I_SCALED_SQRT_HALF = _numbers(np.int32, _SQRT_HALF, _SQRT_HALF + (24 << 23))
_I1, _I2, _I4, _I23, _I29, _I30, _I31, _I_EVEN, _I_FRACTION, _I_BITS24, _I_END = _numbers(
    np.int32, 1, 2, 4, 23, 29, 30, 31, -2, 0x7FFFFF, 0xFFFFFF, 2**24
)
_EIGHT = np.dtype("V32")  # eight elements at once: moving whole ones is twice as fast


class Scratch:
    """Room for `box_muller` of so many pairs, with the views it takes: they would cost as much as a third of the work
    on 16 numbers."""

    __slots__ = ("size", "floats", "doubles", "integers", "rows", "bits", "eights")

    def __init__(self, size: int) -> None:
        self.size = size
        x, z, e, narrow, cosine, sine = floats = np.empty((6, size), float32)
        wide, x64, wide_cosine, wide_sine = doubles = np.empty((4, size))
        k, j, t = np.empty((3, size), np.int32)
        both = floats[4:]
        self.floats = x, z, e, narrow
        self.doubles = wide, x64
        self.integers = k, j, t
        self.rows = both, cosine, sine, doubles[2:], wide_cosine, wide_sine
        self.bits = tuple(a.view(np.int32) for a in (x, both, cosine, sine, narrow))
        self.eights = tuple(a.view(_EIGHT) for a in (k, j, cosine, sine))


def box_muller(words: np.ndarray, out: np.ndarray, scratch: Scratch) -> None:
    """out = √(-2 log(1 - u1))·(cos, sin)(2π u2) for u = k·2^-24, k the low 24 bits of a word.

    Args:
        words: int32, 16 n of them; spoilt.
        out: float32, 16 n.
        scratch: for 8 n pairs.
    """
    k_eights, j_eights, cosine_eights, sine_eights = scratch.eights
    np.bitwise_and(words, _I_BITS24, words)
    groups = words.view(_EIGHT)
    k_eights[...] = groups[::2]
    j_eights[...] = groups[1::2]
    both = scratch.rows[0]
    np.multiply(both, _factors(scratch), both)
    np.add(both, _F0, both)  # -0 becomes 0, as in a fused x·1 + 0
    groups = out.view(_EIGHT)
    groups[::2] = cosine_eights
    groups[1::2] = sine_eights


def factors(words: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each word its radius, and (2, n) its cosine and sine: what `box_muller` multiplies, in new arrays."""
    scratch = Scratch(words.size)
    k, j, _ = scratch.integers
    k[...] = words & 0xFFFFFF
    j[...] = k
    return _factors(scratch), scratch.rows[0]


def _factors(scratch: Scratch) -> np.ndarray:
    """The radii of the 24 bits in `scratch`; there it leaves the angles' cosines and sines."""
    add, subtract, multiply, bits_and, bits_xor = np.add, np.subtract, np.multiply, np.bitwise_and, np.bitwise_xor
    x, z, e, narrow = scratch.floats
    wide, x64 = scratch.doubles
    k, j, t = scratch.integers
    both, cosine, sine, wide_both, wide_cosine, wide_sine = scratch.rows
    x_bits, both_bits, cosine_bits, sine_bits, narrow_bits = scratch.bits

    # log(1 - u1) = log(2^24 - k) - 24 log 2, the argument as (1 + x)·2^e with 1 + x in [√½, √2)
    subtract(_I_END, k, k)
    x[...] = k
    subtract(x_bits, _I_SCALED_SQRT_HALF, x_bits)
    np.right_shift(x_bits, _I23, k)
    e[...] = k
    bits_and(x_bits, _I_FRACTION, x_bits)
    add(x_bits, _I_SQRT_HALF, x_bits)
    subtract(x, _F1, x)
    x64[...] = x
    multiply(x, x, z)
    multiply(x64, _LOG[0], wide)
    for coefficient in _LOG[1:]:
        add(wide, coefficient, wide)
        narrow[...] = wide
        wide[...] = narrow
        multiply(wide, x64, wide)
    narrow[...] = wide
    wide[...] = narrow
    x64[...] = z
    multiply(wide, x64, wide)
    multiply(e, _LN2_LOW, narrow)
    x64[...] = narrow
    add(wide, x64, wide)
    narrow[...] = wide
    multiply(z, _HALF, z)
    subtract(narrow, z, narrow)
    add(x, narrow, x)
    multiply(e, _LN2_HIGH, e)
    add(x, e, x)
    multiply(x, _MINUS_TWO, x)
    radius = np.sqrt(x, x)

    # the angle as an even number j of eighths of a turn and the rest x; then the polynomials of cos and sin in x
    x = e
    narrow[...] = j
    multiply(narrow, _ANGLE_STEP, x)
    multiply(x, _EIGHTHS, narrow)
    j[...] = narrow
    add(j, _I1, j)
    bits_and(j, _I_EVEN, j)
    z[...] = j
    for part in _PI_4:
        multiply(z, part, narrow)
        add(x, narrow, x)
    multiply(x, x, z)
    x64[...] = z
    multiply(x64, _COS_SIN[0], wide_both)
    for pair in _COS_SIN[1:]:
        add(wide_both, pair, wide_both)
        both[...] = wide_both
        wide_both[...] = both
        multiply(wide_both, x64, wide_both)
    both[...] = wide_both
    wide_both[...] = both
    multiply(wide_cosine, x64, wide_cosine)
    multiply(z, _MINUS_HALF, z)
    wide[...] = z
    add(wide_cosine, wide, wide_cosine)
    wide[...] = x
    multiply(wide_sine, wide, wide_sine)
    add(wide_sine, wide, wide_sine)
    both[...] = wide_both
    add(cosine, _F1, cosine)
    # in every second quarter they change places; then the signs
    np.left_shift(j, _I30, t)
    np.right_shift(t, _I31, t)
    bits_xor(cosine_bits, sine_bits, narrow_bits)
    bits_and(t, narrow_bits, t)
    bits_xor(both_bits, t, both_bits)
    bits_and(j, _I4, t)
    np.left_shift(t, _I29, t)
    bits_xor(sine_bits, t, sine_bits)
    add(j, _I2, j)
    bits_and(j, _I4, j)
    np.left_shift(j, _I29, j)
    bits_xor(cosine_bits, j, cosine_bits)
    return radius

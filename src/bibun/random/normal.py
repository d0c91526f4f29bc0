"""Normal numbers, by Box and Muller's transform (1958), in PyTorch's two ways.

In come a generator (None: the default one), the array to fill, mean and standard deviation; out comes that array.
Contiguous arrays of 16 elements and more are filled in groups of 16: 8 radii, then 8 angles, become 8 cosines and 8
sines; if elements are left over, the last 16 are drawn anew. Other arrays take pairs of doubles, whose second number
waits in the generator for the next call.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .engine import Generator, default_generator
from .filling import bfloat16, fill, float16, float32, float64, not_implemented, number, parts, store_doubles
from .rounding import fma, fma32, fma64, libm

_TWO_PI = 2.0 * math.pi
_BLOCK = 65536  # elements: enough to make calls cheap, few enough for the caches


def randn(generator: Generator | None, shape: tuple[int, ...], dtype: np.dtype = float32) -> np.ndarray:
    """A new array of standard normal numbers; complex: of variance 1, a half in each part."""
    return normal_(generator, np.empty(shape, dtype))


def normal_(generator: Generator | None, out: np.ndarray, mean: float = 0.0, std: float = 1.0) -> np.ndarray:
    """Fill with normal numbers. Complex: both parts get the mean and std/√2.

    Raises:
        RuntimeError: std < 0. NotImplementedError: no float or complex dtype.
    """
    generator = default_generator if generator is None else generator
    mean, std = float(mean), float(std)
    if not std >= 0:
        raise RuntimeError(f"normal expects std >= 0.0, but found std {number(std)}")
    dtype = out.dtype
    if dtype.kind == "c":
        normal_(generator, parts(out), mean, std / math.sqrt(2))
        return out
    if dtype != float32 and dtype != float64 and dtype != float16 and dtype != bfloat16:
        raise not_implemented("normal_kernel_cpu", dtype)
    n = out.size
    with generator.lock:
        if n < 16 or not out.flags.c_contiguous:
            return fill(out, lambda flat: store_doubles(flat, serial(generator, flat.size, mean, std)))
        flat = out.reshape(-1)
        if dtype == float64:
            _fill_float64(generator, flat, mean, std)
        elif dtype == float32:
            _fill_float32(generator, flat, mean, std)
        else:
            values = np.empty(n, float32)
            _groups_float32(generator, values[: n & ~15], mean, std)
            if n & 15:
                _groups_float32(generator, values[-16:], mean, std)
            with np.errstate(over="ignore"):
                flat[...] = values
    return out


def normal_of(generator: Generator | None, mean: Any, std: Any, out: np.ndarray) -> np.ndarray:
    """Fill `out` with numbers of normal distributions whose means and deviations are arrays that broadcast to it (or
    one of them a number, as in `torch.normal`).

    Raises:
        RuntimeError: a negative deviation.
    """
    if not isinstance(std, np.ndarray):
        normal_(generator, out, 0.0, std)
        out += mean
        return out
    if std.dtype.kind == "c":
        raise RuntimeError("normal expects standard deviation to be non-complex")
    if std.size and not (std >= 0).all():
        raise RuntimeError("normal expects all elements of std >= 0.0")
    normal_(generator, out)
    np.multiply(out, std, out=out, casting="unsafe")
    out += mean if isinstance(mean, np.ndarray) else out.dtype.type(mean)
    return out


# ------------------------------------------------------------------------------------------------------- in pairs


def serial(generator: Generator, n: int, mean: float, std: float) -> Any:
    """n normal numbers as doubles, one after the other: the waiting one, if any, then pairs. The lock is held."""
    values: list[float] = []
    if n and generator.cached_normal is not None:
        values.append(generator.cached_normal)
        generator.cached_normal = None
    pairs = (n - len(values) + 1) >> 1
    if pairs <= 32:
        uniform = iter(generator.few_doubles(2 * pairs))
        for u1, u2 in zip(uniform, uniform):
            radius = math.sqrt(-2.0 * math.log1p(-u2))
            angle = _TWO_PI * u1
            values.append(radius * math.cos(angle))
            values.append(radius * math.sin(angle))
        if len(values) > n:
            generator.cached_normal = values.pop()
        if std == 1 and mean == 0:
            return values
        return [fma(value, std, mean) for value in values]
    drawn = generator.doubles(2 * pairs)
    radii = np.sqrt(-2.0 * libm(math.log1p, -drawn[1::2]))
    angles = drawn[::2] * _TWO_PI
    numbers = np.empty(len(values) + 2 * pairs)
    numbers[: len(values)] = values
    numbers[len(values) :: 2] = radii * np.cos(angles)
    numbers[len(values) + 1 :: 2] = radii * np.sin(angles)
    if len(numbers) > n:
        generator.cached_normal = float(numbers[-1])
        numbers = numbers[:-1]
    return fma64(numbers, std, mean)


# ---------------------------------------------------------------------------------------------- in groups: float64


def _fill_float64(generator: Generator, flat: np.ndarray, mean: float, std: float) -> None:
    n = flat.size
    for start in range(0, n & ~15, _BLOCK):
        part = flat[start : min(start + _BLOCK, n & ~15)]
        _groups_float64(generator.doubles(part.size), part, mean, std)
    if n & 15:
        generator._raw(2 * (n & 15), False)  # drawn for the elements left over, and lost
        _groups_float64(generator.doubles(16), flat[-16:], mean, std)


def _groups_float64(uniform: np.ndarray, out: np.ndarray, mean: float, std: float) -> None:
    groups = uniform.reshape(-1, 16)
    target = out.reshape(-1, 16)
    radii = np.sqrt(-2.0 * libm(math.log, 1.0 - groups[:, :8]))
    angles = groups[:, 8:] * _TWO_PI
    np.multiply(radii, np.cos(angles), out=target[:, :8])
    np.multiply(radii, np.sin(angles), out=target[:, 8:])
    fma64(out, std, mean, out=out)


# ---------------------------------------------------------------------------------------------- in groups: float32


def _fill_float32(generator: Generator, flat: np.ndarray, mean: float, std: float) -> None:
    n = flat.size
    _groups_float32(generator, flat[: n & ~15], mean, std)
    if n & 15:
        generator._raw(n & 15, False)  # drawn for the elements left over, and lost
        _groups_float32(generator, flat[-16:], mean, std)


def _groups_float32(generator: Generator, flat: np.ndarray, mean: float, std: float) -> None:
    """Fill a vector of full groups. The lock is held."""
    mean, std = float(np.float32(mean)), float(np.float32(std))
    scratch = Scratch(min(flat.size, _BLOCK) >> 1)
    for start in range(0, flat.size, _BLOCK):
        part = flat[start : start + _BLOCK]
        words = generator.words(part.size).view(np.int32)
        if part.size != 2 * scratch.size:
            scratch = Scratch(part.size >> 1)
        box_muller(words, part, scratch)
        if std != 1 or mean != 0:
            fma32(part, std, mean, part)


class Scratch:
    """The temporaries of `box_muller` for so many pairs."""

    __slots__ = ("size", "k", "k2", "x", "z", "e", "narrow", "both", "wide", "x64", "wide2")

    def __init__(self, size: int) -> None:
        self.size = size
        self.k, self.k2 = np.empty((2, size), np.int32)
        self.x, self.z, self.e, self.narrow = np.empty((4, size), float32)
        self.both = np.empty((2, size), float32)
        self.wide, self.x64 = np.empty((2, size))
        self.wide2 = np.empty((2, size))


def _numbers(dtype: Any, *values: float) -> tuple[np.ndarray, ...]:
    """Constants as 0-d arrays: operands of those cost half of what Python's numbers do."""
    return tuple(np.array(np.float32(value) if dtype is not np.int32 else value, dtype) for value in values)


# Minimax polynomials of Cephes (Moshier, 1989), single precision, highest power first.
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
_EIGHTHS, _ANGLE_STEP = _numbers(float32, 1.27323954473516, float(np.float32(_TWO_PI)) * 2.0**-24)  # 4/π; 2π/2^24
_F0, _F1, _HALF, _MINUS_HALF, _MINUS_TWO = _numbers(float32, 0, 1, 0.5, -0.5, -2)
_EIGHT = np.dtype("V32")  # eight elements at once: shuffling whole ones is twice as fast
_SQRT_HALF = 0x3F3504F3  # the bits of √½
_I_SQRT_HALF, _I_SCALED_SQRT_HALF = _numbers(np.int32, _SQRT_HALF, _SQRT_HALF + (24 << 23))
_I1, _I2, _I4, _I23, _I29, _I30, _I31, _I_EVEN, _I_FRACTION, _I_BITS24, _I_END = _numbers(
    np.int32, 1, 2, 4, 23, 29, 30, 31, -2, 0x7FFFFF, 0xFFFFFF, 2**24
)


def box_muller(words: np.ndarray, out: np.ndarray, scratch: Scratch) -> None:
    """√(-2 log(1 - u1))·(cos, sin)(2π u2) in float32, for u = k·2^-24 with k the low 24 bits of a word: the reference
    for any faster one. words: int32 in groups of 16, radii before angles, which are spoilt. out: float32 in groups of
    16, cosines before sines.

    PyTorch evaluates Cephes' logf and sincosf with vector instructions and fused multiply-adds, whose roundings decide
    the last bit. A fused step is made here of float64 products of float32 numbers, which are exact, and one rounding
    back; the sum before it is rounded to 53 bits, which could show once in 10^8 numbers or so. Steps whose products are
    exact in float32 anyhow (by ½, by the leading parts of log 2 and π/4) stay in float32.
    """
    add, subtract, multiply, bits_and = np.add, np.subtract, np.multiply, np.bitwise_and
    k, k2, x, z, e, narrow = scratch.k, scratch.k2, scratch.x, scratch.z, scratch.e, scratch.narrow
    wide, x64, both, wide2 = scratch.wide, scratch.x64, scratch.both, scratch.wide2
    bits_and(words, _I_BITS24, words)
    halves = words.view(_EIGHT)
    k.view(_EIGHT)[...] = halves[::2]
    k2.view(_EIGHT)[...] = halves[1::2]

    # log(1 - u1) = log(2^24 - k) - 24 log 2, the argument as (1 + x)·2^e with 1 + x in [√½, √2)
    subtract(_I_END, k, k)
    x[...] = k
    bits = x.view(np.int32)
    subtract(bits, _I_SCALED_SQRT_HALF, bits)
    np.right_shift(bits, _I23, k)
    e[...] = k
    bits_and(bits, _I_FRACTION, bits)
    add(bits, _I_SQRT_HALF, bits)
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

    # the angle as an even number j of eighths of a turn and the rest x; first the polynomials of cos and sin in x
    x = e
    narrow[...] = k2
    multiply(narrow, _ANGLE_STEP, x)
    j = k
    multiply(x, _EIGHTHS, narrow)
    j[...] = narrow
    add(j, _I1, j)
    bits_and(j, _I_EVEN, j)
    z[...] = j
    for part in _PI_4:
        multiply(z, part, narrow)
        add(x, narrow, x)
    multiply(x, x, z)
    z64: Any = x64
    z64[...] = z
    multiply(z64, _COS_SIN[0], wide2)
    for pair in _COS_SIN[1:]:
        add(wide2, pair, wide2)
        both[...] = wide2
        wide2[...] = both
        multiply(wide2, z64, wide2)
    both[...] = wide2
    wide2[...] = both
    cosine, sine = wide2
    multiply(cosine, z64, cosine)
    multiply(z, _MINUS_HALF, z)
    wide[...] = z
    add(cosine, wide, cosine)
    wide[...] = x
    multiply(sine, wide, sine)
    add(sine, wide, sine)
    both[...] = wide2
    cosine, sine = both  # type: ignore[assignment]
    add(cosine, _F1, cosine)
    # in every second quarter they change places; then the signs
    cosine_bits, sine_bits = turned = both.view(np.int32)
    swap = np.left_shift(j, _I30, k2)
    np.right_shift(swap, _I31, swap)
    difference = np.bitwise_xor(cosine_bits, sine_bits, narrow.view(np.int32))
    bits_and(swap, difference, swap)
    np.bitwise_xor(turned, swap, turned)
    bits_and(j, _I4, swap)
    np.left_shift(swap, _I29, swap)
    np.bitwise_xor(sine_bits, swap, sine_bits)
    add(j, _I2, j)
    bits_and(j, _I4, j)
    np.left_shift(j, _I29, j)
    np.bitwise_xor(cosine_bits, j, cosine_bits)
    multiply(both, radius, both)
    # -0 becomes 0, as in a fused x·1 + 0
    add(both, _F0, both)
    halves = out.view(_EIGHT)
    halves[::2] = cosine.view(_EIGHT)
    halves[1::2] = sine.view(_EIGHT)

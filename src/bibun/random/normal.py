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

from ..backends.large import ready
from .box_muller import Scratch, box_muller
from .engine import Generator, default_generator
from .filling import bfloat16, fill, float16, float32, float64, not_implemented, number, parts, store_doubles
from .rounding import fma, fma32, fma64, libm

_TWO_PI = 2.0 * math.pi
_ZERO = np.array(0, float32)
_FEW = 256  # so many numbers come from the block at hand: of more the transform itself is quicker
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
    if dtype.kind in "cW":
        normal_(generator, parts(out), mean, std / math.sqrt(2))
        return out
    if dtype != float32 and dtype != float64 and dtype != float16 and dtype != bfloat16:
        raise not_implemented("normal_kernel_cpu", dtype)
    n = out.size
    if dtype is float32 and 16 <= n <= _FEW and not ready[0] and out.flags.c_contiguous and _few(generator, out, n):
        if std != 1 or mean != 0:
            _moved(out, mean, std)
        return out
    with generator.lock:
        if n < 16 and (dtype is float32 or dtype is float64) and out.flags.c_contiguous:
            values = serial(generator, n, mean, std)
            if n == 1:
                out.fill(values[0])
            else:
                out[...] = values if out.ndim == 1 else np.reshape(values, out.shape)
            return out
        if n < 16 or not out.flags.c_contiguous:
            return fill(out, lambda flat: store_doubles(flat, serial(generator, flat.size, mean, std)))
        flat = out.reshape(-1)
        if dtype == float64:
            _fill_float64(generator, flat, mean, std)
        elif dtype == float32:
            _fill_float32(generator, flat, mean, std, n & 15)
        else:
            values = np.empty(n, float32)
            _fill_float32(generator, values, mean, std, 0)
            with np.errstate(over="ignore"):
                flat[...] = values
    return out


def _few(generator: Generator, out: np.ndarray, n: int) -> bool:
    """Fill a contiguous float32 array with standard normal numbers from the block at hand; False where that is not enough."""
    found = generator.near(n if not n & 15 else n + 16)
    if found is None:
        return False
    block, start = found
    radii, turns = block.radii, block.turns
    if n == 16:
        np.multiply(radii[start : start + 8], turns[:, start + 8 : start + 16], out.reshape(2, 8))
    else:
        flat = out.reshape(-1)
        stop = start + (n & ~15)
        np.multiply(
            radii[start:stop].reshape(-1, 2, 8)[:, :1],
            turns[:, start:stop].reshape(2, -1, 2, 8)[:, :, 1].transpose(1, 0, 2),
            flat[: n & ~15].reshape(-1, 2, 8),
        )
        if n & 15:
            start += n
            np.multiply(radii[start : start + 8], turns[:, start + 8 : start + 16], flat[-16:].reshape(2, 8))
    np.add(out, _ZERO, out)  # -0 becomes 0
    return True


def _moved(out: np.ndarray, mean: float, std: float) -> None:
    """out·std + mean of a contiguous float32 array, rounded once."""
    if mean == 0:
        np.multiply(out, np.float32(std), out)  # a single rounding as it is
    else:
        flat = out.reshape(-1)
        fma32(flat, float(np.float32(std)), float(np.float32(mean)), flat)


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
    twister = generator.kernels(n)
    if twister is not None:
        twister.normals(generator._memory, flat, mean, std)
        return
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


def _fill_float32(generator: Generator, flat: np.ndarray, mean: float, std: float, lost: int) -> None:
    """Fill a vector of at least 16. `lost`: words drawn for the elements left over and then not used."""
    n = flat.size
    twister = generator.kernels(n) if lost == n & 15 else None
    if twister is not None:
        twister.normals(generator._memory, flat, float(np.float32(mean)), float(np.float32(std)))
        return
    full = n & ~15
    if n == full:
        _groups_float32(generator, flat, mean, std)
    elif n < _BLOCK:  # all groups at once
        words = generator.words(full + lost + 16).view(np.int32)
        if lost:
            words = np.concatenate([words[:full], words[-16:]])
        values = np.empty(full + 16, float32)
        _transform(generator, words, values, mean, std)
        flat[:full] = values[:full]
        flat[-16:] = values[full:]
    else:
        _groups_float32(generator, flat[:full], mean, std)
        generator._raw(lost, False)
        _groups_float32(generator, flat[-16:], mean, std)


def _groups_float32(generator: Generator, flat: np.ndarray, mean: float, std: float) -> None:
    for start in range(0, flat.size, _BLOCK):
        part = flat[start : start + _BLOCK]
        _transform(generator, generator.words(part.size).view(np.int32), part, mean, std)


def _transform(generator: Generator, words: np.ndarray, out: np.ndarray, mean: float, std: float) -> None:
    scratch = generator.scratch
    if scratch is None or scratch.size != words.size >> 1:
        scratch = generator.scratch = Scratch(words.size >> 1)
    box_muller(words, out, scratch)
    if std != 1 or mean != 0:
        fma32(out, float(np.float32(std)), float(np.float32(mean)), out)
    if scratch.size > 4096:  # too large to keep
        generator.scratch = None

"""Numbers spread evenly: uniform floats, integers of a range, coin flips.

In come a generator (None: the default one), the array to fill or a shape, and the parameters; out comes that array.
float32 takes 24 bits of one 32-bit word, float64 53 bits of two, the 16-bit types a float32 rounded.
"""

from __future__ import annotations

import math
import warnings
from functools import lru_cache
from typing import Any

import numpy as np

from ..backends.large import ready
from .engine import FIRST, SECOND, Generator, default_generator
from .filling import (
    C_TYPE,
    SCALAR_TYPE,
    bfloat16,
    fill,
    float16,
    float32,
    float64,
    int64,
    not_implemented,
    number,
    parts,
)
from .rounding import add_to_float32, fma64, sum_is_exact

_BITS24 = np.uint64(2**24 - 1)
_BITS24_TWICE = np.uint64(0x00FFFFFF00FFFFFF)
_BITS53 = np.uint64(2**53 - 1)
_STEP24 = np.float32(2.0**-24)
_HALF24 = np.float32(2.0**23)
_LEAST = 2.0**-126  # the smallest float32 that has all its bits
_LARGEST = {
    float16: 65504.0,
    bfloat16: 3.3895313892515355e38,
    float32: 3.4028234663852886e38,
    float64: 1.7976931348623157e308,
}
_ONE, _HALF = np.array(1, float32), np.array(0.5, float32)
_BLOCK = 32768
#: Up to so many numbers a draw is a slice of the block at hand, if they lie in it.
FEW = 512
_SOME = 128  # from so many on kernels that are there are quicker than NumPy's calls

# ---------------------------------------------------------------------------------------------------------- floats


def rand(generator: Generator | None, shape: tuple[int, ...], dtype: np.dtype = float32) -> np.ndarray:
    """A new array of uniform numbers of [0, 1); complex: in both parts."""
    if dtype is float32 or dtype is float64:
        n = math.prod(shape)
        if 0 < n <= FEW and not (n >= _SOME and ready[0]):
            found = (generator or default_generator).near(n if dtype is float32 else 2 * n)
            if found is not None:
                block, p = found
                drawn = block.units[p : p + n] if dtype is float32 else block.doubles[p : p + 2 * n : 2]
                return (drawn if len(shape) == 1 else drawn.reshape(shape)).copy()
    out = np.empty(shape, dtype)
    if dtype == float32:
        _unit_float32(generator or default_generator, out.reshape(-1))
        return out
    return uniform_(generator, out)


def uniform_(generator: Generator | None, out: np.ndarray, low: float = 0.0, high: float = 1.0) -> np.ndarray:
    """Fill with uniform numbers of [low, high).

    Raises:
        NotImplementedError: no float or complex dtype.
        RuntimeError: bounds that the dtype cannot hold, or in the wrong order.
    """
    generator = default_generator if generator is None else generator
    dtype = out.dtype
    if dtype.kind in "cW":
        uniform_(generator, parts(out), low, high)
        return out
    if dtype not in _LARGEST:
        raise not_implemented("check_uniform_bounds", dtype)
    low, high = float(low), float(high)
    if dtype is float32 and 0 < out.size <= FEW and out.flags.c_contiguous:
        scale = _simple(low, high)
        found = generator.near(out.size) if scale is not None else None
        if found is not None:
            block, p = found
            drawn = block.units[p : p + out.size]
            if out.ndim != 1:
                drawn = drawn.reshape(out.shape)
            if scale is _ONE:
                out[...] = drawn
            else:
                np.subtract(drawn, _HALF, out)
                np.multiply(out, scale, out)
            return out
    if dtype == float32 and low == 0 and high == 1:
        return fill(out, lambda flat: _unit_float32(generator, flat))
    largest = _LARGEST[dtype]
    if not -largest <= low <= largest:
        raise RuntimeError(f"from is out of bounds for {C_TYPE[dtype.name]}")
    if not -largest <= high <= largest:
        raise RuntimeError(f"to is out of bounds for {C_TYPE[dtype.name]}")
    if low > high:
        raise RuntimeError(
            f"uniform_ expects to return a [from, to) range, but found from={number(low)} > to={number(high)}"
        )
    if high - low > largest:
        raise RuntimeError(
            f"uniform_ expects to-from <= std::numeric_limits<{SCALAR_TYPE[dtype.name]}>::max(), but found "
            f"to={number(high)} and from={number(low)} which result in to-from to exceed the limit"
        )
    if dtype == float64:
        return fill(out, lambda flat: _float64(generator, flat, low, high))
    if dtype == float32:
        return fill(out, lambda flat: _float32(generator, flat, low, high))

    def rounded(flat: np.ndarray) -> None:
        values = np.empty(flat.size, float32)
        _float32(generator, values, low, high)
        flat[...] = values
        end = dtype.type(high)
        reached = flat >= end  # rounded up to the end, which is outside
        if reached.any() and low < high:
            flat[reached] = dtype.type(np.float32(low))

    return fill(out, rounded)


@lru_cache(64)
def _simple(low: float, high: float) -> Any:
    """What u - ½ is multiplied by for bounds -b and b, where that is one rounding; `_ONE` for 0 and 1; None for others."""
    if low == 0 and high == 1:
        return _ONE
    a, b = float(np.float32(low)), float(np.float32(high))
    span = float(np.float32(b - a))
    return np.array(span, float32) if a == -0.5 * span and 2.0**-101 <= span <= 2.0**126 else None


def _unit_float32(generator: Generator, flat: np.ndarray) -> None:
    twister = generator.kernels(flat.size) if flat.size >= _SOME else None
    if twister is not None:
        with generator.lock:
            twister.uniform(generator._memory, flat, 0.0, 1.0, 2.0**-24)
        return
    _words24(generator, flat)
    flat *= _STEP24


def _words24(generator: Generator, flat: np.ndarray) -> None:
    """Fill a float32 vector with the low 24 bits of a word each, as they are."""
    n = flat.size
    if n < 4096:
        with generator.lock:
            words = generator._raw(n)
        words &= _BITS24
        flat[...] = words
        return
    even = n & ~1
    with generator.lock:
        for start in range(0, even, _BLOCK):
            part = flat[start : min(start + _BLOCK, even)]
            pairs = generator._integers(0, 0xFFFFFFFFFFFFFFFF, part.size >> 1, np.uint64, True)
            pairs &= _BITS24_TWICE
            integers = pairs.view(np.int32)  # signed: processors turn those into floats faster
            part[::2] = integers[FIRST::2]
            part[1::2] = integers[SECOND::2]
        if even < n:
            flat[even] = generator._raw() & 0xFFFFFF


def _float32(generator: Generator, flat: np.ndarray, low: float, high: float) -> None:
    """k·2^-24·(high - low) + low for k of 24 bits, rounded once; then `low` for what was rounded up to `high`."""
    a = float(np.float32(low))
    b = float(np.float32(high))
    span = float(np.float32(b - a))
    step = span * 2.0**-24
    twister = generator.kernels(flat.size) if flat.size >= _SOME and _LEAST <= step < math.inf else None
    if twister is not None:
        with generator.lock:
            twister.uniform(generator._memory, flat, a, b, step)
        return
    _words24(generator, flat)
    if a == -0.5 * span and step >= _LEAST:
        # as for initial weights: (k - 2^23)·step, a single product, which float32 can round by itself
        for start in range(0, flat.size, _BLOCK):
            part = flat[start : start + _BLOCK]
            part -= _HALF24
            part *= np.float32(step)
        return
    # k·step fits in a double; so does its sum with `a`, but for spans much smaller or larger than that
    exact = sum_is_exact(math.ldexp(1.0, math.frexp(span)[1] - 48), span, a) if span else True
    for start in range(0, flat.size, 16384):
        part = flat[start : start + 16384]
        products = part.astype(float64)
        products *= step
        add_to_float32(products, a, exact, part)
    if span and (not exact or np.float32((2**24 - 1) * step + a) >= b):
        flat[flat >= np.float32(b)] = a


def _float64(generator: Generator, flat: np.ndarray, low: float, high: float) -> None:
    twister = generator.kernels(flat.size) if flat.size >= _SOME and low < high else None
    if twister is not None:
        with generator.lock:
            twister.doubles(generator._memory, flat, low, high)
        return
    with generator.lock:
        for start in range(0, flat.size, _BLOCK):
            part = flat[start : start + _BLOCK]
            words = generator.long_words(part.size)
            words &= _BITS53
            part[...] = words
            part *= 2.0**-53
    if low != 0 or high != 1:
        fma64(flat, high - low, low, out=flat)
        if high > low:
            flat[flat >= high] = low


# -------------------------------------------------------------------------------------------------------- integers

_FLOAT_DIGITS = {float16: 11, bfloat16: 8, float32: 24, float64: 53}


_LIMITS: dict[np.dtype, tuple[float, float]] = {np.dtype(np.bool_): (0, 1)}
for _name in ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"):
    _LIMITS[np.dtype(_name)] = int(np.iinfo(_name).min), int(np.iinfo(_name).max)
for _dtype, _most in _LARGEST.items():
    _LIMITS[_dtype] = -_most, _most


def _check_bounds(dtype: np.dtype, low: int, last: int, say_last: str) -> None:
    if dtype not in _LIMITS:
        raise RuntimeError("check_random_bounds handles only integral, floating-point and boolean types")
    least, most = _LIMITS[dtype]
    if not (least <= low and last <= most):
        what = say_last if least <= low <= most else "from"
        raise RuntimeError(f"{what} is out of bounds for {C_TYPE[dtype.name]}")
    digits = _FLOAT_DIGITS.get(dtype)
    if digits is not None:
        for value, what in ((low, "from"), (last, say_last)):
            if not -(2**digits) <= value <= 2**digits:
                warnings.warn(
                    f"{what} is out of bounds [-(2^{digits}), 2^{digits}]. Due to precision limitations "
                    f"{C_TYPE[dtype.name]} can support discrete uniform distribution only within this range. "
                    "This warning will become an error in version 1.7 release, please fix the code in advance",
                    stacklevel=3,
                )


def randint(
    generator: Generator | None, shape: tuple[int, ...], low: int, high: int, dtype: np.dtype = int64
) -> np.ndarray:
    """A new array of integers of [low, high)."""
    if dtype is int64 and 0 < high - low < 2**28 and -(2**62) < low < 2**62:
        n = math.prod(shape)
        found = (generator or default_generator).near(n) if 0 < n <= FEW else None
        if found is not None:
            block, p = found
            words = block.words[p : p + n]
            drawn = words % (high - low)
            if low:
                drawn += low
            return drawn if len(shape) == 1 else drawn.reshape(shape)
    return random_(generator, np.empty(shape, dtype), low, high)


def random_(
    generator: Generator | None, out: np.ndarray, low: int | None = None, high: int | None = None
) -> np.ndarray:
    """Fill with integers: of [low, high); from `low` to the dtype's largest (high None); or, with neither, of all
    that are not negative and that the dtype holds (floats: up to 2^digits).

    Raises:
        RuntimeError: an empty range, or one beyond the dtype's. NotImplementedError: a dtype PyTorch leaves out.
    """
    generator = default_generator if generator is None else generator
    dtype = out.dtype
    if low is None and high is None:
        return _random_all(generator, out)
    low = 0 if low is None else int(low)
    if high is not None:
        high = int(high)
        if low >= high:
            raise RuntimeError(f"random_ expects 'from' to be less than 'to', but got from={low} >= to={high}")
        if dtype.kind == "f" or dtype == bfloat16:
            low, high = _representable(dtype, low, high)
            if low >= high:
                raise RuntimeError(
                    "random_ expects 'from' casted to dtype to be less than 'to' casted to dtype, but got "
                    f"from={low} >= to={high}"
                )
        _check_bounds(dtype, low, high - 1, "to - 1")
        span = high - low
    elif low == -(2**63):
        if dtype.kind in "iu" and dtype != np.int64:
            _check_bounds(dtype, low, low, "from")
        if dtype.kind not in "f" and dtype not in (bfloat16, np.dtype(np.int64)):
            raise RuntimeError("random_from_to_kernel_cpu handles only int64, double, float and bfloat16")
        span = 2**64
    else:
        last = 2**63 - 1
        if dtype.kind == "f" or dtype == bfloat16:
            last = min(2 ** _FLOAT_DIGITS[dtype], 2**63 - 1)
            low = _representable(dtype, low, low + 1)[0]
        elif dtype.kind in "biu":
            last = min(int(_LIMITS[dtype][1]), last)
        _check_bounds(dtype, low, low, "from")
        span = last - low + 1
    return fill(out, lambda flat: _below(generator, flat, span, low if span < 2**64 else 0))


def _representable(dtype: np.dtype, low: int, high: int) -> tuple[int, int]:
    """The bounds moved inward to values of a float dtype, if they are too large to be ones."""

    def cast(value: int) -> int:
        wide = float(np.float32(value)) if dtype != float64 else float(value)
        with np.errstate(over="ignore"):
            narrow = float(dtype.type(wide))
        return int(narrow) if math.isfinite(narrow) else (2**63 - 1 if narrow > 0 else -(2**63))

    digits = _FLOAT_DIGITS[dtype]
    after = cast(low + 1)
    if after < low:
        low = after + (1 << abs(low + 1).bit_length() - digits)
    before = cast(high - 1)
    if before >= high:
        high = before - (1 << abs(high - 1).bit_length() - digits)
    return low, high


def _below(generator: Generator, flat: np.ndarray, span: int, base: int) -> None:
    """base + (a word mod span): a 64-bit word from spans of 2^28 on."""
    n = flat.size
    if n >= _SOME and span < 2**28 and flat.dtype == int64 and -(2**52) < base < 2**52:
        twister = generator.kernels(n)
        if twister is not None:
            with generator.lock:
                twister.below(generator._memory, flat, span, base)
            return
    if n < 32 and span < 2**28:
        with generator.lock:
            words = generator._raw(n)
        words %= np.uint64(span)
        flat[...] = words if base == 0 else words.astype(np.int64) + base
        return
    if span < 2**28:
        words = generator.words(n)
        _remainder(words, span)
        if base == 0 or flat.dtype.itemsize == 8:
            flat[...] = words
            if base:
                flat += flat.dtype.type(base)
        else:
            flat[...] = words.astype(np.int64) + base
        return
    longs = generator.long_words(n)
    if span < 2**64:
        _remainder(longs, span)
    longs += np.uint64(base & (2**64 - 1))  # modulo 2^64
    flat[...] = longs if flat.dtype.kind == "u" else longs.view(np.int64)


def _remainder(words: np.ndarray, span: int) -> None:
    """words %= span. NumPy divides by one number with vector instructions, but takes remainders without."""
    divisor = words.dtype.type(span)
    if span & (span - 1) == 0:
        words &= divisor - words.dtype.type(1)
    elif words.size < 64:
        words %= divisor
    else:
        quotient = words // divisor
        quotient *= divisor
        words -= quotient


def _random_all(generator: Generator, out: np.ndarray) -> np.ndarray:
    dtype = out.dtype
    if dtype.kind == "b":
        span = 2
    elif dtype in _FLOAT_DIGITS:
        span = 2 ** _FLOAT_DIGITS[dtype] + 1
    elif dtype.kind == "i" or dtype == np.uint8:
        span = int(_LIMITS[dtype][1]) + 1
    else:
        raise not_implemented("random_kernel_cpu", dtype)

    def draw(flat: np.ndarray) -> None:
        if dtype == float64 or dtype == np.int64:
            words = generator.long_words(flat.size)
        else:
            words = generator.words(flat.size)
        _remainder(words, span)
        flat[...] = words

    return fill(out, draw)


# -------------------------------------------------------------------------------------------------------- coin flips


def _flips(generator: Generator, n: int, p: float) -> np.ndarray:
    """n booleans, true with probability p: whether 53 bits of two words lie below p·2^53."""
    found = generator.near(2 * n) if 0 < n <= 48 or 0 < n <= FEW // 2 and not ready[0] else None
    if found is not None:
        block, start = found
        return block.doubles[start : start + 2 * n : 2] < p
    below = math.ceil(p * 2.0**53)
    out = np.empty(n, np.bool_)
    twister = generator.kernels(n) if n else None
    if twister is not None:
        with generator.lock:
            twister.flips(generator._memory, out, p)
        return out
    with generator.lock:
        for start in range(0, n, _BLOCK):
            part = out[start : start + _BLOCK]
            words = generator.long_words(part.size)
            words &= _BITS53
            np.less(words, np.uint64(below), out=part)
    return out


def keep_mask(
    generator: Generator | None, shape: tuple[int, ...], p: float, like: np.ndarray | None = None
) -> np.ndarray:
    """What dropout draws: a bool array, true where an element is kept, with probability p (one minus dropout's own).
    It lies in memory as `like` does, if given, which decides the order of the draws."""
    generator = default_generator if generator is None else generator
    if like is None or like.flags.c_contiguous:
        return _flips(generator, math.prod(shape), p).reshape(shape)
    return bernoulli_(generator, np.empty_like(like, np.bool_), p)


def noise(generator: Generator | None, like: np.ndarray, p: float) -> np.ndarray:
    """What dropout multiplies by, drawn as `keep_mask` is: 1 / p with probability p, and 0 else, in the dtype of `like`."""
    dtype = like.dtype
    if dtype is float32 and like.flags.c_contiguous:
        generator = default_generator if generator is None else generator
        scale = np.float32(1) / np.float32(p)
        twister = generator.kernels(like.size) if like.size > 48 else None
        if twister is None:
            return np.multiply(_flips(generator, like.size, p).reshape(like.shape), scale)
        made = np.empty(like.shape, float32)
        with generator.lock:
            twister.noise(generator._memory, made, p, float(scale))
        return made
    made = keep_mask(generator, like.shape, p, like).astype(dtype)
    return np.divide(made, dtype.type(p), out=made)


def bernoulli_(generator: Generator | None, out: np.ndarray, p: Any = 0.5) -> np.ndarray:
    """Fill with 1 with probability p and with 0 else. p: a number, or a float array that broadcasts to `out`, which
    takes float32's draws but for float64.

    Raises:
        RuntimeError: p outside [0, 1]. NotImplementedError: a dtype PyTorch leaves out.
    """
    generator = default_generator if generator is None else generator
    dtype = out.dtype
    scalar = not isinstance(p, np.ndarray)
    if scalar and not 0 <= p <= 1:
        raise RuntimeError(f"bernoulli_ expects p to be in [0, 1], but got p={number(p)}")
    if dtype.kind not in "bif" and dtype not in (bfloat16, np.dtype(np.uint8)):
        raise not_implemented("bernoulli_scalar_cpu_" if scalar else "bernoulli_tensor_cpu_self_", dtype)
    if scalar:

        def draw(flat: np.ndarray) -> None:
            flat[...] = _flips(generator, flat.size, p)

        return fill(out, draw)
    if p.dtype not in _LARGEST:
        raise not_implemented("bernoulli_tensor_cpu_p_", p.dtype)
    if not ((p >= 0) & (p <= 1)).all():
        raise RuntimeError("Expected p_in >= 0 && p_in <= 1 to be true, but got false.")
    if p.dtype is float32 and dtype is float32 and p.shape == out.shape and p.flags.c_contiguous and out.flags.c_contiguous:
        out[...] = rand(generator, out.shape) < p
        return out
    below = np.empty_like(out, float64 if p.dtype == float64 else float32)
    below[...] = p
    drawn = uniform_(generator, np.empty_like(below))
    out[...] = drawn < below
    return out


def bernoulli(generator: Generator | None, p: np.ndarray) -> np.ndarray:
    """A new array of p's shape and dtype, in row-major order, 1 with probability p and 0 else."""
    if p.dtype not in _LARGEST:
        raise not_implemented("bernoulli_tensor_cpu_p_", p.dtype)
    return bernoulli_(generator, np.empty(p.shape, p.dtype), p)

"""Numbers of other distributions that are one formula of one or two uniform doubles: exponential, Cauchy, log-normal,
geometric.

In come a generator (None: the default one), the array to fill and the parameters; out comes that array. The formulas
are evaluated in double precision, whatever the dtype, and rounded once at the end.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..backends.large import ready
from .engine import Generator, default_generator
from .filling import C_TYPE, SCALAR_TYPE, bfloat16, fill, float32, float64, not_implemented, number, store_doubles
from .normal import serial
from .rounding import fma64, libm
from .uniform import FEW

_BLOCK = 32768


def _is_float(dtype: np.dtype) -> bool:
    return dtype.kind == "f" or dtype == bfloat16


def _fill(generator: Generator, out: np.ndarray, values: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Fill `out` with `values` of uniform doubles, one each."""

    def draw(flat: np.ndarray) -> None:
        with generator.lock, np.errstate(invalid="ignore"):  # an infinite count has no integer
            for start in range(0, flat.size, _BLOCK):
                part = flat[start : start + _BLOCK]
                store_doubles(part, values(generator.doubles(part.size)))

    return fill(out, draw)


def _precise(dtype: np.dtype, function: Callable[[float], float], fast: Any, x: np.ndarray) -> np.ndarray:
    """A function of doubles: the C library's where all bits show, NumPy's where they are rounded away."""
    return libm(function, x) if dtype == float64 else fast(x)


def exponential_(generator: Generator | None, out: np.ndarray, rate: float = 1.0) -> np.ndarray:
    """Fill with -log(1 - u) / rate.

    Raises:
        RuntimeError: no float dtype, or rate ≤ 0.
    """
    generator = default_generator if generator is None else generator
    dtype = out.dtype
    if not rate > 0:
        raise RuntimeError(f"exponential_ expects lambda > 0.0, but found lambda={number(rate)}")
    if not _is_float(dtype):
        raise RuntimeError(
            "Exponential distribution is a continuous probability distribution. dtype must be a floating point but you "
            f"specified {SCALAR_TYPE.get(dtype.name, dtype.name)}"
        )
    factor = -1.0 / rate
    n = out.size
    if dtype is float32 and 0 < n <= 4096 and out.flags.c_contiguous:
        found = generator.near(2 * n) if n < 48 or n <= FEW // 2 and not ready[0] else None
        if found is None:
            drawn = generator.doubles(n)
            logs = np.log1p(np.negative(drawn, drawn), drawn)
            return np.multiply(logs.reshape(out.shape), factor, out, casting="same_kind")
        block, start = found
        logs = block.logs[start : start + 2 * n : 2]
        return np.multiply(logs if out.ndim == 1 else logs.reshape(out.shape), factor, out, casting="same_kind")
    return _fill(generator, out, lambda u: factor * _precise(dtype, math.log1p, np.log1p, -u))


def cauchy_(generator: Generator | None, out: np.ndarray, median: float = 0.0, sigma: float = 1.0) -> np.ndarray:
    """Fill with median + sigma·tan(π(u - ½)).

    Raises:
        RuntimeError: no float dtype, or sigma ≤ 0.
    """
    generator = default_generator if generator is None else generator
    dtype = out.dtype
    if not sigma > 0:
        raise RuntimeError(f"cauchy_ expects sigma > 0.0, but found sigma={number(sigma)}")
    if not _is_float(dtype):
        raise RuntimeError(
            "Cauchy distribution is a continuous probability distribution. dtype must be a floating point but you "
            f"specified {C_TYPE.get(dtype.name, dtype.name)}"
        )
    median, sigma = float(median), float(sigma)
    return _fill(generator, out, lambda u: fma64(_precise(dtype, math.tan, np.tan, math.pi * (u - 0.5)), sigma, median))


def geometric_(generator: Generator | None, out: np.ndarray, p: float) -> np.ndarray:
    """Fill with the number of trials up to the first success: ⌈log u / log(1 - p)⌉.

    Raises:
        RuntimeError: p outside (0, 1). NotImplementedError: a dtype PyTorch leaves out.
    """
    generator = default_generator if generator is None else generator
    dtype = out.dtype
    if not 0 < p < 1:
        raise RuntimeError(f"geometric_ expects p to be in (0, 1), but got p={number(p)}")
    if not (_is_float(dtype) or dtype.kind == "i" or dtype == np.uint8):
        raise not_implemented("geometric_cpu", dtype)
    logarithm = math.log1p(-p)

    def values(u: np.ndarray) -> np.ndarray:
        with np.errstate(divide="ignore"):
            ratio = np.log(u) / logarithm
            trials = np.ceil(ratio)
            # where the last bit of the logarithm decides, the C library's
            edge = np.flatnonzero(np.abs(ratio - np.rint(ratio)) <= 1e-15 * np.abs(ratio))
        for i in edge[np.isfinite(ratio[edge])]:
            trials[i] = math.ceil(math.log(u[i]) / logarithm)
        return trials

    return _fill(generator, out, values)


def log_normal_(generator: Generator | None, out: np.ndarray, mean: float = 1.0, std: float = 2.0) -> np.ndarray:
    """Fill with exp of normal numbers, which are drawn in pairs.

    Raises:
        RuntimeError: std ≤ 0. NotImplementedError: no float dtype.
    """
    generator = default_generator if generator is None else generator
    dtype = out.dtype
    if not std > 0:
        raise RuntimeError(f"log_normal_ expects std > 0.0, but found std={number(std)}")
    if not _is_float(dtype):
        raise not_implemented("log_normal_cpu", dtype)

    def draw(flat: np.ndarray) -> None:
        with generator.lock, np.errstate(over="ignore"):
            normal = np.asarray(serial(generator, flat.size, float(mean), float(std)), np.float64)
            store_doubles(flat, _precise(dtype, math.exp, np.exp, normal))

    return fill(out, draw)

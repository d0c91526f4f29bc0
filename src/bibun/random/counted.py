"""Distributions sampled by trial and rejection, which use up an amount of the stream nobody knows beforehand: Poisson,
binomial, gamma and Dirichlet.

In come a generator (None: the default one) and arrays of parameters; out comes a new array, C-contiguous and drawn in
that order. Every trial is a step of a Python loop: the price of following PyTorch's stream, a microsecond or so each.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .engine import Generator, Lookahead, default_generator
from .filling import SCALAR_TYPE, bfloat16, float16, float32, float64, not_implemented, store_doubles

Uniform = Callable[[], float]


def _each(out: np.ndarray, values: list[float]) -> np.ndarray:
    store_doubles(out.reshape(-1), values)
    return out


# ---------------------------------------------------------------------------------------------------------- Poisson


def poisson(generator: Generator | None, rate: np.ndarray) -> np.ndarray:
    """A new array like `rate` of numbers of events.

    Raises:
        RuntimeError: a negative rate. NotImplementedError: no float dtype.
    """
    generator = default_generator if generator is None else generator
    if rate.dtype not in (float16, bfloat16, float32, float64):
        raise not_implemented("poisson_cpu", rate.dtype)
    rates = rate.astype(float64)
    if not (rates >= 0).all():
        raise RuntimeError("invalid Poisson rate, expected rate to be non-negative")
    with Lookahead(generator, 4 * rate.size) as uniform:
        drawn = [_poisson(rate, uniform) for rate in rates.ravel().tolist()]
    return _each(np.empty(rate.shape, rate.dtype), drawn)


def _poisson(rate: float, uniform: Uniform) -> float:
    if rate < 10:
        if rate == 0:
            return 0
        least = math.exp(-rate)
        product = uniform()
        events = 0
        while product > least:
            events += 1
            product *= uniform()
        return events
    # transformed rejection, PTRS (Hörmann, 1993)
    root = math.sqrt(rate)
    log_rate = math.log(rate)
    b = 0.931 + 2.53 * root
    a = -0.059 + 0.02483 * b
    inverse_alpha = 1.1239 + 1.1328 / (b - 3.4)
    v_r = 0.9277 - 3.6224 / (b - 2)
    while True:
        u = uniform() - 0.5
        v = uniform()
        us = 0.5 - abs(u)
        if us == 0:
            continue
        k = math.floor((2 * a / us + b) * u + rate + 0.43)
        if us >= 0.07 and v <= v_r:
            return k
        if k < 0 or (us < 0.013 and v > us):
            continue
        if v == 0 or (
            math.log(v) + math.log(inverse_alpha) - math.log(a / (us * us) + b)
            <= -rate + k * log_rate - math.lgamma(k + 1)
        ):
            return k


# --------------------------------------------------------------------------------------------------------- binomial


def binomial(generator: Generator | None, count: np.ndarray, p: np.ndarray) -> np.ndarray:
    """A new array of numbers of successes in `count` trials of probability p; the two broadcast.

    Raises:
        ValueError: counts of no float dtype. RuntimeError: two dtypes. NotImplementedError: 16-bit floats.
    """
    generator = default_generator if generator is None else generator
    if count.dtype not in (float16, bfloat16, float32, float64):
        raise ValueError(
            f"binomial only supports floating-point dtypes for count, got: {SCALAR_TYPE.get(count.dtype.name)}"
        )
    if p.dtype != count.dtype:
        raise RuntimeError(f"Found dtype {SCALAR_TYPE.get(p.dtype.name)} but expected {SCALAR_TYPE[count.dtype.name]}")
    if count.dtype not in (float32, float64):
        raise not_implemented("binomial_cpu", count.dtype)
    counts, ps = np.broadcast_arrays(count.astype(float64), p.astype(float64))
    with Lookahead(generator, 4 * counts.size) as uniform:
        drawn = [_binomial(n, q, uniform) for n, q in zip(counts.ravel().tolist(), ps.ravel().tolist())]
    return _each(np.empty(counts.shape, count.dtype), drawn)


def _binomial(count: float, p: float, uniform: Uniform) -> float:
    if count <= 0 or p <= 0:
        return 0.0
    if p >= 1:
        return count
    if math.isnan(count) or math.isnan(p):
        return math.nan
    if p <= 0.5:
        return (_btrs if count * p >= 10 else _binomial_by_waiting)(count, p, uniform)
    q = 1 - p
    return count - (_btrs if count * q >= 10 else _binomial_by_waiting)(count, q, uniform)


def _binomial_by_waiting(count: float, p: float, uniform: Uniform) -> float:
    """Successes until the waiting times for them, which are geometric, exceed the trials."""
    log_failure = math.log1p(-p)
    waited = 0.0
    successes = 0.0
    while True:
        u = uniform()
        waited += math.ceil(math.log(u) / log_failure) if u > 0 else math.inf
        if waited > count:
            return successes
        successes += 1


_STIRLING = (
    0.0810614667953272, 0.0413406959554092, 0.0276779256849983, 0.02079067210376509, 0.0166446911898211,
    0.0138761288230707, 0.0118967099458917, 0.0104112652619720, 0.00925546218271273, 0.00833056343336287,
)  # fmt: skip


def _stirling_rest(k: float) -> float:
    """log k! minus Stirling's formula."""
    if k <= 9:
        return _STIRLING[int(k)]
    square = (k + 1) * (k + 1)
    return (1 / 12 - (1 / 360 - 1 / 1260 / square) / square) / (k + 1)


def _btrs(count: float, p: float, uniform: Uniform) -> float:
    """Transformed rejection, BTRS (Hörmann, 1993)."""
    deviation = math.sqrt(count * p * (1 - p))
    b = 1.15 + 2.53 * deviation
    a = -0.0873 + 0.0248 * b + 0.01 * p
    c = count * p + 0.5
    v_r = 0.92 - 4.2 / b
    odds = p / (1 - p)
    alpha = (2.83 + 5.1 / b) * deviation
    m = math.floor((count + 1) * p)
    while True:
        u = uniform() - 0.5
        v = uniform()
        us = 0.5 - abs(u)
        if us == 0:
            continue
        k = math.floor((2 * a / us + b) * u + c)
        if k < 0 or k > count:
            continue
        if us >= 0.07 and v <= v_r:
            return k
        v = v * alpha / (a / (us * us) + b)
        bound = (
            (m + 0.5) * math.log((m + 1) / (odds * (count - m + 1)))
            + (count + 1) * math.log((count - m + 1) / (count - k + 1))
            + (k + 0.5) * math.log(odds * (count - k + 1) / (k + 1))
            + _stirling_rest(m)
            + _stirling_rest(count - m)
            - _stirling_rest(k)
            - _stirling_rest(count - k)
        )
        if v == 0 or math.log(v) <= bound:
            return k


# ------------------------------------------------------------------------------------------------ gamma, Dirichlet


def standard_gamma(generator: Generator | None, alpha: np.ndarray) -> np.ndarray:
    """A new array of gamma numbers of shape `alpha` and rate 1 (`torch._standard_gamma`).

    Raises:
        NotImplementedError: neither float32 nor float64.
    """
    if alpha.dtype not in (float32, float64):
        raise not_implemented("gamma_cpu", alpha.dtype)
    out = np.empty(alpha.shape, alpha.dtype)
    out.reshape(-1)[...] = _gammas(generator, alpha)
    return np.maximum(out, np.finfo(alpha.dtype).tiny)


def dirichlet(generator: Generator | None, alpha: np.ndarray) -> np.ndarray:
    """A new array whose rows (last axis) are Dirichlet numbers of concentration `alpha`.

    Raises:
        NotImplementedError: neither float32 nor float64.
    """
    if alpha.dtype not in (float32, float64):
        raise not_implemented("dirichlet", alpha.dtype)
    tiny = np.finfo(alpha.dtype).tiny
    gamma = np.maximum(_gammas(generator, alpha.astype(float64)), np.finfo(float64).tiny).reshape(alpha.shape)
    out = (gamma / gamma.sum(-1, keepdims=True)).astype(alpha.dtype)
    return np.clip(out, tiny, 1 - np.finfo(alpha.dtype).eps / 2)


def _gammas(generator: Generator | None, alpha: np.ndarray) -> list[float]:
    generator = default_generator if generator is None else generator
    with Lookahead(generator, 8 * alpha.size) as uniform:

        def normal() -> float:
            waiting = generator.cached_normal
            if waiting is not None:
                generator.cached_normal = None
                return waiting
            angle = 2.0 * math.pi * uniform()
            radius = math.sqrt(-2.0 * math.log1p(-uniform()))
            generator.cached_normal = radius * math.sin(angle)
            return radius * math.cos(angle)

        to = alpha.dtype.type
        return [_gamma(a, to, uniform, normal) for a in alpha.astype(float64).ravel().tolist()]


# PyTorch writes these two as single-precision numbers, and rounds what depends on alpha alone to alpha's dtype.
_THIRD = float(np.float32(1 / 3))
_SQUEEZE = float(np.float32(0.0331))


def _gamma(alpha: float, to: Any, uniform: Uniform, normal: Uniform) -> float:
    """Marsaglia and Tsang's method (2000); below 1 by way of alpha + 1."""
    scale = 1.0
    if alpha < 1:
        if alpha == 0:
            return 0.0
        scale = (1 - uniform()) ** float(to(1 / alpha))
        alpha = float(to(alpha + 1))
    d = float(to(alpha - _THIRD))
    c = 1 / math.sqrt(9 * d)
    while True:
        y = 0.0
        while y <= 0:
            x = normal()
            y = 1 + c * x
        v = y * y * y
        u = 1 - uniform()
        xx = x * x
        if u < 1 - _SQUEEZE * xx * xx:
            return scale * d * v
        if math.log(u) < 0.5 * xx + d * (1 - v + math.log(v)):
            return scale * d * v

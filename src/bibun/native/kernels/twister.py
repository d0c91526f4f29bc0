"""Draws from a Mersenne Twister (Matsumoto and Nishimura, 1998) in one pass: new words, tempering and what is made of them.

In: a generator's 624 words and its position, 625 uint32 that are written over as the stream goes on; arrays to fill. Out: what
`bibun.random` makes with NumPy, to the bit. Words come one after the other, so a call is the work of one thread; whoever calls
holds the generator's lock.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..kernel import kernel
from ..lang import (
    Ptr,
    T,
    allocate,
    device,
    external,
    f32,
    f64,
    floor,
    fma,
    i8,
    i32,
    i64,
    minimum,
    select,
    sqrt,
    u32,
    void,
)
from .normal import groups

__all__ = ["below", "doubles", "flips", "noise", "normals", "permuted", "uniform", "words"]

_N = 624


@device
def _mixed(a: u32, b: u32) -> u32:
    y = (a & u32(0x80000000)) | (b & u32(0x7FFFFFFF))
    return (y >> 1) ^ ((u32(0) - (b & u32(1))) & u32(0x9908B0DF))


@device(fast="", inline=False)
def _renew(state: Ptr[u32]) -> void:
    """The next 624 words in place of the last."""
    for i in range(227):
        state[i] = state[i + 397] ^ _mixed(state[i], state[i + 1])
    for i in range(227, 623):
        state[i] = state[i - 227] ^ _mixed(state[i], state[i + 1])
    state[623] = state[396] ^ _mixed(state[623], state[0])


@device(fast="", inline=True)
def _some(state: Ptr[u32], out: Ptr[u32], most: i64) -> i64:
    """Up to ``most`` tempered words, as many as the block has (at least one); gives how many."""
    at = i64(state[_N])
    if at >= _N:
        _renew(state)
        at = i64(0)
    n = minimum(most, _N - at)
    for i in range(n):
        y = state[at + i]
        y = y ^ (y >> 11)
        y = y ^ ((y << 7) & u32(0x9D2C5680))
        y = y ^ ((y << 15) & u32(0xEFC60000))
        out[i] = y ^ (y >> 18)
    state[_N] = u32(at + n)
    return n


@kernel(fast="", distinct=True)
def _draw(state: Ptr[u32], out: Ptr[T], n: i64, low: f64, high: f64, step: f64, how, begin: i64, end: i64) -> void:  # type: ignore[no-untyped-def]
    each = 1 if how == "words" or how == "uniform" or how == "below" else 2
    held = allocate(u32, _N + 16)
    done = i64(0)
    kept = i64(0)  # 1: a word is left over from the block before
    while done < n:
        have = kept + _some(state, held + kept, (n - done) * each - kept)
        m = have // each
        made = out + done
        for i in range(m):
            if how == "words":
                made[i] = held[i]
            elif how == "uniform":
                x = fma(f32(i32(held[i] & u32(0xFFFFFF))), f32(step), f32(low))
                made[i] = select(x >= f32(high), f32(low), x)
            elif how == "below":
                w = f64(held[i])
                r = fma(floor(w * step), -high, w)
                r = select(r < 0.0, r + high, r)
                made[i] = i64(select(r >= high, r - high, r) + low)
            else:
                k = (i64(held[2 * i] & u32(0x1FFFFF)) << 32) | i64(held[2 * i + 1])
                if how == "doubles":
                    u = fma(f64(k) * (2.0**-53), step, low)
                    made[i] = select(u >= high, low, u)
                elif how == "noise":
                    made[i] = select(f64(k) < high, f32(low), f32(0.0))
                else:
                    made[i] = T(f64(k) < high)
        kept = have - m * each
        if kept > 0:
            held[0] = held[have - 1]
        done = done + m


@kernel(fast="", distinct=True)
def _normals(state: Ptr[u32], out: Ptr[f32], n: i64, mean: f32, std: f32, moved, begin: i64, end: i64) -> void:  # type: ignore[no-untyped-def]
    """At least 16: whole groups, and where numbers are left over the last 16 anew."""
    held = allocate(u32, 512)
    full = n // 16
    done = i64(0)
    while done < full:
        m = minimum(full - done, 32)
        have = i64(0)
        while have < m * 16:
            have = have + _some(state, held + have, m * 16 - have)
        groups(held, out + done * 16, mean, std, moved, 0, m)
        done = done + m
    rest = n - full * 16
    if rest > 0:
        have = i64(0)
        while have < rest:
            have = have + _some(state, held + have, rest - have)
        have = i64(0)
        while have < 16:
            have = have + _some(state, held + have, 16 - have)
        groups(held, out + (n - 16), mean, std, moved, 0, 1)


_log, _cos, _sin = external("log", f64, f64), external("cos", f64, f64), external("sin", f64, f64)


@kernel(fast="", distinct=True)
def _normals_double(state: Ptr[u32], out: Ptr[f64], n: i64, mean: f64, std: f64, begin: i64, end: i64) -> void:
    """The same in float64, with the C library's functions, whose last bits show."""
    held = allocate(u32, 32)
    done = i64(0)
    while done < n:
        if done + 16 > n:
            rest = (n - done) * 2
            while rest > 0:
                rest = rest - _some(state, held, minimum(rest, 32))
            done = n - 16
        have = i64(0)
        while have < 32:
            have = have + _some(state, held + have, 32 - have)
        made = out + done
        for i in range(8):
            u = f64((i64(held[2 * i] & u32(0x1FFFFF)) << 32) | i64(held[2 * i + 1])) * (2.0**-53)
            v = f64((i64(held[2 * i + 16] & u32(0x1FFFFF)) << 32) | i64(held[2 * i + 17])) * (2.0**-53)
            radius = sqrt(_log(1.0 - u) * -2.0)
            angle = v * (2.0 * math.pi)
            made[i] = fma(radius * _cos(angle), std, mean)
            made[i + 8] = fma(radius * _sin(angle), std, mean)
        done = done + 16


@kernel(fast="", distinct=True)
def _permuted(state: Ptr[u32], order: Ptr[u32], out: Ptr[T], n: i64, begin: i64, end: i64) -> void:
    held = allocate(u32, _N)
    for i in range(n):
        order[i] = u32(i)
    done = i64(0)
    while done < n - 1:
        m = _some(state, held, n - 1 - done)
        for i in range(m):
            held[i] = u32(done + i) + held[i] % u32(n - done - i)
        for i in range(m):
            k = i64(held[i])
            kept = order[k]
            order[k] = order[done + i]
            order[done + i] = kept
        done = done + m
    for i in range(n):
        out[i] = T(order[i])


def words(state: Any, out: Any) -> None:
    """Words, to a vector of uint32."""
    _draw(T=u32, how="words")(state, out, out.size, 0.0, 0.0, 0.0, 1, 1)


def uniform(state: Any, out: Any, low: float, high: float, step: float) -> None:
    """low + k·step for k of 24 bits, and low where that comes to high; to float32."""
    _draw(T=f32, how="uniform")(state, out, out.size, low, high, step, 1, 1)


def doubles(state: Any, out: Any, low: float = 0.0, high: float = 1.0) -> None:
    """low + u·(high - low) for u of 53 bits, and low where that comes to high; to float64."""
    _draw(T=f64, how="doubles")(state, out, out.size, low, high, high - low, 1, 1)


def below(state: Any, out: Any, span: int, low: int) -> None:
    """low + (a word mod span), to int64."""
    _draw(T=i64, how="below")(state, out, out.size, float(low), float(span), 1.0 / span, 1, 1)


def flips(state: Any, out: Any, p: float) -> None:
    """Whether 53 bits are less than p·2^53, to a vector of bool."""
    _draw(T=i8, how="flips")(state, out, out.size, 0.0, p * 2.0**53, 0.0, 1, 1)


def noise(state: Any, out: Any, p: float, scale: float) -> None:
    """``scale`` with probability p and 0 else, to float32."""
    _draw(T=f32, how="noise")(state, out, out.size, scale, p * 2.0**53, 0.0, 1, 1)


def normals(state: Any, out: Any, mean: float, std: float) -> None:
    """Normal numbers, to a vector of at least 16 float32 or float64."""
    if out.dtype == np.float64:
        _normals_double()(state, out, out.size, mean, std, 1, 1)
        return
    _normals(moved=std != 1 or mean != 0)(state, out, out.size, mean, std, 1, 1)


def permuted(state: Any, n: int) -> Any:
    """0 … n - 1 swapped with places behind, one after the other, as int64."""
    out = np.empty(n, np.int64)
    _permuted(T=i64)(state, np.empty(n, np.uint32), out, n, 1, 1)
    return out

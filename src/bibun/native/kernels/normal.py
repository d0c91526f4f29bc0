"""Box and Muller's transform, as in `bibun.random.box_muller`, to the bit: fused steps are the processor's own here.

In: raw 32-bit words in groups of 16, 8 for radii and 8 for angles. Out: normal numbers, 8 cosines and 8 sines.
"""

from __future__ import annotations

import math

import numpy as np

from .. import build
from ..lang import Ptr, T, bits, device, f32, fma, i32, i64, sqrt, void

__all__ = ["groups", "suits"]

_COSINE = (2.443315711809948e-5, -1.388731625493765e-3, 4.166664568298827e-2)
_SINE = (-1.9515295891e-4, 8.3321608736e-3, -1.6666654611e-1)
_STEP = float(np.float32(2 * math.pi)) * 2.0**-24
_HALF_ROOT, _SCALED_ROOT = 0x3F3504F3, 0x3F3504F3 + (24 << 23)  # the bits of √½, and of that times 2^24


@device(fast="", inline=True)
def groups(words: Ptr[T], out: Ptr[f32], mean: f32, std: f32, moved, begin: i64, end: i64) -> void:  # type: ignore[no-untyped-def]
    """std·√(-2 log(1 - u1))·(cos, sin)(2π u2) + mean for u = k·2^-24, k the low 24 bits of a word; items are groups of 16."""
    for group in range(begin, end):
        given = words + group * 16
        made = out + group * 16
        for i in range(8):
            u = i32(given[i]) & 0xFFFFFF
            b = bits(f32(16777216 - u), i32) - _SCALED_ROOT
            e = f32(b >> 23)
            x = bits((b & 0x7FFFFF) + _HALF_ROOT, f32) - f32(1.0)
            z = x * x
            p = fma(f32(7.0376836292e-2), x, f32(-1.1514610310e-1))
            p = fma(p, x, f32(1.1676998740e-1))
            p = fma(p, x, f32(-1.2420140846e-1))
            p = fma(p, x, f32(1.4249322787e-1))
            p = fma(p, x, f32(-1.6668057665e-1))
            p = fma(p, x, f32(2.0000714765e-1))
            p = fma(p, x, f32(-2.4999993993e-1))
            p = fma(p, x, f32(3.3333331174e-1))
            y = fma(p * x, z, e * f32(-2.12194440e-4))
            radius = sqrt(((x + (y - z * f32(0.5))) + e * f32(0.693359375)) * f32(-2.0))

            t = f32(i32(given[i + 8]) & 0xFFFFFF) * f32(_STEP)
            j = (i32(t * f32(1.27323954473516)) + 1) & -2
            q = f32(j)
            t = t + q * f32(-0.78515625)
            t = t + q * f32(-2.4187564849853515625e-4)
            t = t + q * f32(-3.77489497744594108e-8)
            z = t * t
            c = fma(fma(f32(_COSINE[0]), z, f32(_COSINE[1])), z, f32(_COSINE[2])) * z
            s = fma(fma(f32(_SINE[0]), z, f32(_SINE[1])), z, f32(_SINE[2])) * z
            cosine = bits(fma(c, z, z * f32(-0.5)) + f32(1.0), i32)
            sine = bits(fma(s, t, t), i32)
            change = (cosine ^ sine) & ((j << 30) >> 31)
            first = bits((cosine ^ change) ^ (((j + 2) & 4) << 29), f32) * radius + f32(0.0)
            second = bits((sine ^ change) ^ ((j & 4) << 29), f32) * radius + f32(0.0)
            if moved:
                first = fma(first, std, mean)
                second = fma(second, std, mean)
            made[i] = first
            made[i + 8] = second


def suits() -> bool:
    """Whether the processor has fused multiply-adds."""
    return "fma" in build.features()[2] or build.features()[0].startswith(("apple", "generic", "neoverse", "cortex"))

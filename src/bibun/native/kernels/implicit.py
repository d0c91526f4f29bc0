"""Convolutions as products of matrices, the matrix of windows never made: outputs side by side in vectors, pixel by pixel.

In: images laid out with their margins (`direct.Laid`), weights as `direct.pack` leaves them. Out: sums over a list of shifts, as in
`direct`, whose tiles hold some outputs of a run of pixels. Here a tile holds some pixels, wherever they lie, of a run of outputs: small
images, strides and margins waste nothing, few outputs would.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from ..kernel import kernel
from ..lang import Ptr, T, Vec, allocate, bundle, device, fma, i64, load, minimum, spread, store, unrolled, void
from .tiles import turn_out

__all__ = ["cost", "places", "run", "vectors"]

F32 = np.dtype(np.float32)
#: Tiles of a chunk: their pixels should stay in the second-level cache while they meet one panel of weights after the other.
TILES = 32


@device(inline=False)
def tile(x: Ptr[T], spots: Ptr[i64], shifts: Ptr[i64], w: Ptr[T], bias: Ptr[T], made: Ptr[T], count: i64, R, V, W) -> void:  # type: ignore[no-untyped-def]
    """R pixels of V vectors of outputs: bias plus the sum over ``count`` shifts of what is there times weight."""
    sums = bundle(R * V, spread(T(0), Vec[T, W]))
    at = bundle(R, x)
    for i in unrolled(R):
        at[i] = x + spots[i]
        for j in unrolled(V):
            sums[i * V + j] = load(bias + j * W, Vec[T, W])
    for k in range(count):
        shift = shifts[k]
        v = bundle(V, load(w, Vec[T, W]))
        for j in unrolled(1, V):
            v[j] = load(w + j * W, Vec[T, W])
        for i in unrolled(R):
            p = at[i]
            s = spread(p[shift], Vec[T, W])
            for j in unrolled(V):
                sums[i * V + j] = fma(s, v[j], sums[i * V + j])
        w = w + V * W
    for i in unrolled(R):
        for j in unrolled(V):
            store(made + (i * V + j) * W, sums[i * V + j])


@kernel(explicit=True)
def _run(
    laid: Ptr[T], weights: Ptr[T], shifts: Ptr[i64], bias: Ptr[T], out: Ptr[T], spots: Ptr[i64], targets: Ptr[i64], count: i64, image: i64, group_image: i64,
    groups: i64, rows: i64, panels: i64, pixels: i64, whole: i64, out_image: i64, out_plane: i64, R, V, W, begin: i64, end: i64,
) -> void:  # fmt: skip
    """For tiles from begin to end of ``whole`` pixels, ``pixels`` an image: those lie at ``spots``, and go to ``targets``."""
    held = allocate(T, R * V * W)
    here = allocate(i64, R)
    for group in range(groups):
        for panel in range(panels):
            number = group * panels + panel
            for item in range(begin, end):
                first = item * R
                for i in unrolled(R):
                    p = minimum(first + i, whole - 1)
                    here[i] = p // pixels * image + spots[p % pixels]
                tile(laid + group * group_image, here, shifts, weights + number * count * V * W, bias + number * V * W, held, count, R, V, W)
                n = first // pixels
                q = first % pixels
                made = out + n * out_image + (group * rows + panel * V * W) * out_plane
                some = minimum(V * W, rows - panel * V * W)
                if q + R <= pixels and targets[minimum(q + R, pixels) - 1] - targets[q] == R - 1:
                    for j in range(0, some, R):
                        turn_out(held + j, V * W, made + j * out_plane + targets[q], out_plane, some - j, R, R)
                else:
                    for i in range(minimum(R, whole - first)):
                        p = first + i
                        to = out + p // pixels * out_image + (group * rows + panel * V * W) * out_plane + targets[p % pixels]
                        for j in range(some):
                            to[j * out_plane] = held[i * V * W + j]


def vectors(rows: int, width: int) -> int:
    """How many vectors of outputs make a panel."""
    blocks = -(-rows // width)
    return 1 if blocks % 2 and blocks < 5 else 2


def cost(n: int, pixels: int, rows: int, width: int, R: int) -> float:
    """Vectors of sums that are worked on for each shift."""
    return -(-n * pixels // R) * R * -(-rows // width)


@lru_cache(512)
def places(out: tuple[int, ...], steps: tuple[int, ...]) -> Any:
    """Where the pixels of an image of shape ``out`` lie, the steps along its three dimensions given."""
    z, y, x = (np.arange(n, dtype=np.int64) * s for n, s in zip(out, steps))
    return (z[:, None, None] + y[:, None] + x).reshape(-1)


def run(
    memory: Any, packed: Any, table: Any, shift: Any, made: Any, origin: int, spots: Any, targets: Any, image: int, groups: int, rows: int, R: int, V: int, W: int
) -> None:
    """One sum over shifts, written into ``made`` from ``origin`` on; ``image`` is the size of a laid out image."""
    n, pixels = len(made), len(spots)
    tiles = -(-n * pixels // R)
    plane = made[0, 0].size
    grain = max(1, min(TILES, -(-tiles // 8)))
    _run(T=F32, R=R, V=V, W=W)(
        memory, packed, table, shift, made.reshape(-1)[origin:], spots, targets, len(table), image, image // groups, groups, rows, -(-rows // (V * W)), pixels,
        n * pixels, groups * rows * plane, plane, tiles, grain
    )  # fmt: skip

"""Drawing categories by weight: `torch.multinomial`.

In come a generator (None: the default one), a vector or a matrix of weights and a number of draws; out comes int64, a
row of draws for each row of weights. With replacement a draw is looked up in the running sums; without (or for a single
draw) the largest of weight / exponential number win.
"""

from __future__ import annotations

import math
from bisect import bisect_left

import numpy as np

from .engine import Generator, default_generator
from .filling import SCALAR_TYPE, bfloat16, float16, float32, float64
from .shaped import exponential_


def multinomial(generator: Generator | None, weights: np.ndarray, draws: int, replacement: bool = False) -> np.ndarray:
    """Indices of the last axis of `weights`, drawn with probabilities in proportion to them.

    Raises:
        RuntimeError: weights that are no floats, negative, infinite, NaN or all zero; more draws than categories
            without replacement; none; more than two axes.
    """
    generator = default_generator if generator is None else generator
    if weights.ndim not in (1, 2):
        raise RuntimeError("prob_dist must be 1 or 2 dim")
    if weights.dtype not in (float16, bfloat16, float32, float64):
        raise RuntimeError(
            "multinomial only supports floating-point dtypes for input, got: "
            f"{SCALAR_TYPE.get(weights.dtype.name, weights.dtype.name)}"
        )
    if draws <= 0:
        raise RuntimeError("cannot sample n_sample <= 0 samples")
    categories = weights.shape[-1]
    if not replacement and draws > categories:
        raise RuntimeError("cannot sample n_sample > prob_dist.size(-1) samples without replacement")
    if categories > 2**24:
        raise RuntimeError("number of categories cannot exceed 2^24")
    if weights.size == 0:
        return np.empty((*weights.shape[:-1], draws), np.int64)
    if replacement and draws > 1:
        return _with_replacement(generator, weights, draws)
    return _without(generator, weights, draws)


def _without(generator: Generator, weights: np.ndarray, draws: int) -> np.ndarray:
    if not (np.isfinite(weights) & (weights >= 0)).all():
        raise RuntimeError("probability tensor contains either `inf`, `nan` or element < 0")
    if not (weights.sum(-1, dtype=float64) > 0).all():
        raise RuntimeError("invalid multinomial distribution (sum of probabilities <= 0)")
    with np.errstate(divide="ignore", invalid="ignore"):
        race = weights / exponential_(generator, np.empty_like(weights))
    if race.dtype == bfloat16:
        race = race.astype(float32)
    if draws == 1:
        return race.argmax(-1, keepdims=True)
    np.negative(race, out=race)
    return np.argsort(race, axis=-1, kind="stable")[..., :draws].astype(np.int64, copy=False)


def _with_replacement(generator: Generator, weights: np.ndarray, draws: int) -> np.ndarray:
    rows = weights.reshape(-1, weights.shape[-1])
    if rows.dtype.itemsize == 2:
        rows = rows.astype(float32)
    sums = rows.cumsum(1)
    totals = sums[:, -1:].copy()
    least = rows.min()
    if not least >= 0 or not 0 < totals.min() or not totals.max() < math.inf:
        if (rows < 0).any():
            raise RuntimeError("invalid multinomial distribution (encountering probability entry < 0)")
        if not np.isfinite(rows).all():
            raise RuntimeError("invalid multinomial distribution (encountering probability entry = infinity or NaN)")
        if not (totals > 0).all():
            raise RuntimeError("invalid multinomial distribution (sum of probabilities <= 0)")
    if len(rows) == 1 and sums.size >= 64 * draws:
        points = generator.doubles(draws).tolist()
        sums, total = sums[0], totals[0, 0]
        last = len(sums) - 1
        # only the sums that are looked at are divided
        return np.array([bisect_left(sums, u, 0, last, key=lambda s: float(s / total)) for u in points]).reshape(
            *weights.shape[:-1], draws
        )
    sums /= totals
    sums[:, -1] = 1
    uniform = generator.doubles(len(rows) * draws).reshape(len(rows), draws)
    if len(rows) == 1:
        return sums[0].astype(float64, copy=False).searchsorted(uniform[0]).reshape(*weights.shape[:-1], draws)
    found = np.empty(uniform.shape, np.int64)
    for row, (running, points) in enumerate(zip(sums.astype(float64, copy=False), uniform)):
        found[row] = running.searchsorted(points)
    return found.reshape(*weights.shape[:-1], draws)

"""Array kernels of max pooling, and how the windows of all poolings lie.

In: arrays (..., *spatial) and, for each spatial dimension, a rule: a tuple whose first element names it,

- ``("window", n, out, k, stride, padding, dilation)``: windows of k elements;
- ``("adaptive", n, out)``: ``out`` windows that share n elements as evenly as can be.

Out: the largest element of each window, and which place in its window it had, counted row by row: one byte, where an
index into the image would take eight.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from .large import LARGE, native
from .reduce import NARROW

__all__ = [
    "flat_positions",
    "fractional_places",
    "max_pool",
    "max_pool_gradient",
    "max_pool_taken",
    "put_windows",
    "take_windows",
]

F32 = np.dtype(np.float32)
#: Bytes of the input that are worked on at a time, so that they stay in the cache.
BLOCK = 1 << 19
#: Elements up to which the number of NumPy's calls is all that counts.
_SMALL = 1 << 12


@functools.lru_cache(256)
def positions(rule: tuple[Any, ...]) -> Any:
    """For each window and place in it, the position in the input, (out, k); -1 where there is none."""
    kind, n, out = rule[:3]
    if kind == "window":
        k, stride, padding, dilation = rule[3:]
        found = np.arange(out)[:, None] * stride - padding + np.arange(k) * dilation
        found[(found < 0) | (found >= n)] = -1
    else:
        starts = np.arange(out) * n // out
        ends = -(-(np.arange(1, out + 1) * n) // out)
        found = starts[:, None] + np.arange(max(int((ends - starts).max(initial=0)), 1))
        found[found >= ends[:, None]] = -1
    found.flags.writeable = False
    return found


def regular(rule: tuple[Any, ...]) -> tuple[Any, ...]:
    """The rule as windows of one size, where adaptive ones are that."""
    if rule[0] == "adaptive" and rule[2] and not rule[1] % rule[2]:
        k = rule[1] // rule[2]
        return ("window", rule[1], rule[2], k, k, 0, 1)
    return rule


def place_type(rules: tuple[Any, ...]) -> Any:
    count = math.prod([positions(r).shape[1] for r in rules])
    return np.uint8 if count <= 256 else np.int32


def slices(rules: tuple[Any, ...]) -> Any:
    """For each place, in order, the index of what it meets in the padded images."""
    ranges = [
        [slice(i * d, i * d + (out - 1) * s + 1, s) for i in range(k)] for _, _, out, k, s, _, d in rules
    ]
    for place in np.ndindex(*[len(r) for r in ranges]):
        yield (Ellipsis, *[r[i] for r, i in zip(ranges, place)])


def padded_size(rules: tuple[Any, ...]) -> tuple[int, ...]:
    """The size of images with the margins that windows reach into."""
    return tuple([max(p + n, (out - 1) * s + d * (k - 1) + 1) for _, n, out, k, s, p, d in rules])


def inside(rules: tuple[Any, ...]) -> Any:
    return (Ellipsis, *[slice(r[5], r[5] + r[1]) for r in rules])


def lowest(dtype: Any) -> Any:
    return np.iinfo(dtype).min if dtype.kind in "iu" else -np.inf


def max_pool(x: Any, rules: tuple[Any, ...], placed: bool = True) -> Any:
    """(the largest element of each window, which place in the window it had); without ``placed`` the first alone."""
    d = x.dtype
    if d in NARROW:
        out, where = max_pool(x.astype(F32), rules, placed)
        return out.astype(d), where
    rules = tuple([regular(r) for r in rules])
    if placed and x.size >= LARGE and native():
        from ..native.kernels import pooling

        made = pooling.max_pool(x, rules)
        if made is not NotImplemented:
            return made
    rank = len(rules)
    lead, size = x.shape[:-rank], tuple([r[2] for r in rules])
    if rank == 2 and 0 < x.size <= _SMALL and all(
        [r[0] == "window" and r[3] == r[4] and not r[5] and r[6] == 1 and r[2] * r[3] == r[1] for r in rules]
    ):
        made = _side_by_side(x, lead, rules, placed)
        if made is not None:
            return made
    out = np.empty((*lead, *size), d)
    where = np.zeros(out.shape, place_type(rules)) if placed else None
    if not out.size:
        return out, where
    images, many = x.reshape(-1, *x.shape[-rank:]), out.reshape(-1, *size)
    marks = None if where is None else where.reshape(-1, *size)
    even = all([r[0] == "window" for r in rules])
    step = max(1, BLOCK // max(images[0].nbytes, 1))
    outer = padded_size(rules) if even else ()
    pads = outer != x.shape[-rank:] if even else False
    buffer: Any = None
    for i in range(0, len(images), step):
        image, best = images[i : i + step], many[i : i + step]
        mark = None if marks is None else marks[i : i + step]
        if even:
            if pads and outer != image.shape[1:]:
                if buffer is None:
                    buffer = np.full((step, *outer), lowest(d), d)
                buffer[: len(image)][inside(rules)] = image
                image = buffer[: len(image)]
            parts = functools.partial(_cut, image, rules)
        else:
            parts = functools.partial(_gathered, image, rules)
        _largest(parts, best, mark)
    if where is not None and (pads or not even):
        _repair(out, where, rules)
    return out, where


def _side_by_side(x: Any, lead: tuple[int, ...], rules: tuple[Any, ...], placed: bool) -> Any:
    """`max_pool` of a small array cut into windows that neither overlap nor leave anything out; None where a NaN must be placed."""
    (_, _, h, k, *_), (_, _, w, m, *_) = rules
    windows = x.reshape(*lead, h, k, w, m)
    if not placed:
        return np.maximum.reduce(windows, (-3, -1)), None
    each = windows.swapaxes(-3, -2).reshape(-1, k * m)
    out = np.maximum.reduce(each, 1)
    if x.dtype.kind == "f" and not np.isfinite(np.add.reduce(out)):
        return None
    return out.reshape(*lead, h, w), each.argmax(1).astype(place_type(rules)).reshape(*lead, h, w)


def _largest(parts: Any, best: Any, mark: Any) -> None:
    """The largest of ``parts()`` into ``best``, and its number into ``mark``: the first of equals, the last NaN."""
    greater = None
    for k, part in enumerate(parts()):
        if not k:
            np.copyto(best, part)
            continue
        if mark is not None:
            greater = np.greater(part, best, out=greater)
            np.putmask(mark, greater, k)
        np.maximum(best, part, out=best)
    if mark is not None and best.dtype.kind == "f" and not np.isfinite(np.add.reduce(best, None)):
        for k, part in enumerate(parts()):
            np.putmask(mark, np.isnan(part), k)


def _cut(image: Any, rules: tuple[Any, ...]) -> Any:
    """The parts of regular windows: at each place in a window, what all windows have there."""
    return (image[index] for index in slices(rules))


def _gathered(image: Any, rules: tuple[Any, ...]) -> Any:
    """The parts of irregular windows; the lowest number where a window has no such place."""
    found = [positions(r) for r in rules]
    for place in np.ndindex(*[f.shape[1] for f in found]):
        part = image
        for axis, (f, i) in enumerate(zip(found, place), 1):
            at = f[:, i]
            part = part.take(np.maximum(at, 0), axis)
            if at.min() < 0:
                part[(slice(None),) * axis + (at < 0,)] = lowest(part.dtype)
        yield part


def _repair(out: Any, where: Any, rules: tuple[Any, ...]) -> None:
    """Windows that hold nothing but the lowest number: their place is the first that is not in the margin."""
    low = out == lowest(out.dtype)
    if low.any():
        where[low] = np.broadcast_to(_first(rules), out.shape)[low]


def _first(rules: tuple[Any, ...]) -> Any:
    """The first place of each window that lies in the input."""
    total: Any = 0
    for axis, rule in enumerate(rules):
        found = positions(rule)
        first = (found >= 0).argmax(1).reshape((-1, *(1,) * (len(rules) - 1 - axis)))
        total = total * found.shape[1] + first
    return total


def flat_positions(where: Any, rules: tuple[Any, ...]) -> Any:
    """The index into the flat image of each window's place."""
    rest = where.astype(np.int64)
    total: Any = 0
    scale = 1
    for axis in range(len(rules) - 1, -1, -1):
        found = positions(regular(rules[axis]))
        rest, place = np.divmod(rest, found.shape[1])
        window = np.arange(found.shape[0]).reshape((-1, *(1,) * (len(rules) - 1 - axis)))
        total = total + found[window, place] * scale
        scale *= rules[axis][1]
    return total


def max_pool_gradient(g: Any, where: Any, rules: tuple[Any, ...]) -> Any:
    """The gradient of max pooling: each window's gradient added where its largest element was."""
    d = g.dtype
    if d in NARROW:
        return max_pool_gradient(g.astype(F32), where, rules).astype(d)
    rules = tuple([regular(r) for r in rules])
    if g.size >= LARGE // 4 and native():
        from ..native.kernels import pooling

        made = pooling.max_pool_gradient(g, where, rules)
        if made is not NotImplemented:
            return made
    rank = len(rules)
    spatial = tuple([r[1] for r in rules])
    shape = (*g.shape[:-rank], *spatial)
    if not g.size:
        return np.zeros(shape, d)
    if not all([r[0] == "window" for r in rules]):
        flat = flat_positions(where, rules).reshape(-1, math.prod(g.shape[-rank:]))
        length = math.prod(spatial)
        flat = flat + np.arange(len(flat))[:, None] * length
        return np.bincount(flat.reshape(-1), g.reshape(-1), len(flat) * length).astype(d).reshape(shape)
    outer = padded_size(rules)
    apart = all([r[4] >= r[6] * (r[3] - 1) + 1 for r in rules])  # no element is in two windows
    made = np.empty(shape, d)
    images, size = made.reshape(-1, *spatial), g.shape[-rank:]
    grads, marks = g.reshape(-1, *size), where.reshape(-1, *size)
    step = max(1, BLOCK // max(images[0].nbytes, 1))
    pads = outer != spatial
    covered = apart and not pads and all([r[1] == r[2] * r[3] for r in rules])
    buffer = np.empty((step, *outer), d) if pads else None
    for i in range(0, len(images), step):
        image, grad, mark = images[i : i + step], grads[i : i + step], marks[i : i + step]
        target = image if buffer is None else buffer[: len(image)]
        if not covered:
            target[...] = 0
        for k, index in enumerate(slices(rules)):
            here = np.equal(mark, k)
            if apart:
                # Products with 0 and 1, and not a choice: branches cost more.
                if covered:
                    np.multiply(grad, here, out=target[index])
                else:
                    np.copyto(target[index], grad, where=here)
            else:
                np.add(target[index], grad, out=target[index], where=here)
        if buffer is not None:
            image[...] = target[inside(rules)]
    return made


def max_pool_taken(x: Any, where: Any, rules: tuple[Any, ...]) -> Any:
    """The element of ``x`` at each window's place: the transpose of `max_pool_gradient`."""
    rank = len(rules)
    flat = flat_positions(where, rules)
    lead, size = x.shape[:-rank], where.shape[-rank:]
    return np.take_along_axis(
        x.reshape(*lead, math.prod(x.shape[-rank:])), flat.reshape(*lead, math.prod(size)), -1
    ).reshape(*lead, *size)


def put_windows(x: Any, indices: Any, size: tuple[int, ...], added: bool = False) -> Any:
    """Images (..., *size) of zeros, with the elements of ``x`` at the flat positions ``indices``: the last one where
    several have the same, or their sum."""
    rank = len(size)
    lead, count = x.shape[:-rank], math.prod(x.shape[-rank:])
    made = np.zeros((*lead, math.prod(size)), x.dtype)
    if x.size and added:
        flat = made.reshape(-1, made.shape[-1])
        row = np.arange(len(flat))[:, None]
        np.add.at(flat, (row, indices.reshape(-1, count)), x.reshape(-1, count))
    elif x.size:
        np.put_along_axis(made, indices.reshape(*lead, count), x.reshape(*lead, count), -1)
    return made.reshape(*lead, *size)


def take_windows(x: Any, indices: Any, rank: int) -> Any:
    """The elements of images at flat positions: the transpose of `put_windows`."""
    lead, size = x.shape[:-rank], indices.shape[-rank:]
    flat = x.reshape(*lead, math.prod(x.shape[-rank:]))
    return np.take_along_axis(flat, indices.reshape(*lead, math.prod(size)), -1).reshape(*lead, *size)


def fractional_places(x: Any, samples: Any, kernel: tuple[int, ...], size: tuple[int, ...]) -> Any:
    """The flat position of the largest element of windows at places that ``samples`` (N, C, rank), in [0, 1), decide."""
    rank = len(kernel)
    spatial = x.shape[-rank:]
    lead = x.shape[:-rank]
    images = x.reshape(-1, math.prod(spatial))
    drawn = samples.reshape(-1, rank)[: len(images)]
    flat: Any = np.zeros((len(images), 1, 1), np.int64)  # (images, outputs, places in a window)
    for d, (n, k, out) in enumerate(zip(spatial, kernel, size)):
        sample = drawn[:, rank - 1 - d if rank == 2 else d][:, None]
        start = np.full((len(images), out), n - k, np.int64)
        if out > 1:
            apart = sample.dtype.type((n - k) / (out - 1))
            steps = np.arange(out - 1).astype(sample.dtype)
            start[:, :-1] = ((steps + sample) * apart).astype(np.int64) - (sample * apart).astype(np.int64)
        at = start[:, :, None] + np.arange(k)
        o, p = flat.shape[1:]
        flat = (flat[:, :, None, :, None] * n + at[:, None, :, None, :]).reshape(len(images), o * out, p * k)
    if not flat.size:
        return np.zeros((*lead, *size), np.int64)
    row = np.arange(len(images))[:, None, None]
    best = images[row, flat].argmax(2)
    return np.take_along_axis(flat, best[:, :, None], 2).reshape(*lead, *size)

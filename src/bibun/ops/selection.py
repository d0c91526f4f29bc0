"""Choosing elements: where, bounds, maxima and minima of pairs.

Elementwise. At ties the gradient goes as PyTorch sends it: halved by maximum and minimum, whole through a bound.
"""

from __future__ import annotations

from typing import Any

from .primitive import elementwise


@elementwise(kind="choose")
def where(xp, condition, x, y):
    """``x`` where the condition holds, ``y`` elsewhere."""
    return xp.where(condition, x, y)


where.derivative(
    x=lambda xp, g, condition: xp.where(condition, g, 0), y=lambda xp, g, condition: xp.where(condition, 0, g)
)
where.drawn_from((-2, 2))


def refuse_complex(x: Any, name: str) -> None:
    if x.dtype.kind == "c":
        raise NotImplementedError(f"{name} is not supported for complex types")


def _inside(xp: Any, g: Any, x: Any, low: Any, high: Any) -> Any:
    """``g`` where x is within the bounds, these included."""
    if low is None:
        return xp.where(x <= high, g, 0)
    return xp.where(x >= low, g, 0) if high is None else xp.where((x >= low) & (x <= high), g, 0)


@elementwise(grad="ClampBackward1", refuses="c")
def clamp(xp, x, /, low, high):
    """``min(max(x, low), high)`` for numbers, either of which may be None; NaN passes."""
    refuse_complex(x, "clamp")
    return xp.clip(x, low, high)


clamp.native(lambda xp, x, low, high: xp.clip(x, low, high))
clamp.derivative(x=lambda xp, g, x, low, high: _inside(xp, g, x, low, high))
clamp.drawn_from((-2, 2))
clamp_min, clamp_max = clamp.named("ClampMinBackward0"), clamp.named("ClampMaxBackward0")


def _low_bound(xp: Any, g: Any, x: Any, low: Any, high: Any) -> Any:
    return xp.where(x < low if high is None else (x < low) & (low < high), g, 0)


def _high_bound(xp: Any, g: Any, x: Any, low: Any, high: Any) -> Any:
    return xp.where(x > high if low is None else (x > high) | (low >= high), g, 0)


@elementwise(grad="Clamp")
def clamp_between(xp, x, low, high):
    """`clamp` with arrays as bounds."""
    refuse_complex(x, "clamp")
    return xp.clip(x, low, high)


clamp_between.native(lambda xp, x, low, high: xp.clip(x, low, high))
clamp_between.derivative(x=_inside, low=_low_bound, high=_high_bound)
clamp_between.drawn_from((-2, 2), (-1, 0.5), (0, 1))


def _larger(xp: Any, g: Any, x: Any, y: Any) -> Any:
    """What of ``g`` belongs to x in max(x, y): half at ties."""
    return xp.where(x == y, g / 2, xp.where(x < y, 0, g))


@elementwise(refuses="c")
def maximum(xp, x, y):
    """The larger of two; NaN if either is."""
    return xp.maximum(x, y)


@elementwise(refuses="c")
def minimum(xp, x, y):
    """The smaller of two; NaN if either is."""
    return xp.minimum(x, y)


maximum.derivative(x=_larger, y=lambda xp, g, x, y: _larger(xp, g, y, x))
maximum.drawn_from((-2, 2))
minimum.derivative(
    x=lambda xp, g, x, y: xp.where(x == y, g / 2, xp.where(x > y, 0, g)),
    y=lambda xp, g, x, y: xp.where(x == y, g / 2, xp.where(y > x, 0, g)),
)
minimum.drawn_from((-2, 2))
clamp_min_tensor, clamp_max_tensor = maximum.named("ClampMinBackward1"), minimum.named("ClampMaxBackward1")
clamp_min_tensor.derivatives, clamp_max_tensor.derivatives = {}, {}
clamp_min_tensor.derivative(x=lambda xp, g, x, y: xp.where(x >= y, g, 0), y=lambda xp, g, x, y: xp.where(x < y, g, 0))
clamp_max_tensor.derivative(x=lambda xp, g, x, y: xp.where(x <= y, g, 0), y=lambda xp, g, x, y: xp.where(x > y, g, 0))


@elementwise(refuses="c")
def fmax(xp, x, y):
    """The larger of two; the other one if one is NaN."""
    return xp.fmax(x, y)


@elementwise(refuses="c")
def fmin(xp, x, y):
    """The smaller of two; the other one if one is NaN."""
    return xp.fmin(x, y)


fmax.derivative(
    x=lambda xp, g, x, y: xp.where((x >= y) | xp.isnan(y), g, 0),
    y=lambda xp, g, x, y: xp.where((x >= y) | xp.isnan(y), 0, g),
)
fmax.drawn_from((-2, 2))
fmin.derivative(
    x=lambda xp, g, x, y: xp.where((x <= y) | xp.isnan(y), g, 0),
    y=lambda xp, g, x, y: xp.where((x <= y) | xp.isnan(y), 0, g),
)
fmin.drawn_from((-2, 2))

"""``torch.signal.windows``: windows under the names of SciPy's module, symmetric unless ``sym=False``.

In: the number of points ``M`` and the window's parameters. Out: a vector of float32 or float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from .. import dtypes
from ..functions.creation import arange, checked, finished, linspace, tensor
from ..functions.register import FUNCTIONS

__all__ = [
    "bartlett",
    "blackman",
    "cosine",
    "exponential",
    "gaussian",
    "general_cosine",
    "general_hamming",
    "hamming",
    "hann",
    "kaiser",
    "nuttall",
]


def _checked(name: str, M: int, dtype: Any, layout: Any, device: Any) -> Any:
    dtype = dtypes.get_default_dtype() if dtype is None else dtype
    if M < 0:
        raise ValueError(f"{name} requires non-negative window length, got M={M}")
    if layout is not None and layout is not dtypes.strided:
        raise ValueError(f"{name} is implemented for strided tensors only, got: {layout}")
    if dtype not in (dtypes.float32, dtypes.float64):
        raise ValueError(f"{name} expects float32 or float64 dtypes, got: {dtype}")
    checked(dtype, device, None, name)
    return dtype


def _window(name: str, parameters: dict[str, Any], values: Callable[..., Any], check: Any = None) -> Any:
    """The public function of a window; ``values(M, count, dtype, **parameters)``, count being the points of one period."""

    def window(
        M: int,
        *,
        sym: bool = True,
        dtype: Any = None,
        layout: Any = dtypes.strided,
        device: Any = None,
        requires_grad: bool = False,
        **given: Any,
    ) -> Any:
        for key in given:
            if key not in parameters:
                raise TypeError(f"{name}() got an unexpected keyword argument '{key}'")
        d = _checked(name, M, dtype, layout, device)
        given = {**parameters, **given}
        if check is not None:
            check(sym, **given)
        made = finished(np.ones(M, d.np), False) if M < 2 and name not in SHORT else None
        if made is None:
            made = finished(np.ones(0, d.np), False) if not M else values(M, M - 1 if sym or M < 2 else M, d, **given)
        return made.requires_grad_() if requires_grad else made

    window.__name__ = window.__qualname__ = name
    return window


#: Windows whose formula also holds for a single point.
SHORT = ("exponential", "gaussian", "cosine")


def _points(start: float, step: float, M: int, d: Any) -> Any:
    return linspace(start * step, (start + (M - 1)) * step, M, dtype=d)


def _decay(sym: bool, center: Any, tau: float) -> None:
    if tau <= 0:
        raise ValueError(f"Tau must be positive, got: {tau} instead.")
    if sym and center is not None:
        raise ValueError("Center must be None for symmetric windows")


exponential = _window(
    "exponential",
    {"center": None, "tau": 1.0},
    lambda M, count, d, center, tau: (
        _points(-(count / 2.0 if center is None else center), 1 / tau, M, d).abs().neg().exp()
    ),
    _decay,
)
exponential.__doc__ = "``exp(-|k - center| / tau)``; ``center`` is for windows with ``sym=False``."
cosine = _window("cosine", {}, lambda M, count, d: _points(0.5, math.pi / (M + (count == M and M > 1)), M, d).sin())
cosine.__doc__ = "Half a period of the sine."


def _spread(sym: bool, std: float) -> None:
    if std <= 0:
        raise ValueError(f"Standard deviation must be positive, got: {std} instead.")


gaussian = _window(
    "gaussian",
    {"std": 1.0},
    lambda M, count, d, std: (_points(-count / 2.0, 1 / (std * math.sqrt(2)), M, d) ** 2).neg().exp(),
    _spread,
)
gaussian.__doc__ = "``exp(-x² / (2 std²))`` around the middle."


def _bessel(M: int, count: int, d: Any, beta: float) -> Any:
    i0 = FUNCTIONS["i0"]
    beta_of = finished(np.array(beta, d.np), False)
    step = 2.0 * beta / count
    k = linspace(-beta, min(beta, -beta + (M - 1) * step), M, dtype=d)
    return i0((beta_of * beta_of - k.pow(2)).sqrt()) / i0(beta_of)


def _sharpness(sym: bool, beta: float) -> None:
    if beta < 0:
        raise ValueError(f"beta must be non-negative, got: {beta} instead.")


kaiser = _window("kaiser", {"beta": 12.0}, _bessel, _sharpness)
kaiser.__doc__ = "``I0(beta √(1 - x²)) / I0(beta)``, x from -1 to 1."
bartlett = _window("bartlett", {}, lambda M, count, d: 1 - linspace(-1, -1 + (M - 1) * (2 / count), M, dtype=d).abs())
bartlett.__doc__ = "A triangle."


def _weights(sym: bool, a: Any) -> None:
    if not isinstance(a, Iterable):
        raise TypeError("Coefficients must be a list/tuple")
    if not a:
        raise ValueError("Coefficients cannot be empty")


def _cosines(M: int, count: int, d: Any, a: Any) -> Any:
    k = linspace(0, (M - 1) * (2 * math.pi / count), M, dtype=d)
    weights = tensor([(-1) ** i * w for i, w in enumerate(a)], dtype=d)
    i = arange(len(weights), dtype=d)
    return (weights.unsqueeze(-1) * (i.unsqueeze(-1) * k).cos()).sum(0)


_general_cosine = _window("general_cosine", {"a": None}, _cosines, _weights)


def general_cosine(M: int, *, a: Iterable[float], **options: Any) -> Any:
    """``a[0] - a[1] cos x + a[2] cos 2x - ...``, x from 0 to 2π."""
    return _general_cosine(M, a=a, **options)


def general_hamming(M: int, *, alpha: float = 0.54, **options: Any) -> Any:
    """``alpha - (1 - alpha) cos x``."""
    return general_cosine(M, a=[alpha, 1.0 - alpha], **options)


def hamming(M: int, **options: Any) -> Any:
    """``0.54 - 0.46 cos x``."""
    return general_hamming(M, **options)


def hann(M: int, **options: Any) -> Any:
    """``0.5 - 0.5 cos x``.

    >>> import bibun as torch
    >>> torch.signal.windows.hann(5)
    tensor([0.0000, 0.5000, 1.0000, 0.5000, 0.0000])
    """
    return general_hamming(M, alpha=0.5, **options)


def blackman(M: int, **options: Any) -> Any:
    """``0.42 - 0.5 cos x + 0.08 cos 2x``."""
    return general_cosine(M, a=[0.42, 0.5, 0.08], **options)


def nuttall(M: int, **options: Any) -> Any:
    """Four cosines that leave little beside the main lobe."""
    return general_cosine(M, a=[0.3635819, 0.4891775, 0.1365995, 0.0106411], **options)

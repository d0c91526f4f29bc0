"""Windows: the weights that taper a frame of a signal, `torch.hann_window` and its kin.

In: a length, and whether the window is one period (``periodic``, for spectra) or symmetric. Out: a vector of floats.
Computed step by step in the dtype asked for, as PyTorch does, so that the last digits agree. Loads on first use.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import dtypes
from ..dtypes import BY_NUMPY
from .creation import arange, checked, finished
from .register import FUNCTIONS


def _prepared(name: str, n: Any, dtype: Any, layout: Any, device: Any) -> Any:
    if isinstance(n, (bool, float)) or not hasattr(n, "__index__"):
        raise TypeError(f"{name}(): argument 'window_length' (position 1) must be int, not {type(n).__name__}")
    d = checked(dtype, device, layout, name) or dtypes.default_np
    if d.kind in "biu":
        raise RuntimeError(f"{name} expects floating point dtypes, got: {BY_NUMPY[d]}")
    if d.kind == "c":
        raise NotImplementedError(f"\"arange_cpu\" not implemented for '{BY_NUMPY[d].scalar_name}'")
    if n < 0:
        raise RuntimeError(f"{name} requires non-negative window_length, got window_length={n}")
    return BY_NUMPY[d]


def _declared(name: str, shape: Any, more: tuple[tuple[str, float], ...] = ()) -> Any:
    """The public function of a window whose values ``shape(n, dtype, *parameters)`` gives for n > 1 points."""

    def window(
        window_length: int,
        periodic: Any = None,
        *parameters: Any,
        dtype: Any = None,
        layout: Any = None,
        device: Any = None,
        requires_grad: bool = False,
        pin_memory: bool = False,
        out: Any = None,
        **named: Any,
    ) -> Any:
        given = list(parameters)
        for key, _ in more[len(given) :]:  # each by position or by name, but none without those before it
            if key not in named:
                break
            given.append(named.pop(key))
        if named or len(given) > len(more) or periodic is None and given:
            raise TypeError(
                f"{name}() received an invalid combination of arguments - expected (int window_length, bool periodic, "
                f"{''.join(f'float {key}, ' for key, _ in more)}*, torch.dtype dtype = None, ...)"
            )
        given += [default for _, default in more[len(given) :]]
        d = _prepared(name, window_length, dtype, layout, device)
        n = int(window_length)
        if n < 2:
            made = finished(np.ones(n, d.np), False)
        elif periodic is None or periodic:
            made = shape(n + 1, d, *given)[:n].clone()
        else:
            made = shape(n, d, *given)
        return made.requires_grad_() if requires_grad else made

    window.__name__ = window.__qualname__ = name
    return window


def _hamming(n: int, d: Any, alpha: float, beta: float) -> Any:
    return arange(n, dtype=d).mul_(math.pi * 2.0 / (n - 1)).cos_().mul_(-beta).add_(alpha)


def _blackman(n: int, d: Any) -> Any:
    x = arange(n, dtype=d).mul_(math.pi / (n - 1))
    return x.mul(4).cos_().mul_(0.08) - x.mul(2).cos_().mul_(0.5) + 0.42


def _bartlett(n: int, d: Any) -> Any:
    x = arange(n, dtype=d).mul_(2.0 / (n - 1))
    x[((n - 1) >> 1) + 1 :].mul_(-1).add_(2)
    return x


def _kaiser(n: int, d: Any, beta: float) -> Any:
    wide = dtypes.float32 if d.np.itemsize == 2 else d
    x = arange(n, dtype=wide) * (2.0 / (n - 1)) - 1
    i0 = FUNCTIONS["i0"]
    return (i0((1 - x * x).clamp_(0).sqrt_().mul_(beta)) / i0(finished(np.array(beta, wide.np), False))).to(d)


hann_window = _declared("hann_window", lambda n, d: _hamming(n, d, 0.5, 0.5))
hamming_window = _declared("hamming_window", _hamming, (("alpha", 0.54), ("beta", 0.46)))
blackman_window = _declared("blackman_window", _blackman)
bartlett_window = _declared("bartlett_window", _bartlett)
kaiser_window = _declared("kaiser_window", _kaiser, (("beta", 12.0),))
hann_window.__doc__ = """Half a cosine: ``0.5 - 0.5 cos(2πk / N)``, N being n where ``periodic`` (the default), else n - 1.

    >>> import bibun as torch
    >>> torch.hann_window(4)
    tensor([0.0000, 0.5000, 1.0000, 0.5000])
    """
hamming_window.__doc__ = "``alpha - beta cos(2πk / N)``."
blackman_window.__doc__ = "``0.42 - 0.5 cos(2πk / N) + 0.08 cos(4πk / N)``."
bartlett_window.__doc__ = "A triangle."
kaiser_window.__doc__ = "``I0(beta √(1 - x²)) / I0(beta)``, x from -1 to 1."

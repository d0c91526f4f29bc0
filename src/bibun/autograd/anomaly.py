"""Anomaly detection: the first operation that produced a NaN, named with its line and the values that went in.

Backward under `detect_anomaly` checks every gradient as nodes give it. The forward line of each node is known anyway, so
nothing needs recording while the mode is on, and it costs one look at each gradient.
"""

from __future__ import annotations

from typing import Any

import numpy as np

#: 0: off, 1: on, 2: on with NaN checks.
mode = [0]


class detect_anomaly:
    """Have backward stop at the first NaN it meets, and say which line of the forward program it comes from."""

    def __init__(self, check_nan: bool = True):
        import warnings
        self.check_nan = check_nan
        warnings.warn("Anomaly Detection has been enabled. This mode will increase the runtime and should only be enabled for debugging.", stacklevel=2)

    def __enter__(self) -> None:
        self.before = mode[0]
        mode[0] = 2 if self.check_nan else 1

    def __exit__(self, *_: object) -> None:
        mode[0] = self.before


class set_detect_anomaly(detect_anomaly):
    """Switch anomaly detection on or off, at once or for a ``with`` block."""

    def __init__(self, mode_on: bool, check_nan: bool = True):
        self.before = mode[0]
        self.set = (2 if check_nan else 1) if mode_on else 0
        mode[0] = self.set

    def __enter__(self) -> None:
        mode[0] = self.set

    def __exit__(self, *_: object) -> None:
        mode[0] = self.before


def is_anomaly_enabled() -> bool:
    """Whether anomaly detection is on."""
    return mode[0] > 0


def is_anomaly_check_nan_enabled() -> bool:
    """Whether it checks for NaN."""
    return mode[0] == 2


def check(node: Any, g: Any, grads: Any, kept: Any) -> None:
    """Raise if the node gave a NaN."""
    from .complaints import at
    for i, r in enumerate(grads):
        a = getattr(r, "_a", r)
        if a is None or not isinstance(a, (np.ndarray, np.generic)) or a.dtype.kind not in "fc" or not np.isnan(a).any():
            continue
        given = ", ".join(summary(x) for x in (g if g.__class__ is list else [g]))
        saved = "; ".join(summary(v) for values in kept for v in values if isinstance(v, np.ndarray))
        where = np.argwhere(np.isnan(a))
        raise RuntimeError(f"Function '{node.name()}' returned nan values in its {i}th output.\n"
                           f"The operation was made at {at(node.code, node.lasti)}\n"
                           f"The gradient that came in: {given}\n" + (f"The values it saved: {saved}\n" if saved else "")
                           + f"The first NaN is at {tuple(int(n) for n in where[0]) if where.size else ()} of {list(a.shape)}.")


def summary(x: Any) -> str:
    """Shape and range of an array in a few words."""
    a = getattr(x, "_a", x)
    if a is None:
        return "none"
    a = np.asarray(a)
    if not a.size:
        return f"empty, shape {list(a.shape)}"
    wide = a.astype(np.float64) if a.dtype.kind != "c" else np.abs(a)
    bad = int(np.isnan(wide).sum()), int(np.isinf(wide).sum())
    with np.errstate(all="ignore"):
        low, high = (np.nanmin(wide), np.nanmax(wide)) if bad[0] < wide.size else (np.nan, np.nan)
    return f"shape {list(a.shape)}, from {low:.6g} to {high:.6g}" + (f", {bad[0]} NaN" if bad[0] else "") + (f", {bad[1]} infinite" if bad[1] else "")


__all__ = ["check", "detect_anomaly", "is_anomaly_check_nan_enabled", "is_anomaly_enabled", "set_detect_anomaly"]

"""Autocasting: the books of which device type is under it, in which dtype.

In go device types, dtypes and switches; out come PyTorch's context manager and decorator, and the answers of
``torch.is_autocast_enabled`` and its kin. bibun computes every operation in the dtype of its inputs: what runs under
``autocast("cpu")`` comes out in full precision, and the first such block says so.
"""

from __future__ import annotations

import functools
import threading
import warnings
from collections.abc import Callable
from typing import Any

from .. import dtypes

__all__ = ["autocast", "custom_bwd", "custom_fwd", "is_autocast_available"]

#: The device types PyTorch autocasts on, and the dtype each has by default.
_DEFAULTS = {"cpu": "bfloat16", "cuda": "float16", "xpu": "float16", "mps": "float16", "hpu": "bfloat16",
             "xla": "bfloat16", "ipu": "float16", "mtia": "bfloat16", "maia": "bfloat16", "privateuseone": "float16"}
_CPU_DTYPES = ("bfloat16", "float16")


class _Books(threading.local):
    def __init__(self) -> None:
        self.enabled: dict[str, bool] = {}
        self.dtype: dict[str, Any] = {}
        self.cache = True
        self.depth = 0


_books = _Books()
_said = False


def _check_type(device_type: Any) -> str:
    if not isinstance(device_type, str):
        raise ValueError(f"Expected `device_type` of type `str`, got: `{type(device_type)}`")
    if device_type not in _DEFAULTS:
        raise RuntimeError(f"User specified an unsupported autocast device_type '{device_type}'; "
                           f"expected one of {', '.join(_DEFAULTS)}")
    return device_type


def is_autocast_available(device_type: str) -> bool:
    """Whether autocast takes this device type."""
    if not isinstance(device_type, str):
        raise TypeError(
            f"is_autocast_available(): argument 'device_type' must be str, not {type(device_type).__name__}")
    return dtypes.device(device_type).type in _DEFAULTS  # `device` refuses what is no device type at all


def is_autocast_enabled(device_type: str = "cuda") -> bool:
    """Whether the code running is under autocast for this device type."""
    return _books.enabled.get(_check_type(device_type), False)


def set_autocast_enabled(device_type: Any, enabled: bool | None = None) -> None:
    """``(device_type, enabled)``, or ``(enabled)`` alone for cuda."""
    if enabled is None:
        device_type, enabled = "cuda", device_type
    _books.enabled[_check_type(device_type)] = bool(enabled)


def get_autocast_dtype(device_type: str) -> Any:
    """The dtype autocast takes on this device type."""
    return _books.dtype.get(device_type) or getattr(dtypes, _DEFAULTS[_check_type(device_type)])


def set_autocast_dtype(device_type: str, dtype: Any) -> None:
    _books.dtype[_check_type(device_type)] = dtype


def is_autocast_cache_enabled() -> bool:
    return _books.cache


def set_autocast_cache_enabled(enabled: bool) -> None:
    _books.cache = bool(enabled)


def is_autocast_cpu_enabled() -> bool:
    return is_autocast_enabled("cpu")


def set_autocast_cpu_enabled(enabled: bool) -> None:
    set_autocast_enabled("cpu", enabled)


def get_autocast_cpu_dtype() -> Any:
    return get_autocast_dtype("cpu")


def set_autocast_cpu_dtype(dtype: Any) -> None:
    set_autocast_dtype("cpu", dtype)


def get_autocast_gpu_dtype() -> Any:
    return get_autocast_dtype("cuda")


def set_autocast_gpu_dtype(dtype: Any) -> None:
    set_autocast_dtype("cuda", dtype)


def clear_autocast_cache() -> None:
    """There is no cache of cast weights: nothing to clear."""


def autocast_increment_nesting() -> int:
    _books.depth += 1
    return _books.depth


def autocast_decrement_nesting() -> int:
    _books.depth -= 1
    return _books.depth


class autocast:
    """``with autocast("cpu", dtype=torch.bfloat16):``, or as a decorator.

    For a device type other than ``cpu`` it warns and is off, as in a PyTorch that lacks the device.
    """

    def __init__(
        self, device_type: str, dtype: Any = None, enabled: bool = True, cache_enabled: bool | None = None
    ) -> None:
        global _said
        self.device = _check_type(device_type)
        self.fast_dtype = get_autocast_dtype(device_type) if dtype is None else dtype
        self._cache_enabled = _books.cache if cache_enabled is None else cache_enabled
        if enabled and device_type != "cpu":
            warnings.warn(f"{device_type.upper()} is not available. Disabling autocast.", stacklevel=2)
            enabled = False
        elif enabled and getattr(self.fast_dtype, "name", None) not in _CPU_DTYPES:
            warnings.warn("In CPU autocast, but the target dtype is not supported. Disabling autocast.\n"
                          "CPU Autocast only supports dtypes of torch.bfloat16, torch.float16 currently.", stacklevel=2)
            enabled = False
        elif enabled and not _said:
            _said = True
            warnings.warn("bibun computes in the dtype of its inputs under autocast: results are in full precision",
                          stacklevel=2)
        self._enabled = enabled

    def __enter__(self) -> autocast:
        books = _books
        self._former = books.enabled.get(self.device, False), books.dtype.get(self.device), books.cache
        books.enabled[self.device] = self._enabled
        books.dtype[self.device] = self.fast_dtype
        books.cache = self._cache_enabled
        books.depth += 1
        return self

    def __exit__(self, *exception: Any) -> None:
        books = _books
        books.depth -= 1
        books.enabled[self.device], books.dtype[self.device], books.cache = self._former

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def under_autocast(*args: Any, **kwargs: Any) -> Any:
            with self:
                return function(*args, **kwargs)
        return under_autocast


def custom_fwd(fwd: Callable[..., Any] | None = None, *, device_type: str, cast_inputs: Any = None) -> Any:
    """Decorator of a custom function's ``forward``: with ``cast_inputs``, its floating tensors come in that dtype, and
    autocast is off inside, where autocast is on outside.
    """
    if fwd is None:
        return functools.partial(custom_fwd, device_type=device_type, cast_inputs=cast_inputs)
    _check_type(device_type)

    def cast(value: Any) -> Any:
        if hasattr(value, "is_floating_point"):
            if not value.is_floating_point() or value.device.type != device_type or value.dtype is dtypes.float64:
                return value
            return value.to(cast_inputs)
        if isinstance(value, dict):
            return {cast(k): cast(v) for k, v in value.items()}
        return type(value)(map(cast, value)) if isinstance(value, (list, tuple)) else value

    @functools.wraps(fwd)
    def forward(*args: Any, **kwargs: Any) -> Any:
        context = args[0]
        context._dtype = get_autocast_dtype(device_type)
        on = is_autocast_enabled(device_type)
        if cast_inputs is None:
            context._fwd_used_autocast = on
            return fwd(*args, **kwargs)
        context._fwd_used_autocast = False
        if not on:
            return fwd(*args, **kwargs)
        with autocast(device_type, enabled=False):
            return fwd(*(cast(a) for a in args), **{k: cast(v) for k, v in kwargs.items()})

    return forward


def custom_bwd(bwd: Callable[..., Any] | None = None, *, device_type: str) -> Any:
    """Decorator of a custom function's ``backward``: it runs under the autocast that its ``forward`` ran under."""
    if bwd is None:
        return functools.partial(custom_bwd, device_type=device_type)
    _check_type(device_type)

    @functools.wraps(bwd)
    def backward(*args: Any, **kwargs: Any) -> Any:
        with autocast(device_type, enabled=args[0]._fwd_used_autocast, dtype=args[0]._dtype):
            return bwd(*args, **kwargs)

    return backward

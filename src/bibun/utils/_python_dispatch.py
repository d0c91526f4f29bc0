"""`torch.utils._python_dispatch`: modes that see every operator, under the name by which programs import them."""

from __future__ import annotations

from importlib import import_module
from typing import Any

#: Name here -> name in `bibun.library.dispatching`, which is on a floor above and loaded when something is asked for.
_NAMES = {"TorchDispatchMode": "TorchDispatchMode", "_get_current_dispatch_mode": "current_mode", "_get_current_dispatch_mode_stack": "all_modes",
          "_disable_current_modes": "no_modes"}

__all__ = ["TorchDispatchMode"]  # noqa: F822


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        return getattr(import_module("bibun.library.dispatching"), _NAMES[name])
    raise AttributeError(f"module 'torch.utils._python_dispatch' has no attribute {name!r}")

"""Differentiation: the graph, its engine, modes, and the recording of primitives.

``torch.autograd``'s public names are here; the larger parts load when first touched.
"""

from __future__ import annotations

from typing import Any

from .api import AccumulateGrad, backward, grad
from .modes import (
    _force_original_view_tracking,
    enable_grad,
    inference_mode,
    is_grad_enabled,
    is_multithreading_enabled,
    is_view_replay_enabled,
    no_grad,
    set_grad_enabled,
    set_multithreading_enabled,
)
from .node import Node

_LAZY = {
    "Function": "function",
    "FunctionCtx": "function",
    "once_differentiable": "function",
    "detect_anomaly": "anomaly",
    "set_detect_anomaly": "anomaly",
    "gradcheck": "gradcheck",
    "gradgradcheck": "gradcheck",
    "coverage": "covered",
    "strict_zero": "strict",
    "inplace_policy": "strict",
    "Variable": "variable",
    "SavedTensor": "saved",
}
_MODULES = ("graph", "function", "functional", "forward_ad", "anomaly_mode", "profiler", "grad_mode", "variable")
#: Submodules that stand on a higher floor and are reached through this name only.
_ABOVE = {
    "functional": "bibun.func.functional",
    "forward_ad": "bibun.func.forward_ad",
    "grad_mode": "bibun.autograd.modes",
    "anomaly_mode": "bibun.autograd.anomaly",
}


def __getattr__(name: str) -> Any:
    import importlib

    if name in _LAZY:
        module = importlib.import_module(f"{__name__}.{_LAZY[name]}")
        found = getattr(module, name)
        globals()[name] = found
        return found
    if name in _MODULES:
        found = importlib.import_module(_ABOVE.get(name, f"{__name__}.{name}"))
        globals()[name] = found
        return found
    if name == "_unsafe_preserve_version_counter":
        from .graph import unsafe_preserve_version_counter

        return unsafe_preserve_version_counter
    if name == "torch":
        return importlib.import_module("bibun")
    raise AttributeError(f"module 'torch.autograd' has no attribute {name!r}")


__all__ = [
    "AccumulateGrad",
    "Node",
    "_force_original_view_tracking",
    "backward",
    "enable_grad",
    "grad",
    "inference_mode",
    "is_grad_enabled",
    "is_multithreading_enabled",
    "is_view_replay_enabled",
    "no_grad",
    "set_grad_enabled",
    "set_multithreading_enabled",
]

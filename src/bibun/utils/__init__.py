"""Helpers around training: data loading, checkpointing, hooks."""

from __future__ import annotations

from typing import Any

_LAZY = frozenset("data checkpoint hooks tensorboard model_zoo _pytree dlpack".split())


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        import importlib

        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module 'torch.utils' has no attribute {name!r}")

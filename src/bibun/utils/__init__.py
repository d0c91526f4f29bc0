"""What does not fit elsewhere, under PyTorch's name for it: ``data``, ``checkpoint``, ``hooks`` and others, each loaded
when first touched."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_SUBMODULES = frozenset(("checkpoint", "data", "hooks", "tensorboard"))


def __getattr__(name: str) -> Any:
    if name in _SUBMODULES or not name.startswith("_") or name in ("_mode_utils", "_pytree", "_python_dispatch"):
        full = f"{__name__}.{name}"
        try:
            return import_module(full)
        except ModuleNotFoundError as error:
            if error.name != full:
                raise
    raise AttributeError(f"module 'torch.utils' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_SUBMODULES})

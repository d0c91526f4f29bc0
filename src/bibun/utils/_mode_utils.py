"""`torch.utils._mode_utils`: a block that no dispatch mode sees."""

from __future__ import annotations

from importlib import import_module
from typing import Any

__all__ = ["no_dispatch"]


def no_dispatch() -> Any:
    """A context in which no dispatch mode of this thread is in force."""
    return import_module("bibun.library.dispatching").no_modes()

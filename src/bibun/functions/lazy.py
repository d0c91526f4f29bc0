"""Public names that load their module when first asked for: those that few programs use or that are heavy to import."""

from __future__ import annotations

import importlib
from typing import Any

#: name -> module under the package.
HOMES: dict[str, str] = {
    "save": "serialization", "load": "serialization", "Generator": "functions.random", "vmap": "func", "compile": "compiler",
    "UntypedStorage": "storage", "TypedStorage": "storage",
}


def find(name: str) -> Any:
    """The public object of that name, or None."""
    home = HOMES.get(name)
    if home is None:
        return None
    return getattr(importlib.import_module(f"bibun.{home}"), name)

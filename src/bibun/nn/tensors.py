"""The tensor functions that layers are made with: ``from ..tensors import empty`` gives ``torch.empty``.

In: a public name. Out: the function of that name from the floor below, by the table in which all are entered; or
``linalg``, with its own.
"""

from __future__ import annotations

import importlib
from typing import Any

from ..functions.register import FUNCTIONS


def __getattr__(name: str) -> Any:
    if name == "linalg":
        return importlib.import_module("bibun.linalg")
    try:
        return FUNCTIONS[name]
    except KeyError:
        raise AttributeError(f"no tensor function is called {name!r}") from None

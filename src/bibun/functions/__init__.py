"""The public functions, with PyTorch's signatures, by subject."""

from __future__ import annotations

import importlib
from typing import Any

#: The subjects that `import bibun` loads, in order; each enters its functions into `register`.
SUBJECTS = (
    "creation",
    "core",
    "pointwise",
    "comparison",
    "operators",
    "shape",
    "parts",
    "joining",
    "padding",
    "indexing",
    "reduction",
    "sorting",
    "counting",
    "products",
    "einsum",
    "calculus",
    "linalg",
    "factorizations",
    "pairs",
    "random",
    "activation",
    "loss",
    "norm",
    "margin",
    "ctc",
    "linear",
    "embedding",
    "distance",
)

#: Methods of Tensor whose subject loads when they are first called.
LATER = {"stft": "stft", "istft": "stft"}


def _later(name: str, subject: str) -> Any:
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        return getattr(importlib.import_module(f"{__name__}.{subject}"), name)(self, *args, **kwargs)

    call.__name__ = call.__qualname__ = name
    call.__doc__ = f"`torch.{name}` of this tensor."
    return call


def load() -> None:
    """Import all subjects, so that `register.FUNCTIONS` and `register.METHODS` are filled."""
    for subject in SUBJECTS:
        name = f"{__name__}.{subject}"
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name != name:
                raise
    methods = importlib.import_module(f"{__name__}.register").METHODS
    for name, subject in LATER.items():
        methods[name] = _later(name, subject)

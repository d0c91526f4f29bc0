"""The public functions, with PyTorch's signatures, by subject."""

from __future__ import annotations

import importlib

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


def load() -> None:
    """Import all subjects, so that `register.FUNCTIONS` and `register.METHODS` are filled."""
    for subject in SUBJECTS:
        name = f"{__name__}.{subject}"
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name != name:
                raise

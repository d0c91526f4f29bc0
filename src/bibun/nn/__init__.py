"""Neural networks: layers and losses as modules (`modules`), as functions (`functional`), initial values (`init`).

In: tensors. Out: models whose parameters optimizers train. The names are ``torch.nn``'s; what a program does not
touch is not loaded.
"""

from __future__ import annotations

import importlib
from typing import Any

from . import modules
from .parameter import Buffer, Parameter, UninitializedBuffer, UninitializedParameter

__all__ = [*modules.__all__, "Buffer", "Parameter", "UninitializedBuffer", "UninitializedParameter"]

_SUBMODULES = frozenset(("attention", "common_types", "functional", "grad", "init", "parallel", "parameter", "utils"))


def factory_kwargs(kwargs: dict[str, Any] | None) -> dict[str, Any]:
    """The ``device``, ``dtype`` and ``memory_format`` for making a parameter, out of a layer's keyword arguments.

    Raises:
        TypeError: one is given both by itself and in ``factory_kwargs``, or there is an unknown one.
    """
    if kwargs is None:
        return {}
    simple = {"device", "dtype", "memory_format"}
    unknown = kwargs.keys() - (simple | {"factory_kwargs"})
    if unknown:
        raise TypeError(f"unexpected kwargs {unknown}")
    made = dict(kwargs.get("factory_kwargs", {}))
    for key in simple & kwargs.keys():
        if key in made:
            raise TypeError(f"{key} specified twice, in **kwargs and in factory_kwargs")
        made[key] = kwargs[key]
    return made


def __getattr__(name: str) -> Any:
    if name in _SUBMODULES:
        return importlib.import_module(f"{__name__}.{name}")
    if name == "DataParallel":
        found = importlib.import_module(f"{__name__}.parallel").DataParallel
    elif name in modules._FILE_OF:
        found = getattr(modules, name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_SUBMODULES, "DataParallel"})

"""Making a module without drawing its initial values."""

from __future__ import annotations

import inspect
from typing import Any

from ..modules.module import Module

__all__ = ["skip_init"]


def skip_init(module_cls: Any, *args: Any, **kwargs: Any) -> Any:
    """A module of class `module_cls` whose parameters are left as memory happens to be.

    Raises:
        RuntimeError: the class is no module, or takes no ``device``.
    """
    if not issubclass(module_cls, Module):
        raise RuntimeError(f"Expected a Module; got {module_cls}")
    if "device" not in inspect.signature(module_cls).parameters:
        raise RuntimeError("Module must support a 'device' arg to skip initialization")
    from .. import init

    # The layers draw through these; nothing drawn means that the random stream stays where it is, too.
    saved = {
        name: getattr(init, name)
        for name in ("_no_grad_uniform_", "_no_grad_normal_", "_no_grad_fill_", "_no_grad_zero_")
    }
    try:
        for name in saved:
            setattr(init, name, lambda tensor, *_, **__: tensor)
        return module_cls(*args, **kwargs)
    finally:
        for name, function in saved.items():
            setattr(init, name, function)

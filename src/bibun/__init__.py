"""bibun (微分, "differentiation"): define-by-run automatic differentiation that runs PyTorch's programs.

``import bibun as torch``, or ``python -m bibun script.py`` for a script that says ``import torch``. This module is the
public namespace: tensors, functions, dtypes, grad modes and random numbers are here; ``nn``, ``optim``, ``utils``,
``func`` and the other submodules load when first touched.
"""

from __future__ import annotations

from math import e, inf, nan, pi
from typing import Any as _Any

from . import dtypes as _dtypes
from .autograd.modes import (
    enable_grad,
    inference_mode,
    is_grad_enabled,
    is_inference_mode_enabled,
    no_grad,
    set_grad_enabled,
)
from .dtypes import (
    Size,
    can_cast,
    channels_last,
    channels_last_3d,
    contiguous_format,
    device,
    dtype,
    finfo,
    get_default_dtype,
    iinfo,
    layout,
    memory_format,
    preserve_format,
    promote_types,
    set_default_dtype,
    sparse_coo,
    sparse_csr,
    strided,
)
from .tensor import Tensor
from .tensor import attach as _attach
from .version import __version__

newaxis = None

for _name, _value in _dtypes.BY_NAME.items():
    globals()[_name] = _value

from .functions import load as _load
from .functions import register as _register

_load()
_attach()
globals().update({name: f for name, f in _register.FUNCTIONS.items() if "." not in name})

#: Submodules that load when first touched.
_LAZY = frozenset(
    "nn optim utils func functional autograd linalg special fft random cuda backends amp hub version serialization jit distributions "
    "testing onnx library overrides multiprocessing distributed signal masked sparse compiler mps accelerator cpu memory types torch_version alias _tensor_str storage _utils _tensor _C _vmap_internals".split()
)


class _Operators:
    """``torch.ops``: operators registered by name; what is asked of it is answered by `bibun.library`, once loaded."""

    def __getattr__(self, name: str) -> _Any:
        import importlib

        globals()["ops"] = found = importlib.import_module("bibun.library.operators").Operators()
        return getattr(found, name)


ops: _Any = _Operators()  # the package of primitives stays what `bibun.ops` imports


def __getattr__(name: str) -> _Any:
    if name in _LAZY:
        import importlib

        try:
            return importlib.import_module(f"{__name__}.{name}")
        except ModuleNotFoundError as error:
            if error.name != f"{__name__}.{name}":
                raise
    from .functions.lazy import find

    found = find(name)
    if found is not None:
        globals()[name] = found
        return found
    raise AttributeError(f"module 'torch' has no attribute {name!r} (bibun, {__version__}, does not offer it)")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})


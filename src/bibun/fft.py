"""``torch.fft``: discrete Fourier transforms. The functions stand in `bibun.functions.fft`; loads when first touched."""

from __future__ import annotations

from .functions import fft as _fft  # noqa: F401  (enters its functions)
from .functions.register import FUNCTIONS as _FUNCTIONS
from .tensor import Tensor  # noqa: F401

globals().update({name[4:]: function for name, function in _FUNCTIONS.items() if name.startswith("fft.")})
__all__ = sorted(name[4:] for name in _FUNCTIONS if name.startswith("fft."))

"""``torch.special``: special functions under the names of SciPy's module; loads when first touched."""

from __future__ import annotations

from .functions import register as _register
from .functions import special as _special  # noqa: F401  (enters its functions)

globals().update({name[8:]: f for name, f in _register.FUNCTIONS.items() if name.startswith("special.")})
__all__ = sorted(name[8:] for name in _register.FUNCTIONS if name.startswith("special."))

"""``torch.linalg``: linear algebra. The functions themselves stand in `bibun.functions.linalg` and beside it."""

from __future__ import annotations

from .errors import LinAlgError  # noqa: F401
from .functions.register import FUNCTIONS

globals().update({name[7:]: function for name, function in FUNCTIONS.items() if name.startswith("linalg.")})

"""``torch._VF``: the functions of ``torch`` once more, under the name by which PyTorch's layers call them.

Programs that derive from those layers (recurrent ones with dropped weights, say) call ``torch._VF.lstm`` as they do.
"""

from __future__ import annotations

import importlib
from typing import Any


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    return getattr(importlib.import_module("bibun"), name)

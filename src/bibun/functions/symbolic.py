"""``torch.sym_int`` and its kin: arithmetic on sizes, which in PyTorch may be symbols while it traces. Here sizes are numbers.

In and out: Python numbers.
"""

from __future__ import annotations

import math
from typing import Any


def sym_int(a: Any) -> int:
    """The integer next to ``a`` towards zero."""
    return int(a)


def sym_float(a: Any) -> float:
    """``a`` as a float."""
    return float(a)


def sym_max(a: Any, b: Any) -> Any:
    """The larger of the two; a float if either is one."""
    found = max(a, b)
    return float(found) if isinstance(a, float) or isinstance(b, float) else found


def sym_min(a: Any, b: Any) -> Any:
    """The smaller of the two; a float if either is one."""
    found = min(a, b)
    return float(found) if isinstance(a, float) or isinstance(b, float) else found


def sym_not(a: Any) -> bool:
    """Not ``a``."""
    return not a


def sym_ite(b: Any, t: Any, f: Any) -> Any:
    """``t`` if ``b``, else ``f``."""
    return t if b else f


def sym_sqrt(a: Any) -> float:
    """The square root of ``a``."""
    return math.sqrt(a)


def sym_sum(args: Any) -> Any:
    """The sum of a sequence of numbers."""
    return sum(args)

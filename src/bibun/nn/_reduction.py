"""The three ways to reduce a loss, and the two arguments that once chose among them.

In: ``size_average``, ``reduce`` or ``reduction``. Out: the reduction's name, or its number.
"""

from __future__ import annotations

import warnings

__all__ = ["get_enum", "legacy_get_enum", "legacy_get_string"]

_NAMES = ("none", "mean", "sum")


def get_enum(reduction: str) -> int:
    """0 for ``none``, 1 for ``mean``, 2 for ``sum``.

    Raises:
        ValueError: another name.
    """
    if reduction == "elementwise_mean":
        warnings.warn("reduction='elementwise_mean' is deprecated. Please use reduction='mean' instead.", stacklevel=3)
        return 1
    if reduction in _NAMES:
        return _NAMES.index(reduction)
    raise ValueError(f"{reduction} is not a valid value for reduction")


def legacy_get_string(size_average: bool | None, reduce: bool | None, emit_warning: bool = True) -> str:
    """The name of the reduction that the old arguments meant."""
    average = True if size_average is None else size_average
    reduced = True if reduce is None else reduce
    name = ("mean" if average else "sum") if reduced else "none"
    if emit_warning:
        warnings.warn(
            f"size_average and reduce args will be deprecated, please use reduction='{name}' instead.", stacklevel=4
        )
    return name


def legacy_get_enum(size_average: bool | None, reduce: bool | None, emit_warning: bool = True) -> int:
    """The number of the reduction that the old arguments meant."""
    return get_enum(legacy_get_string(size_average, reduce, emit_warning))

"""`make_tensor`: tensors of random numbers for tests, in any dtype and between given bounds."""

from __future__ import annotations

import math
import warnings
from typing import Any

from .. import dtypes
from ..functions.register import FUNCTIONS


def _bounds(
    low: Any, high: Any, lowest: float, highest: float, usual: tuple[float, float], dtype: Any
) -> tuple[Any, Any]:
    if any(isinstance(x, float) and math.isnan(x) for x in (low, high)):
        raise ValueError(f"`low` and `high` cannot be NaN, but got low={low!r} and high={high!r}")
    low, high = usual[0] if low is None else low, usual[1] if high is None else high
    if low == high and dtype.np.kind not in "biu":
        warnings.warn(
            "Passing `low==high` to `torch.testing.make_tensor` for floating or complex types is deprecated since 2.1 and "
            "will be removed in 2.3. Use `torch.full(...)` instead.",
            FutureWarning,
            stacklevel=4,
        )
    elif low >= high:
        raise ValueError(f"`low` must be less than `high`, but got {low} >= {high}")
    elif high < lowest or low > highest:
        raise ValueError(
            f"The value interval specified by `low` and `high` is [{low}, {high}), but {dtype} only supports "
            f"[{lowest}, {highest}]"
        )
    low, high = max(low, lowest), min(high, highest)
    if dtype.np.kind in "biu":
        low, high = math.ceil(low), math.ceil(high)
        if low == high:
            raise ValueError(f"`low` must be less than `high`, but got {low} >= {high} among the integers")
    return low, high


def make_tensor(
    *shape: Any,
    dtype: Any,
    device: Any,
    low: float | None = None,
    high: float | None = None,
    requires_grad: bool = False,
    noncontiguous: bool = False,
    exclude_zero: bool = False,
    memory_format: Any = None,
) -> Any:
    """A tensor drawn evenly from [low, high): by default [-9, 9), [-9, 10) for integers, [0, 10) for unsigned ones.

    Raises:
        ValueError: bounds that leave nothing; a gradient of integers; ``noncontiguous`` and ``memory_format`` together.

    >>> import bibun as torch
    >>> torch.testing.make_tensor(2, 3, dtype=torch.float32, device="cpu").shape
    torch.Size([2, 3])
    """
    size = tuple(shape[0]) if len(shape) == 1 and not isinstance(shape[0], int) else shape
    kind = dtype.np.kind
    spread = noncontiguous and math.prod(size) > 1
    if spread:  # every second number of a row twice as long
        size = (*size[:-1], 2 * size[-1])
    if noncontiguous and memory_format is not None:
        raise ValueError(
            "The parameters `noncontiguous` and `memory_format` are mutually exclusive, but got "
            f"noncontiguous={noncontiguous} and memory_format={memory_format}"
        )
    if requires_grad and kind in "biu":
        raise ValueError(
            f"`requires_grad=True` is not supported for boolean and integral dtypes, but got dtype={dtype}"
        )
    if kind in "biu":
        info = None if kind == "b" else dtypes.iinfo(dtype)
        usual = (0, 2) if kind == "b" else (0, 10) if kind == "u" else (-9, 10)
        lowest, highest = (0, 2) if info is None else (info.min, info.max + (dtype != dtypes.int64))
        low, high = _bounds(low, high, lowest, highest, usual, dtype)
        made = FUNCTIONS["randint"](low, high, size, dtype=dtype, device=device)
    else:
        real = {"complex64": dtypes.float32, "complex128": dtypes.float64}.get(dtype.name, dtype)
        limits = dtypes.finfo(real)
        low, high = _bounds(low, high, limits.min, limits.max, (-9, 9), dtype)
        made = FUNCTIONS["empty"](size, dtype=dtype, device=device)
        parts = FUNCTIONS["view_as_real"](made) if kind == "c" else made
        if high - low > limits.max:  # wider than uniform_ can draw from
            parts.uniform_(low / 2, high / 2).mul_(2)
        else:
            parts.uniform_(low, high)
    if spread:
        made = made[..., 1::2]
    elif memory_format is not None:
        made = made.clone(memory_format=memory_format)
    if exclude_zero:
        tiny = 1 if kind in "biu" else complex(limits.tiny, limits.tiny) if kind == "c" else limits.tiny
        made[made == 0] = tiny
    return made.requires_grad_() if requires_grad else made

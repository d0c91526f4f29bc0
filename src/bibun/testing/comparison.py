"""`assert_close`: two values, or containers of them, compared within tolerances; what differs is told in numbers.

In: tensors, arrays, numbers, None, or sequences and mappings of these. Out: nothing, or an AssertionError; a TypeError for
values that cannot be compared with each other, a ValueError for one tolerance without the other.
"""

from __future__ import annotations

import cmath
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from .. import dtypes
from ..autograd.modes import no_grad
from ..functions.creation import as_tensor
from ..functions.register import FUNCTIONS
from ..tensor import Tensor

#: (rtol, atol) by dtype; others are compared exactly.
TOLERANCES = {
    "float16": (1e-3, 1e-5),
    "bfloat16": (1.6e-2, 1e-5),
    "float32": (1.3e-6, 1e-5),
    "float64": (1e-7, 1e-7),
    "complex64": (1.3e-6, 1e-5),
    "complex128": (1e-7, 1e-7),
}


class Difference(Exception):
    """What differs, before it is worded for the user."""


def _at(path: tuple[Any, ...]) -> str:
    return f"\n\nThe failure occurred for item {''.join(f'[{p!r}]' for p in path)}" if path else ""


def _tolerance(rtol: float | None, atol: float | None, *names: str) -> tuple[float, float]:
    if rtol is not None and atol is not None:
        return rtol, atol
    known = [TOLERANCES.get(name, (0.0, 0.0)) for name in names]
    return max(r for r, _ in known), max(a for _, a in known)


def _message(kind: str, extra: str, differences: list[tuple[str, Any, str]], rtol: float, atol: float) -> str:
    exact = rtol == 0 and atol == 0
    lines = [f"{kind} are not {'equal' if exact else 'close'}!\n", extra]
    for (what, amount, where), allowed in zip(differences, (atol, rtol)):
        lines.append(f"{what} difference: {amount}{where}" + ("" if exact else f" (up to {allowed} allowed)"))
    return "\n".join(lines)


def _scalars(actual: Any, expected: Any, rtol: float, atol: float) -> Difference:
    gap = abs(actual - expected)
    part = float("inf") if expected == 0 else gap / abs(expected)
    extra = f"Expected {expected} but got {actual}."
    return Difference(_message("Scalars", extra, [("Absolute", gap, ""), ("Relative", part, "")], rtol, atol))


# Pairs: each checks one kind of values


def _compare_numbers(actual: Any, expected: Any, o: dict[str, Any]) -> None:
    actual, expected = (x.item() if isinstance(x, np.generic) else x for x in (actual, expected))
    if o["check_dtype"] and type(actual) is not type(expected):
        raise Difference(f"The (d)types do not match: {type(actual)} != {type(expected)}.")
    if actual == expected or o["equal_nan"] and cmath.isnan(actual) and cmath.isnan(expected):
        return
    names = ["int64" if isinstance(x, int) else "float64" for x in (actual, expected)]
    rtol, atol = _tolerance(o["rtol"], o["atol"], *names)
    gap = abs(actual - expected)
    if not (cmath.isfinite(gap) and gap <= atol + rtol * abs(expected)):
        raise _scalars(actual, expected, rtol, atol)


def _attributes(a: Tensor, b: Tensor, o: dict[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    yield "shape", a.shape, b.shape
    if o["check_layout"]:
        yield "layout", a.layout, b.layout
    if o["check_device"]:
        yield "device", a.device, b.device
    if o["check_dtype"]:
        yield "dtype", a.dtype, b.dtype
    if o["check_stride"]:
        yield "stride()", a.stride(), b.stride()


def _compare_tensors(a: Tensor, b: Tensor, o: dict[str, Any]) -> None:
    for name, mine, its in _attributes(a, b, o):
        if mine != its:
            raise Difference(f"The values for attribute '{name}' do not match: {mine} != {its}.")
    rtol, atol = _tolerance(o["rtol"], o["atol"], a.dtype.name, b.dtype.name)
    if a.dtype != b.dtype:
        common = dtypes.promote_types(a.dtype, b.dtype)
        a, b = a.to(common), b.to(common)
    same = FUNCTIONS["isclose"](a, b, rtol=rtol, atol=atol, equal_nan=o["equal_nan"])
    if bool(same.all()):
        return
    if not a.shape:
        raise _scalars(a.item(), b.item(), rtol, atol)
    if a.dtype.np.kind in "biu":
        a, b = a.to(dtypes.int64), b.to(dtypes.int64)
    same, total = same.flatten(), same.numel()
    wrong = total - int(same.sum())
    found = []
    gaps = (a - b).abs().flatten()  # type: ignore[operator]
    for what, values in (("Absolute", gaps), ("Relative", gaps / b.abs().flatten())):
        values = values.clone()
        values[same] = 0
        amount, place = values.max(0)
        where = tuple(int(i) for i in np.unravel_index(place.item(), tuple(a.shape)))
        found.append((f"Greatest {what.lower()}", amount.item(), f" at index {where}"))
    raise Difference(
        _message("Tensor-likes", f"Mismatched elements: {wrong} / {total} ({wrong / total:.1%})", found, rtol, atol)
    )


def _pair(actual: Any, expected: Any, o: dict[str, Any]) -> Callable[[], None] | None:
    """The comparison of two values, or None where they cannot be compared."""
    if actual is None or expected is None:

        def nones() -> None:
            if actual is not expected:
                raise Difference(f"None mismatch: {actual} is not {expected}")

        return nones
    truths = (bool, np.bool_)
    if isinstance(actual, truths) and isinstance(expected, truths):

        def booleans() -> None:
            if bool(actual) is not bool(expected):
                raise Difference(f"Booleans mismatch: {bool(actual)} is not {bool(expected)}")

        return booleans
    numbers = (int, float, complex, np.number)
    if isinstance(actual, numbers) and isinstance(expected, numbers):
        return lambda: _compare_numbers(actual, expected, o)
    if not (isinstance(actual, type(expected)) or isinstance(expected, type(actual))):
        return None
    if not o["allow_subclasses"] and type(actual) is not type(expected):
        return None
    try:
        with no_grad():
            a, b = (x.detach() if isinstance(x, Tensor) else as_tensor(x) for x in (actual, expected))
    except Exception:
        return None
    return lambda: _compare_tensors(a, b, o)


def _pairs(
    actual: Any, expected: Any, o: dict[str, Any], path: tuple[Any, ...]
) -> Iterator[tuple[Any, tuple[Any, ...]]]:
    """(comparison, where it stands) of all values, the containers' own shape checked on the way."""
    if (
        isinstance(actual, Sequence)
        and isinstance(expected, Sequence)
        and not isinstance(actual, str)
        and not isinstance(expected, str)
    ):
        if len(actual) != len(expected):
            raise AssertionError(f"The length of the sequences mismatch: {len(actual)} != {len(expected)}" + _at(path))
        for i in range(len(actual)):
            yield from _pairs(actual[i], expected[i], o, (*path, i))
    elif isinstance(actual, Mapping) and isinstance(expected, Mapping):
        mine, its = set(actual), set(expected)
        if mine != its:
            raise AssertionError(
                "The keys of the mappings do not match:\n"
                f"Missing keys in the actual mapping: {sorted(its - mine, key=str)}\n"
                f"Additional keys in the actual mapping: {sorted(mine - its, key=str)}" + _at(path)
            )
        keys = list(mine)
        try:
            keys.sort()
        except TypeError:
            pass
        for key in keys:
            yield from _pairs(actual[key], expected[key], o, (*path, key))
    else:
        compare = _pair(actual, expected, o)
        if compare is None:
            raise TypeError(
                f"No comparison pair was able to handle inputs of type {type(actual)} and {type(expected)}." + _at(path)
            )
        yield compare, path


def assert_close(
    actual: Any,
    expected: Any,
    *,
    allow_subclasses: bool = True,
    rtol: float | None = None,
    atol: float | None = None,
    equal_nan: bool = False,
    check_device: bool = True,
    check_dtype: bool = True,
    check_layout: bool = True,
    check_stride: bool = False,
    msg: str | Callable[[str], str] | None = None,
) -> None:
    """Nothing where ``|actual - expected| <= atol + rtol * |expected|`` everywhere, with equal shapes and dtypes.

    The tolerances follow from the dtype unless both are given. Containers are compared item by item.

    Raises:
        AssertionError: they differ; the message is ``msg``, or what ``msg`` makes of the message, where given.
        TypeError: values of kinds that cannot be compared. ValueError: one tolerance without the other.

    >>> import bibun as torch
    >>> torch.testing.assert_close(torch.ones(2), torch.ones(2) + 1e-7)
    >>> torch.testing.assert_close(1.0, 2.0)
    Traceback (most recent call last):
    AssertionError: Scalars are not close!
    ...
    """
    if (rtol is None) != (atol is None):
        missing = "rtol" if rtol is None else "atol"
        raise ValueError(f"Both 'rtol' and 'atol' must be either specified or omitted, but got no {missing}.")
    options = {
        "allow_subclasses": allow_subclasses,
        "rtol": rtol,
        "atol": atol,
        "equal_nan": equal_nan,
        "check_device": check_device,
        "check_dtype": check_dtype,
        "check_layout": check_layout,
        "check_stride": check_stride,
    }
    failure = None
    for compare, path in list(_pairs(actual, expected, options, ())):
        try:
            with no_grad():
                compare()
        except Difference as error:
            text = f"{error}{_at(path)}"
            failure = msg if isinstance(msg, str) else msg(text) if msg is not None else text
            break
    if failure is not None:
        raise AssertionError(failure)


def assert_allclose(
    actual: Any,
    expected: Any,
    rtol: float | None = None,
    atol: float | None = None,
    equal_nan: bool = True,
    msg: str = "",
) -> None:
    """Deprecated: `assert_close` without checks of dtype and device."""
    warnings.warn(
        "`torch.testing.assert_allclose()` is deprecated since 1.12 and will be removed in a future release. Please use "
        "`torch.testing.assert_close()` instead.",
        FutureWarning,
        stacklevel=2,
    )
    a, b = (x if isinstance(x, Tensor) else as_tensor(x) for x in (actual, expected))
    if rtol is None and atol is None:
        wide = [(1e-5, 1e-8) if d == "float64" else (1e-4, 1e-5) if d == "float32" else TOLERANCES.get(d, (0, 0))
                for d in (a.dtype.name, b.dtype.name)]  # fmt: skip
        rtol, atol = max(r for r, _ in wide), max(w for _, w in wide)
    assert_close(
        a, b, rtol=rtol, atol=atol, equal_nan=equal_nan, check_device=True, check_dtype=False, check_stride=False,
        msg=msg or None,
    )  # fmt: skip

"""How tensors print: `repr(tensor)` as PyTorch writes it, character by character, and the options that govern it.

In comes a tensor (its ndarray, dtype and place in the graph) and the options in force; out comes text. Only the
elements that are shown are looked at: a tensor beyond the threshold is first cut down to its edges, and width and
notation follow from what is left.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from . import dtypes
from .autograd import dispatch


@dataclass
class PrinterOptions:
    """The options of `set_printoptions`, with their defaults."""

    precision: int = 4
    threshold: float = 1000
    edgeitems: int = 3
    linewidth: int = 80
    sci_mode: bool | None = None


PRINT_OPTS = PrinterOptions()
"""The options in force."""

_PROFILES: dict[str, dict[str, Any]] = {
    "default": {"precision": 4, "threshold": 1000, "edgeitems": 3, "linewidth": 80},
    "short": {"precision": 2, "threshold": 1000, "edgeitems": 2, "linewidth": 80},
    "full": {"precision": 4, "threshold": math.inf, "edgeitems": 3, "linewidth": 80},
}


def set_printoptions(
    precision: int | None = None,
    threshold: float | None = None,
    edgeitems: int | None = None,
    linewidth: int | None = None,
    profile: str | None = None,
    sci_mode: bool | None = None,
) -> None:
    """Set how tensors print; what is not given stays, except `sci_mode`, which goes back to automatic.

    Args:
        precision: digits after the decimal point (4).
        threshold: the number of elements beyond which only the edges are shown (1000).
        edgeitems: how many elements are shown at each end of a dimension then (3).
        linewidth: characters in a line (80).
        profile: "default", "short" or "full", on top of which the other options apply.
        sci_mode: whether to write 1.0000e+00; None: where the values call for it.

    >>> import bibun as torch
    >>> torch.set_printoptions(precision=2)
    >>> torch.tensor([1.12345])
    tensor([1.12])
    >>> torch.set_printoptions(profile="default")
    """
    given = {"precision": precision, "threshold": threshold, "edgeitems": edgeitems, "linewidth": linewidth}
    wanted = {
        **(_PROFILES.get(profile, {}) if profile is not None else {}),
        **{name: value for name, value in given.items() if value is not None},
    }
    for name, value in wanted.items():
        setattr(PRINT_OPTS, name, value)
    PRINT_OPTS.sci_mode = sci_mode


def get_printoptions() -> dict[str, Any]:
    """The options in force, as a dict that `set_printoptions` takes."""
    return asdict(PRINT_OPTS)


@contextlib.contextmanager
def printoptions(**options: Any) -> Iterator[None]:
    """Options for the length of a `with` block; those of `set_printoptions`."""
    before = get_printoptions()
    set_printoptions(**options)
    try:
        yield
    finally:
        set_printoptions(**before)


# -------------------------------------------------------------------------------------------------- single elements


class _Notation:
    """How the elements of one array are written: all of one width, in one notation.

    The notation follows from the finite elements other than zero, as in PyTorch: whole numbers are written `1.`, a
    wide range or extreme values as 1.0000e+00, all else with `precision` digits.
    """

    def __init__(self, shown: np.ndarray, counted: np.ndarray | None = None):
        """`shown` is bool, integer, float32 or float64; `counted` says which elements decide, where it is given."""
        self.width = 1
        values = shown.reshape(-1)
        if shown.dtype.kind != "f":
            # str of each Python value, so that the widest is the longest
            self.write: Callable[[Any], str] = str
            self.width = max([1, *map(len, map(str, values.tolist()))])
            return
        precision = PRINT_OPTS.precision
        if counted is None:
            counted = np.isfinite(values) & (values != 0)
        finite = values[counted].astype(np.float64)
        whole, scientific = True, False
        if finite.size:
            size = np.abs(finite)
            low, high = size.min(), size.max()
            whole = bool((finite == np.ceil(finite)).all())
            # a ratio that overflows counts as large
            with np.errstate(over="ignore"):
                scientific = bool(high / low > 1000.0 or high > 1.0e8 or (low < 1.0e-4 and not whole))
        if PRINT_OPTS.sci_mode is not None and finite.size:
            scientific = PRINT_OPTS.sci_mode
        self.write = _writer(precision, whole, scientific)
        self.width = max([1, *map(len, map(self.write, finite.tolist()))])

    def __call__(self, value: Any) -> str:
        return self.write(value).rjust(self.width)


def _writer(precision: int, whole: bool, scientific: bool) -> Callable[[float], str]:
    """The function that writes a float in a notation."""
    if scientific:
        return f"{{:.{precision}e}}".format
    if whole:
        return lambda value: f"{value:.0f}." if math.isfinite(value) else f"{value:.0f}"
    return f"{{:.{precision}f}}".format


def _complex_notation(shown: np.ndarray) -> tuple[Callable[[complex], str], int]:
    """How complex elements are written, and how much room one is given."""
    real, imag = _Notation(shown.real), _Notation(shown.imag)

    def write(value: complex) -> str:
        tail = imag(value.imag).lstrip() + "j"
        return real(value.real) + (tail if tail[0] in "+-" else "+" + tail)

    return write, real.width + imag.width + 1


# --------------------------------------------------------------------------------------------------- whole contents

# NumPy cannot test or convert these as it does its own types, and PyTorch too widens them first.
_WIDENED = {
    d.np: np.dtype(np.complex64 if d.is_complex else np.float32)
    for d in dtypes.HELD
    if d is dtypes.float16 or d is dtypes.complex32 or (d.is_floating_point and d.itemsize < 4)
}

# The type of scales, powers of two, has no zero: what it makes of one is its least number, which is thus taken for
# zero here. And PyTorch takes its NaN for finite.
_SCALE = dtypes.float8_e8m0fnu.np if dtypes.float8_e8m0fnu in dtypes.HELD else None


def _edges(a: np.ndarray, edge: int) -> tuple[np.ndarray, list[bool]]:
    """What is shown of an array of which only the edges are, and which dimensions were cut for it."""
    cut = [n > 2 * edge for n in a.shape]
    for axis, (n, is_cut) in enumerate(zip(a.shape, cut, strict=True)):
        if is_cut:
            # not `take`, which first makes a contiguous copy of the whole
            before = (slice(None),) * axis
            a = np.concatenate((a[(*before, slice(edge))], a[(*before, slice(n - edge, n))]), axis)
    return a, cut


def _contents(a: np.ndarray, indent: int) -> str:
    """The elements in nested brackets, the text starting at column `indent`."""
    if not a.size:
        return "[]"
    shown, cut = a, [False] * a.ndim
    if a.size > PRINT_OPTS.threshold:
        if PRINT_OPTS.edgeitems <= 0 and a.ndim:
            return "[...]"
        shown, cut = _edges(a, PRINT_OPTS.edgeitems)
    wide = _WIDENED.get(shown.dtype)
    counted = None
    if wide is not None:
        if shown.dtype == _SCALE:
            counted = shown.reshape(-1).view(np.uint8) != 0
        shown = shown.astype(wide)
    write: Callable[[Any], str]
    if shown.dtype.kind == "c":
        write, width = _complex_notation(shown)
    else:
        write = notation = _Notation(shown, counted)
        width = notation.width
    if not shown.ndim:
        return write(shown.item())
    texts = [*map(write, shown.reshape(-1).tolist())]
    return _nested(texts, shown.shape, cut, width + 2, indent)


def _nested(texts: list[str], shape: tuple[int, ...], cut: list[bool], width: int, indent: int) -> str:
    """Texts of elements, in order, in as many brackets as `shape` has dimensions; `width` counts the comma too."""
    if len(shape) == 1:
        if cut[0]:
            half = len(texts) // 2
            texts = [*texts[:half], " ...", *texts[half:]]
        room = (PRINT_OPTS.linewidth - indent) / width
        per_line = max(1, len(texts) if math.isinf(room) else int(room))
        lines = [", ".join(texts[i : i + per_line]) for i in range(0, len(texts), per_line)]
        return "[" + f",\n{' ' * (indent + 1)}".join(lines) + "]"
    each = len(texts) // shape[0]
    parts = [_nested(texts[i : i + each], shape[1:], cut[1:], width, indent + 1) for i in range(0, len(texts), each)]
    if cut[0]:
        parts.insert(len(parts) // 2, "...")
    return "[" + f",{chr(10) * (len(shape) - 1)}{' ' * (indent + 1)}".join(parts) + "]"


# ---------------------------------------------------------------------------------------------------- whole tensors


def format_tensor(t: Any, *, tensor_contents: Any = None, tangent: Any = None) -> str:
    """`repr(t)`: contents, then what is not told by them (size, dtype, place in the graph).

    Args:
        tensor_contents: text to stand in place of the elements.
        tangent: the tensor's tangent in forward mode, shown at the end.
    """
    a: np.ndarray = t._a
    kind = type(t)
    plain = kind is dispatch.Tensor or kind is dispatch.Parameter
    start = "tensor(" if plain else f"{kind.__name__}("
    indent = len(start)
    text = str(tensor_contents) if tensor_contents is not None else _contents(a, indent)
    suffixes = _suffixes(t, a)
    if tangent is not None:
        suffixes.append(f"tangent={tangent}")
    text = _with_suffixes(start + text, suffixes, indent)
    if not plain and _is_parameter(t):
        return f"Parameter({text})"
    return text


def _is_parameter(t: Any) -> bool:
    """Whether a tensor of a subclass is a parameter: by its class, or marked as one."""
    known = dispatch.Parameter is not dispatch.Tensor  # the class, as long as `nn` is not loaded
    return bool(getattr(t, "_is_param", False)) or (known and isinstance(t, dispatch.Parameter))


def _suffixes(t: Any, a: np.ndarray) -> list[str]:
    dtype = t.dtype
    found = []
    place = t.device
    if place.type != "cpu":
        found.append(f"device='{place}'")
    if not a.size:
        if a.ndim != 1:
            found.append(f"size={tuple(a.shape)}")
        shown = dtype is not dtypes.default  # nothing in the brackets says int64 here
    else:
        if not PRINT_OPTS.edgeitems:
            found.append(f"size={tuple(a.shape)}")
        shown = dtype not in (dtypes.default, dtypes.default_complex, dtypes.int64, dtypes.bool_)
    if shown:
        found.append(f"dtype={dtype}")
    try:
        grad_fn = t.grad_fn
    except RuntimeError:
        found.append("grad_fn=<Invalid>")
    else:
        if grad_fn is not None:
            found.append(f"grad_fn=<{grad_fn.name().rpartition('::')[2]}>")
        elif t.requires_grad:
            found.append("requires_grad=True")
    return found


def _with_suffixes(text: str, suffixes: list[str], indent: int) -> str:
    """Suffixes after commas, each on the last line where there is room for it, else on one of its own."""
    # One column more than the line has is counted while it is the first, as PyTorch does.
    column = len(text) - text.rfind("\n") + 1
    for suffix in suffixes:
        if column + len(suffix) + 2 > PRINT_OPTS.linewidth:
            text += ",\n" + " " * indent + suffix
            column = indent + len(suffix)
        else:
            text += ", " + suffix
            column += len(suffix) + 2
    return text + ")"

"""What an element is: dtypes, type promotion, the default dtype, `finfo` and `iinfo`; and, passed on from their own
modules, the other small objects a tensor is described by (`Size`, `device`, layouts, memory formats).

In come NumPy dtypes and Python numbers; out go PyTorch's dtype objects and the answers of its promotion rules. Hot
code reads the tables (`BY_NUMPY`, `PROMOTE_NP`, `COMBINE_NP`, `NUMBER_NP`, `default`, `default_np`) straight from this
module, as attributes of it, never as copies: `set_default_dtype` rebinds or refills them.

A name that is also a Python builtin (`bool`, `int`, `float`) is reached as an attribute of this module all the same,
through `__getattr__`, so that inside it the builtins keep their meaning.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, Final, NoReturn

import ml_dtypes
import numpy as np

from .placement import (  # noqa: F401
    CPU,
    _mkldnn,
    channels_last,
    channels_last_3d,
    check_device,
    check_layout,
    contiguous_format,
    device,
    jagged,
    layout,
    legacy_contiguous_format,
    memory_format,
    preserve_format,
    sparse_bsc,
    sparse_bsr,
    sparse_coo,
    sparse_csc,
    sparse_csr,
    strided,
)
from .size import Size, size_of  # noqa: F401

# ---------------------------------------------------------------------------------------------------------- dtypes

BOOL, INT, FLOAT, COMPLEX = range(4)
"""The kinds of dtype, in the order in which promotion climbs."""


class dtype:
    """The type of a tensor's elements: `bibun.float32` and its fellows, of which each exists once.

    >>> import bibun as torch
    >>> torch.float32, torch.float32.itemsize, torch.float32.to_complex()
    (torch.float32, 4, torch.complex64)
    """

    __slots__ = (
        "np",  # the NumPy dtype of the array that holds such elements
        "name",  # "float32"
        "abbr",  # "f32"
        "scalar_name",  # "Float": the word in PyTorch's messages, and in FloatTensor and FloatStorage
        "kind",
        "itemsize",
        "is_floating_point",
        "is_complex",
        "is_signed",
    )
    np: np.dtype[Any]
    name: str
    abbr: str
    scalar_name: str
    kind: int
    itemsize: int
    is_floating_point: bool
    is_complex: bool
    is_signed: bool

    def __new__(cls, *args: object, **kwargs: object) -> dtype:
        raise TypeError("cannot create 'torch.dtype' instances")

    def __repr__(self) -> str:
        return "torch." + self.name

    def __reduce__(self) -> tuple[Callable[[str], dtype], tuple[str]]:
        return from_name, (self.name,)

    def __setattr__(self, attribute: str, value: object) -> NoReturn:
        if attribute in dtype.__slots__:
            raise AttributeError(f"attribute '{attribute}' of 'torch.dtype' objects is not writable")
        raise AttributeError(f"'torch.dtype' object has no attribute '{attribute}'")

    def __getattr__(self, attribute: str) -> Any:  # reached only where a slot is empty, or there is no such slot
        if attribute == "np":
            raise TypeError(f"{self} needs ml_dtypes 0.6 or later: pip install -U ml_dtypes")
        raise AttributeError(f"'torch.dtype' object has no attribute '{attribute}'")

    def to_complex(self) -> dtype:
        """The complex dtype whose parts can hold this one; RuntimeError where there is none (integers, float8)."""
        found = _TO_COMPLEX.get(self)
        if found is None:
            raise RuntimeError(f"Unknown Complex ScalarType for {self.scalar_name}")
        return found

    def to_real(self) -> dtype:
        """The dtype of the real part: itself, unless complex."""
        return _TO_REAL.get(self, self)


BY_NAME: dict[str, dtype] = {}
"""Every dtype under its name and its aliases."""
BY_NUMPY: dict[np.dtype[Any], dtype] = {}
"""The dtype of an array: `BY_NUMPY[a.dtype]`; `from_numpy` is the same with PyTorch's error where there is none."""


def _declare(
    name: str, abbr: str, scalar_name: str, kind: int, np_type: Any, *aliases: str, itemsize: int = 0
) -> dtype:
    made = object.__new__(dtype)
    np_dtype = None if np_type is None else np.dtype(np_type)
    values = {
        "name": name,
        "abbr": abbr,
        "scalar_name": scalar_name,
        "kind": kind,
        "itemsize": itemsize or (0 if np_dtype is None else np_dtype.itemsize),
        "is_floating_point": kind == FLOAT,
        "is_complex": kind == COMPLEX,
        "is_signed": kind >= INT and not name.startswith("uint") and name != "float8_e8m0fnu",
    }
    if np_dtype is not None:
        values["np"] = np_dtype
        BY_NUMPY[np_dtype] = made
    for attribute, value in values.items():
        object.__setattr__(made, attribute, value)
    for each in (name, *aliases):
        BY_NAME[each] = made
    return made


bool_ = _declare("bool", "b8", "Bool", BOOL, np.bool_)
uint8 = _declare("uint8", "u8", "Byte", INT, np.uint8)
uint16 = _declare("uint16", "u16", "UInt16", INT, np.uint16)
uint32 = _declare("uint32", "u32", "UInt32", INT, np.uint32)
uint64 = _declare("uint64", "u64", "UInt64", INT, np.uint64)
int8 = _declare("int8", "i8", "Char", INT, np.int8)
int16 = _declare("int16", "i16", "Short", INT, np.int16, "short")
int32 = _declare("int32", "i32", "Int", INT, np.int32, "int")
int64 = _declare("int64", "i64", "Long", INT, np.int64, "long")
float16 = _declare("float16", "f16", "Half", FLOAT, np.float16, "half")
float32 = _declare("float32", "f32", "Float", FLOAT, np.float32, "float")
float64 = _declare("float64", "f64", "Double", FLOAT, np.float64, "double")
bfloat16 = _declare("bfloat16", "bf16", "BFloat16", FLOAT, ml_dtypes.bfloat16)
float8_e4m3fn = _declare("float8_e4m3fn", "f8e4m3fn", "Float8_e4m3fn", FLOAT, ml_dtypes.float8_e4m3fn)
float8_e5m2 = _declare("float8_e5m2", "f8e5m2", "Float8_e5m2", FLOAT, ml_dtypes.float8_e5m2)
float8_e4m3fnuz = _declare("float8_e4m3fnuz", "f8e4m3fnuz", "Float8_e4m3fnuz", FLOAT, ml_dtypes.float8_e4m3fnuz)
float8_e5m2fnuz = _declare("float8_e5m2fnuz", "f8e5m2fnuz", "Float8_e5m2fnuz", FLOAT, ml_dtypes.float8_e5m2fnuz)
float8_e8m0fnu = _declare(
    "float8_e8m0fnu", "f8e8m0fnu", "Float8_e8m0fnu", FLOAT, getattr(ml_dtypes, "float8_e8m0fnu", None), itemsize=1
)
# Before ml_dtypes 0.6 there is no such array: the dtype still exists, prints and promotes, and `.np` says what to do.
complex32 = _declare(
    "complex32", "c32", "ComplexHalf", COMPLEX, getattr(ml_dtypes, "complex32", None), "chalf", itemsize=4
)
complex64 = _declare("complex64", "c64", "ComplexFloat", COMPLEX, np.complex64, "cfloat")
complex128 = _declare("complex128", "c128", "ComplexDouble", COMPLEX, np.complex128, "cdouble")

short, long = int16, int64
half, double = float16, float64
chalf, cfloat, cdouble = complex32, complex64, complex128

DTYPES: Final = tuple(dict.fromkeys(BY_NAME.values()))
"""Every dtype, once."""
FLOAT8: Final = frozenset((float8_e4m3fn, float8_e5m2, float8_e4m3fnuz, float8_e5m2fnuz, float8_e8m0fnu))
WIDE_UNSIGNED: Final = frozenset((uint16, uint32, uint64))
"""The unsigned types that PyTorch promotes to floats and to nothing else."""

_TO_COMPLEX = {
    float16: complex32,
    bfloat16: complex64,
    float32: complex64,
    float64: complex128,
    complex32: complex32,
    complex64: complex64,
    complex128: complex128,
}
_TO_REAL = {complex32: float16, complex64: float32, complex128: float64}

PYTHON_TYPES: Final[dict[type, dtype]] = {bool: bool_, int: int64, float: float64, complex: complex128}
"""What PyTorch makes of a Python type given as a dtype: `torch.ones(2, dtype=float)` is double."""


def __getattr__(name: str) -> dtype:
    found = BY_NAME.get(name)
    if found is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return found


def from_name(name: str) -> dtype:
    """The dtype of a name or alias, with or without "torch." before it; KeyError where there is none."""
    return BY_NAME[name.removeprefix("torch.")]


def from_numpy(np_dtype: np.dtype[Any]) -> dtype:
    """The dtype of arrays of a NumPy dtype; PyTorch's TypeError for one that no tensor holds (str, object, float128)
    and its ValueError for one of the other byte order."""
    found = BY_NUMPY.get(np_dtype)
    if found is not None:
        return found
    if not np_dtype.isnative and np_dtype.newbyteorder("=") in BY_NUMPY:
        raise ValueError(
            "given numpy array has byte order different from the native byte order. Conversion between byte orders is "
            "currently not supported: give a.astype(a.dtype.newbyteorder('='))."
        )
    raise TypeError(
        f"can't convert np.ndarray of type {np_dtype.type.__module__}.{np_dtype.type.__name__}. The only supported "
        "types are: float64, float32, float16, complex64, complex128, int64, int32, int16, int8, uint64, uint32, "
        "uint16, uint8, bool, and bfloat16, float8 and complex32 of ml_dtypes."
    )


def check_dtype(given: Any, function: str) -> dtype:
    """A dtype argument as PyTorch reads it: a dtype, or one of Python's number types; TypeError for all else."""
    if type(given) is dtype:
        return given
    try:
        found = PYTHON_TYPES.get(given)
    except TypeError:  # not hashable
        found = None
    if found is None:
        raise TypeError(f"{function}(): argument 'dtype' must be torch.dtype, not {type(given).__name__}")
    return found


# ------------------------------------------------------------------------------------------------------- promotion


def _promotion(a: dtype, b: dtype) -> dtype | str:
    """The dtype that holds both, or the words of the error where PyTorch has none."""
    if a is b:
        return a
    if a in FLOAT8 or b in FLOAT8:
        return f"Promotion for Float8 Types is not supported, attempted to promote {a.scalar_name} and {b.scalar_name}"
    if a in WIDE_UNSIGNED or b in WIDE_UNSIGNED:
        if a.kind == FLOAT:
            return a
        if b.kind == FLOAT:
            return b
        return (
            "Promotion for uint16, uint32, uint64 types is not supported, attempted to promote "
            f"{a.scalar_name} and {b.scalar_name}"
        )
    low, high = (a, b) if a.kind <= b.kind else (b, a)
    if high.kind == COMPLEX:
        if low.kind < FLOAT:
            return high
        part = _promotion(high.to_real(), low.to_real())
        assert isinstance(part, dtype)
        return part.to_complex()
    if low.kind < high.kind:
        return high
    if low.itemsize != high.itemsize:
        return low if low.itemsize > high.itemsize else high
    return float32 if high.kind == FLOAT else int16  # two 16-bit floats, or uint8 and int8: what holds both


def _combination(higher: dtype, lower: dtype) -> dtype | str:
    """The dtype when `higher` outranks `lower` (tensor with dimensions > 0-d tensor > Python number): the lower one
    can change the kind of the result but not its width."""
    if higher.kind == COMPLEX:
        return higher
    if higher.kind == FLOAT:
        if lower.kind == COMPLEX:
            return _TO_COMPLEX.get(higher, f"Unknown Complex ScalarType for {higher.scalar_name}")
        return higher
    if lower.kind == COMPLEX:
        return lower
    if higher.kind == BOOL or lower.kind == FLOAT:
        return _promotion(higher, lower)
    return higher


HELD: Final = frozenset(BY_NUMPY.values())
"""The dtypes that arrays can have here."""


def _table(rule: Callable[[dtype, dtype], dtype | str]) -> dict[dtype, dict[dtype, dtype]]:
    return {a: {b: found for b in DTYPES if isinstance(found := rule(a, b), dtype)} for a in DTYPES}


def _np_table(table: dict[dtype, dict[dtype, dtype]]) -> dict[np.dtype[Any], dict[np.dtype[Any], np.dtype[Any]]]:
    return {a.np: {b.np: c.np for b, c in table[a].items() if b in HELD and c in HELD} for a in table if a in HELD}


PROMOTE: Final = _table(_promotion)
"""`PROMOTE[a][b]`: promote_types, for the pairs that have an answer."""
COMBINE: Final = _table(_combination)
"""`COMBINE[higher][lower]`: the same where `higher` outranks `lower`."""
PROMOTE_NP: Final = _np_table(PROMOTE)
"""`PROMOTE` between the NumPy dtypes; a pair with no answer is absent: ask `promote_types` for the error."""
COMBINE_NP: Final = _np_table(COMBINE)
"""`COMBINE` between the NumPy dtypes; a pair with no answer is absent: ask `combine_types` for the error."""


def _pair(function: str, names: tuple[str, str], values: tuple[Any, Any]) -> None:
    for position, (name, value) in enumerate(zip(names, values, strict=True), 1):
        if type(value) is not dtype:
            raise TypeError(
                f"{function}(): argument '{name}' (position {position}) must be torch.dtype, not {type(value).__name__}"
            )


def promote_types(type1: dtype, type2: dtype) -> dtype:
    """The smallest dtype of the smallest kind that is no smaller than either.

    >>> import bibun as torch
    >>> torch.promote_types(torch.int64, torch.float16)
    torch.float16

    Raises:
        TypeError: for what is no dtype.
        RuntimeError: where PyTorch has no answer (float8; uint16/32/64 with other integers or complex).
    """
    try:
        return PROMOTE[type1][type2]
    except (KeyError, TypeError):
        _pair("promote_types", ("type1", "type2"), (type1, type2))
        raise RuntimeError(_promotion(type1, type2)) from None


def combine_types(higher: dtype, lower: dtype) -> dtype:
    """The dtype of an operation on two operands of which the first outranks the second; errors as promote_types."""
    try:
        return COMBINE[higher][lower]
    except KeyError:
        raise RuntimeError(_combination(higher, lower)) from None


def can_cast(from_: dtype, to: dtype) -> bool:
    """Whether an in-place result of dtype `from_` may be written into `to`: never down from complex to real, from
    floating to integer, or from any number to bool.

    >>> import bibun as torch
    >>> torch.can_cast(torch.float64, torch.float32), torch.can_cast(torch.float32, torch.int64)
    (True, False)
    """
    if type(from_) is not dtype or type(to) is not dtype:
        _pair("can_cast", ("from_", "to"), (from_, to))
    if to.kind == BOOL:
        return from_.kind == BOOL
    return to.kind >= from_.kind or (from_.kind == INT and to.kind == INT)


DIMENSIONED, ZERO_DIM, NUMBER = range(3)
"""The rank of an operand in type promotion: a tensor with dimensions, a 0-d tensor, a Python number."""


def result_type(operands: Iterable[tuple[dtype, int]]) -> dtype:
    """The dtype in which operands, each a (dtype, rank), meet. The dtype of a Python number is `number_dtype(type)`.

    >>> from bibun import dtypes
    >>> dtypes.result_type([(dtypes.int8, dtypes.DIMENSIONED), (dtypes.int64, dtypes.NUMBER)])
    torch.int8
    """
    ranks: list[dtype | None] = [None, None, None]
    for given, rank in operands:
        held = ranks[rank]
        ranks[rank] = given if held is None or held is given else promote_types(held, given)
    result: dtype | None = None
    for current in reversed(ranks):
        if current is not None:
            result = current if result is None else combine_types(current, result)
    if result is None:
        raise RuntimeError("result_type() needs at least one operand")
    return result


# --------------------------------------------------------------------------------------------------- default dtype

default = float32
default_np: np.dtype[Any] = float32.np
default_complex = complex64

NUMBER_DTYPES: dict[type, dtype] = {}
"""The dtype of a Python number in promotion, by its type: bool, int64, the default dtype and its complex."""
NUMBER_NP: dict[type, dict[np.dtype[Any], np.dtype[Any]]] = {}
"""`NUMBER_NP[type(number)][array dtype]`: the dtype of a tensor (0-d or not) with a Python number."""


def _refill() -> None:
    NUMBER_DTYPES.update({bool: bool_, int: int64, float: default, complex: default_complex})
    for python_type, number in NUMBER_DTYPES.items():
        NUMBER_NP[python_type] = {
            held.np: found.np for held in HELD if (found := COMBINE[held].get(number)) is not None and found in HELD
        }


_refill()


def number_dtype(python_type: type) -> dtype:
    """The dtype a Python number of a type has in promotion; TypeError for what is no number."""
    try:
        return NUMBER_DTYPES[python_type]
    except KeyError:
        raise TypeError(f"expected a Python number, not {python_type.__name__}") from None


def get_default_dtype() -> dtype:
    """The dtype of tensors made of Python floats, and of the factories: float32 unless changed."""
    return default


def set_default_dtype(d: dtype) -> None:
    """Change what `get_default_dtype` returns; the default complex dtype follows.

    Raises:
        TypeError: for what is no floating-point dtype of at least 16 bits.
    """
    global default, default_np, default_complex
    if type(d) is not dtype:
        raise TypeError(f"invalid dtype object: only floating-point types are supported as the default type, not {d!r}")
    if d.kind != FLOAT or d in FLOAT8:
        raise TypeError(f"only floating-point types are supported as the default type, not {d!r}")
    default, default_np, default_complex = d, d.np, d.to_complex()
    _refill()


# ---------------------------------------------------------------------------------------------------- finfo, iinfo


def _requested(function: str, given: Any) -> dtype:
    if type(given) is not dtype:
        raise TypeError(f"{function}(): argument 'type' (position 1) must be torch.dtype, not {type(given).__name__}")
    return given


class _Limits:
    """What finfo and iinfo share: set once, compared by value, not hashable."""

    __slots__ = ("bits", "dtype", "max", "min")
    bits: int
    dtype: str
    __hash__ = None  # type: ignore[assignment]

    def _fill(self, **values: object) -> None:
        for attribute, value in values.items():
            object.__setattr__(self, attribute, value)

    def __setattr__(self, attribute: str, value: object) -> NoReturn:
        raise AttributeError(f"attribute '{attribute}' of 'torch.{type(self).__name__}' objects is not writable")

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other.dtype == self.dtype


class finfo(_Limits):
    """The limits of a floating-point dtype, the default one if none is named; of a complex one, those of its parts.

    >>> import bibun as torch
    >>> torch.finfo(torch.float16).max
    65504.0
    """

    __slots__ = ("eps", "resolution", "smallest_normal", "tiny")
    max: float
    min: float
    eps: float
    tiny: float
    smallest_normal: float
    resolution: float

    def __init__(self, type: dtype | None = None) -> None:
        asked = default if type is None else _requested("finfo", type)
        if asked.kind < FLOAT:
            raise TypeError(
                "torch.finfo() requires a floating point input type. Use torch.iinfo to handle 'torch.finfo'"
                f" (got {asked})"
            )
        real = asked.to_real()
        limits: Any = ml_dtypes.finfo(real.np)
        precision = int(limits.nmant + 1)
        tiny = float(limits.smallest_normal)
        self._fill(
            bits=real.itemsize * 8,
            dtype=real.name,
            max=float(limits.max),
            min=float(limits.min),
            # PyTorch's own figure for float8_e5m2fnuz is half of the distance from 1 to the next number
            eps=0.125 if real is float8_e5m2fnuz else float(limits.eps),
            tiny=tiny,
            smallest_normal=tiny,
            # decimal digits that survive the way in and out: C++'s numeric_limits::digits10
            resolution=float(f"1e-{math.floor((precision - 1) * math.log10(2))}"),
        )

    def __repr__(self) -> str:
        return (
            f"finfo(resolution={self.resolution:g}, min={self.min:g}, max={self.max:g}, eps={self.eps:g}, "
            f"smallest_normal={self.smallest_normal:g}, tiny={self.tiny:g}, dtype={self.dtype})"
        )


class iinfo(_Limits):
    """The limits of an integer dtype.

    >>> import bibun as torch
    >>> torch.iinfo(torch.int8)
    iinfo(min=-128, max=127, dtype=int8)
    """

    __slots__ = ()
    max: int
    min: int

    def __init__(self, type: dtype) -> None:
        asked = _requested("iinfo", type)
        if asked.kind >= FLOAT:
            raise TypeError(
                f"torch.iinfo() requires an integer input type. Use torch.finfo to handle 'torch.iinfo' (got {asked})"
            )
        if asked.kind == BOOL:
            raise TypeError("torch.bool is not supported by torch.iinfo")
        limits = np.iinfo(asked.np)
        self._fill(bits=asked.itemsize * 8, dtype=asked.name, max=int(limits.max), min=int(limits.min))

    def __repr__(self) -> str:
        return f"iinfo(min={float(self.min):g}, max={float(self.max):g}, dtype={self.dtype})"

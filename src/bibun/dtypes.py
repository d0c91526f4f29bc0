"""What an element is, and what a tensor is made on: dtypes, type promotion, `Size`, `device`, layouts, memory formats.

In come NumPy dtypes and Python numbers; out go PyTorch's dtype objects and the answers of its promotion rules. Hot
code reads the tables (`BY_NUMPY`, `PROMOTE_NP`, `COMBINE_NP`, `NUMBER_NP`, `default`, `default_np`) straight from this
module, as attributes of it, never as copies: `set_default_dtype` rebinds or refills them.

A name that is also a Python builtin (`bool`, `int`, `float`) is reached as an attribute of this module all the same,
through `__getattr__`, so that inside it the builtins keep their meaning.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable
from typing import Any, Final, NoReturn, SupportsIndex

import ml_dtypes
import numpy as np

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
    if higher.kind == BOOL or lower.kind >= FLOAT:
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
        return type(other) is type(self) and other.dtype == self.dtype  # type: ignore[attr-defined]


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
            eps=float(limits.eps),
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


# ------------------------------------------------------------------------------------------------------------ Size

_tuple_new = tuple.__new__
_tuple_add = tuple.__add__
_tuple_mul = tuple.__mul__
_tuple_getitem = tuple.__getitem__


class Size(tuple[int, ...]):
    """The shape of a tensor: a tuple of ints with `numel()`, whose slices, sums and multiples are Sizes again.

    Where a tuple is known to hold ints, `size_of(shape)` makes one in half the time.

    >>> import bibun as torch
    >>> torch.Size([2, 3]).numel(), torch.Size([2, 3])[1:] + (4,)
    (6, torch.Size([3, 4]))
    """

    __slots__ = ()

    def __new__(cls, sizes: Iterable[Any] = (), /) -> Size:
        made = _tuple_new(cls, sizes)
        for item in made:
            if type(item) is not int:
                return _tuple_new(cls, [_as_int(i, each) for i, each in enumerate(made)])
        return made

    def numel(self) -> int:
        """The number of elements: the product, 1 for no dimensions."""
        return math.prod(self)

    def __repr__(self) -> str:
        return f"torch.Size([{', '.join(map(str, self))}])"

    def __reduce__(self) -> tuple[type[Size], tuple[tuple[int, ...]]]:
        return Size, (tuple(self),)

    def __getitem__(self, key: Any) -> Any:
        got = _tuple_getitem(self, key)
        return _tuple_new(Size, got) if type(got) is tuple else got

    def __add__(self, other: Any) -> Size:
        if not isinstance(other, tuple):
            raise TypeError(f"can only concatenate tuple (not {type(other).__name__}) to torch.Size")
        return Size(_tuple_add(self, other))

    def __radd__(self, other: Any) -> Size:
        if not isinstance(other, tuple):
            return NotImplemented
        return Size(_tuple_add(other, self))

    def __mul__(self, times: SupportsIndex) -> Size:
        return _tuple_new(Size, _tuple_mul(self, times))

    __rmul__ = __mul__


def _as_int(position: int, value: Any) -> int:
    try:
        return operator.index(value)
    except TypeError:
        raise TypeError(
            f"torch.Size() takes an iterable of 'int' (item {position} is '{type(value).__name__}')"
        ) from None


def size_of(shape: tuple[int, ...]) -> Size:
    """The Size of a tuple known to hold ints, unchecked."""
    return _tuple_new(Size, shape)


# ---------------------------------------------------------------------------------------------------------- device

_DEVICE_TYPES: Final = (
    "cpu", "cuda", "ipu", "xpu", "mkldnn", "opengl", "opencl", "ideep", "hip", "ve", "fpga", "maia", "xla", "lazy",
    "vulkan", "mps", "meta", "hpu", "mtia", "privateuseone",
)  # fmt: skip


class device:
    """Where a tensor lies: a type and perhaps an index. Any of PyTorch's can be named; tensors live on the CPU only
    (`check_device`).

    >>> import bibun as torch
    >>> torch.device("cpu"), torch.device("cuda", 1)
    (device(type='cpu'), device(type='cuda', index=1))

    Raises:
        RuntimeError: for a string that names no device, a negative index, an index given twice.
        TypeError: for arguments of other types.
    """

    __slots__ = ("index", "type")
    type: str
    index: int | None

    def __new__(cls, *args: Any, **kwargs: Any) -> device:
        named, index = _device_arguments(args, kwargs)
        if isinstance(named, device):
            return named
        if isinstance(named, int):
            if named < 0:
                raise RuntimeError("Device index must not be negative")
            raise RuntimeError(
                f"Cannot access accelerator device when none is available: device {named} alone means accelerator "
                f"{named}; write 'cpu'."
            )
        kind, found = _parse_device(named)
        if index is not None:
            if found is not None:
                raise RuntimeError(
                    f"type (string) must not include an index because index was passed explicitly: {named}"
                )
            found = index
        made = object.__new__(cls)
        object.__setattr__(made, "type", kind)
        object.__setattr__(made, "index", found)
        return made

    def __repr__(self) -> str:
        return (
            f"device(type='{self.type}')" if self.index is None else f"device(type='{self.type}', index={self.index})"
        )

    def __str__(self) -> str:
        return self.type if self.index is None else f"{self.type}:{self.index}"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, device):
            return NotImplemented
        return self.type == other.type and self.index == other.index

    def __hash__(self) -> int:
        return hash((self.type, self.index))

    def __reduce__(self) -> tuple[Any, ...]:
        return device, ((self.type,) if self.index is None else (self.type, self.index))

    def __setattr__(self, attribute: str, value: object) -> NoReturn:
        if attribute in device.__slots__:
            raise AttributeError(f"attribute '{attribute}' of 'torch.device' objects is not writable")
        raise AttributeError(f"'torch.device' object has no attribute '{attribute}'")

    def __enter__(self) -> device:
        """Within `with device:` the factories make their tensors there; as that can only be the CPU, another device
        is refused at once."""
        return check_device(self, "device.__enter__")

    def __exit__(self, *exception: object) -> None:
        return None


_UNSET: Final = object()


def _device_arguments(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, int | None]:
    """What device() was given: (a device, a string or an int; the index or None)."""
    values = list(args)
    if kwargs:
        for names in (("device",), ("type", "index")):
            if set(kwargs) <= set(names[len(args) :]):
                values += [kwargs.get(name, _UNSET) for name in names[len(args) :]]
                break
        else:
            values = []
    while values and values[-1] is _UNSET:
        values.pop()
    named = values[0] if values else None
    good = isinstance(named, (device, str)) or (isinstance(named, int) and not isinstance(named, bool))
    if not good or not 1 <= len(values) <= 2 or (len(values) == 2 and not isinstance(named, str)):
        got = ", ".join([type(each).__name__ for each in args] + [f"{k}={type(v).__name__}" for k, v in kwargs.items()])
        raise TypeError(
            f"device() received an invalid combination of arguments - got ({got}), but expected one of:\n"
            " * (torch.device device)\n * (str type, int index = -1)\n"
        )
    if len(values) == 1 or values[1] is None:
        return named, None
    index = values[1]
    if isinstance(index, bool) or not hasattr(index, "__index__"):
        raise TypeError(f"device(): argument 'index' (position 2) must be int, not {type(index).__name__}")
    index = operator.index(index)
    if index < 0:
        raise RuntimeError("Device index must not be negative")
    return named, index


def _parse_device(text: str) -> tuple[str, int | None]:
    if not text:
        raise RuntimeError("Device string must not be empty")
    kind, colon, digits = text.partition(":")
    # an index is a plain number: no sign, no leading zero
    well_formed = kind and kind.replace("_", "a").isalpha() and kind.isascii()
    if colon:
        well_formed = well_formed and digits.isascii() and digits.isdigit() and (digits == "0" or digits[0] != "0")
    if not well_formed:
        raise RuntimeError(f"Invalid device string: '{text}'")
    if kind not in _DEVICE_TYPES:
        raise RuntimeError(f"Expected one of {', '.join(_DEVICE_TYPES)} device type at start of device string: {kind}")
    return kind, int(digits) if colon else None


CPU: Final = device("cpu")
"""The device of every tensor."""


def check_device(given: Any, function: str = "to") -> device:
    """The device on which a tensor asked for on `given` is made: the CPU, or an error of PyTorch's type that says why
    not. In come a device, a string, an index or None (the default device).

    Raises:
        AssertionError: for CUDA and XPU, with PyTorch's first words.
        NotImplementedError: for the other devices that PyTorch knows.
        RuntimeError: for a string that names no device, or an index alone.
        TypeError: for arguments of other types.
    """
    if given is None or given is CPU or given == "cpu":
        return CPU
    if not isinstance(given, device):
        if not isinstance(given, (str, int)) or isinstance(given, bool):
            raise TypeError(f"{function}(): argument 'device' must be torch.device, not {type(given).__name__}")
        given = device(given)
    if given.type == "cpu":
        return CPU
    if given.type in ("cuda", "xpu"):
        raise AssertionError(
            f"Torch not compiled with {given.type.upper()} enabled: this is bibun, whose tensors live on the CPU, and "
            f"'{given}' was asked for. Use device='cpu', or let torch.{given.type}.is_available() (False here) choose."
        )
    raise NotImplementedError(
        f"Could not make a tensor on '{given}': bibun's tensors live on the CPU. Use device='cpu'."
    )


# ---------------------------------------------------------------------------------------- layouts, memory formats


class _Named:
    """A constant known by its name: one object each, printed `torch.name`, the same object after copy and pickle."""

    __slots__ = ("name",)
    name: str

    def __new__(cls, *args: object, **kwargs: object) -> _Named:
        raise TypeError(f"cannot create 'torch.{cls.__name__}' instances")

    def __repr__(self) -> str:
        return "torch." + self.name

    def __reduce__(self) -> str:
        return self.name  # pickle then finds the global of that name in this module

    def __setattr__(self, attribute: str, value: object) -> NoReturn:
        raise AttributeError(f"attribute '{attribute}' of 'torch.{type(self).__name__}' objects is not writable")


class layout(_Named):
    """How the elements lie: every tensor's is `strided`; the sparse ones are names only."""

    __slots__ = ()


class memory_format(_Named):
    """The order of dimensions in memory: contiguous, channels last, or that of the input (preserve)."""

    __slots__ = ()


def _layout(name: str) -> layout:
    made = object.__new__(layout)
    object.__setattr__(made, "name", name)
    return made


def _memory_format(name: str) -> memory_format:
    made = object.__new__(memory_format)
    object.__setattr__(made, "name", name)
    return made


strided = _layout("strided")
sparse_coo = _layout("sparse_coo")
sparse_csr = _layout("sparse_csr")
sparse_csc = _layout("sparse_csc")
sparse_bsr = _layout("sparse_bsr")
sparse_bsc = _layout("sparse_bsc")
jagged = _layout("jagged")
_mkldnn = _layout("_mkldnn")

contiguous_format = legacy_contiguous_format = _memory_format("contiguous_format")
preserve_format = _memory_format("preserve_format")
channels_last = _memory_format("channels_last")
channels_last_3d = _memory_format("channels_last_3d")


def check_layout(given: Any, function: str) -> layout:
    """`strided`, which is what every tensor has; TypeError for what is no layout, NotImplementedError for others."""
    if given is None or given is strided:
        return strided
    if not isinstance(given, layout):
        raise TypeError(f"{function}(): argument 'layout' must be torch.layout, not {type(given).__name__}")
    raise NotImplementedError(f"{function}(): layout {given} is not supported: bibun's tensors are torch.strided")

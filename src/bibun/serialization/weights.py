"""The restricted unpickler: reads plain values and tensors out of a pickle, and runs no code that the file names.

In come the bytes of a pickle and a function that gives the storage a persistent id stands for. Out comes the object, or
an error: `pickle.UnpicklingError` for names that are not on the list and for streams that make no sense, `EOFError` for
those that end early.

A class or function that the file names is looked up in a table and never imported. What may be called has its
arguments checked, since even `set`, `bytearray` or a dict's key can be asked to take all memory, all time or (a tuple
nested a million deep, hashed) the interpreter's stack.
"""

from __future__ import annotations

import _compat_pickle
import struct
from collections import Counter, OrderedDict
from collections.abc import Callable
from functools import cache
from pickle import UnpicklingError
from types import BuiltinFunctionType, FunctionType
from typing import Any

from .. import placement
from ..dtypes import DTYPES
from ..tensor import Tensor
from . import rebuild, safe
from .names import STORAGES

__all__ = ["WeightsUnpickler"]

_DEEPEST_KEY = 200
_LARGEST_KEY = 100_000
_SIMPLE = frozenset((str, int, bytes, float, bool, type(None), complex))


class Unknown:
    """Stands for a name that is on the list and has no meaning here."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return self.name


def shown(value: Any) -> str:
    """A value in an error's text. It is not asked to print itself: it may be huge, or nested without end."""
    if isinstance(value, (type, FunctionType, BuiltinFunctionType)):
        return repr(value)
    if type(value) in (str, bytes, int, bool, float, type(None)):
        return repr(value[:80] if isinstance(value, (str, bytes)) else value)
    return f"a value of {type(value)}"


def _check_key(key: Any) -> None:
    """Refuse a key that would take too much stack or time to hash."""
    if type(key) in _SIMPLE or not isinstance(key, tuple):
        return
    level, count = [key], 0
    for _ in range(_DEEPEST_KEY):
        level = [each for part in level for each in part if isinstance(each, tuple)]
        count += len(level)
        if not level:
            return
        if count > _LARGEST_KEY:
            break
    raise UnpicklingError("a key is a tuple nested too deep")


# ----------------------------------------------------------------------------------------- what may be called, and how

Call = Callable[["WeightsUnpickler", tuple], Any]


def _one(args: tuple, name: str, *types: type) -> Any:
    if len(args) > 1 or (args and type(args[0]) not in types):
        raise UnpicklingError(f"{name} was given {', '.join(type(a).__name__ for a in args)}")
    return args[0] if args else None


def _ordered_dict(unpickler: WeightsUnpickler, args: tuple) -> Any:
    given = _one(args, "OrderedDict", list, tuple, dict, OrderedDict)
    made: Any = OrderedDict()
    if given:
        unpickler.spend(len(given))
        pairs = given.items() if isinstance(given, dict) else given
        for pair in pairs:
            if type(pair) not in (list, tuple) or len(pair) != 2:
                raise UnpicklingError("OrderedDict was given what are not pairs")
            _check_key(pair[0])
            made[pair[0]] = pair[1]
    return made


def _counter(unpickler: WeightsUnpickler, args: tuple) -> Any:
    given = _one(args, "Counter", dict)
    unpickler.spend(len(given or ()))
    return Counter(given)


def _set(unpickler: WeightsUnpickler, args: tuple) -> Any:
    given = _one(args, "set", list, tuple, set)
    unpickler.spend(len(given or ()))
    for each in given or ():
        _check_key(each)
    return set(given or ())


def _bytearray(unpickler: WeightsUnpickler, args: tuple) -> Any:
    if len(args) == 2 and type(args[0]) is type(args[1]) is str and args[1] == "latin-1":
        args = (args[0].encode("latin-1"),)
    given = _one(args, "bytearray", bytes, bytearray)
    unpickler.spend(len(given or b""))
    return bytearray(given or b"")


def _encode(unpickler: WeightsUnpickler, args: tuple) -> Any:
    good = len(args) == 2 and type(args[0]) is type(args[1]) is str
    if not good or args[1] not in ("latin1", "latin-1", "utf-8", "ascii"):
        raise UnpicklingError("_codecs.encode is for text in latin1, as pickle writes bytes with it")
    unpickler.spend(len(args[0]))
    return args[0].encode(args[1])


def _complex(unpickler: WeightsUnpickler, args: tuple) -> Any:
    if len(args) > 2 or any(type(a) not in (int, float, complex) for a in args):
        raise UnpicklingError("complex was given what are not numbers")
    return complex(*args)


def _size(unpickler: WeightsUnpickler, args: tuple) -> Any:
    given = _one(args, "torch.Size", tuple, list)
    unpickler.spend(len(given or ()))
    if any(type(n) is not int for n in given or ()):
        raise UnpicklingError("torch.Size was given what are not ints")
    return rebuild.Size(given or ())


def _plainly(function: Any) -> Call:
    """For functions that check what they are given."""
    return lambda unpickler, args: function(*args)


def _from_type(unpickler: WeightsUnpickler, args: tuple) -> Any:
    """`_rebuild_from_type_v2`, whose first argument is itself called."""
    if len(args) != 4 or type(args[2]) is not tuple:
        raise UnpicklingError("_rebuild_from_type_v2 was given the wrong arguments")
    function, kind, inner, state = args
    if function is rebuild._rebuild_from_type_v2:
        raise UnpicklingError("_rebuild_from_type_v2 was given itself")
    if kind is not Tensor and not unpickler.is_added_class(kind):
        raise UnpicklingError(f"Can only make tensors of listed classes, but got {shown(kind)}")
    made = unpickler.call(function, inner)
    return rebuild._rebuild_from_type_v2(lambda: made, kind, (), state)


def _parameter_with_state(unpickler: WeightsUnpickler, args: tuple) -> Any:
    from ..nn.parameter import Parameter

    data, requires_grad, _, state = args
    made = Parameter(data, requires_grad)
    rebuild.set_state(made, state)
    return made


@cache
def _tables() -> tuple[dict[str, Any], dict[int, Call]]:
    """(full name -> object; the identity of each that may be called -> how)."""
    from _codecs import encode

    from ..nn.parameter import Parameter, _rebuild_parameter, _rebuild_parameter_with_state

    calls: dict[str, tuple[Any, Call | None]] = {
        "collections.OrderedDict": (OrderedDict, _ordered_dict),
        "collections.Counter": (Counter, _counter),
        "builtins.set": (set, _set),
        "builtins.bytearray": (bytearray, _bytearray),
        "builtins.complex": (complex, _complex),
        "_codecs.encode": (encode, _encode),
        "torch.nn.parameter.Parameter": (Parameter, _plainly(Parameter)),
        "torch._utils._rebuild_parameter": (_rebuild_parameter, _plainly(_rebuild_parameter)),
        "torch._utils._rebuild_parameter_with_state": (_rebuild_parameter_with_state, _parameter_with_state),
        **{f"torch.{each.name}": (each, None) for each in DTYPES},
        **{name: (each, None) for name, each in STORAGES.items()},
        **{name: (each, _plainly(each)) for name, each in rebuild.SAFE.items()},
        "torch._tensor._rebuild_from_type_v2": (rebuild._rebuild_from_type_v2, _from_type),
        "torch.Size": (rebuild.Size, _size),
        "torch.device": (placement.device, _plainly(placement.device)),
        "torch.Tensor": (Tensor, None),
    }
    for name in (
        "QInt8Storage QInt32Storage QUInt8Storage QUInt4x2Storage QUInt2x4Storage per_tensor_affine "
        "per_tensor_symmetric per_channel_affine per_channel_symmetric per_channel_affine_float_qparams"
    ).split():
        calls[f"torch.{name}"] = (Unknown(f"torch.{name}"), None)
    return (
        {name: each for name, (each, _) in calls.items()},
        {id(each): call for each, call in calls.values() if call is not None},
    )


def unsafe_names(data: bytes) -> set[str]:
    """Names in a pickle that are on no list, by reading it without making anything."""
    import pickletools

    listed = {**_tables()[0], **safe.added_by_name()}
    found: set[str] = set()
    strings: list[str] = []
    for opcode, arg, _ in pickletools.genops(data):
        if opcode.name == "GLOBAL":
            found.add(".".join(_renamed(*str(arg).split(" ", 1))))
        elif opcode.name == "STACK_GLOBAL":
            found.add(".".join(strings[-2:]))
        elif isinstance(arg, str):
            strings.append(arg)
    return {name for name in found if name not in listed}


def _renamed(module: str, name: str) -> tuple[str, str]:
    """A name of Python 2's as Python 3's."""
    found = _compat_pickle.NAME_MAPPING.get((module, name))
    return found or (_compat_pickle.IMPORT_MAPPING.get(module, module), name)


# --------------------------------------------------------------------------------------------------------- the machine

_MARK = object()
_unpack_i = struct.Struct("<i").unpack_from
_unpack_u16 = struct.Struct("<H").unpack_from
_unpack_u32 = struct.Struct("<I").unpack_from
_unpack_u64 = struct.Struct("<Q").unpack_from
_unpack_d = struct.Struct(">d").unpack_from


class WeightsUnpickler:
    """Reads pickles that stand one after the other in `data`, from `position` on.

    `persistent_load(pid)` is given tuples that begin with "storage".
    """

    def __init__(
        self, data: Any, persistent_load: Callable[[Any], Any], encoding: str = "utf-8", position: int = 0
    ) -> None:
        self.data = data
        self.end = len(data)
        self.position = position
        self.persistent_load = persistent_load
        self.encoding = encoding
        self.listed, self.calls = _tables()
        self.added = safe.added_by_name()
        self.added_ids = {id(each) for each in self.added.values()}
        #: What constructors may copy in all, so that a short stream cannot make a long list many times over.
        self.budget = 1_000_000 + 64 * (self.end - position)
        self.outside = False

    def load(self) -> Any:
        """The next object."""
        try:
            return self._run()
        except (UnpicklingError, EOFError, RuntimeError, AssertionError):
            raise  # in words already
        except (LookupError, ValueError, TypeError, AttributeError, ArithmeticError, struct.error) as error:
            if self.outside:
                raise  # it comes from the program, not from the file
            raise UnpicklingError(
                f"the pickled data make no sense near byte {self.position}: {type(error).__name__}: {error}"
            ) from error

    def _run(self) -> Any:
        self.stack: list[Any] = []
        self.outer: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        data, end, table = self.data, self.end, _OPERATIONS
        while True:
            at = self.position
            if at >= end:
                raise EOFError("the pickled data end early")
            code = data[at]
            self.position = at + 1
            if code == 0x2E:  # STOP
                return self.stack.pop()
            operation = table[code]
            if operation is None:
                raise UnpicklingError(f"Unsupported operand {code}")
            operation(self)

    def spend(self, count: int) -> None:
        """Count what a constructor copies; refuse when it is out of proportion to the file."""
        self.budget -= count
        if self.budget < 0:
            raise UnpicklingError("the pickled data copy the same values too often")

    def take(self, count: int) -> Any:
        """The next bytes."""
        at = self.position
        if count > self.end - at:
            raise EOFError("the pickled data end early")
        self.position = at + count
        return self.data[at : at + count]

    def is_added_class(self, kind: Any) -> bool:
        """Whether it is a class that the program vouches for."""
        return isinstance(kind, type) and id(kind) in self.added_ids

    def call(self, function: Any, args: Any) -> Any:
        """The result of a function on the list."""
        if type(args) is not tuple:
            raise UnpicklingError(f"a function's arguments are a tuple, not {type(args).__name__}")
        found = self.calls.get(id(function))
        if found is not None:
            return found(self, args)
        if id(function) in self.added_ids:
            self.outside = True
            made = function(*args)
            self.outside = False
            return made
        raise UnpicklingError(f"Trying to call reduce for unrecognized function {shown(function)}")

    def named(self, module: str, name: str) -> Any:
        """The object on the list that a file's name stands for."""
        module, name = _renamed(module, name)
        full = f"{module}.{name}"
        if module in safe.BLOCKED:
            raise UnpicklingError(f"Trying to load unsupported GLOBAL {full} whose module {module} is blocked.")
        found = self.listed.get(full, _MARK)
        if found is _MARK:
            found = self.added.get(full, _MARK)
        if found is not _MARK:
            return found
        shown = full.removeprefix("builtins.")
        raise UnpicklingError(
            f"Unsupported global: GLOBAL {shown} was not an allowed global by default. Please use "
            f"`torch.serialization.add_safe_globals([{shown}])` or the `torch.serialization.safe_globals([{shown}])` "
            "context manager to allowlist this global if you trust this class/function."
        )

    # stack

    def mark(self) -> None:
        self.outer.append(self.stack)
        self.stack = []

    def items(self) -> list[Any]:
        items = self.stack
        self.stack = self.outer.pop()
        return items

    def put(self, index: int) -> None:
        self.memo[index] = self.stack[-1]

    def op_binput(self) -> None:
        self.put(self.data[self.position])
        self.position += 1

    def op_long_binput(self) -> None:
        self.put(_unpack_u32(self.take(4))[0])

    def op_memoize(self) -> None:
        self.put(len(self.memo))

    def op_binget(self) -> None:
        self.stack.append(self.memo[self.data[self.position]])
        self.position += 1

    def op_long_binget(self) -> None:
        self.stack.append(self.memo[_unpack_u32(self.take(4))[0]])

    def op_pop(self) -> None:
        if self.stack:
            self.stack.pop()
        else:
            self.items()

    # values

    def op_none(self) -> None:
        self.stack.append(None)

    def op_true(self) -> None:
        self.stack.append(True)

    def op_false(self) -> None:
        self.stack.append(False)

    def op_binint(self) -> None:
        self.stack.append(_unpack_i(self.take(4))[0])

    def op_binint1(self) -> None:
        self.stack.append(self.data[self.position])
        self.position += 1

    def op_binint2(self) -> None:
        self.stack.append(_unpack_u16(self.take(2))[0])

    def op_long1(self) -> None:
        self.stack.append(int.from_bytes(self.take(self.take(1)[0]), "little", signed=True))

    def op_long4(self) -> None:
        self.stack.append(int.from_bytes(self.take(_unpack_u32(self.take(4))[0]), "little", signed=True))

    def op_binfloat(self) -> None:
        self.stack.append(_unpack_d(self.take(8))[0])

    def _text(self, count: int) -> None:
        self.stack.append(str(self.take(count), "utf-8", "surrogatepass"))

    def op_binunicode(self) -> None:
        self._text(_unpack_u32(self.take(4))[0])

    def op_short_binunicode(self) -> None:
        self._text(self.take(1)[0])

    def op_binunicode8(self) -> None:
        self._text(_unpack_u64(self.take(8))[0])

    def _string(self, count: int) -> None:
        data = bytes(self.take(count))
        self.stack.append(data if self.encoding == "bytes" else data.decode(self.encoding))

    def op_short_binstring(self) -> None:
        self._string(self.take(1)[0])

    def op_binstring(self) -> None:
        self._string(_unpack_u32(self.take(4))[0])

    def op_binbytes(self) -> None:
        self.stack.append(bytes(self.take(_unpack_u32(self.take(4))[0])))

    def op_short_binbytes(self) -> None:
        self.stack.append(bytes(self.take(self.take(1)[0])))

    def op_binbytes8(self) -> None:
        self.stack.append(bytes(self.take(_unpack_u64(self.take(8))[0])))

    def op_bytearray8(self) -> None:
        self.stack.append(bytearray(self.take(_unpack_u64(self.take(8))[0])))

    # containers

    def op_empty_tuple(self) -> None:
        self.stack.append(())

    def op_empty_list(self) -> None:
        self.stack.append([])

    def op_empty_dict(self) -> None:
        self.stack.append({})

    def op_empty_set(self) -> None:
        self.stack.append(set())

    def op_tuple(self) -> None:
        items = self.items()
        self.stack.append(tuple(items))

    def op_tuple1(self) -> None:
        self.stack[-1] = (self.stack[-1],)

    def op_tuple2(self) -> None:
        last = self.stack.pop()
        self.stack[-1] = (self.stack[-1], last)

    def op_tuple3(self) -> None:
        last, middle = self.stack.pop(), self.stack.pop()
        self.stack[-1] = (self.stack[-1], middle, last)

    def op_frozenset(self) -> None:
        items = self.items()
        for each in items:
            _check_key(each)
        self.stack.append(frozenset(items))

    def _list(self) -> list[Any]:
        target = self.stack[-1]
        if type(target) is not list:
            raise UnpicklingError(f"Can only append to lists, but got {type(target)}")
        return target

    def op_append(self) -> None:
        item = self.stack.pop()
        target = self.stack[-1]
        if self.is_added_class(type(target)):
            target.append(item)
        else:
            self._list().append(item)

    def op_appends(self) -> None:
        items = self.items()
        target = self.stack[-1]
        if type(target) is not list and self.is_added_class(type(target)):
            target.extend(items)
        else:
            self._list().extend(items)

    def op_additems(self) -> None:
        items = self.items()
        target = self.stack[-1]
        if type(target) is not set:
            raise UnpicklingError(f"Can only add to sets, but got {type(target)}")
        for each in items:
            _check_key(each)
            target.add(each)

    def _dict(self, opcode: str) -> Any:
        target = self.stack[-1]
        kind = type(target)
        if kind not in (dict, OrderedDict, Counter) and not self.is_added_class(kind):
            raise UnpicklingError(
                f"Can only {opcode} for dict, collections.OrderedDict, collections.Counter, but got {kind}"
            )
        return target

    def op_setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        _check_key(key)
        self._dict("SETITEM")[key] = value

    def op_setitems(self) -> None:
        items = self.items()
        target = self._dict("SETITEMS")
        if len(items) % 2:
            raise UnpicklingError("odd number of items for SETITEMS")
        for i in range(0, len(items), 2):
            _check_key(items[i])
            target[items[i]] = items[i + 1]

    # names, calls, objects

    def _line(self) -> str:
        stop = self.data.find(b"\n", self.position)
        if stop < 0:
            raise EOFError("the pickled data end early")
        line = self.take(stop - self.position)
        self.position += 1
        return str(line, "utf-8")

    def op_global(self) -> None:
        module, name = self._line(), self._line()
        self.stack.append(self.named(module, name))

    def op_stack_global(self) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        if type(name) is not str or type(module) is not str:
            raise UnpicklingError("STACK_GLOBAL requires str")
        self.stack.append(self.named(module, name))

    def op_reduce(self) -> None:
        args = self.stack.pop()
        self.stack[-1] = self.call(self.stack[-1], args)

    def op_newobj(self) -> None:
        args = self.stack.pop()
        kind = self.stack[-1]
        if isinstance(kind, type) and id(kind) in self.calls:
            self.stack[-1] = self.call(kind, args)
        elif isinstance(kind, type) and id(kind) in self.added_ids:
            self.stack[-1] = kind.__new__(kind, *args)
        else:
            raise UnpicklingError(
                "Can only create new object for nn.Parameter or classes allowlisted via `add_safe_globals` but got "
                f"{shown(kind)}"
            )

    def op_build(self) -> None:
        state = self.stack.pop()
        made = self.stack[-1]
        kind = type(made)
        if kind is OrderedDict:
            if type(state) is not dict or not all(type(k) is str for k in state):
                raise UnpicklingError(f"an OrderedDict's attributes are a dict of names, not {type(state).__name__}")
            made.__dict__.update(state)
        elif kind is Tensor:
            if type(state) is not tuple or len(state) != 4:
                raise UnpicklingError(f"a tensor's state is a tuple of four, not {shown(state)}")
            storage, offset, size, stride = state
            made._a = rebuild.window(storage, rebuild._dtype_of(storage), offset, size, stride)
        elif id(kind) in self.added_ids:
            _set_state(made, state)
        elif isinstance(made, Tensor):
            rebuild.set_state(made, state)
        else:
            raise UnpicklingError(
                "Can only build Tensor, Parameter, OrderedDict or types allowlisted via `add_safe_globals`, but got "
                f"{kind}"
            )

    def op_binpersid(self) -> None:
        pid = self.stack.pop()
        if type(pid) not in (tuple, int):
            raise UnpicklingError(f"persistent_load id must be tuple or int, but got {type(pid)}")
        if type(pid) is tuple and (not pid or type(pid[0]) not in (str, bytes) or pid[0] not in ("storage", b"storage")):
            raise UnpicklingError(
                f"Only persistent_load of storage is allowed, but got {shown(pid[0]) if pid else 'nothing'}"
            )
        self.outside = True
        self.stack.append(self.persistent_load(pid))
        self.outside = False

    def op_proto(self) -> None:
        if self.take(1)[0] > 5:
            raise UnpicklingError(f"unsupported pickle protocol: {self.data[self.position - 1]}")

    def op_frame(self) -> None:
        self.take(8)


def _set_state(made: Any, state: Any) -> None:
    """What pickle does for BUILD."""
    if hasattr(made, "__setstate__"):
        made.__setstate__(state)
        return
    slots = None
    if type(state) is tuple and len(state) == 2:
        state, slots = state
    if state:
        made.__dict__.update(state)
    for name, value in (slots or {}).items():
        setattr(made, name, value)


_OPERATIONS: list[Any] = [None] * 256
for _code, _name in (
    (b"(", "mark"), (b"q", "op_binput"), (b"r", "op_long_binput"), (b"\x94", "op_memoize"), (b"h", "op_binget"),
    (b"j", "op_long_binget"), (b"0", "op_pop"), (b"1", "items"), (b"N", "op_none"), (b"\x88", "op_true"),
    (b"\x89", "op_false"), (b"J", "op_binint"), (b"K", "op_binint1"), (b"M", "op_binint2"), (b"\x8a", "op_long1"),
    (b"\x8b", "op_long4"), (b"G", "op_binfloat"), (b"X", "op_binunicode"), (b"\x8c", "op_short_binunicode"),
    (b"\x8d", "op_binunicode8"), (b"U", "op_short_binstring"), (b"T", "op_binstring"), (b"B", "op_binbytes"),
    (b"C", "op_short_binbytes"), (b"\x8e", "op_binbytes8"), (b"\x96", "op_bytearray8"), (b")", "op_empty_tuple"),
    (b"]", "op_empty_list"), (b"}", "op_empty_dict"), (b"\x8f", "op_empty_set"), (b"t", "op_tuple"),
    (b"\x85", "op_tuple1"), (b"\x86", "op_tuple2"), (b"\x87", "op_tuple3"), (b"\x91", "op_frozenset"),
    (b"a", "op_append"), (b"e", "op_appends"), (b"\x90", "op_additems"), (b"s", "op_setitem"), (b"u", "op_setitems"),
    (b"c", "op_global"), (b"\x93", "op_stack_global"), (b"R", "op_reduce"), (b"\x81", "op_newobj"), (b"b", "op_build"),
    (b"Q", "op_binpersid"), (b"\x80", "op_proto"), (b"\x95", "op_frame"),
):  # fmt: skip
    _OPERATIONS[_code[0]] = getattr(WeightsUnpickler, _name)

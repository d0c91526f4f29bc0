"""What a recorded function can have read from outside: globals, closures, attributes, what lists and dictionaries hold.

In: the code that ran (`Watch`) and the function. Out: a list of checks, each of which knows whether what it saw is still there. What can
be reached is followed from the globals that the code names, the function's closure and its owner, through containers, functions,
modules, classes and objects; of attributes only those are followed whose names stand in the code. Nothing is asked of the objects
themselves: no property runs, no ``__eq__`` is called.
"""

from __future__ import annotations

import array
import functools
import os
import sys
from collections import deque
from collections.abc import Mapping
from types import FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np

from ..nn import Module
from ..optim import lr_scheduler, optimizer
from ..tensor import Tensor
from .recorder import Refused

__all__ = ["SIMPLE", "reads", "same"]

#: Types of Python values that are compared by value.
SIMPLE = (bool, int, float, complex, str, bytes, type(None))
#: How many values may be looked at before each call, and bytes of arrays.
MOST, MOST_BYTES = 20_000, 1 << 16

_MISSING = object()
_DYNAMIC = frozenset(("getattr", "vars", "__dict__", "setattr", "__getattribute__", "attrgetter"))
_LIBRARY = frozenset(("bibun", "torch", "numpy", "ml_dtypes", "builtins", *sys.stdlib_module_names)) - {"__main__"}
_STEPPERS = frozenset(("param_groups", "defaults", "last_epoch", "base_lrs"))


def same(now: Any, then: Any) -> bool:
    """Whether a value is the one that was seen, or one that no program can tell from it."""
    if now is then:
        return True
    kind = type(then)
    if type(now) is not kind:
        return False
    if kind is float or kind is complex:
        return repr(now) == repr(then)  # so that NaN is NaN, and -0 is not 0
    if kind in SIMPLE:
        return bool(now == then)
    return kind is tuple and len(now) == len(then) and all(map(same, now, then))


class Check:
    """Something that was seen, where it was, and words for that.

    Attributes:
        owner: what has it; value: what was seen; what: its name, for messages.
    """

    __slots__ = ("owner", "value", "what")

    def __init__(self, owner: Any, what: str):
        self.owner, self.what = owner, what
        self.value: Any = self.now()

    def now(self) -> Any:
        """What is there."""
        raise NotImplementedError

    def holds(self) -> bool:
        """Whether it is the same; what is as good is what was seen from now on."""
        now = self.now()
        if not same(now, self.value):
            return False
        self.value = now
        return True

    def test(self, i: int, names: dict[str, Any]) -> str:
        """Python's words for: it is not the very same; what they speak of is put into ``names``."""
        raise NotImplementedError


class Entry(Check):
    """What a dictionary has under a key, or that it has nothing there."""

    __slots__ = ("key",)

    def __init__(self, owner: Any, key: Any, what: str):
        self.key = key
        super().__init__(owner, what)

    def now(self) -> Any:
        return self.owner.get(self.key, _MISSING)

    def test(self, i: int, names: dict[str, Any]) -> str:
        names[f"g{i}"], names[f"w{i}"] = self.owner, self.value
        return f"{self.key!r} in g{i}" if self.value is _MISSING else f"g{i}[{self.key!r}] is not w{i}"


class Member(Check):
    """What an object has in one of its slots, a cell, or as a default."""

    __slots__ = ("name",)

    def __init__(self, owner: Any, name: str, what: str):
        self.name = name
        super().__init__(owner, what)

    def now(self) -> Any:
        try:
            return getattr(self.owner, self.name)
        except (AttributeError, ValueError):  # an empty cell
            return _MISSING

    def test(self, i: int, names: dict[str, Any]) -> str:
        names[f"g{i}"], names[f"w{i}"] = self.owner, self.value
        return f"g{i}.{self.name} is not w{i}"


class Items(Check):
    """What a list, a dictionary, a set or the like holds."""

    __slots__ = ()

    def now(self) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        if isinstance(self.owner, Mapping):
            return tuple(self.owner), tuple(self.owner.values())
        return (), tuple(self.owner)

    def test(self, i: int, names: dict[str, Any]) -> str:
        names[f"g{i}"] = self.owner
        names[f"k{i}"], names[f"w{i}"] = keys, values = self.value
        if not values:
            return f"g{i}"
        many = f"len(g{i}) != {len(values)} or not all(map(is_, g{i}"
        return f"{many}, k{i})) or not all(map(is_, g{i}.values(), w{i}))" if keys else f"{many}, w{i}))"


class Numbers(Check):
    """What an array that is not a tensor's holds."""

    __slots__ = ()

    def now(self) -> Any:
        a = self.owner
        return (a.shape, a.strides, a.dtype, a.tobytes()) if isinstance(a, np.ndarray) else bytes(a)

    def holds(self) -> bool:
        return self.now() == self.value

    def test(self, i: int, names: dict[str, Any]) -> str:
        names[f"g{i}"] = self
        return f"not g{i}.holds()"


def _of_library(name: Any) -> bool:
    return str(name).partition(".")[0] in _LIBRARY


class _Walk:
    def __init__(self, watch: Any):
        self.codes = [*watch.foreign, *(code for code, kind in watch.kinds.items() if kind == "user")]
        self.ran = set(self.codes)
        self.names = {n for code in self.codes for n in code.co_names}
        self.dynamic = bool(_DYNAMIC & self.names)
        if self.dynamic:  # names of attributes may be any text
            self.names |= {x for code in self.codes for x in code.co_consts if isinstance(x, str) and x.isidentifier()}
        self.checks: list[Any] = []
        self.seen: dict[int, Any] = {}  # held, so that no other object gets the same number
        self.todo: list[tuple[Any, str]] = []
        self.modules = watch.modules

    def run(self) -> None:
        while self.todo:
            value, what = self.todo.pop()
            if id(value) in self.seen:
                continue
            self.seen[id(value)] = value
            self.look(value, what)
            if len(self.seen) > MOST:
                raise Refused(f"its code can reach more than {MOST:,} values outside of it, by way of {what}")

    def push(self, value: Any, what: str) -> None:
        if type(value) not in SIMPLE and not isinstance(value, Tensor):
            self.todo.append((value, what))

    def entry(self, space: Any, key: Any, what: str) -> None:
        self.checks.append(Entry(space, key, what))
        self.push(self.checks[-1].value, what)

    def member(self, owner: Any, name: str, what: str) -> None:
        check = Member(owner, name, what)
        if check.value is not _MISSING:
            self.checks.append(check)
            self.push(check.value, what)

    def look(self, x: Any, what: str) -> None:
        """Note what of a value may be read."""
        if isinstance(x, FunctionType):
            self.function(x, what)
        elif isinstance(x, MethodType):
            self.push(x.__func__, what)
            self.push(x.__self__, what)
        elif isinstance(x, functools.partial):
            self.push((x.func, x.args, x.keywords), what)
        elif isinstance(x, (staticmethod, classmethod)):
            self.push(x.__func__, what)
        elif isinstance(x, property):
            self.push(x.fget, what)
        elif isinstance(x, type):
            self.of_class(x, what)
        elif isinstance(x, ModuleType):
            if not _of_library(x.__name__) or x.__name__ == "__main__":
                for name in self.names & x.__dict__.keys():
                    self.entry(x.__dict__, name, f"{what}.{name}")
        elif isinstance(x, (np.ndarray, bytearray, array.array)):
            if not isinstance(x, np.ndarray) or x.flags.writeable:
                if (x.nbytes if isinstance(x, np.ndarray) else len(x)) > MOST_BYTES or isinstance(x, np.ndarray) and x.dtype.hasobject:
                    raise Refused(f"its code can read {what}, an array that is no tensor and too large to be looked at before each call")
                self.checks.append(Numbers(x, f"an element of {what}"))
        else:
            if isinstance(x, (list, dict, set, deque)):
                self.checks.append(Items(x, f"an item of {what}"))
            if isinstance(x, dict):
                for key, value in x.items():
                    self.push(value, f"{what}[{key!r}]" if type(key) in SIMPLE else what)
            elif isinstance(x, (list, tuple, set, frozenset, deque)):
                for i, value in enumerate(x):
                    self.push(value, f"{what}[{i}]")
            self.instance(x, what)

    def function(self, f: Any, what: str) -> None:
        if f.__code__ not in self.ran:
            return
        for name in ("__code__", "__defaults__", "__kwdefaults__"):
            self.member(f, name, f"{what}, its {name.strip('_')}")
        for name, cell in zip(f.__code__.co_freevars, f.__closure__ or ()):
            self.member(cell, "cell_contents", f"{name} of the enclosing function")

    def of_class(self, cls: Any, what: str) -> None:
        for c in cls.__mro__:
            if not _of_library(c.__module__):
                self.seen[id(c)] = c
                for name, value in list(vars(c).items()):
                    if name in self.names or self.dynamic and not name.startswith("__"):
                        self.entry(vars(c), name, f"{c.__name__}.{name}")
                    elif isinstance(value, FunctionType):  # an operator or the like
                        self.push(value, f"{c.__name__}.{name}")

    def instance(self, x: Any, what: str) -> None:
        cls = type(x)
        known = isinstance(x, Module)
        if known and id(x) not in self.modules:
            return  # none of its methods ran
        self.push(cls, what)
        space = getattr(x, "__dict__", None)
        if isinstance(space, dict):
            names = {*self.names, *space} if self.dynamic else self.names
            if isinstance(x, (optimizer.Optimizer, lr_scheduler.LRScheduler)):
                names = names & _STEPPERS
            elif cls.__module__.startswith("bibun"):
                return
            for name in names:
                if name in space:
                    if not (known and type(space[name]) in SIMPLE):  # which are a module's settings
                        self.entry(space, name, f"{what}.{name}")
                elif self.dynamic or any(name in vars(c) and not isinstance(vars(c)[name], (FunctionType, property)) for c in cls.__mro__ if not _of_library(c.__module__)):
                    self.checks.append(Entry(space, name, f"{what}.{name}"))  # which would stand before the class's
        for c in cls.__mro__:
            if not _of_library(c.__module__):
                slots = vars(c).get("__slots__", ())
                for name in (slots,) if isinstance(slots, str) else slots:
                    if name in self.names and not name.startswith("__"):
                        self.member(x, name, f"{what}.{name}")


def reads(watch: Any, function: Any) -> list[Any]:
    """The checks of what a function, and code that ran in it, can have read.

    Raises:
        Refused: more can be reached than could be looked at before each call.
    """
    walk = _Walk(watch)
    plain = getattr(function, "__func__", function)
    if isinstance(plain, FunctionType):
        walk.ran.add(plain.__code__)
    walk.push(plain, "the function")
    if getattr(function, "__self__", None) is not None:
        walk.push(function.__self__, "self")
    for module in watch.modules.values():
        walk.push(module, type(module).__name__)
    for name, space in watch.names.values():
        if not (isinstance(value := space.get(name), ModuleType) and _of_library(value.__name__)):
            walk.entry(space, name, f"the global {name}")
    for name in watch.imported:
        walk.push(sys.modules.get(name), name)
    if walk.names & {"environ", "getenv"}:
        walk.push(getattr(os.environ, "_data", None), "the environment")
    walk.run()
    for owner in watch.owners.values():  # objects that could not be followed to
        if id(owner) not in walk.seen and id(owner) not in watch.modules:
            walk.checks += [Entry(vars(owner), k, f"the attribute {k}") for k, v in vars(owner).items() if type(v) in SIMPLE and k in walk.names]
    return walk.checks

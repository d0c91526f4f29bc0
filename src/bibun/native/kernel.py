"""From a kernel to something Python calls: a built-in function made by LLVM on CPython's own interface.

In: a `Kernel`, a function of the subset (`bibun.native.lang`) whose last two parameters are ``begin`` and ``end``. Out, for given
types: a built-in that takes the kernel's other arguments (arrays, None, integers, floats) and then the number of items and the size
of a chunk, lets go of the interpreter, and has the pool walk the items. A call costs about 100 ns.

Arrays are taken as they are: whoever calls a kernel has looked at dtypes, shapes and strides.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import threading
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from . import bounds, build, pool
from .ir import Function, Module, Value
from .lang import Device, Ptr, Type, f32, f64, i64

__all__ = ["Arguments", "Kernel", "builtin", "kernel", "make_entry", "usable"]

#: Where an ndarray object holds the address of its data, after the object's head.
_DATA = 16
_METH_FASTCALL = 0x80

_kept: list[Any] = []
_lock = threading.RLock()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release)


class _Method(ctypes.Structure):
    _fields_ = [("name", ctypes.c_char_p), ("call", ctypes.c_void_p), ("flags", ctypes.c_int), ("doc", ctypes.c_char_p)]


_PYTHON = ("PyLong_AsSsize_t", "PyFloat_AsDouble", "Py_IncRef", "PyEval_SaveThread", "PyEval_RestoreThread", "PyErr_BadArgument", "PyType_IsSubtype")
#: Where an object holds its type, and a tuple its first two items.
_TYPE, _FIRST, _SECOND = 8, 24, 32


@cache
def usable() -> bool:
    """Whether kernels can be made and called here."""
    if not build.available():
        return False
    with _lock:
        try:
            a = np.arange(3.0)
            pair = None, np.ndarray
            if (
                ctypes.c_void_p.from_address(id(a) + _DATA).value != a.__array_interface__["data"][0]
                or ctypes.c_void_p.from_address(id(a) + _TYPE).value != id(np.ndarray)
                or [ctypes.c_void_p.from_address(id(pair) + at).value for at in (_FIRST, _SECOND)] != [id(None), id(np.ndarray)]
            ):
                return False  # another build of Python: objects begin differently
            for name in _PYTHON:
                build.symbol(name, ctypes.cast(getattr(ctypes.pythonapi, name), ctypes.c_void_p).value or 0)
            pool.start()
            return True
        except Exception as error:
            import warnings

            warnings.warn(f"native kernels are switched off: {type(error).__name__}: {error}", RuntimeWarning, stacklevel=2)
            return False


def builtin(name: str, address: int) -> Any:
    """The built-in function whose METH_FASTCALL code is at an address; its ``__self__`` is (None, ndarray), which the code looks at."""
    make = ctypes.pythonapi.PyCFunction_NewEx
    make.restype, make.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.py_object, ctypes.c_void_p]
    method = _Method(name.encode(), address, _METH_FASTCALL, None)
    _kept.append(method)
    return make(ctypes.addressof(method), (None, np.ndarray), None)


def _field(f: Function, p: Value, at: int) -> Value:
    return f.emit("ptr", f"load ptr, ptr {f.emit('ptr', f'getelementptr i8, ptr {p.name}, i64 {at}').name}")


class Arguments:
    """The Python arguments of a built-in function under construction, as native values. Where an array is wanted, nothing but an array
    or None is taken: anything else raises TypeError."""

    def __init__(self, f: Function):
        self.f = f
        itself, self.objects, _ = f.args
        self.none, self.array = _field(f, itself, _FIRST), _field(f, itself, _SECOND)
        self.wrong = f.slot(False, "i1")

    def value(self, i: int, word: str) -> Value:
        """The i-th as a value of a type."""
        f = self.f
        given = f.emit("ptr", f"load ptr, ptr {f.emit('ptr', f'getelementptr ptr, ptr {self.objects.name}, i64 {i}').name}")
        if word == "ptr":
            is_none = f.emit("i1", f"icmp eq ptr {given.name}, {self.none.name}")
            kind = _field(f, given, _TYPE)
            other = f.emit("i1", f"icmp ne ptr {kind.name}, {self.array.name}")
            with f.when(f.binary("and", other, f.binary("xor", is_none, True))):
                f.module.declare("PyType_IsSubtype", "declare i32 @PyType_IsSubtype(ptr, ptr)")
                related = f.call("PyType_IsSubtype", "i32", kind, self.array)
                self.wrong.set(f.binary("or", self.wrong.get(), f.compare("eq", related, 0)))
            data = _field(f, given, _DATA)  # None's own is read, too, and not used
            return f.emit("ptr", f"select i1 {is_none.name}, ptr null, ptr {data.name}")
        if word in ("float", "double"):
            return f.convert(f.call("PyFloat_AsDouble", "double", given), word)
        return f.convert(f.call("PyLong_AsSsize_t", "i64", given), word)

    def check(self) -> None:
        """Go back with an error where an argument was wrong."""
        f = self.f
        bad, fine = f.label_name("bad"), f.label_name("fine")
        f.branch(self.wrong.get(), bad, fine)
        f.label(bad)
        f.call("PyErr_BadArgument", "i32")
        f.give(f.const(0, "ptr"))
        f.label(fine)

    def end(self) -> None:
        """Return None."""
        self.f.call("Py_IncRef", "void", self.none)
        self.f.give(self.none)


def make_entry(module: Module, name: str, params: list[tuple[str, str]], body: Callable[[Function, list[Value], Value, Value], None]) -> None:
    """Write ``name`` (for Python) and ``name.chunk`` (for the pool) around a loop.

    ``body(f, values, begin, end)`` writes what is done for the items from begin to end, given the parameters' values.
    """
    words = "nounwind " + build.attributes()
    chunk = Function(module, name + ".chunk", "void", [("ptr", "arguments"), ("i64", "begin"), ("i64", "end")], attributes=words, linkage="internal")
    held, begin, end = chunk.args
    values = []
    for i, (word, _) in enumerate(params):
        at = chunk.emit("ptr", f"getelementptr i64, ptr {held.name}, i64 {i}")
        values.append(chunk.emit(word, f"load {word}, ptr {at.name}"))
    body(chunk, values, begin, end)
    chunk.give()
    f = Function(module, name, "ptr", [("ptr", "self"), ("ptr", "objects"), ("i64", "count")])
    arguments = Arguments(f)
    slots = f.fresh("args")
    f.slots.append(f"{slots} = alloca [{max(len(params), 1)} x i64], align 16")
    for i, (word, _) in enumerate(params):
        x = arguments.value(i, word)
        at = f.emit("ptr", f"getelementptr i64, ptr {slots}, i64 {i}")
        f.line(f"store {word} {x.name}, ptr {at.name}")
    items = arguments.value(len(params), "i64")
    grain = arguments.value(len(params) + 1, "i64")
    arguments.check()
    thread = f.call("PyEval_SaveThread", "ptr")
    f.call(pool.PARALLEL, "void", Value(f, f"@{name}.chunk", "ptr"), Value(f, slots, "ptr"), items, grain)
    f.call("PyEval_RestoreThread", "void", thread)
    arguments.end()


def load_entry(shown: str, key: str, write: Callable[[Module], None], name: str) -> Any:
    """What Python calls, of code with an entry of that name."""
    if not bounds.on():
        return builtin(shown, build.load(key, write, [name])[0])
    at, tell, bad = build.load("bounds " + key, write, [name, name + ".bounds", name + ".bad"])
    return bounds.watched(shown, builtin(shown, at), tell, bad)


_WORDS = {np.dtype(np.float32): f32, np.dtype(np.float64): f64, np.dtype(np.int64): i64}


class Kernel:
    """A function over a range of items, made for types and known values on request.

    ``k(T=f32, affine=True)`` gives the built-in; the same request gives the same built-in.
    """

    def __init__(self, device: Device, explicit: bool = False):
        self.explicit = explicit
        self.device, self.__name__, self.__doc__ = device, device.__name__, device.__doc__
        self.made: dict[Any, Any] = {}

    def __call__(self, **known: Any) -> Any:
        key = tuple(known.items())
        found = self.made.get(key)
        if found is None:
            with _lock:
                found = self.made.get(key) or self._make(known)
                self.made[key] = found
        return found

    def _make(self, known: dict[str, Any]) -> Any:
        if not usable():
            raise RuntimeError(f"the kernel {self.__name__} needs llvmlite, and native code not turned off (BIBUN_NATIVE=0)")
        known = {k: _WORDS[v] if isinstance(v, np.dtype) else v for k, v in known.items()}
        tree = self.device.tree()
        given: list[Any] = []
        for arg in tree.args.args[:-2]:
            if arg.annotation is None:
                given.append(known[arg.arg])
            else:
                given.append(self.device.annotation(arg.annotation, known))
        params = [(t.word, a.arg) for a, t in zip(tree.args.args, given) if isinstance(t, Type) and a.annotation is not None]
        said = f"{self.device.python.__module__}.{self.__name__}|{sorted((k, str(v)) for k, v in known.items())}|{_sources()}"
        name = f"{self.__name__}_{hashlib.sha256(said.encode()).hexdigest()[:12]}"

        def write(module: Module) -> None:
            module.explicit = self.explicit

            def body(f: Function, values: list[Value], begin: Value, end: Value) -> None:
                at = iter(values)
                args: list[Any] = [next(at) if a.annotation is not None else v for a, v in zip(tree.args.args, given)]
                for value, t in zip(args, given):
                    if isinstance(value, Value) and t.of is not None:
                        value.of, value.signed = t.of.word, t.of.signed
                callee = self.device.make(module, [*args, begin, end], known)
                f.call(callee.name, "void", *values, begin, end)

            if bounds.on():
                bounds.watch(module)
            make_entry(module, name, params, body)
            if bounds.on():
                bounds.finish(module, name)

        return load_entry(self.__name__, said, write, name)


@cache
def _sources() -> str:
    """A hash of the code that kernels are written in, for the keys of cached object code."""
    from pathlib import Path

    here = Path(__file__).parent
    made = hashlib.sha256()
    for file in sorted(here.rglob("*.py")):
        made.update(file.read_bytes())
    return made.hexdigest()[:20]


def kernel(python: Any = None, *, fast: str = "contract", explicit: bool = False, distinct: bool = False) -> Any:
    """Make a Python function of the subset a `Kernel`; ``fast`` as for `device`. ``explicit``: the loops that matter are written in
    vectors, so that LLVM need not look for them, which takes a quarter of the time. ``distinct``: what is written overlaps with no
    other argument, so that LLVM need not look whether it does."""
    if python is None:
        return lambda p: kernel(p, fast=fast, explicit=explicit, distinct=distinct)
    return Kernel(Device(python, fast, True, distinct), explicit)


__all__ += ["Ptr"]

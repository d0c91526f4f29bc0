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
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

import numpy as np

from . import bounds, build, entry, pool
from .ir import Function, Module, Value
from .lang import Device, Ptr, Type, f32, f64, i64

__all__ = ["Kernel", "builtin", "kernel", "make_entry", "usable"]

_METH_FASTCALL = 0x80

_kept: list[Any] = []
_lock = threading.RLock()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release)


class _Method(ctypes.Structure):
    _fields_ = [("name", ctypes.c_char_p), ("call", ctypes.c_void_p), ("flags", ctypes.c_int), ("doc", ctypes.c_char_p)]


@cache
def usable() -> bool:
    """Whether kernels can be made and called here."""
    if not build.available():
        return False
    with _lock:
        try:
            a = np.arange(3.0)
            three = None, np.ndarray, a
            if (
                ctypes.c_void_p.from_address(id(a) + entry.DATA).value != a.__array_interface__["data"][0]
                or ctypes.c_void_p.from_address(id(a) + entry.TYPE).value != id(np.ndarray)
                or [ctypes.c_void_p.from_address(id(three) + at).value for at in entry.FIRST] != [id(x) for x in three]
            ):
                return False  # another build of Python: objects begin differently
            pool.start()
            return True
        except Exception as error:
            import warnings

            warnings.warn(f"native kernels are switched off: {type(error).__name__}: {error}", RuntimeWarning, stacklevel=2)
            return False


def builtin(name: str, address: int, words: Iterable[str], shared: bool = True) -> Any:
    """The built-in function that calls code at an address, which takes a block of arguments of such types and a range of items: what
    the pool walks where it is ``shared``, nothing otherwise."""
    make = ctypes.pythonapi.PyCFunction_NewEx
    make.restype, make.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.py_object, ctypes.c_void_p]
    method = _Method(name.encode(), pool.entry_address(), _METH_FASTCALL, None)
    _kept.append(method)
    return make(ctypes.addressof(method), (None, np.ndarray, entry.described(address, words, shared)), None)


def make_entry(module: Module, name: str, params: list[tuple[str, str]], body: Callable[[Function, list[Value], Value, Value], None]) -> None:
    """Write ``name``, which takes its arguments in one block, around a loop.

    ``body(f, values, begin, end)`` writes what is done for the items from begin to end, given the parameters' values.
    """
    words = "nounwind " + build.attributes()
    chunk = Function(module, name, "void", [("ptr", "arguments"), ("i64", "begin"), ("i64", "end")], attributes=words)
    held, begin, end = chunk.args
    values = []
    for i, (word, _) in enumerate(params):
        at = chunk.emit("ptr", f"getelementptr i64, ptr {held.name}, i64 {i}")
        values.append(chunk.emit(word, f"load {word}, ptr {at.name}"))
    body(chunk, values, begin, end)
    chunk.give()


def load_entry(shown: str, key: str, write: Callable[[Module], None], name: str, words: Iterable[str]) -> Any:
    """What Python calls, of code with an entry of that name, which takes arguments of such types."""
    if not bounds.on():
        return builtin(shown, build.load(key, write, [name])[0], words)
    at, tell, bad = build.load("bounds " + key, write, [name, name + ".bounds", name + ".bad"])
    return bounds.watched(shown, builtin(shown, at, words), tell, bad)


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
        said = f"{self.device.python.__module__}.{self.__name__}|{sorted((k, str(v)) for k, v in known.items())}|{build.sources()}"
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

        return load_entry(self.__name__, said, write, name, [word for word, _ in params])


def kernel(python: Any = None, *, fast: str = "contract", explicit: bool = False, distinct: bool = False) -> Any:
    """Make a Python function of the subset a `Kernel`; ``fast`` as for `device`. ``explicit``: the loops that matter are written in
    vectors, so that LLVM need not look for them, which takes a quarter of the time. ``distinct``: what is written overlaps with no
    other argument, so that LLVM need not look whether it does."""
    if python is None:
        return lambda p: kernel(p, fast=fast, explicit=explicit, distinct=distinct)
    return Kernel(Device(python, fast, True, distinct), explicit)


__all__ += ["Ptr"]

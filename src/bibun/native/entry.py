"""What Python calls when it calls native code: one function for all kernels.

In: the arguments of a built-in (METH_FASTCALL), whose ``__self__`` is (None, ndarray, what is called): an int64 array of the code's address,
whether the pool walks its items, how many arguments it takes, and a number for the kind of each. Out: the arguments as native values in
one block, with which the code is called. So a kernel's own module holds nothing that is not its own.

Where an array is wanted, nothing but an array or None is taken: anything else raises TypeError, and so does another number of arguments.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from .ir import Function, Module, Value

__all__ = ["DATA", "FIRST", "NAME", "PYTHON", "TYPE", "described", "write"]

NAME = "bibun_enter"
#: What of CPython's interface it calls.
PYTHON = ("PyLong_AsSsize_t", "PyFloat_AsDouble", "Py_IncRef", "PyEval_SaveThread", "PyEval_RestoreThread", "PyErr_BadArgument", "PyType_IsSubtype")
#: Where an ndarray object holds the address of its data, an object its type, and a tuple its first three items.
DATA, TYPE, FIRST = 16, 8, (24, 32, 40)
#: The kinds of arguments.
_KINDS = {"ptr": 0, "double": 2, "float": 3}
_INTEGER = 1


def described(address: int, words: Iterable[str], shared: bool) -> np.ndarray:
    """What is called, for the entry: code at an address that takes arguments of such types; ``shared`` among the pool's threads."""
    kinds = [_KINDS.get(word, _INTEGER) for word in words]
    return np.array([address, shared, len(kinds), *kinds], np.int64)


def write(module: Module, parallel: str) -> None:
    """Write the entry into a module; ``parallel`` is the name of the pool's function."""
    f = Function(module, NAME, "ptr", [("ptr", "self"), ("ptr", "objects"), ("i64", "count")])
    itself, objects, count = f.args

    def field(p: Value, at: int) -> Value:
        return f.emit("ptr", f"load ptr, ptr {f.emit('ptr', f'getelementptr i8, ptr {p.name}, i64 {at}').name}")

    def item(i: Value) -> Value:
        return f.emit("ptr", f"load ptr, ptr {f.emit('ptr', f'getelementptr ptr, ptr {objects.name}, i64 {i.name}').name}")

    def number(given: Value) -> Value:
        return f.call("PyLong_AsSsize_t", "i64", given)

    none, array, said = (field(itself, at) for at in FIRST)
    about = field(said, DATA)
    about.of = "i64"
    code, shared, n = (f.load(f.offset(about, k)) for k in range(3))
    wrong = f.slot(f.compare("ne", count, f.select(shared != 0, n + 2, n)))
    bad, fine = f.label_name("bad"), f.label_name("fine")
    held = f.emit("ptr", f"alloca i64, i64 {f.maximum(n, 1).name}, align 16")
    with f.when(f.binary("xor", wrong.get(), True)), f.loop(0, n) as i:
        given, place = item(i), f.emit("ptr", f"getelementptr i64, ptr {held.name}, i64 {i.name}")
        kind = f.load(f.offset(about, i + 3))
        pointer, other, integer, floating, done = (f.label_name(n) for n in ("pointer", "other", "integer", "floating", "done"))
        f.branch(kind == 0, pointer, other)
        f.label(pointer)
        is_none, type_of = f.emit("i1", f"icmp eq ptr {given.name}, {none.name}"), field(given, TYPE)
        strange = f.emit("i1", f"icmp ne ptr {type_of.name}, {array.name}")
        with f.when(strange), f.when(f.binary("xor", is_none, True)):
            related = f.call("PyType_IsSubtype", "i32", type_of, array)
            wrong.set(f.binary("or", wrong.get(), related == 0))
        data = field(given, DATA)  # None's own is read, too, and not used
        f.line(f"store ptr {f.emit('ptr', f'select i1 {is_none.name}, ptr null, ptr {data.name}').name}, ptr {place.name}")
        f.jump(done)
        f.label(other)
        f.branch(kind == _INTEGER, integer, floating)
        f.label(integer)
        f.line(f"store i64 {number(given).name}, ptr {place.name}")
        f.jump(done)
        f.label(floating)
        x = f.call("PyFloat_AsDouble", "double", given)
        f.line(f"store double {x.name}, ptr {place.name}")
        with f.when(kind == _KINDS["float"]):
            f.line(f"store float {f.convert(x, 'float').name}, ptr {place.name}")
        f.jump(done)
        f.label(done)
    f.branch(wrong.get(), bad, fine)
    f.label(bad)
    f.call("PyErr_BadArgument", "i32")
    f.give(f.const(0, "ptr"))
    f.label(fine)
    with f.when(shared != 0):
        items, grain = number(item(n)), number(item(n + 1))
        thread = f.call("PyEval_SaveThread", "ptr")
        f.call(parallel, "void", f.convert(code, "ptr"), held, items, grain)
        f.call("PyEval_RestoreThread", "void", thread)
    with f.when(shared == 0):
        f.call_at(f.convert(code, "ptr"), "void", held, f.const(0), f.const(0))
    f.call("Py_IncRef", "void", none)
    f.give(none)

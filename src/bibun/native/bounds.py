"""``BIBUN_DEBUG=bounds``: kernels look whether what they read and write lies in the arrays they were given.

In this mode each load and store of a kernel asks a function of its module first, which walks the arrays' bounds. An address outside
of them all (and not on the stack) is remembered and replaced by a place where nothing matters, so that the call ends and raises.
Code so made is many times slower, and is kept under keys of its own. Native runs of compiled programs are watched, too; BLAS is not.
"""

from __future__ import annotations

import ctypes
import os
import re
import threading
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from .ir import SIZES, Function, Module, Value

__all__ = ["finish", "on", "watch", "watched"]


@cache
def on() -> bool:
    """Whether kernels are made so."""
    return "bounds" in os.environ.get("BIBUN_DEBUG", "").split(",")


_CHECK = """
@bounds.table = internal global ptr null
@bounds.count = internal global i64 0
@bounds.bad = internal global i64 0
@bounds.nowhere = internal global [4096 x i8] zeroinitializer, align 64
define internal ptr @bounds.at(ptr %p, i64 %size) noinline nounwind {
entry:
  %local = alloca i64
  %at = ptrtoint ptr %p to i64
  %end = add i64 %at, %size
  %none = icmp eq i64 %size, 0
  br i1 %none, label %good, label %stack
stack:
  %here = ptrtoint ptr %local to i64
  %away = sub i64 %at, %here
  %shifted = add i64 %away, 1048576
  %near = icmp ult i64 %shifted, 2097152
  br i1 %near, label %good, label %begin
begin:
  %table = load ptr, ptr @bounds.table
  %count = load i64, ptr @bounds.count
  br label %head
head:
  %i = phi i64 [ 0, %begin ], [ %next, %other ]
  %more = icmp ult i64 %i, %count
  br i1 %more, label %look, label %bad
look:
  %twice = shl i64 %i, 1
  %a = getelementptr i64, ptr %table, i64 %twice
  %b = getelementptr i64, ptr %a, i64 1
  %low = load i64, ptr %a
  %high = load i64, ptr %b
  %after = icmp uge i64 %at, %low
  %before = icmp ule i64 %end, %high
  %inside = and i1 %after, %before
  br i1 %inside, label %good, label %other
other:
  %next = add i64 %i, 1
  br label %head
bad:
  store i64 %at, ptr @bounds.bad
  ret ptr @bounds.nowhere
good:
  ret ptr %p
}
"""


def watch(module: Module) -> None:
    """Have a module's loads and stores looked at."""
    module.checked = True
    module.globals["bounds"] = _CHECK


def finish(module: Module, name: str) -> None:
    """Write ``name.bounds`` and ``name.bad``, by which `watched` talks with the code, once all else is written."""
    f = Function(module, name + ".bounds", "i64", [("ptr", "table"), ("i64", "count")])
    f.unwatched = True
    table, count = f.args
    f.line("store ptr %table, ptr @bounds.table")
    f.line("store i64 0, ptr @bounds.bad")
    constants = [k for k in module.globals if k.startswith("@table.")]
    table.of = "i64"
    end = f.offset(table, count * 2)
    for i, k in enumerate(constants):
        found = re.search(r"\[(\d+) x (\w+)\]", module.globals[k])
        assert found is not None
        begin = f.emit("i64", f"ptrtoint ptr {k} to i64")
        f.store(begin, Value(f, f.offset(end, 2 * i).name, "ptr", "i64"))
        f.store(begin + int(found[1]) * SIZES[found[2]], Value(f, f.offset(end, 2 * i + 1).name, "ptr", "i64"))
    f.line(f"store i64 {(count + len(constants)).name}, ptr @bounds.count")
    f.give(len(constants))
    f = Function(module, name + ".bad", "i64", [])
    f.give(f.emit("i64", "load i64, ptr @bounds.bad"))


#: Constant tables that a kernel may have at most.
_CONSTANTS = 64


def watched(name: str, call: Any, tell_at: int, bad_at: int) -> Callable[..., Any]:
    """A kernel's built-in, given the bounds of its arrays before and asked after for what lay outside."""
    tell, bad = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p, ctypes.c_int64)(tell_at), ctypes.CFUNCTYPE(ctypes.c_int64)(bad_at)
    lock = threading.Lock()

    def checked(*args: Any) -> Any:
        bounds = [np.lib.array_utils.byte_bounds(a) for a in args if isinstance(a, np.ndarray) and a.size]
        table = np.array([*bounds, *[(0, 0)] * _CONSTANTS], np.int64)
        with lock:
            tell(table.ctypes.data, len(bounds))
            made = call(*args)
            at = bad()
        if at:
            nearest = min(((min(abs(at - low), abs(at - high)), low, high) for low, high in bounds), default=(0, 0, 0))
            raise IndexError(f"the native kernel {name} went outside of its arrays: to {at:#x}, {nearest[0]} bytes from [{nearest[1]:#x}, {nearest[2]:#x})")
        return made

    return checked

"""Memory that remembers in which mode it was allocated.

NumPy keeps with each array the allocator that made its memory (NEP 49). `mark` exchanges this thread's allocator for its *twin*:
the same functions under another name. So the arrays made from then on, and what looks at their memory, can be told from all others
later, though making them cost nothing, and asking is left to those who want to know.
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
from numpy._core.multiarray import get_handler_name

__all__ = ["Handler", "capsule_of", "handler_of", "install", "is_marked", "mark", "plain", "unmark"]

NAME = "bibun_inference"
#: Places of two functions in NumPy's table of functions for C.
_SET_HANDLER, _GET_HANDLER = 304, 305


class Handler(ctypes.Structure):
    """NumPy's PyDataMem_Handler."""

    _fields_ = [("name", ctypes.c_char * 127), ("version", ctypes.c_uint8), ("context", ctypes.c_void_p), ("malloc", ctypes.c_void_p),
                ("calloc", ctypes.c_void_p), ("realloc", ctypes.c_void_p), ("free", ctypes.c_void_p)]


def handler_of(capsule: Any) -> Handler:
    """The structure in NumPy's capsule."""
    get_pointer = ctypes.pythonapi.PyCapsule_GetPointer
    get_pointer.restype, get_pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    found = Handler.from_address(get_pointer(capsule, b"mem_handler") or 0)
    if found.version != 1:
        raise RuntimeError(f"NumPy's allocators are of version {found.version}, not 1")
    return found


def capsule_of(handler: Handler) -> Any:
    """A capsule, as NumPy takes it, round a structure that its caller keeps."""
    new_capsule = ctypes.pythonapi.PyCapsule_New
    new_capsule.restype, new_capsule.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
    return new_capsule(ctypes.addressof(handler), b"mem_handler", None)


def _functions() -> tuple[Any, Any]:
    get_pointer = ctypes.pythonapi.PyCapsule_GetPointer
    get_pointer.restype, get_pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    table = ctypes.cast(get_pointer(np._core._multiarray_umath._ARRAY_API, None), ctypes.POINTER(ctypes.c_void_p))  # type: ignore[attr-defined]
    return (ctypes.PYFUNCTYPE(ctypes.py_object)(table[_GET_HANDLER] or 0),
            ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.py_object)(table[_SET_HANDLER] or 0))


current, exchange = _functions()

#: id of an allocator's capsule -> (it, its twin, the twin's structure), and back; what stands here is never freed.
_twins: dict[int, tuple[Any, Any, Any]] = {}
_plain: dict[int, Any] = {}
ctypes.pythonapi.Py_IncRef(ctypes.py_object(_twins))  # arrays outlive this module when the interpreter ends


def mark() -> None:
    """Have what this thread allocates from now on be marked."""
    capsule = current()
    if id(capsule) in _plain:
        return
    found = _twins.get(id(capsule))
    if found is None:
        theirs = handler_of(capsule)
        twin = Handler(NAME.encode(), 1, theirs.context, theirs.malloc, theirs.calloc, theirs.realloc, theirs.free)
        found = _twins[id(capsule)] = capsule, capsule_of(twin), twin
        _plain[id(found[1])] = capsule
    exchange(found[1])


def unmark() -> None:
    """Have it be marked no more."""
    plain = _plain.get(id(current()))
    if plain is not None:
        exchange(plain)


def plain() -> Any:
    """This thread's allocator, or the one whose twin it is."""
    capsule = current()
    return _plain.get(id(capsule), capsule)


def install(capsule: Any) -> None:
    """Make ``capsule`` this thread's allocator, marked where the present one is."""
    marked = id(current()) in _plain
    exchange(capsule)
    if marked:
        mark()


def is_marked(a: Any) -> bool:
    """Whether the memory of the array ``a`` was allocated under a mark."""
    base = a.base
    while base.__class__ is np.ndarray:
        a, base = base, base.base
    return base is None and get_handler_name(a) == NAME

"""Memory of large arrays, used again: an allocator under NumPy's own (NEP 49).

Fresh memory from the system costs a page fault for every 4 KiB, several times what computing on it does. So blocks that NumPy gives
back are kept, by size, and given out again: at most `limit` bytes of them. Arrays below 32 KiB are NumPy's own business. Zeros for
which no block is kept come from the system as ever: untouched pages cost nothing there.

The allocator is set for the context (thread) that starts it; NumPy remembers with each array who allocated it.
"""

from __future__ import annotations

import ctypes
import os
import secrets
from functools import cache

from . import build, marking
from .ir import Module
from .lang import (
    Ptr,
    allocate,
    atomic_set,
    atomic_swap,
    device,
    external,
    highest_bit,
    i32,
    i64,
    maximum,
    minimum,
    null,
    pause,
    u8,
    void,
)

__all__ = ["default_limit", "empty_cache", "install", "limit", "set_limit", "statistics"]

# Places in the shared state, in i64.
LOCK, KEPT, LIMIT, GIVEN, REUSED, FRESH, MAGIC, PAGES, PEAK = 0, 8, 9, 10, 11, 12, 13, 14, 15
MALLOC, CALLOC, REALLOC, FREE, CONTEXT = 16, 17, 18, 19, 20  # NumPy's own allocator
HEADS, CLASSES = 24, 160
#: Requests below this go to NumPy's own allocator.
SMALLEST = 1 << 15
#: Before the data: the magic number and the block's size, at the end of a cache line.
HEAD = 64

_align = external("posix_memalign", i32, Ptr[i64], i64, i64)
_release = external("free", void, Ptr[u8])
_advise = external("madvise", i32, Ptr[u8], i64, i32)
_fill = external("memset", Ptr[u8], Ptr[u8], i32, i64)
_copy = external("memcpy", Ptr[u8], Ptr[u8], Ptr[u8], i64)
_call_malloc = external("bibun_call_malloc", Ptr[u8], i64, i64, i64)
_call_calloc = external("bibun_call_calloc", Ptr[u8], i64, i64, i64, i64)
_call_realloc = external("bibun_call_realloc", Ptr[u8], i64, i64, Ptr[u8], i64)
_call_free = external("bibun_call_free", void, i64, i64, Ptr[u8], i64)


@device
def _lock(s: Ptr[i64]) -> void:
    while atomic_swap(s + LOCK, 1) != 0:
        pause()


@device
def _unlock(s: Ptr[i64]) -> void:
    atomic_set(s + LOCK, 0)


@device
def _capacity(need: i64) -> i64:
    """The size of block for a request: four sizes for each power of two."""
    step = i64(1) << (highest_bit(need) - 2)
    return (need + step - 1) & (0 - step)


@device
def _class(capacity: i64) -> i64:
    top = highest_bit(capacity)
    return minimum((top - 15) * 4 + ((capacity >> (top - 2)) & 3), CLASSES - 1)


@device
def _pop(s: Ptr[i64], capacity: i64) -> i64:
    """A kept block of that size, or 0."""
    head = s + HEADS + _class(capacity)
    _lock(s)
    block = head[0]
    if block != 0:
        head[0] = Ptr[i64](block)[0]
        s[KEPT] = s[KEPT] - capacity
        s[GIVEN] = s[GIVEN] + capacity
        s[REUSED] = s[REUSED] + 1
        s[PEAK] = maximum(s[PEAK], s[GIVEN])
    _unlock(s)
    return block


@device
def _marked(s: Ptr[i64], block: i64, capacity: i64) -> Ptr[u8]:
    """The address of a block's data, its head written."""
    head = Ptr[i64](block + HEAD - 16)
    head[0] = s[MAGIC]
    head[1] = capacity
    return Ptr[u8](block + HEAD)


@device
def _get(s: Ptr[i64], size: i64) -> Ptr[u8]:
    capacity = _capacity(size + HEAD)
    block = _pop(s, capacity)
    if block == 0:
        place = allocate(i64, 1)
        place[0] = 0
        huge = capacity >= 4194304
        step = i64(2097152) if huge else i64(4096)
        if _align(place, step, capacity) != 0:
            drop(s, 0)  # what is kept in other sizes may make room
            if _align(place, step, capacity) != 0:
                return null(u8)
        block = place[0]
        if huge and s[PAGES] != 0:
            _advise(Ptr[u8](block), capacity, i32(14))
        _lock(s)
        s[GIVEN] = s[GIVEN] + capacity
        s[FRESH] = s[FRESH] + 1
        s[PEAK] = maximum(s[PEAK], s[GIVEN])
        _unlock(s)
    return _marked(s, block, capacity)


@device
def _mine(s: Ptr[i64], p: Ptr[u8]) -> i64:
    """The size of the block whose data is at p, if it is one of ours; else 0.

    Ours begin so far into a page, so that the head is on the page too, whoever the block's owner is."""
    size = i64(0)
    if (i64(p) & 4095) == HEAD:
        head = Ptr[i64](p - 16)
        if head[0] == s[MAGIC]:
            size = head[1]
    return size


@device
def give(s: Ptr[i64], size: i64) -> Ptr[u8]:
    if size < SMALLEST:
        return _call_malloc(s[MALLOC], s[CONTEXT], size)
    return _get(s, size)


@device
def give_zeros(s: Ptr[i64], count: i64, size: i64) -> Ptr[u8]:
    whole = count * size
    if whole >= SMALLEST:
        capacity = _capacity(whole + HEAD)
        block = _pop(s, capacity)
        if block != 0:
            made = _marked(s, block, capacity)
            _fill(made, i32(0), whole)
            return made
    fresh = _call_calloc(s[CALLOC], s[CONTEXT], count, size)
    if i64(fresh) == 0:
        drop(s, 0)
        return _call_calloc(s[CALLOC], s[CONTEXT], count, size)
    return fresh


@device
def take(s: Ptr[i64], p: Ptr[u8], size: i64) -> void:
    if i64(p) == 0:
        return
    capacity = _mine(s, p)
    if capacity == 0:
        _call_free(s[FREE], s[CONTEXT], p, size)
        return
    block = i64(p) - HEAD
    Ptr[i64](block + HEAD - 16)[0] = 0  # no live block
    _lock(s)
    s[GIVEN] = s[GIVEN] - capacity
    keep = s[KEPT] + capacity <= s[LIMIT]
    if keep:
        head = s + HEADS + _class(capacity)
        Ptr[i64](block)[0] = head[0]
        head[0] = block
        s[KEPT] = s[KEPT] + capacity
    _unlock(s)
    if not keep:
        _release(Ptr[u8](block))


@device
def change(s: Ptr[i64], p: Ptr[u8], size: i64) -> Ptr[u8]:
    if i64(p) == 0:
        return give(s, size)
    capacity = _mine(s, p)
    if capacity == 0:
        return _call_realloc(s[REALLOC], s[CONTEXT], p, size)
    made = give(s, maximum(size, 1))
    if i64(made) != 0:
        _copy(made, p, minimum(size, capacity - HEAD))
        take(s, p, capacity - HEAD)
    return made


@device
def drop(s: Ptr[i64], least: i64) -> void:
    """Give kept blocks back to the system until no more than ``least`` bytes are kept, the largest first."""
    _lock(s)
    for back in range(CLASSES):
        head = s + HEADS + (CLASSES - 1 - back)
        while head[0] != 0 and s[KEPT] > least:
            block = head[0]
            head[0] = Ptr[i64](block)[0]
            s[KEPT] = s[KEPT] - Ptr[i64](block + HEAD - 16)[1]
            _release(Ptr[u8](block))
    _unlock(s)


def _write(module: Module) -> None:
    from .ir import Function

    module.explicit = True
    for name, params, returns in (
        ("malloc", "i64 context, i64 size", "ptr"), ("calloc", "i64 context, i64 count, i64 size", "ptr"),
        ("realloc", "i64 context, ptr p, i64 size", "ptr"), ("free", "i64 context, ptr p, i64 size", "void"),
    ):  # fmt: skip
        typed = [tuple(p.split()) for p in params.split(", ")]
        f = Function(module, "bibun_call_" + name, returns, [("i64", "at"), *typed], attributes="nounwind alwaysinline", linkage="internal")
        at, *rest = f.args
        made = f.call_at(f.convert(at, "ptr"), returns, *rest)
        f.give(made if returns != "void" else None)
    for made, given in ((give, [Ptr[i64], i64]), (give_zeros, [Ptr[i64], i64, i64]), (change, [Ptr[i64], Ptr[u8], i64]), (take, [Ptr[i64], Ptr[u8], i64]),
                        (drop, [Ptr[i64], i64])):
        made.make(module, given, {}, f"bibun_memory_{made.__name__}")


class _Allocator:
    """The allocator of this process."""

    def __init__(self) -> None:
        theirs = marking.handler_of(marking.plain())
        raw = (ctypes.c_int64 * (HEADS + CLASSES + 8))()
        self.raw, self.at = raw, (-ctypes.addressof(raw) // 8) % 8
        for place, value in ((MAGIC, secrets.randbits(62) | 1), (LIMIT, default_limit()), (MALLOC, theirs.malloc), (CALLOC, theirs.calloc),
                             (REALLOC, theirs.realloc), (FREE, theirs.free), (CONTEXT, theirs.context), (PAGES, int(hasattr(os, "sched_getaffinity")))):
            self[place] = value or 0
        names = [f"bibun_memory_{n}" for n in ("give", "give_zeros", "change", "take", "drop")]
        import hashlib
        import inspect
        import sys

        said = hashlib.sha256(inspect.getsource(sys.modules[__name__]).encode()).hexdigest()
        give_at, zeros_at, change_at, take_at, drop_at = build.load(f"memory {said}", _write, names)
        self.drop = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)(drop_at)
        self.handler = marking.Handler(b"bibun", 1, self.address, give_at, zeros_at, change_at, take_at)
        self.capsule = marking.capsule_of(self.handler)

    @property
    def address(self) -> int:
        return ctypes.addressof(self.raw) + 8 * self.at

    def __getitem__(self, i: int) -> int:
        return self.raw[self.at + i]

    def __setitem__(self, i: int, value: int) -> None:
        self.raw[self.at + i] = value


def default_limit() -> int:
    """An eighth of the machine's memory, at most 1 GiB; ``BIBUN_MEMORY_LIMIT`` (bytes) says otherwise, 0 keeps nothing."""
    if _wanted:
        return _wanted[-1]
    try:
        return max(0, int(os.environ["BIBUN_MEMORY_LIMIT"]))
    except (KeyError, ValueError):
        pass
    try:
        whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 1 << 28
    return min(whole // 8, 1 << 30)


_held: list[_Allocator] = []
_wanted: list[int] = []  # the limit that was asked for last, before there was an allocator or after


@cache
def _allocator() -> _Allocator | None:
    if os.name != "posix" or not build.available():
        return None
    made = _Allocator()
    _held.append(made)
    # A child may find the lock taken by a thread that it does not have. Lists are whole between any two stores: at worst a block is lost.
    os.register_at_fork(after_in_child=lambda: made.__setitem__(LOCK, 0))
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(_held))  # NumPy's arrays outlive this module when the interpreter ends
    return made


def install() -> bool:
    """Have NumPy take large blocks from here, in this thread; says whether it does."""
    made = _allocator()
    if made is None:
        return False
    marking.install(made.capsule)
    return True


def limit() -> int:
    """How many bytes of freed blocks are kept at most."""
    return _held[0][LIMIT] if _held else default_limit()


def set_limit(n: int) -> None:
    """Keep at most ``n`` bytes of freed blocks from now on."""
    _wanted[:] = [max(0, int(n))]
    for made in _held:
        made[LIMIT] = _wanted[0]
        made.drop(made.address, made[LIMIT])


def empty_cache() -> None:
    """Give all kept blocks back to the system."""
    for made in _held:
        made.drop(made.address, 0)


def statistics() -> dict[str, int]:
    """Bytes in use by large arrays, their peak, bytes kept, the limit; how many requests were served from kept blocks, and how many afresh."""
    names = {"in_use": GIVEN, "peak": PEAK, "kept": KEPT, "limit": LIMIT, "reused": REUSED, "fresh": FRESH}
    return {name: _held[0][place] if _held else limit() if name == "limit" else 0 for name, place in names.items()}

"""Worker threads that park inside native code.

In: a native function of (arguments, begin, end), a number of items and how many make a chunk. Each thread has a range of the chunks
that is its own, the same part of every job, so that what one kernel wrote the next one reads on the same core: cores that do not
share a cache pay dearly for each other's lines. Who is done with its own goes on with the others' chunks; a worker that comes late
finds nothing and does no harm, so nobody waits for it. Chunks do not depend on the number of threads: what a kernel computes of a
chunk is the same to the bit for one thread and for many.

Between jobs a worker spins for some microseconds and then sleeps on a condition variable. A second caller (another Python thread, or
a kernel inside a kernel) finds the pool taken and walks its chunks itself. A forked child starts without workers.
"""

from __future__ import annotations

import ctypes
import os
import threading
from typing import Any

from . import build, default_threads, entry
from .ir import Function, Module, Value
from .lang import (
    Ptr,
    atomic_add,
    atomic_get,
    atomic_set,
    atomic_swap,
    device,
    external,
    i32,
    i64,
    minimum,
    pause,
    u8,
    void,
)

__all__ = ["PARALLEL", "entry_address", "set_threads", "start", "threads"]

# Places in the shared memory, in i64; those that several threads write are a cache line apart.
GENERATION, OPEN, JOB, ARGUMENTS, GRAIN, PARTIES = 0, 1, 2, 3, 4, 5
INSIDE, LOCK, SLEEPERS, NAMES = 32, 48, 64, 80
WORKERS, LIMIT, SPINS = 96, 97, 98
MUTEX, CONDITION = 112, 128
#: Workers that are made at most, however many threads are asked for.
MOST = 256
#: From here on the threads' ranges: where the next chunk begins, and where the range ends.
RANGES, APART = 160, 16
LENGTH = RANGES + APART * (MOST + 1)

#: How often a worker looks for more before it sleeps, for about a tenth of a millisecond: as long as Python takes from one large
#: operation to the next. Waking a sleeper costs some 20 microseconds, and training steps with many products a twentieth of their time.
TURNS = 8000
#: The name under which kernels call `run`.
PARALLEL = "bibun_parallel"

_lock_mutex = external("pthread_mutex_lock", i32, Ptr[u8])
_unlock_mutex = external("pthread_mutex_unlock", i32, Ptr[u8])
_wait = external("pthread_cond_wait", i32, Ptr[u8], Ptr[u8])
_broadcast = external("pthread_cond_broadcast", i32, Ptr[u8])
_give_way = external("sched_yield", i32)
#: Written below, where the address of a job is called.
_call_job = external("bibun_call_job", void, i64, i64, i64, i64)


@device
def _take_chunks(s: Ptr[i64], me: i64, parties: i64, job: i64, arguments: i64, grain: i64) -> void:
    """Run the chunks of one's own range, then what is left of the others'."""
    for k in range(parties):
        owner = me + k
        if owner >= parties:
            owner -= parties
        mine = s + (RANGES + APART * owner)
        end = mine[1]
        if atomic_get(mine) < end:
            begin = atomic_add(mine, grain)
            while begin < end:
                _call_job(job, arguments, begin, minimum(begin + grain, end))
                begin = atomic_add(mine, grain)


@device
def work(s: Ptr[i64]) -> Ptr[u8]:
    """What a worker does until the process ends."""
    mutex = Ptr[u8](s + MUTEX)
    condition = Ptr[u8](s + CONDITION)
    seen = i64(0)
    me = atomic_add(s + NAMES, 1) + 1
    while True:
        spins = i64(0)
        while atomic_get(s + GENERATION) == seen and spins < s[SPINS]:
            pause()
            spins += 1
        if atomic_get(s + GENERATION) == seen:
            _lock_mutex(mutex)
            atomic_add(s + SLEEPERS, 1)
            while atomic_get(s + GENERATION) == seen:
                _wait(condition, mutex)
            atomic_add(s + SLEEPERS, -1)
            _unlock_mutex(mutex)
        seen = atomic_get(s + GENERATION)
        atomic_add(s + INSIDE, 1)
        if atomic_get(s + OPEN) != 0:
            if me < s[PARTIES]:
                _take_chunks(s, me, s[PARTIES], s[JOB], s[ARGUMENTS], s[GRAIN])
        atomic_add(s + INSIDE, -1)


@device
def run(s: Ptr[i64], job: i64, arguments: i64, items: i64, grain: i64) -> void:
    """Run a job over ``items``, in chunks of ``grain``, with whoever is free."""
    alone = items <= grain or s[LIMIT] <= 1 or s[WORKERS] == 0
    if not alone:
        alone = atomic_swap(s + LOCK, 1) != 0
    if alone:
        for k in range(0, items, grain):
            _call_job(job, arguments, k, minimum(k + grain, items))
        return
    s[JOB] = job
    s[ARGUMENTS] = arguments
    s[GRAIN] = grain
    chunks = (items + grain - 1) // grain
    parties = minimum(minimum(s[LIMIT], s[WORKERS] + 1), chunks)
    s[PARTIES] = parties
    for k in range(parties):
        mine = s + (RANGES + APART * k)
        mine[0] = chunks * k // parties * grain
        mine[1] = minimum(chunks * (k + 1) // parties * grain, items)
    atomic_set(s + OPEN, 1)
    atomic_add(s + GENERATION, 1)
    if atomic_get(s + SLEEPERS) != 0:
        _lock_mutex(Ptr[u8](s + MUTEX))
        _broadcast(Ptr[u8](s + CONDITION))
        _unlock_mutex(Ptr[u8](s + MUTEX))
    _take_chunks(s, 0, parties, job, arguments, grain)
    atomic_set(s + OPEN, 0)
    turns = i64(0)
    while atomic_get(s + INSIDE) != 0:
        pause()
        turns += 1
        if turns > 2000:
            _give_way()
            turns = 0
    atomic_set(s + LOCK, 0)


def _write(module: Module) -> None:
    module.explicit = True
    caller = Function(module, "bibun_call_job", "void", [("i64", "job"), ("i64", "arguments"), ("i64", "begin"), ("i64", "end")], attributes="nounwind alwaysinline", linkage="internal")
    job, arguments, begin, end = caller.args
    pointer = caller.convert(job, "ptr")
    caller.call_at(pointer, "void", caller.convert(arguments, "ptr"), begin, end)
    caller.give()
    run.make(module, [Ptr[i64], i64, i64, i64, i64], {}, "bibun_pool_run")
    work.make(module, [Ptr[i64]], {}, "bibun_pool_work")
    # what kernels call: the address of the shared memory is kept in the code's own data
    module.globals["state"] = "@bibun_pool_state = internal global ptr null"
    f = Function(module, "bibun_pool_set", "void", [("ptr", "state")])
    f.line("store ptr %state, ptr @bibun_pool_state")
    f.give()
    f = Function(module, "bibun_pool_parallel", "void", [("ptr", "job"), ("ptr", "arguments"), ("i64", "items"), ("i64", "grain")])
    state = f.emit("ptr", "load ptr, ptr @bibun_pool_state")
    f.call("bibun_pool_run", "void", state, f.convert(f.args[0], "i64"), f.convert(f.args[1], "i64"), f.args[2], f.args[3])
    f.give()
    entry.write(module, "bibun_pool_parallel")


class _Shared:
    """The pool of this process."""

    def __init__(self) -> None:
        raw = (ctypes.c_int64 * (LENGTH + 16))()
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(raw))  # workers look at it after the interpreter has ended
        first = (-ctypes.addressof(raw) // 8) % 16  # a cache line's beginning, for two-line prefetchers
        self.raw, self.at = raw, first
        names = ["bibun_pool_run", "bibun_pool_work", "bibun_pool_set", "bibun_pool_parallel", entry.NAME]
        for name in entry.PYTHON:
            build.symbol(name, ctypes.cast(getattr(ctypes.pythonapi, name), ctypes.c_void_p).value or 0)
        run_at, self.work_at, set_at, self.parallel_at, self.entry_at = build.load("pool 4", _write, names)
        ctypes.CFUNCTYPE(None, ctypes.c_void_p)(set_at)(self.address)
        build.symbol(PARALLEL, self.parallel_at)
        self.threads: list[Any] = []
        self[SPINS] = TURNS
        self.libc = ctypes.CDLL(None)
        self._prepare()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._in_child)

    @property
    def address(self) -> int:
        return ctypes.addressof(self.raw) + 8 * self.at

    def __getitem__(self, i: int) -> int:
        return self.raw[self.at + i]

    def __setitem__(self, i: int, value: int) -> None:
        self.raw[self.at + i] = value

    def _prepare(self) -> None:
        for place, call in ((MUTEX, "pthread_mutex_init"), (CONDITION, "pthread_cond_init")):
            getattr(self.libc, call)(ctypes.c_void_p(self.address + 8 * place), None)

    def _in_child(self) -> None:
        wanted = self[LIMIT]
        for place in (OPEN, INSIDE, LOCK, SLEEPERS, WORKERS, NAMES):
            self[place] = 0
        self._prepare()
        self.threads.clear()
        self[LIMIT] = wanted

    def grow(self, workers: int) -> None:
        """See that there are so many workers."""
        create = self.libc.pthread_create
        create.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p]
        while len(self.threads) < min(workers, MOST):
            held = ctypes.c_ulong()
            if create(ctypes.byref(held), None, self.work_at, self.address):
                break  # no more threads to be had
            self.threads.append(held)
        self[WORKERS] = len(self.threads)


_starting = threading.RLock()
_begun: list[_Shared] = []
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_starting.acquire, after_in_parent=_starting.release, after_in_child=_starting.release)


def _shared() -> _Shared:
    if not _begun:
        with _starting:
            if not _begun:
                _begun.append(_Shared())
    return _begun[0]


def start(threads: int | None = None) -> None:
    """Have the pool ready, with so many threads (the caller's among them)."""
    shared = _shared()
    with _starting:
        if threads is not None or not shared[LIMIT]:
            shared[LIMIT] = threads or default_threads()
        if shared[LIMIT] - 1 > len(shared.threads) and os.name == "posix":
            shared.grow(shared[LIMIT] - 1)


def set_threads(n: int) -> None:
    """Use at most ``n`` threads from now on."""
    start(max(1, n))


def follow() -> None:
    """Use as many threads as the program has asked for, if the pool has begun."""
    if _begun:
        start(default_threads())


def threads() -> int:
    return max(1, _shared()[LIMIT])


def entry_address() -> int:
    """Where the function is that Python calls; see `entry`."""
    return _shared().entry_at


__all__ += ["Value", "default_threads"]

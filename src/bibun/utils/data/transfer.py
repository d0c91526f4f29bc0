"""Batches from a worker process to the program: pickled, with the numbers of large tensors in shared memory.

A `Sender` (in the worker) and a `Receiver` (in the program) hold the two ends of a pipe. Arrays go out of band, by
pickle's fifth protocol: small ones within the message, large ones through *arenas*, pieces of anonymous memory that
the worker makes, the program maps, and both use again and again. An arena is free again when no tensor looks at it any
more; the program tells so with the next request. Nothing has a name in the file system, so nothing is left behind,
whatever dies. Where there are no such things as file descriptors of memory (other systems than Linux), large arrays
follow their message through the pipe.
"""

from __future__ import annotations

import io
import mmap
import os
import pickle
import struct
from collections import deque
from multiprocessing import reduction
from typing import Any

import numpy as np

from ...dtypes import BY_NAME, BY_NUMPY
from ...tensor import Tensor, wrap

__all__ = ["Receiver", "Sender"]

SMALL = 1 << 14  # bytes; smaller arrays are copied into the message
ALIGNMENT = 64
#: Arena (or -1), its size if it is new, whether it will be used again, an arena let go of (or -1), number of buffers.
_HEAD = struct.Struct("<qqqqq")
_PLACE = struct.Struct("<qq")
_HAS_ARENAS = hasattr(os, "memfd_create") and hasattr(reduction, "send_handle")
_U8 = np.dtype(np.uint8)

# ------------------------------------------------------------------------------------------------------------ pickling


def _tensor(buffer: Any, dtype: str, shape: tuple[int, ...], order: tuple[int, ...] | None, requires_grad: bool) -> Any:
    """A tensor on the memory of a buffer."""
    a = np.frombuffer(buffer, BY_NAME[dtype].np) if not isinstance(buffer, np.ndarray) else buffer.view(BY_NAME[dtype].np)
    if not a.flags.writeable:
        a = a.copy()
    if order is None:
        a = a.reshape(shape)
    else:
        a = a.reshape([shape[d] for d in order]).transpose(np.argsort(order))
    tensor = wrap(a)
    return tensor.requires_grad_() if requires_grad else tensor


class _Pickler(pickle.Pickler):
    """Pickles plain tensors as their bytes, out of band; everything else as always."""

    def reducer_override(self, obj: Any) -> Any:
        if obj.__class__ is not Tensor or obj.__dict__:
            return NotImplemented
        a = obj._a
        order = None
        if not a.flags.c_contiguous:
            axes = tuple(sorted(range(a.ndim), key=lambda d: -a.strides[d]))
            if a.transpose(axes).flags.c_contiguous:  # channels last, say: kept
                order, a = axes, a.transpose(axes)
            else:
                a = np.ascontiguousarray(a)
        flat = a.reshape(-1).view(_U8)
        return _tensor, (
            pickle.PickleBuffer(flat), BY_NUMPY[a.dtype].name, obj._a.shape, order, obj.requires_grad,
        )  # fmt: skip


def _dumps(obj: Any) -> tuple[bytes, list[Any]]:
    buffers: list[Any] = []

    def keep(buffer: pickle.PickleBuffer) -> bool:
        raw = buffer.raw()
        if raw.nbytes < SMALL:
            return True  # within the message
        buffers.append(raw)
        return False

    stream = io.BytesIO()
    _Pickler(stream, 5, buffer_callback=keep).dump(obj)
    return stream.getvalue(), buffers


# --------------------------------------------------------------------------------------------------------- worker's end


class _Arena:
    """Shared memory, as the worker sees it."""

    def __init__(self, number: int, size: int) -> None:
        self.number, self.size = number, size
        self.handle = os.memfd_create("bibun")
        os.ftruncate(self.handle, size)
        self.memory = np.frombuffer(mmap.mmap(self.handle, size), _U8)
        self.new = True


class Sender:
    """The worker's end: `send` any object, `freed` arenas the program has no more use for."""

    def __init__(self, connection: Any, receiver_pid: int, keep: int) -> None:
        self.connection = connection
        self.receiver_pid = receiver_pid
        self.keep = keep
        self.arenas: dict[int, _Arena] = {}
        self.free: list[_Arena] = []
        self.made = 0
        self.dropped = -1

    def freed(self, numbers: list[int]) -> None:
        """The program is done with these."""
        for number in numbers:
            arena = self.arenas.get(number)
            if arena is not None:
                self.free.append(arena)

    def _take(self, size: int) -> _Arena:
        for i, arena in enumerate(self.free):
            if arena.size >= size:
                return self.free.pop(i)
        if self.free:  # all too small: one makes room for a larger
            self.dropped = self.free.pop().number
            del self.arenas[self.dropped]
        arena = _Arena(self.made, -(-size * 5 // 4) + (-size * 5 // 4) % 4096)
        self.made += 1
        if len(self.arenas) < self.keep:
            self.arenas[arena.number] = arena
        return arena  # else it serves once: the program is collecting batches

    def send(self, obj: Any) -> None:
        """Send an object. What cannot be pickled raises, and nothing has been sent then."""
        message, buffers = _dumps(obj)
        if not buffers or not _HAS_ARENAS:
            head = _HEAD.pack(-1, 0, 0, -1, len(buffers)) + b"".join([_PLACE.pack(0, b.nbytes) for b in buffers])
            self.connection.send_bytes(head + message)
            for buffer in buffers:
                self.connection.send_bytes(buffer)
            return
        places, size = [], 0
        for buffer in buffers:
            places.append(_PLACE.pack(size, buffer.nbytes))
            size += buffer.nbytes + -buffer.nbytes % ALIGNMENT
        arena = self._take(size)
        at = 0
        for buffer in buffers:
            arena.memory[at : at + buffer.nbytes] = np.frombuffer(buffer, _U8)
            at += buffer.nbytes + -buffer.nbytes % ALIGNMENT
        again = arena.number in self.arenas
        head = _HEAD.pack(arena.number, arena.size if arena.new else 0, again, self.dropped, len(buffers))
        self.dropped = -1
        head += b"".join(places)
        self.connection.send_bytes(head + message)
        if arena.new:
            reduction.send_handle(self.connection, arena.handle, self.receiver_pid)
            os.close(arena.handle)
            arena.new = False


# -------------------------------------------------------------------------------------------------------- program's end


class _Mapped:
    """Shared memory, as the program sees it: `uses` counts the arrays that look at it."""

    __slots__ = ("address", "freed", "memory", "number", "uses")

    def __init__(self, number: int, memory: mmap.mmap, freed: deque[int]) -> None:
        self.number, self.memory, self.freed = number, memory, freed
        self.address = np.frombuffer(memory, _U8).__array_interface__["data"][0]
        self.uses = 0


class _Lease:
    """A part of an arena for NumPy to look at; when the last array that does is gone, so is this."""

    __slots__ = ("__array_interface__", "arena")

    def __init__(self, arena: _Mapped, start: int, size: int) -> None:
        self.arena = arena
        arena.uses += 1
        self.__array_interface__ = {
            "data": (arena.address + start, False),
            "shape": (size,),
            "typestr": "|u1",
            "version": 3,
        }

    def __del__(self) -> None:
        arena = self.arena
        arena.uses -= 1
        if not arena.uses:
            arena.freed.append(arena.number)


class Receiver:
    """The program's end."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.arenas: dict[int, _Mapped] = {}
        self.freed: deque[int] = deque()

    def take_freed(self) -> list[int]:
        """Arenas that no tensor looks at any more, to be told to the worker."""
        numbers = []
        while self.freed:
            numbers.append(self.freed.popleft())
        return numbers

    def receive(self) -> Any:
        """The next object; EOFError or OSError where the worker is gone."""
        message = memoryview(self.connection.recv_bytes())
        number, size, again, dropped, count = _HEAD.unpack_from(message)
        self.arenas.pop(dropped, None)
        at = _HEAD.size
        places = [_PLACE.unpack_from(message, at + i * _PLACE.size) for i in range(count)]
        at += count * _PLACE.size
        buffers: list[Any] = []
        if number >= 0:
            arena = self._mapped(number, size, again)
            buffers = [np.asarray(_Lease(arena, start, length)) for start, length in places]
        else:
            for _, length in places:
                buffer = np.empty(length, _U8)
                self.connection.recv_bytes_into(buffer)
                buffers.append(buffer)
        return pickle.loads(message[at:], buffers=buffers)

    def _mapped(self, number: int, size: int, again: int) -> _Mapped:
        if not size:
            return self.arenas[number]
        handle = reduction.recv_handle(self.connection)
        try:
            memory = mmap.mmap(handle, size)
        finally:
            os.close(handle)
        arena = _Mapped(number, memory, self.freed)
        if again:
            self.arenas[number] = arena
        return arena  # else it lives as long as its tensors

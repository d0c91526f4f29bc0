"""Files from before PyTorch 1.6: five pickles, then the numbers of every storage one after the other.

In comes a seekable file at its start; out comes the object, and the file stands behind it, so that several can lie in
one file.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from pickle import UnpicklingError
from typing import Any

import numpy as np

from ..storage import TypedStorage, UntypedStorage, swapped
from .archive import CHUNK
from .weights import WeightsUnpickler, shown
from .writing import MAGIC_NUMBER, PROTOCOL_VERSION

__all__ = ["load_legacy"]


class _Storages:
    """The storages that the pickle speaks of, empty until their numbers come."""

    def __init__(self, restore: Callable[[Any, Any], Any], room: int) -> None:
        self.restore = restore
        self.room = room  # the bytes left in the file: more numbers than that it cannot hold
        self.roots: dict[str, tuple[np.ndarray, Any]] = {}
        self.loaded: dict[str, UntypedStorage] = {}
        self.views: dict[str, UntypedStorage] = {}

    def persistent_load(self, identifier: Any) -> Any:
        """The storage that a persistent id stands for."""
        from .reading import _text, new_memory, size_in_bytes, storage_type

        if type(identifier) is not tuple or not identifier:
            raise UnpicklingError(f"a persistent id is a tuple, not {shown(identifier)}")
        kind = _text(identifier[0], "kind")
        if kind == "module":
            return identifier[1]  # a class, followed by its source as it was when saved
        if kind != "storage" or len(identifier) != 6:
            raise UnpicklingError(f"Unknown saved id type: {kind!r:.40}")
        _, type_, key, location, count, view = identifier
        dtype = storage_type(type_)
        key, location = _text(key, "key"), _text(location, "location")
        nbytes = size_in_bytes(count, dtype)
        untyped = self.loaded.get(key)
        if untyped is None:
            self.room -= nbytes
            if self.room < 0:
                raise RuntimeError(f"the storage {key} is said to be larger than the file")
            root = new_memory(nbytes, dtype)
            self.roots[key] = root, dtype
            untyped = self.loaded[key] = self.restore(UntypedStorage._of(root), location).untyped()
        if view is not None:
            untyped = self._view(untyped, view, dtype)
        return untyped if dtype is None else TypedStorage._of(untyped, dtype)

    def _view(self, untyped: UntypedStorage, view: Any, dtype: Any) -> UntypedStorage:
        """A storage that is a part of another: PyTorch before 0.4 had those."""
        from .reading import _text

        if type(view) is not tuple or len(view) != 3:
            raise UnpicklingError(f"a storage's view is a tuple of three, not {shown(view)}")
        key, offset, count = _text(view[0], "view"), view[1], view[2]
        n = 1 if dtype is None else dtype.itemsize
        if type(offset) is not int or type(count) is not int or not 0 <= offset <= offset + count:
            raise UnpicklingError(f"a storage's view is {shown(view)}")
        if (offset + count) * n > untyped.nbytes():
            raise RuntimeError(f"a view of {count} elements from {offset} on is outside of its storage")
        found = self.views.get(key)
        if found is None:
            found = self.views[key] = untyped[offset * n : (offset + count) * n]
        return found

    def fill(self, keys: Any, read: Callable[[int], Any], swap: bool) -> None:
        """Read the storages' numbers, in the order of `keys`."""
        if type(keys) is not list or any(type(key) is not str for key in keys) or set(keys) != set(self.roots) or len(keys) != len(self.roots):
            raise UnpicklingError("the list of storages in the file is not that of the storages it speaks of")
        for key in keys:
            root, dtype = self.roots[key]
            count, = struct.unpack("=q" if not swap else _other_order("q"), read(8))
            if count != root.size:
                raise RuntimeError(f"storage has wrong byte size: expected {root.size} elements got {count}")
            if not root.size:
                continue
            flat = root.view(np.uint8)
            for at in range(0, flat.size, CHUNK):
                part = flat[at : at + CHUNK]
                part[:] = np.frombuffer(read(part.size), np.uint8)
            if swap and dtype is not None:
                root[...] = swapped(root)


def _other_order(code: str) -> str:
    import sys

    return (">" if sys.byteorder == "little" else "<") + code


def load_legacy(
    file: Any, restore: Callable[[Any, Any], Any], pickle_module: Any, weights_only: bool, arguments: dict[str, Any]
) -> Any:
    """The object that starts where `file` stands."""
    start = file.tell()
    try:
        file.seek(0, 2)
        room = file.tell() - start
    except (OSError, ValueError):  # a compressed file does not know its end
        room = 2**62
    file.seek(start)
    storages = _Storages(restore, room)
    if weights_only:
        data, release = _buffer(file, start)
        try:
            stream = WeightsUnpickler(data, storages.persistent_load, arguments["encoding"], start if release else 0)
            result = _read(stream.load, stream.take, storages)
            file.seek(stream.position if release else start + stream.position)
            return result
        finally:
            if release:
                data.close()

    from .reading import _Unpickler

    def next_object() -> Any:
        return _Unpickler(pickle_module, file, storages.persistent_load, **arguments).load()

    def read(count: int) -> bytes:
        data = file.read(count)
        if len(data) < count:
            raise EOFError("the file ends early")
        return data

    return _read(next_object, read, storages)


def _read(next_object: Callable[[], Any], read: Callable[[int], Any], storages: _Storages) -> Any:
    magic = next_object()
    if type(magic) is not int or magic != MAGIC_NUMBER:
        raise RuntimeError("Invalid magic number; corrupt file?")
    version = next_object()
    if type(version) is not int or version != PROTOCOL_VERSION:
        raise RuntimeError(f"Invalid protocol version: {shown(version)}")
    system = next_object()
    import sys

    little = type(system) is not dict or system.get("little_endian", True) is not False
    result = next_object()
    storages.fill(next_object(), read, bool(little) != (sys.byteorder == "little"))
    return result


def _buffer(file: Any, start: int) -> tuple[Any, bool]:
    """The file's bytes to walk over, mapped (from the file's start) where it is one on disk, else read from `start`."""
    raw = file.raw if isinstance(file, io.BufferedReader) else file
    if not isinstance(raw, io.FileIO):
        return file.read(), False
    try:
        import mmap

        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), True
    except (OSError, ValueError):
        return file.read(), False

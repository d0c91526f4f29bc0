"""PyTorch's container: a zip file of uncompressed, aligned records.

`ArchiveWriter` takes named records, as bytes or as arrays of bytes, and streams them to anything that has ``write``.
`ArchiveReader` takes a seekable file and gives records back: as bytes, read straight into an array, or as a place in
the file to be mapped. It believes nothing it has not checked: offsets, sizes and names are held against the file and
against each other, and checksums against the data.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np

__all__ = ["ArchiveReader", "ArchiveWriter"]

ALIGNMENT = 64
CHUNK = 1 << 21
_LIMIT32 = 0xFFFFFFFF

_LOCAL = struct.Struct("<4s5H3I2H")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")
_END64 = struct.Struct("<4sQ2H2I4Q")
_LOCATOR = struct.Struct("<4sIQI")
#: Sizes follow the data (bit 3, where there are data), names are UTF-8 (bit 11).
_FLAGS, _FLAGS_EMPTY = 0x0808, 0x0800


class ArchiveWriter:
    """Writes records one after the other; `finish` writes the directory.

    Every record's data starts at a multiple of 64 bytes, so that it can be mapped and used in place. Data goes out in
    pieces, each copied before its checksum is taken: another thread that writes to a tensor meanwhile can make values
    new or old, and never the file bad.
    """

    def __init__(self, file: Any, name: str, checksums: bool = True) -> None:
        self.write = file.write
        self.name = name
        self.checksums = checksums
        self.position = 0
        self.directory: list[bytes] = []
        self.seen: list[bytes] = []

    def _put(self, data: bytes) -> None:
        self.write(data)
        self.position += len(data)

    def record(self, name: str, data: bytes | np.ndarray | int) -> None:
        """Write the record `name`: bytes, an array of bytes, or a number of bytes to leave empty."""
        full = f"{self.name}/{name}".encode()
        size = data if isinstance(data, int) else len(data)
        start, wide = self.position, size >= _LIMIT32
        extra = struct.pack("<2H2Q", 1, 16, size, size) if wide else b""
        # the padding is an extra field of its own, "FB", as PyTorch names it
        before = start + 30 + len(full) + len(extra) + 4
        padding = -before % ALIGNMENT
        flags = _FLAGS if size else _FLAGS_EMPTY
        self._put(_local(flags, full, extra + _padding(padding), wide))
        crc = 0
        if isinstance(data, int):
            for at in range(0, size, CHUNK):
                self._put(bytes(min(CHUNK, size - at)))
        else:
            view = memoryview(data)  # type: ignore[arg-type]
            for at in range(0, size, CHUNK):
                piece = bytes(view[at : at + CHUNK])
                if self.checksums:
                    crc = zlib.crc32(piece, crc)
                self._put(piece)
        if size:
            sizes = struct.pack("<2Q" if wide else "<2I", size, size)
            self._put(struct.pack("<4sI", b"PK\x07\x08", crc) + sizes)
        far = b""
        if wide:
            far += struct.pack("<2Q", size, size)
        if start >= _LIMIT32:
            far += struct.pack("<Q", start)
        if far:
            far = struct.pack("<2H", 1, len(far)) + far
        shown, at = (_LIMIT32 if wide else size), min(start, _LIMIT32)
        self.directory.append(
            _CENTRAL.pack(b"PK\x01\x02", 0, 0, flags, 0, 0, 0, crc, shown, shown, len(full), len(far), 0, 0, 0, 0, at)
            + full
            + far
        )
        self.seen.append(full + struct.pack("<I", crc))

    def finish(self) -> None:
        """Write what identifies the contents, and the directory."""
        import hashlib

        self.record("version", b"3\n")
        digest = hashlib.blake2b(b"".join(self.seen), digest_size=16).digest()
        self.record(".data/serialization_id", b"%040d" % int.from_bytes(digest, "big"))
        start, count = self.position, len(self.directory)
        for entry in self.directory:
            self._put(entry)
        size, end = self.position - start, self.position
        self._put(
            _END64.pack(b"PK\x06\x06", 44, 0x031E, 45, 0, 0, count, count, size, start)
            + _LOCATOR.pack(b"PK\x06\x07", 0, end, 1)
            + _END.pack(
                b"PK\x05\x06", 0, 0, min(count, 0xFFFF), min(count, 0xFFFF), min(size, _LIMIT32),
                min(start, _LIMIT32), 0,
            )
        )  # fmt: skip


def _padding(length: int) -> bytes:
    return struct.pack("<2sH", b"FB", length) + b"Z" * length


def _local(flags: int, name: bytes, extra: bytes, wide: bool) -> bytes:
    size = _LIMIT32 if wide else 0
    return _LOCAL.pack(b"PK\x03\x04", 0, flags, 0, 0, 0, 0, size, size, len(name), len(extra)) + name + extra


# ----------------------------------------------------------------------------------------------------------- reading

_CORRUPT = (
    "If you are seeing this error, there is a high likelihood that your checkpoint file is corrupted. This can happen "
    "if the checkpoint was not saved properly, was transferred incorrectly, or the file was modified after saving."
)


def _bad(what: str) -> RuntimeError:
    return RuntimeError(f"PytorchStreamReader failed reading zip archive: {what}. {_CORRUPT}")


class _Entry:
    """A record as the directory tells of it."""

    __slots__ = ("crc", "header", "method", "name", "size", "start", "stored")

    def __init__(self, name: str, method: int, crc: int, stored: int, size: int, header: int) -> None:
        self.name, self.method, self.crc = name, method, crc
        self.stored, self.size, self.header = stored, size, header
        self.start = -1


class ArchiveReader:
    """The records of an archive in a seekable file, from position `start` to the file's end.

    Raises:
        RuntimeError: for a file that is no zip archive, is cut short, or contradicts itself.
    """

    def __init__(self, file: Any, start: int = 0) -> None:
        self.file = file
        self.base = start
        file.seek(0, 2)
        self.length = file.tell() - start
        self.entries: dict[str, _Entry] = {}
        self.prefix = ""
        self._read_directory()

    def _at(self, position: int, count: int) -> bytes:
        self.file.seek(self.base + position)
        data = self.file.read(count)
        while len(data) < count:
            more = self.file.read(count - len(data))
            if not more:
                raise _bad("the file ends early")
            data += more
        return data

    def _read_directory(self) -> None:
        if self.length < _END.size:
            raise _bad("failed finding central directory")
        tail_at = max(0, self.length - 22 - 0xFFFF)
        tail = self._at(tail_at, self.length - tail_at)
        at = tail.rfind(b"PK\x05\x06")
        if at < 0 or len(tail) - at < _END.size:
            raise _bad("failed finding central directory")
        _, disk, first, here, count, size, start, comment = _END.unpack_from(tail, at)
        end = tail_at + at
        if disk or first or here != count:
            raise _bad("it is one part of several")
        if end >= _LOCATOR.size:
            mark, _, end64, _ = _LOCATOR.unpack(self._at(end - _LOCATOR.size, _LOCATOR.size))
            if mark == b"PK\x06\x07":
                if end64 > end - _LOCATOR.size - _END64.size:
                    raise _bad("its directory lies outside of it")
                fields = _END64.unpack(self._at(end64, _END64.size))
                if fields[0] != b"PK\x06\x06":
                    raise _bad("failed finding central directory")
                count, size, start = fields[7], fields[8], fields[9]
                end = end64
        if start + size > end:
            raise _bad("its directory lies outside of it")
        if count * _CENTRAL.size > size:
            raise _bad("its directory is cut short")
        self.room = start  # records lie before the directory
        self._parse(self._at(start, size), count)

    def _parse(self, data: bytes, count: int) -> None:
        at = 0
        for _ in range(count):
            if at + _CENTRAL.size > len(data):
                raise _bad("its directory is cut short")
            fields = _CENTRAL.unpack_from(data, at)
            mark, flags, method, crc, stored, size = fields[0], fields[3], fields[4], *fields[7:10]
            n_name, n_extra, n_comment, header = *fields[10:13], fields[16]
            at += _CENTRAL.size
            if mark != b"PK\x01\x02" or at + n_name + n_extra + n_comment > len(data):
                raise _bad("its directory is cut short")
            try:
                name = data[at : at + n_name].decode()
            except UnicodeDecodeError:
                raise _bad("a record's name is not UTF-8") from None
            extra = data[at + n_name : at + n_name + n_extra]
            at += n_name + n_extra + n_comment
            if _LIMIT32 in (stored, size, header):
                size, stored, header = _wide(extra, size, stored, header)
            if flags & 1:
                raise _bad(f"the record {name} is encrypted")
            if name in self.entries:
                raise _bad(f"it has two records {name}")
            if method == 0 and stored != size or header + _LOCAL.size + stored > self.room:
                raise _bad(f"the record {name} is said to be larger than the file")
            if method not in (0, 8):
                raise _bad(f"the record {name} is compressed by the unknown method {method}")
            if size > stored * 1032 + 64:  # what deflate can do at most
                raise _bad(f"the record {name} is said to be larger than its data can hold")
            self.entries[name] = _Entry(name, method, crc, stored, size, header)
        if not self.entries:
            raise _bad("it holds no record")
        self.prefix = next(iter(self.entries)).partition("/")[0] + "/"
        self._refuse_overlaps()

    def _refuse_overlaps(self) -> None:
        """Records that share bytes could make much of a small file."""
        end = 0
        for entry in sorted(self.entries.values(), key=lambda e: e.header):
            if entry.header < end:
                raise _bad(f"the record {entry.name} overlaps another")
            end = entry.header + _LOCAL.size + len(entry.name.encode()) + entry.stored

    def names(self) -> Iterator[str]:
        """The names of the records, without the archive's own."""
        n = len(self.prefix)
        return (name[n:] for name in self.entries if name.startswith(self.prefix))

    def __contains__(self, name: str) -> bool:
        return self.prefix + name in self.entries

    def _find(self, name: str) -> _Entry:
        entry = self.entries.get(self.prefix + name)
        if entry is None:
            raise RuntimeError(f"PytorchStreamReader failed locating file {name}: file not found. {_CORRUPT}")
        if entry.start < 0:
            mark, *_, n_name, n_extra = _LOCAL.unpack(self._at(entry.header, _LOCAL.size))
            start = entry.header + _LOCAL.size + n_name + n_extra
            if mark != b"PK\x03\x04" or start + entry.stored > self.room:
                raise _bad(f"the record {name} lies outside of it")
            entry.start = start
        return entry

    def size(self, name: str) -> int:
        """The number of bytes that the record is said to hold."""
        return self._find(name).size

    def place(self, name: str) -> int | None:
        """Where in the file the record's bytes begin; None where they are compressed."""
        entry = self._find(name)
        return None if entry.method else self.base + entry.start

    def read(self, name: str) -> bytes:
        """The record's bytes."""
        entry = self._find(name)
        if not entry.method:
            data = self._at(entry.start, entry.size)
            self._check(entry, name, zlib.crc32(data))
            return data
        return b"".join(self._inflated(entry, name))

    def read_into(self, name: str, into: np.ndarray) -> None:
        """Read the record into an array of as many bytes."""
        entry = self._find(name)
        if into.size != entry.size:
            raise RuntimeError(f"record size ({entry.size} bytes) does not match expected size ({into.size} bytes)")
        at = crc = 0
        if entry.method:
            for piece in self._inflated(entry, name):
                into[at : at + len(piece)] = np.frombuffer(piece, np.uint8)
                at += len(piece)
            return
        view = memoryview(into)  # type: ignore[arg-type]
        self.file.seek(self.base + entry.start)
        readinto = getattr(self.file, "readinto", None)
        while at < entry.size:
            part = view[at : at + CHUNK]
            if readinto is not None:
                n = readinto(part)
            else:
                data = self.file.read(len(part))
                n = len(data)
                part[:n] = data
            if not n:
                raise _bad("the file ends early")
            if entry.crc:
                crc = zlib.crc32(part[:n], crc)
            at += n
        self._check(entry, name, crc)

    def _inflated(self, entry: _Entry, name: str) -> Iterator[bytes]:
        machine = zlib.decompressobj(-15)
        left, at, crc, made = entry.stored, entry.start, 0, 0
        pending = b""
        while not machine.eof:
            if not pending:
                if not left:
                    break
                pending = self._at(at, min(left, CHUNK))
                at += len(pending)
                left -= len(pending)
            try:
                piece = machine.decompress(pending, min(CHUNK, entry.size - made + 1))
            except zlib.error as error:
                raise _bad(f"the record {name} cannot be decompressed: {error}") from None
            pending = machine.unconsumed_tail
            made += len(piece)
            if made > entry.size:
                break
            crc = zlib.crc32(piece, crc)
            yield piece
        if made != entry.size:
            raise _bad(f"the record {name} does not have the size it is said to have")
        self._check(entry, name, crc)

    @staticmethod
    def _check(entry: _Entry, name: str, crc: int) -> None:
        # 0 stands for "not computed": PyTorch writes it so when told to
        if entry.crc and crc != entry.crc:
            raise _bad(f"the checksum of the record {name} is wrong: the data were damaged")


def _wide(extra: bytes, size: int, stored: int, header: int) -> tuple[int, int, int]:
    """Sizes and offset of a record beyond 4 GiB, which stand in the directory's extra field."""
    at = 0
    while at + 4 <= len(extra):
        tag, length = struct.unpack_from("<2H", extra, at)
        if tag == 1:
            field = extra[at + 4 : at + 4 + length]
            values = iter(struct.unpack_from(f"<{len(field) // 8}Q", field))
            try:
                size = next(values) if size == _LIMIT32 else size
                stored = next(values) if stored == _LIMIT32 else stored
                header = next(values) if header == _LIMIT32 else header
            except StopIteration:
                raise _bad("a large record has no size") from None
            break
        at += 4 + length
    return size, stored, header

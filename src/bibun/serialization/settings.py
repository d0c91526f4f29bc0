"""Switches of saving and loading that hold for the whole process, and PyTorch's functions that turn them."""

from __future__ import annotations

import enum
from typing import Any

__all__ = [
    "LoadEndianness",
    "get_crc32_options",
    "get_default_load_endianness",
    "get_default_mmap_options",
    "set_crc32_options",
    "set_default_load_endianness",
    "set_default_mmap_options",
    "skip_data",
]


class LoadEndianness(enum.Enum):
    """The byte order of a file that does not tell its own."""

    NATIVE = 1
    LITTLE = 2
    BIG = 3


MAP_SHARED, MAP_PRIVATE = 1, 2


class _Settings:
    endianness: LoadEndianness | None = None
    crc32 = True
    mmap_flags = MAP_PRIVATE
    skip = False


settings = _Settings()


def get_default_load_endianness() -> LoadEndianness | None:
    """The byte order assumed of a file that does not tell its own; None for the machine's."""
    return settings.endianness


def set_default_load_endianness(endianness: LoadEndianness | None) -> None:
    """Set the byte order assumed of a file that does not tell its own."""
    if endianness is not None and not isinstance(endianness, LoadEndianness):
        raise TypeError("Invalid argument type in function set_default_load_endianness")
    settings.endianness = endianness


def get_crc32_options() -> bool:
    """Whether `save` computes checksums."""
    return settings.crc32


def set_crc32_options(compute_crc32: bool) -> None:
    """Set whether `save` computes checksums. `load` checks those that a file has."""
    settings.crc32 = bool(compute_crc32)


def get_default_mmap_options() -> int:
    """How ``load(mmap=True)`` maps a file: ``mmap.MAP_PRIVATE`` or ``mmap.MAP_SHARED``."""
    return settings.mmap_flags


class _Restores:
    """What a setter returns: leaving it as a context manager puts the old value back."""

    def __init__(self, name: str, old: Any) -> None:
        self.name, self.old = name, old

    def __enter__(self) -> None:
        pass

    def __exit__(self, *exception: object) -> None:
        setattr(settings, self.name, self.old)


class set_default_mmap_options(_Restores):
    """Set how ``load(mmap=True)`` maps a file, for good or for a ``with`` block.

    ``MAP_PRIVATE`` keeps what is written to tensors in memory, ``MAP_SHARED`` writes it to the file.
    """

    def __init__(self, flags: int) -> None:
        if flags not in (MAP_PRIVATE, MAP_SHARED):
            raise ValueError(
                "Invalid argument in function set_default_mmap_options, expected mmap.MAP_PRIVATE or mmap.MAP_SHARED, "
                f"but got {flags}"
            )
        super().__init__("mmap_flags", settings.mmap_flags)
        settings.mmap_flags = flags


class skip_data(_Restores):
    """Within the block `save` leaves room for the numbers and does not write them."""

    def __init__(self, materialize_fake_tensors: bool = False) -> None:
        super().__init__("skip", settings.skip)

    def __enter__(self) -> None:
        self.old, settings.skip = settings.skip, True

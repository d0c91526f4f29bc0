"""``bibun.memory``: what large arrays hold, and what is kept of those that are gone.

Memory of large arrays (from 32 KiB) is not given back to the system when they are freed: the next array of that size takes it,
without page faults. At most `limit` bytes are kept so, an eighth of the machine's memory or 1 GiB, whichever is less;
``BIBUN_MEMORY_LIMIT`` (bytes) sets it from outside. Arrays made by Python threads other than the one that first met a large array
are NumPy's own business and not counted; so is everything where native code is off.

>>> import bibun
>>> sorted(bibun.memory.statistics())
['fresh', 'in_use', 'kept', 'limit', 'peak', 'reused']
>>> before = bibun.memory.limit()
>>> bibun.memory.set_limit(1 << 20)
>>> bibun.memory.limit()
1048576
>>> bibun.memory.release()
>>> bibun.memory.statistics()["kept"]
0
>>> bibun.memory.set_limit(before)
"""

from __future__ import annotations

__all__ = ["limit", "release", "set_limit", "statistics"]


def statistics() -> dict[str, int]:
    """Bytes ``in_use`` by large arrays and their ``peak``, bytes ``kept`` for reuse and their ``limit``; how many arrays were made of
    kept memory (``reused``) and of the system's (``fresh``)."""
    from .native import memory

    return memory.statistics()


def limit() -> int:
    """How many bytes are kept at most."""
    from .native import memory

    return memory.limit()


def set_limit(n: int) -> None:
    """Keep at most ``n`` bytes from now on; what is beyond goes back to the system. 0 keeps nothing."""
    if isinstance(n, bool) or not isinstance(n, int):
        raise TypeError(f"set_limit() wants a number of bytes (int), not {type(n).__name__}")
    if n < 0:
        raise ValueError(f"set_limit() wants a number of bytes, not {n}")
    from .native import memory

    memory.set_limit(n)


def release() -> None:
    """Give everything that is kept back to the system."""
    from .native import memory

    memory.empty_cache()

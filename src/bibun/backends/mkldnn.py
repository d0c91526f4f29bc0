"""``torch.backends.mkldnn``: oneDNN is not used; its switches hold what they are given and change nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

enabled = False
deterministic = False
allow_tf32 = True
fp32_precision = "none"


def is_available() -> bool:
    return False


@contextlib.contextmanager
def flags(
    enabled: bool = False, deterministic: bool = False, allow_tf32: bool = True, fp32_precision: str = "none"
) -> Iterator[None]:
    """The switches as given, for the length of a ``with`` block."""
    names = ("enabled", "deterministic", "allow_tf32", "fp32_precision")
    former = {name: globals()[name] for name in names}
    globals().update(zip(names, (enabled, deterministic, allow_tf32, fp32_precision)))
    try:
        yield
    finally:
        globals().update(former)

"""What ``torch.__version__`` and ``torch.version`` say: the PyTorch release bibun follows, and bibun's own version.

The release comes first, so that programs comparing versions go the way they go under that PyTorch; the local part after
``+`` names bibun, so that nobody is misled.
"""

from __future__ import annotations

import re
from typing import Any

from ._version import __version__ as bibun

__all__ = ["TorchVersion", "__version__", "bibun", "cuda", "debug", "git_version", "hip", "rocm", "xpu"]

#: The PyTorch release whose behaviour bibun follows.
follows = "2.13.0"


def _key(version: str) -> tuple[list[int], tuple[int, str, int], str]:
    """What PEP 440 orders by, for versions of the shape ``1.2.3[rc1|.dev4|.post1][+local]``."""
    shape = r"v?(\d+(?:\.\d+)*)[._-]?(?:(dev|a|b|rc|post)[._-]?(\d*))?\S*?(?:\+(\S*))?"
    found = re.fullmatch(shape, version.strip().lower())
    if found is None:
        raise ValueError(f"Invalid version: {version!r}")
    release = [int(part) for part in found[1].split(".")]
    while len(release) > 1 and not release[-1]:
        release.pop()
    order = {"dev": 0, "a": 1, "b": 2, "rc": 3, None: 4, "post": 5}[found[2]]
    return release, (order, found[2] or "", int(found[3] or 0)), found[4] or ""


class TorchVersion(str):
    """A version string that compares as a version, with strings and with tuples of numbers.

    >>> TorchVersion("2.13.0+bibun0.1.0") >= (2, 1), TorchVersion("2.13.0") > "1.9", TorchVersion("1.10") == (1, 10, 0)
    (True, True, True)
    """

    __slots__ = ()

    def _compare(self, other: Any) -> int | None:
        """Sign of ``self - other``; None where ``other`` is no version."""
        text = other if isinstance(other, str) else ".".join(map(str, other)) if hasattr(other, "__iter__") else None
        text = str(other) if text is None and hasattr(other, "release") else text  # packaging.version.Version
        if text is None:
            return None
        try:
            mine, theirs = _key(self), _key(text)
        except ValueError:  # as strings, then: as PyTorch does
            return (str(self) > text) - (str(self) < text) if isinstance(other, str) else None
        return (mine > theirs) - (mine < theirs)

    def __lt__(self, other: Any) -> bool:
        sign = self._compare(other)
        return NotImplemented if sign is None else sign < 0

    def __le__(self, other: Any) -> bool:
        sign = self._compare(other)
        return NotImplemented if sign is None else sign <= 0

    def __gt__(self, other: Any) -> bool:
        sign = self._compare(other)
        return NotImplemented if sign is None else sign > 0

    def __ge__(self, other: Any) -> bool:
        sign = self._compare(other)
        return NotImplemented if sign is None else sign >= 0

    def __eq__(self, other: Any) -> bool:
        return self._compare(other) == 0

    def __ne__(self, other: Any) -> bool:
        return self._compare(other) != 0

    __hash__ = str.__hash__


__version__ = TorchVersion(f"{follows}+bibun{bibun}")
debug = False
cuda = hip = rocm = xpu = None
git_version = "Unknown"

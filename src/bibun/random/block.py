"""The 624 words that a generator has at hand, converted once for all small draws that fall among them.

In come the words of a block (tempered, in the stream's order); out go vectors of what samplers make of them, each as long
as the block and made when first asked for. A draw is then a slice: NumPy's calls on a few numbers cost more than the
numbers do.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..backends.large import native
from . import box_muller
from .filling import float32

SIZE = 624
_WORDS = np.dtype(np.int64)
_BITS24 = 2**24 - 1
_BITS21 = 2**21 - 1


class Block:
    """The words of a block.

    words: int64. units: float32 of [0, 1), of 24 bits of a word. doubles: of [0, 1), of 53 bits of a word and the next, so
    every second of them is drawn. logs: log(1 - double) by NumPy, good for float32. radii (624) and turns (2, 624): what Box and
    Muller make of a word that stands for a radius or an angle.
    """

    __slots__ = ("first", "second", "words", "units", "doubles", "logs", "radii", "turns")

    words: np.ndarray
    units: np.ndarray
    doubles: np.ndarray
    logs: np.ndarray
    radii: np.ndarray
    turns: np.ndarray

    def __init__(self, first: int, second: int, words: Any = None) -> None:
        self.first, self.second = first, second  # of the untempered words: they tell one block from another
        if words is not None:
            self.words = words.view(_WORDS)

    def __getattr__(self, name: str) -> Any:
        made: Any
        if name == "units":
            made = (self.words & _BITS24).astype(float32)
            made *= np.float32(2.0**-24)
        elif name == "doubles":
            made = (((self.words[:-1] & _BITS21) << 32) | self.words[1:]).astype(np.float64)
            made *= 2.0**-53
        elif name == "logs":
            made = np.log1p(-self.doubles)
        elif name == "radii" or name == "turns":
            _transformed[0] += 1
            if _transformed[0] == 256:  # what that took is what native code would have: from now on it is worth loading
                native()
            self.radii, self.turns = box_muller.factors(self.words)
            return self.radii if name == "radii" else self.turns
        else:
            raise AttributeError(f"'Block' object has no attribute '{name}'")
        setattr(self, name, made)
        return made


_transformed = [0]
#: No block at all.
NONE = Block(-1, -1)

"""The stream itself: a Mersenne Twister (MT19937, Matsumoto and Nishimura, 1998) seeded as PyTorch seeds it, its state
in PyTorch's 5056 bytes, and the raw words that all samplers draw.

In come seeds and states; out go 32-bit and 64-bit words in PyTorch's order. NumPy's bit generator does the work;
nothing is drawn ahead, so that the position in the stream is always where PyTorch's would be. (The words of its present
block are read and converted ahead, which moves nothing: `Generator.near`.)
"""

from __future__ import annotations

import os
import sys
import threading
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np

from ..backends.large import LARGE, native, ready
from ..placement import check_device
from ..placement import device as _device
from .block import NONE, Block

DEFAULT_SEED = 67280421310721
"""The seed of a `Generator` that was given none."""

# Below so many words the bit generator's own method is faster than `Generator.integers`, above it slower.
_FEW = 4096
_WORD_MASK = np.uint64(0xFFFFFFFF)
_twister: Any = None  # the module of native draws, once it was wanted; False: not for this processor
_BITS53 = np.uint64(2**53 - 1)
_SHIFT32 = np.uint64(32)
# Where in a 64-bit draw, seen as two words in memory, the word drawn first lies, and where the second.
FIRST, SECOND = (1, 0) if sys.byteorder == "little" else (0, 1)

_N = 624
_STATE = np.dtype(
    {
        "names": ["seed", "left", "seeded", "next", "key", "normal", "normal_valid"],
        "formats": ["<u8", "<i4", "<i4", "<u8", ("<u8", _N), "<f8", "<i4"],
        # between them lie fields that PyTorch keeps for the sake of old files, always zero
        "offsets": [0, 8, 12, 16, 24, 5024, 5040],
        "itemsize": 5056,
    }
)


def _same(state: Any) -> Any:
    return state


# How a state looks to the user: the tensor floor makes these a ByteTensor and back (`present_states_as`).
_to_public: Callable[[np.ndarray], Any] = _same
_from_public: Callable[[Any], np.ndarray] = _same


def present_states_as(wrap: Callable[[np.ndarray], Any], unwrap: Callable[[Any], np.ndarray]) -> None:
    """Set what `Generator.get_state` returns and `Generator.set_state` takes: `wrap` of a uint8 vector, and back.
    `unwrap` is free to raise TypeError ("RNG state must be a torch.ByteTensor")."""
    global _to_public, _from_public
    _to_public, _from_public = wrap, unwrap


#: All generators: a fork waits until none of them is in the middle of a draw.
_alive: weakref.WeakSet[Generator] = weakref.WeakSet()
_held: list[Generator] = []


def _hold() -> None:
    for generator in list(_alive):
        if generator.lock.acquire(timeout=0.3):  # who draws without pause may not let others in
            _held.append(generator)


def _let_go() -> None:
    while _held:
        _held.pop().lock.release()


def _in_child() -> None:
    held = set(map(id, _held))
    _let_go()
    for generator in list(_alive):
        if id(generator) not in held:
            generator.lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_hold, after_in_parent=_let_go, after_in_child=_in_child)


#: What generators that are no more ran on, for new ones: making it takes longer than a pass over a small data set.
_spare: list[tuple[Any, ...]] = []


class Generator:
    """A stream of random numbers: PyTorch's, to the bit.

    Args:
        device: "cpu"; no other place has a stream here.

    >>> import bibun as torch
    >>> g = torch.Generator().manual_seed(2)
    >>> g.initial_seed()
    2

    `lock` is held by samplers that draw more than once. The slots with an underscore are made at the first touch of
    the stream, so that a program that draws nothing pays nothing.
    """

    __slots__ = (
        "device",
        "lock",
        "scratch",  # kept by a sampler from one call to the next
        "cached_normal",  # the second of a pair of normal numbers, of which the first is spent; None: there is none
        "_seed",
        "_bits",  # numpy.random.MT19937
        "_raw",  # its random_raw: n words as uint64
        "_integers",  # numpy.random.Generator(bits).integers
        "_place",  # the same as a memoryview, quicker for single numbers
        "_block",  # the words at hand, converted
        "_memory",  # the 624 words and the position, in the bit generator's own memory; None where ctypes is missing
        "__weakref__",
    )

    device: _device
    cached_normal: float | None
    scratch: Any
    _raw: Callable[..., Any]
    _integers: Callable[..., Any]

    def __init__(self, device: Any = "cpu") -> None:
        place = device if isinstance(device, _device) else _device(device)
        check_device(place)
        self.device = _device("cpu")
        self.lock = threading.RLock()
        self.cached_normal = None
        self.scratch = None
        self._seed = DEFAULT_SEED
        self._block = NONE
        _alive.add(self)

    def __getattr__(self, name: str) -> Any:
        # Reached for an empty slot only: make what the stream runs on.
        if name not in ("_bits", "_raw", "_integers", "_memory", "_place"):
            raise AttributeError(f"'Generator' object has no attribute '{name}'")
        with self.lock:
            try:
                return object.__getattribute__(self, name)
            except AttributeError:
                self._start()
        return object.__getattribute__(self, name)

    def _start(self) -> None:
        try:
            self._bits, self._memory, self._place, self._integers, self._raw = _spare.pop()
        except IndexError:
            pass
        else:
            self._bits._legacy_seeding(self._seed & 0xFFFFFFFF)
            return
        from numpy.random import MT19937
        from numpy.random import Generator as Sampler

        bits = MT19937(0)
        bits._legacy_seeding(self._seed & 0xFFFFFFFF)
        self._bits = bits
        self._memory = memory = _memory_of(bits)
        self._place = [0] * _N + [_N + 1] if memory is None else memoryview(memory)  # type: ignore[arg-type]
        self._integers = Sampler(bits).integers
        self._raw = bits.random_raw

    def __del__(self, keep: Any = _spare, get: Any = object.__getattribute__) -> None:
        if len(keep) < 4:
            try:
                keep.append(tuple([get(self, name) for name in ("_bits", "_memory", "_place", "_integers", "_raw")]))
            except AttributeError:  # nothing was drawn
                pass

    # ------------------------------------------------------------------------------------------------- seeds

    def manual_seed(self, seed: int) -> Generator:
        """Start the stream of `seed` (negative: seed + 2^64) and return the generator.

        Raises:
            RuntimeError: no int. ValueError: outside [-2^63, 2^64).
        """
        if type(seed) is not int and (isinstance(seed, (bool, float)) or not hasattr(seed, "__index__")):
            raise RuntimeError(f"manual_seed expected a long, but got {type(seed).__name__}")
        seed = int(seed)
        if not -(2**63) <= seed < 2**64:
            raise ValueError("Overflow when unpacking long long")
        seed &= 2**64 - 1
        with self.lock:
            self._bits._legacy_seeding(seed & 0xFFFFFFFF)
            self._seed = seed
            self.cached_normal = None
        return self

    def seed(self) -> int:
        """Start at a place nobody can foresee, and return the seed that leads there."""
        seed = int.from_bytes(os.urandom(8), "little")
        self.manual_seed(seed)
        return seed

    def initial_seed(self) -> int:
        """The seed last set."""
        return self._seed

    # ------------------------------------------------------------------------------------------------- state

    def state_bytes(self) -> np.ndarray:
        """The state as PyTorch lays it out: 5056 elements of uint8."""
        state = np.zeros((), _STATE)
        with self.lock:
            key, position = self._words_and_position()
            state["key"] = key
            state["seed"] = self._seed
            cached = self.cached_normal
        state["seeded"] = 1
        if position == _N and _is_seeding(key):  # nothing drawn yet
            state["left"] = 1
        else:
            state["left"] = _N + 1 - position
            state["next"] = position
        if cached is not None:
            state["normal"] = cached
            state["normal_valid"] = 1
        return np.frombuffer(bytearray(state.tobytes()), np.uint8)

    def set_state_bytes(self, state: np.ndarray) -> None:
        """Take up the stream where `state` (of `state_bytes`, or PyTorch's) was taken.

        Raises:
            TypeError: not of uint8. RuntimeError: of another size, or no state.
        """
        if getattr(state, "dtype", None) != np.uint8:
            raise TypeError("RNG state must be a torch.ByteTensor")
        if state.size != _STATE.itemsize:
            raise RuntimeError(
                f"Expected a CPUGeneratorImplState of size {_STATE.itemsize} but found the input RNG state size to be "
                f"{state.size}"
            )
        if not state.flags.c_contiguous:
            raise RuntimeError("RNG state must be contiguous")
        fields = np.frombuffer(state.tobytes(), _STATE)[0]
        left, following = int(fields["left"]), int(fields["next"])
        if fields["seeded"] != 1 or not 0 < left <= _N or following > _N:
            raise RuntimeError("Invalid mt19937 state")
        with self.lock:
            self._set_words_and_position(fields["key"].astype(np.uint32), _N if left == 1 else following)
            self._seed = int(fields["seed"])
            self.cached_normal = float(fields["normal"]) if fields["normal_valid"] else None

    def get_state(self) -> Any:
        """The state of the stream, a ByteTensor of 5056 elements, for `set_state` (PyTorch's too)."""
        return _to_public(self.state_bytes())

    def set_state(self, new_state: Any) -> Generator:
        """Take up the stream where `new_state` was taken; return the generator.

        Raises:
            TypeError: no ByteTensor. RuntimeError: of another size, or no state.
        """
        self.set_state_bytes(_from_public(new_state))
        return self

    def clone_state(self) -> Generator:
        """Another generator, at the same place of the same stream."""
        clone = type(self)(self.device)
        clone.set_state_bytes(self.state_bytes())
        return clone

    def graphsafe_get_state(self) -> Generator:
        raise NotImplementedError("graphsafe_get_state is not supported in this Generator")

    def graphsafe_set_state(self, state: Generator) -> Generator:
        raise NotImplementedError("graphsafe_set_state is not supported in this Generator")

    def get_offset(self) -> int:
        raise RuntimeError("CPU Generator does not use offset")

    def set_offset(self, offset: int) -> Generator:
        raise RuntimeError("CPU Generator does not use offset")

    def __repr__(self) -> str:
        return f"<torch._C.Generator object at {id(self):#x}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.device,), (self._seed, None, self.get_state())

    def __setstate__(self, state: tuple[int, None, Any]) -> None:
        self.manual_seed(state[0])
        self.set_state(state[2])

    def _words_and_position(self) -> tuple[np.ndarray, int]:
        if self._memory is not None:
            return self._memory[:_N], int(self._memory[_N])
        inner = self._bits.state["state"]
        return inner["key"], int(inner["pos"])

    def _set_words_and_position(self, key: np.ndarray, position: int) -> None:
        self._block = NONE
        if self._memory is not None:
            self._memory[:_N] = key
            self._memory[_N] = position
        else:
            self._bits.state = {"bit_generator": "MT19937", "state": {"key": key, "pos": position}}

    # ----------------------------------------------------------------------------------------- what samplers draw

    def mark(self) -> np.ndarray:
        """The place in the stream, for `rewind`."""
        key, position = self._words_and_position()
        return np.append(key, np.uint32(position))

    def rewind(self, mark: np.ndarray, words: int) -> None:
        """Go to `words` 32-bit words behind `mark`."""
        self._set_words_and_position(mark[:_N], int(mark[_N]))
        self._raw(words, False)

    def near(self, n: int) -> tuple[Block, int] | None:
        """Draw n > 0 words that lie in one block: (the block, where they begin). None, and nothing drawn, where they do not."""
        with self.lock:
            place = self._place
            start = place[_N]
            block = self._block
            if start + n > _N or place[0] != block.first or place[1] != block.second:
                if start == _N and n <= _N:
                    words = self._raw(_N)
                    start = 0
                elif start + n > _N:
                    return None
                else:
                    place[_N] = 0
                    words = self._raw(_N)
                self._block = block = Block(place[0], place[1], words)
            place[_N] = start + n
        return block, start

    def kernels(self, n: int) -> Any:
        """The native draws (`bibun.native.kernels.twister`), where n numbers are worth them or they are loaded; else None.
        They take `_memory`, and the lock must be held."""
        if n < LARGE and not ready[0] or self._place[_N] > _N or not native():
            return None
        global _twister
        if _twister is None:
            from ..native.kernels import normal, twister

            _twister = twister if normal.suits() else False
        return _twister or None

    def words(self, n: int) -> np.ndarray:
        """The next n 32-bit words, as uint32."""
        if n < _FEW:
            with self.lock:
                return self._raw(n).astype(np.uint32)
        out = np.empty(n, np.uint32)
        twister = self.kernels(n)
        if twister is not None:
            with self.lock:
                twister.words(self._memory, out)
            return out
        even = n & ~1
        with self.lock:
            for start in range(0, even, 65536):
                stop = min(start + 65536, even)
                pairs = self._integers(0, 0xFFFFFFFFFFFFFFFF, (stop - start) >> 1, np.uint64, True).view(np.uint32)
                out[start:stop:2] = pairs[FIRST::2]
                out[start + 1 : stop : 2] = pairs[SECOND::2]
            if even < n:
                out[even] = self._raw()
        return out

    def long_words(self, n: int) -> np.ndarray:
        """The next n 64-bit words, as uint64: of two 32-bit words the first is the high half."""
        if n < 256:
            with self.lock:
                words = self._raw(2 * n)
            high = words[::2] << _SHIFT32
            high |= words[1::2]
            return high
        with self.lock:
            return self._integers(0, 0xFFFFFFFFFFFFFFFF, n, np.uint64, True)

    def doubles(self, n: int) -> np.ndarray:
        """The next n doubles of [0, 1), multiples of 2^-53."""
        if n >= 48:
            twister = self.kernels(n)
            if twister is not None:
                uniform = np.empty(n)
                with self.lock:
                    twister.doubles(self._memory, uniform)
                return uniform
        words = self.long_words(n)
        words &= _BITS53
        uniform = words.astype(np.float64)
        uniform *= 2.0**-53
        return uniform

    def few_doubles(self, n: int) -> list[float]:
        """The same as a list: faster up to about 16."""
        found = self.near(2 * n) if n else None
        if found is not None:
            block, start = found
            return block.doubles[start : start + 2 * n : 2].tolist()
        with self.lock:
            words = iter(self._raw(2 * n).tolist())
        return [(((high & 0x1FFFFF) << 32) | low) * 2.0**-53 for high, low in zip(words, words)]


def _memory_of(bits: Any) -> np.ndarray | None:
    """The bit generator's own words and position as a writable view, if it can be had and shows what it should."""
    try:
        import ctypes

        words: Any = (ctypes.c_uint32 * (_N + 1)).from_address(bits.ctypes.state_address)
        memory = np.frombuffer(words, np.uint32)
        shown = bits.state["state"]
    except Exception:
        return None
    return memory if memory[_N] == shown["pos"] and np.array_equal(memory[:_N], shown["key"]) else None


def _is_seeding(key: np.ndarray) -> bool:
    """Whether the words are those that a seed leaves, before the first draw: PyTorch writes that state another way."""
    word = int(key[0])
    for i in range(1, 5):
        word = (1812433253 * (word ^ (word >> 30)) + i) & 0xFFFFFFFF
        if word != int(key[i]):
            return False
    return True


class Lookahead:
    """Doubles of [0, 1), one at a time, for samplers that cannot know beforehand how many they need. Use it in a `with`
    statement: at the end what was read and not used goes back to the stream. Holds the generator's lock meanwhile."""

    __slots__ = ("_generator", "_block", "_size", "_values", "_mark")

    def __init__(self, generator: Generator, expected: int) -> None:
        self._generator = generator
        self._size = min(max(expected, 4), 4096)
        self._values: Any = iter(())

    def __enter__(self) -> Callable[[], float]:
        from itertools import chain

        self._generator.lock.acquire()
        return chain.from_iterable(self._blocks()).__next__

    def _blocks(self) -> Any:
        while True:
            self._mark = self._generator.mark()
            self._values = iter(self._generator.doubles(self._size).tolist())
            yield self._values

    def __exit__(self, *_: Any) -> None:
        unused = self._values.__length_hint__()
        try:
            if unused:
                self._generator.rewind(self._mark, 2 * (self._size - unused))
        finally:
            self._generator.lock.release()


default_generator = Generator()
"""The stream of everything that is not given a generator. Until it is seeded it starts where nobody can foresee."""
default_generator._seed = int.from_bytes(os.urandom(8), "little")

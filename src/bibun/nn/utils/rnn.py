"""Sequences of unequal length: padded to one tensor, or packed so that a recurrent layer skips the padding.

In: a list of sequences, or a padded tensor with their lengths. Out: a padded tensor, or a `PackedSequence`, whose data
holds the first elements of all sequences, then the second elements of those that have one, and so on.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from ...autograd.dispatch import wrap
from ...tensor import Tensor
from .. import functional as F
from ..tensors import arange, empty_like, full, stack

__all__ = [
    "PackedSequence",
    "invert_permutation",
    "pack_padded_sequence",
    "pack_sequence",
    "pad_packed_sequence",
    "pad_sequence",
    "unpack_sequence",
    "unpad_sequence",
]


class PackedSequence_(NamedTuple):
    """The fields of `PackedSequence`."""

    data: Any
    batch_sizes: Any
    sorted_indices: Any
    unsorted_indices: Any


class PackedSequence(PackedSequence_):
    """Sequences of unequal length, time step by time step.

    Fields: ``data``, (total length, ...); ``batch_sizes``, how many sequences reach each time step;
    ``sorted_indices``, the order by falling length in which the sequences stand, and ``unsorted_indices``, its
    inverse (both None where they were given in that order). `pack_padded_sequence` makes one.
    """

    __slots__ = ()

    def __new__(
        cls, data: Any, batch_sizes: Any = None, sorted_indices: Any = None, unsorted_indices: Any = None
    ) -> PackedSequence:
        if unsorted_indices is None:
            unsorted_indices = invert_permutation(sorted_indices)
        if batch_sizes is None:
            if not isinstance(data, (list, tuple)) or len(data) != 2:
                raise AssertionError("Expected data to be a list or tuple of length 2")
            data, batch_sizes = data
        return super().__new__(cls, data, batch_sizes, sorted_indices, unsorted_indices)

    def pin_memory(self) -> PackedSequence:
        """The sequences themselves: there is no page-locked memory here."""
        return self

    def is_pinned(self) -> bool:
        """Whether the data lies in page-locked memory."""
        return self.data.is_pinned()

    @property
    def is_cuda(self) -> bool:
        """Whether the data lies on a CUDA device."""
        return self.data.is_cuda

    def to(self, *args: Any, **kwargs: Any) -> PackedSequence:
        """The sequences with ``data.to(...)``; themselves where nothing changes."""
        data = self.data.to(*args, **kwargs)
        return self if data is self.data else type(self)(data, *self[1:])

    def cuda(self, *args: Any, **kwargs: Any) -> PackedSequence:
        """The error of `Tensor.cuda`."""
        return type(self)(self.data.cuda(*args, **kwargs), *self[1:])

    def cpu(self, *args: Any, **kwargs: Any) -> PackedSequence:
        """The sequences themselves."""
        return self.to("cpu")

    def _as(self, method: str) -> PackedSequence:
        data = getattr(self.data, method)()
        return self if data is self.data else type(self)(data, *self[1:])

    def double(self) -> PackedSequence:
        """With float64 data."""
        return self._as("double")

    def float(self) -> PackedSequence:
        """With float32 data."""
        return self._as("float")

    def half(self) -> PackedSequence:
        """With float16 data."""
        return self._as("half")

    def long(self) -> PackedSequence:
        """With int64 data."""
        return self._as("long")

    def int(self) -> PackedSequence:
        """With int32 data."""
        return self._as("int")

    def short(self) -> PackedSequence:
        """With int16 data."""
        return self._as("short")

    def char(self) -> PackedSequence:
        """With int8 data."""
        return self._as("char")

    def byte(self) -> PackedSequence:
        """With uint8 data."""
        return self._as("byte")


def invert_permutation(permutation: Any) -> Any:
    """The inverse of a permutation; None for None."""
    if permutation is None:
        return None
    output = empty_like(permutation)
    output.scatter_(0, permutation, arange(0, permutation.numel()))
    return output


def _places(lengths: Any) -> Any:
    """Places (time · batch + sequence) of the elements in a (time, batch) array, for falling lengths."""
    steps = np.arange(lengths[0])[:, None]
    return np.flatnonzero(lengths[None, :] > steps)


def pack_padded_sequence(
    input: Any, lengths: Any, batch_first: bool = False, enforce_sorted: bool = True
) -> PackedSequence:
    """Pack a padded tensor (T, B, *), or (B, T, *) with `batch_first`.

    Args:
        lengths: one for each sequence, falling unless ``enforce_sorted=False``, which sorts them.

    Raises:
        RuntimeError: lengths that are not positive, not sorted, or not one for each sequence.
    """
    sizes = np.array(lengths._a if isinstance(lengths, Tensor) else lengths, dtype=np.int64)
    if enforce_sorted:
        sorted_indices = None
    else:
        order = np.argsort(-sizes, kind="stable")
        sizes = sizes[order]
        sorted_indices = wrap(order)
        input = input.index_select(0 if batch_first else 1, sorted_indices)
    if batch_first:
        input = input.transpose(0, 1)
    if input.numel() == 0:
        raise RuntimeError("Cannot pack empty tensors.")
    batch = input.shape[1]
    if len(sizes) != batch:
        raise RuntimeError(
            f"Expected `len(lengths)` to be equal to batch_size, but got {len(sizes)} (batch_size={batch})"
        )
    if sizes.min() <= 0:
        raise RuntimeError(
            "Length of all samples has to be greater than 0, but found an element in 'lengths' that is <= 0"
        )
    if (np.diff(sizes) > 0).any():
        raise RuntimeError(
            "`lengths` array must be sorted in decreasing order when `enforce_sorted` is True. You can pass "
            "`enforce_sorted=False` to pack_padded_sequence and/or pack_sequence to sidestep this requirement if you "
            "do not need ONNX exportability."
        )
    if sizes[0] > input.shape[0]:
        raise RuntimeError(
            f"Expected lengths of at most {input.shape[0]}, the sequences' padded length, but got {sizes[0]}"
        )
    batch_sizes = (sizes[None, :] > np.arange(sizes[0])[:, None]).sum(axis=1)
    data = input.reshape(-1, *input.shape[2:]).index_select(0, wrap(_places(sizes)))
    return PackedSequence(data, wrap(batch_sizes), sorted_indices, None)


def pad_packed_sequence(
    sequence: PackedSequence,
    batch_first: bool = False,
    padding_value: float = 0.0,
    total_length: int | None = None,
) -> tuple[Any, Any]:
    """The padded tensor (T, B, *), or (B, T, *) with `batch_first`, and the lengths, in the order of before packing.

    Raises:
        ValueError: `total_length` is less than the longest sequence's.
    """
    batch_sizes = sequence.batch_sizes._a
    steps = len(batch_sizes)
    if total_length is not None:
        if total_length < steps:
            raise ValueError(
                "Expected total_length to be at least the length of the longest sequence in input, but got "
                f"total_length={total_length} and max sequence length being {steps}"
            )
        steps = total_length
    batch = int(batch_sizes[0])
    sizes = (np.arange(batch)[:, None] < batch_sizes[None, :]).sum(axis=1)
    data = sequence.data
    padded = full((steps * batch, *data.shape[1:]), padding_value, dtype=data.dtype)
    padded = padded.index_copy(0, wrap(_places(sizes)), data).view(steps, batch, *data.shape[1:])
    if batch_first:
        padded = padded.transpose(0, 1)
    lengths = wrap(sizes)
    back = sequence.unsorted_indices
    if back is not None:
        return padded.index_select(0 if batch_first else 1, back), lengths[back]
    return padded, lengths


def pad_sequence(
    sequences: Any, batch_first: bool = False, padding_value: float = 0.0, padding_side: str = "right"
) -> Any:
    """Sequences (Lᵢ, *) as one tensor (max L, B, *), or (B, max L, *) with `batch_first`.

    Raises:
        RuntimeError: not an iterable, an empty one, an unknown `padding_side`, or sequences of different widths.
    """
    if not isinstance(sequences, Iterable):
        raise RuntimeError(
            f"pad_sequence: Expected iterable for input sequences, but got arg of type: {type(sequences)}"
        )
    if isinstance(sequences, Tensor):
        sequences = sequences.unbind(0)
    given = list(sequences)
    if not given:
        raise RuntimeError("received an empty list of sequences")
    if padding_side not in ("left", "right"):
        raise RuntimeError(f"Expected padding_side to be one of left or right, but got {padding_side}.")
    longest = max(each.size(0) for each in given)
    trailing = given[0].shape[1:]
    padded = []
    for each in given:
        if each.shape[1:] != trailing:
            raise RuntimeError(
                "Expected sequences whose sizes agree but for the first; "
                f"got {list(given[0].shape)} and {list(each.shape)}"
            )
        missing = longest - each.size(0)
        if missing:
            ends = (missing, 0) if padding_side == "left" else (0, missing)
            each = F.pad(each, (0, 0) * len(trailing) + ends, value=padding_value)
        padded.append(each)
    return stack(padded, 0 if batch_first else 1)


def unpad_sequence(padded_sequences: Any, lengths: Any, batch_first: bool = False) -> list[Any]:
    """The sequences of a padded tensor (T, B, *), or (B, T, *) with `batch_first`, without their padding."""
    if not batch_first:
        padded_sequences = padded_sequences.transpose(0, 1)
    return [each[: int(n)] for each, n in zip(padded_sequences.unbind(0), lengths)]


def pack_sequence(sequences: Any, enforce_sorted: bool = True) -> PackedSequence:
    """Pack a list of sequences (Lᵢ, *)."""
    lengths = [each.size(0) for each in sequences]
    return pack_padded_sequence(pad_sequence(sequences), lengths, enforce_sorted=enforce_sorted)


def unpack_sequence(packed_sequences: PackedSequence) -> list[Any]:
    """The sequences that were packed, as a list."""
    padded, lengths = pad_packed_sequence(packed_sequences, batch_first=True)
    return unpad_sequence(padded, lengths, batch_first=True)

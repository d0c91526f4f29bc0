"""Padding: margins of a constant, or of the tensor's own elements.

In go a tensor and PyTorch's flat list of margins (last dimension first); out comes a new tensor.
"""

from __future__ import annotations

from typing import Any

from ..autograd.dispatch import apply
from ..ops import joining as ops
from .register import function
from .shape import only_tensor, sizes_of


def pairs_of(pad: tuple[int, ...], ndim: int) -> tuple[tuple[int, int], ...]:
    """PyTorch's flat margins as (before, after) for each dimension."""
    given = [(pad[i], pad[i + 1]) for i in range(0, len(pad), 2)][::-1]
    return ((0, 0),) * (ndim - len(given)) + tuple(given)


@function(method=False)
def constant_pad_nd(input: Any, pad: Any, value: Any = 0) -> Any:
    """``input`` with margins of ``value``; negative margins cut off."""
    pad = sizes_of((pad,), "constant_pad_nd", "pad")
    shape = only_tensor(input, "constant_pad_nd")._a.shape
    if len(pad) % 2:
        raise RuntimeError(f"Length of pad must be even but instead it equals {len(pad)}")
    if len(pad) > 2 * len(shape):
        raise RuntimeError(
            "Length of pad should be no more than twice the number of dimensions of the input. Pad length is "
            f"{len(pad)} while the input has {len(shape)} dimensions."
        )
    pairs = pairs_of(pad, len(shape))
    for dim, (n, (before, after)) in enumerate(zip(shape, pairs)):
        if n + before + after < 0:
            raise RuntimeError(
                f"The input size {n}, plus negative padding {before} and {after}, resulted in a negative output size, which is "
                f"invalid. Check dimension {dim} of your input."
            )
        if n + min(before, 0) + min(after, 0) < 0:
            raise RuntimeError("narrow(): length must be non-negative.")
    return apply(ops.constant_pad, (input,), (pairs, _plain(value)))


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else 0 if value is None else value


def _from_inside(input: Any, pad: tuple[int, ...], mode: str) -> Any:
    shape = input._a.shape
    n = len(pad) // 2
    if mode == "circular" and len(shape) not in (n + 1, n + 2):
        raise NotImplementedError("Only 2D, 3D, 4D, 5D padding with non-constant padding are supported for now")
    if mode != "circular" and (n > 3 or len(shape) not in (n + 1, n + 2)):
        raise NotImplementedError("Only 2D, 3D, 4D, 5D padding with non-constant padding are supported for now")
    pairs = pairs_of(pad, len(shape))
    if any(not m for m in shape[1:]):
        raise RuntimeError(
            f"Expected {n + 1}D or {n + 2}D (batch mode) tensor with possibly 0 batch size and other non-zero dimensions for "
            f"input, but got: {list(shape)}"
        )
    for dim, (m, (before, after)) in enumerate(zip(shape, pairs)):
        if dim < len(shape) - n:
            continue
        if mode == "reflect" and (before >= m or after >= m):
            raise RuntimeError(
                f"Argument #{4 + 2 * (len(shape) - 1 - dim)}: Padding size should be less than the corresponding input dimension, "
                f"but got: padding ({before}, {after}) at dimension {dim} of input {list(shape)}"
            )
        if mode == "circular" and max(before, after) > m + min(before, 0) + min(after, 0):
            raise RuntimeError("Padding value causes wrapping around more than once.")
        if (
            m + before + after < 0
            or mode != "circular"
            and all(k + sum(p) < 1 for k, p in list(zip(shape, pairs))[-n:])
        ):
            raise RuntimeError(
                f"input (dimension {dim} of size {m}) is too small: with padding ({before}, {after}) the calculated output size is "
                f"{m + before + after}"
            )
    return apply(ops.PADDING.get((mode, n), ops.pad_from_inside), (input,), (pairs, mode))


def pad(input: Any, pad: Any, mode: str = "constant", value: Any = None) -> Any:
    """``input`` with margins before and after its last dimensions.

    Args:
        pad: (before, after) of the last dimension, then of the one before it, and so on, in one flat sequence; negative
            numbers cut off.
        mode: ``constant`` (of ``value``), ``reflect`` (mirrored at the edge), ``replicate`` (the edge again) or
            ``circular``.

    >>> import bibun as torch
    >>> torch.nn.functional.pad(torch.tensor([1, 2]), (1, 2))
    tensor([0, 1, 2, 0, 0])
    """
    margins = sizes_of((pad,), "pad", "pad")
    ndim = only_tensor(input, "pad")._a.ndim
    if len(margins) % 2:
        raise RuntimeError("Padding length must be divisible by 2")
    if len(margins) > 2 * ndim:
        raise RuntimeError(
            "Padding length should be less than or equal to two times the input dimension but got padding length "
            f"{len(margins)} and input of dimension {ndim}"
        )
    if mode == "constant":
        return constant_pad_nd(input, margins, 0 if value is None else value)
    if value is not None and value != 0:
        raise RuntimeError(f'Padding mode "{mode}" doesn\'t take in value argument')
    if mode not in ("reflect", "replicate", "circular"):
        raise NotImplementedError(f"Unrecognised padding mode {mode}")
    return _from_inside(input, margins, mode)


function(pad, name="pad", space="nn.functional", method=False, out=False)

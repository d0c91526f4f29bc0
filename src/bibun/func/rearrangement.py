"""`rearrange`: transposing, splitting and merging dimensions by a pattern that names them.

In go a tensor and a pattern as ``"b c (h s) -> b (s c) h"`` (with the sizes of what it splits); out comes a tensor.
"""

from __future__ import annotations

import math
import re
from typing import Any

__all__ = ["rearrange"]


def _parsed(side: str, pattern: str) -> list[Any]:
    """The groups of names of one side; a name outside parentheses is a group of its own, "1" an empty one, an ellipsis None."""
    groups: list[Any] = []
    inside = False
    for token in re.findall(r"\.\.\.|\(|\)|[^\s()]+", side):
        if token == "(":
            if inside:
                raise ValueError(f"Brackets are one inside another in the rearrange pattern '{pattern}'")
            inside = True
            groups.append([])
        elif token == ")":
            if not inside:
                raise ValueError(f"Brackets are not balanced in the rearrange pattern '{pattern}'")
            inside = False
        elif token != "..." and token != "1" and not token.isidentifier():
            raise ValueError(f"Invalid axis identifier: {token} in the rearrange pattern '{pattern}'")
        elif inside:
            if token != "1":
                groups[-1].append(token)
        else:
            groups.append([] if token == "1" else None if token == "..." else [token])
    if inside:
        raise ValueError(f"Brackets are not balanced in the rearrange pattern '{pattern}'")
    return groups


def rearrange(tensor: Any, pattern: str, **axes_lengths: int) -> Any:
    """``tensor``, or a list of tensors stacked, with its dimensions in the order and grouping that ``pattern`` says.

    Each side of ``->`` names dimensions; parentheses merge them, ``...`` stands for all others, 1 for one of size 1.

    >>> import bibun as torch
    >>> torch.func.rearrange(torch.arange(6).view(2, 3), "a b -> b a").tolist()
    [[0, 3], [1, 4], [2, 5]]
    >>> torch.func.rearrange(torch.arange(6), "(a b) -> b a", a=2).shape
    torch.Size([3, 2])
    """
    if isinstance(tensor, (list, tuple)):
        import bibun

        tensor = bibun.stack(list(tensor))
    left_text, arrow, right_text = pattern.partition("->")
    if not arrow:
        raise ValueError(f"The rearrange pattern '{pattern}' has no '->'")
    left, right = _parsed(left_text, pattern), _parsed(right_text, pattern)
    shape = tuple(tensor.shape)
    if any(group and "..." in group for group in left):
        raise ValueError(f"An ellipsis inside parentheses on the left side is not allowed: '{pattern}'")
    rest: list[str] = []
    if None in left:
        more = len(shape) - (len(left) - 1)
        if more < 0:
            raise ValueError(f"The left side of the rearrange pattern '{pattern}' names {len(left) - 1} dimensions, the tensor has {len(shape)}")
        rest = [f"...{i}" for i in range(more)]
        at = left.index(None)
        left[at : at + 1] = [[n] for n in rest]
    elif any(group is None or "..." in group for group in right):
        raise ValueError(f"Ellipsis found in right side, but not left side of a pattern {pattern}")
    if None in left or right.count(None) > 1:
        raise ValueError(f"More than one ellipsis in the rearrange pattern '{pattern}'")
    right = [g for group in right for g in ([[n] for n in rest] if group is None else [[n for x in group for n in (rest if x == "..." else [x])]])]
    names = [n for group in left for n in group]
    found = [n for group in right for n in group]
    for side in (names, found):
        if len(set(side)) != len(side):
            raise ValueError(f"Indexing expression contains duplicate dimension in the rearrange pattern '{pattern}'")
    if set(names) != set(found):
        raise ValueError(f"Identifiers only on one side of expression (should be on both): {sorted(set(names) ^ set(found))}")
    if len(left) != len(shape):
        raise ValueError(f"The rearrange pattern '{pattern}' has {len(left)} dimensions on its left side, the tensor {len(shape)}")
    unknown = set(axes_lengths) - set(names)
    if unknown:
        raise ValueError(f"Axes {sorted(unknown)} are not used in the rearrange pattern '{pattern}'")
    sizes: dict[str, int] = {}
    for group, n in zip(left, shape):
        known = math.prod(axes_lengths[name] for name in group if name in axes_lengths)
        open_names = [name for name in group if name not in axes_lengths]
        if len(open_names) > 1:
            raise ValueError(f"The sizes of {open_names} cannot be told from their product {n}: give all but one in rearrange(..., {pattern!r})")
        if known == 0 or n % known or not open_names and known != n:
            raise ValueError(f"Shape mismatch, can't divide axis of length {n} in chunks of {known}: {' '.join(group) or '1'} in '{pattern}'")
        sizes.update({name: axes_lengths.get(name, n // known) for name in group})
    split = tensor.reshape([sizes[n] for n in names])
    return split.permute([names.index(n) for n in found]).reshape([math.prod(sizes[n] for n in group) for group in right])

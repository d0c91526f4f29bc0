"""Chains of large elementwise steps as one native loop each.

In: the steps of a program. Out: for the place of each step that ends a chain, the loop that does the whole chain (with the sum over
everything, rows or columns that may follow it); for the places of the steps within it, None. Values that nothing else needs are never
written to memory. A loop that cannot be made leaves its steps as they are.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from ..backends import cpu
from ..backends.large import LARGE, kernels_of, native
from .layout import Recorded
from .recorder import Slot, Step
from .sizes import sized

__all__ = ["Group", "find_groups"]

#: Entries that are made anew rather than read from memory, where that asks for no more arrays, and how many of them in one loop.
_CHEAP = frozenset(("add", "maximum", "minimum", "multiply", "negative", "relu", "square", "subtract"))
_AGAIN = 4
_TYPES = frozenset(np.dtype(t) for t in (np.float32, np.float64, bool))
_BOOL = np.dtype(bool)


def _loop(tree: Any, key: str) -> Any:
    """What tells the loop of a tree from others: where the tree is one step, or none, it is the loop that runs without a program, too."""
    if tree == 0:
        return "sum"
    if tree.__class__ is tuple and tree[2] == list(range(len(tree[2]))):
        return "run", tree[0].name, tree[1]
    return key


class Group:
    """One native loop.

    Attributes:
        leaves: the values it reads; key: what is done, in words; tree: for each step in it, (primitive, static, operands), operands being leaves or further trees.
    """

    def __init__(self, leaves: list[int], tree: Any, key: str, shape: tuple[int, ...], reduce: str, cut: int | None, dtype: Any, made: tuple[int, ...], divide: int, steps: int):
        self.leaves, self.tree, self.key, self.shape = leaves, tree, key, shape
        self.reduce, self.cut, self.dtype, self.made, self.divide, self.steps = reduce, cut, dtype, made, divide, steps
        self.loop, self.count = _loop(tree, key), 1

    def expression(self, xp: Any, *values: Any) -> Any:
        """The chain on one element of each leaf."""
        return self.element(xp, self.tree, values, {})

    def element(self, xp: Any, node: Any, values: Any, known: dict[int, Any]) -> Any:
        """What a tree gives; ``known`` holds what has been made of it already."""
        if node.__class__ is int:
            return values[node]
        if id(node) not in known:
            prim, static, operands = node
            form = prim.run if xp is cpu else prim.native_form or prim.run
            known[id(node)] = form(xp, *[self.element(xp, x, values, known) for x in operands], *static)
        return known[id(node)]

    def gives(self, step: Step) -> tuple[int, ...]:
        """The values it makes at the place of a step."""
        return step.gives

    def possible(self, arrays: Any) -> bool:
        """Whether there is such a loop for arrays like these."""
        try:
            return bool(kernels_of("fuse").possible(*self._asked(arrays)))
        except (TypeError, ValueError, AttributeError):
            return False

    def make(self, arrays: Any) -> None:
        """Have the loop ready."""
        kernels_of("fuse").evaluate(*self._asked(arrays), run=False)

    def _asked(self, arrays: Any) -> Any:
        return self.loop, self.expression, arrays, tuple(map(int, self.shape)), self.reduce, self.dtype, self.cut, self.count

    def run(self, *arrays: Any) -> Any:
        return self.evaluated(arrays, tuple(map(int, self.shape)), tuple(map(int, self.made)), int(self.divide))

    def evaluated(self, arrays: Any, shape: tuple[int, ...], shape_made: tuple[int, ...], divide: int) -> Any:
        """The loop over ``shape``; what it makes is of another, and divided."""
        fuse = kernels_of("fuse")
        made = fuse.evaluate(self.loop, self.expression, arrays, shape, self.reduce, self.dtype, self.cut)
        if made is NotImplemented or not self.reduce:
            return made
        if divide:
            made = np.divide(made, made.dtype.type(divide), out=...)
        return made.reshape(shape_made)

    def resized(self, shape: tuple[int, ...], shape_made: tuple[int, ...], divide: int, *arrays: Any) -> Any:
        """The loop for other sizes than the recorded ones, by NumPy where the loop does not fit them."""
        made = self.evaluated(arrays, shape, shape_made, divide)
        if made is not NotImplemented:
            return made
        whole = np.broadcast_to(self.expression(cpu, *arrays), shape)
        if not self.reduce:
            return np.array(whole, self.dtype)
        return self.reduced(whole, shape_made, divide)

    def reduced(self, whole: Any, shape: tuple[int, ...], divide: int) -> Any:
        n = whole.ndim
        axes = tuple(range(n)) if self.reduce == "all" else tuple(range(self.cut or 0)) if self.reduce == "leading" else tuple(range(self.cut or 0, n))
        made = np.add.reduce(whole, axes, self.dtype, out=...)
        return (np.divide(made, made.dtype.type(divide), out=...) if divide else made).reshape(shape)

    def source(self, step: Step, text: Any) -> str:
        values = ", ".join(f"v{n}" for n in self.leaves)
        if sized((self.shape, self.made, self.divide)):
            return f"v{step.gives[0]} = {text.object(self.resized, 'g')}({self.shape!r}, {self.made!r}, {self.divide!r}, {values})"
        return f"v{step.gives[0]} = {text.object(self.run, 'g')}({values})"


class Sums(Group):
    """One native loop for several sums over leading dimensions, of which each element is needed for more than one.

    Attributes:
        trees: one for each sum; makes: their values; shapes, divides: their shapes and, of means, divisors.
    """

    def __init__(self, leaves: list[int], trees: list[Any], key: str, like: Group, makes: tuple[int, ...], shapes: list[Any], divides: list[int], steps: int):
        super().__init__(leaves, trees, key, like.shape, "leading", like.cut, like.dtype, (), 0, steps)
        self.makes, self.shapes, self.divides = makes, shapes, divides
        self.count = len(makes)

    def gives(self, step: Step) -> tuple[int, ...]:
        return self.makes

    def expression(self, xp: Any, *values: Any) -> Any:
        known: dict[int, Any] = {}
        return [self.element(xp, tree, values, known) for tree in self.tree]

    def run(self, *arrays: Any) -> Any:
        return self.summed(arrays, tuple(map(int, self.shape)), [tuple(map(int, x)) for x in self.shapes], list(map(int, self.divides)))

    def summed(self, arrays: Any, shape: tuple[int, ...], shapes: Any, divides: Any) -> Any:
        fuse = kernels_of("fuse")
        made = fuse.evaluate(self.loop, self.expression, arrays, shape, "leading", self.dtype, self.cut, len(self.makes))
        if made is NotImplemented:
            return made
        return [(np.divide(x, x.dtype.type(d), out=...) if d else x).reshape(s) for x, s, d in zip(made, shapes, divides)]

    def resized(self, shape: tuple[int, ...], shapes: Any, divides: Any, *arrays: Any) -> Any:
        made = self.summed(arrays, shape, shapes, divides)
        if made is not NotImplemented:
            return made
        wholes = self.expression(cpu, *arrays)
        return [self.reduced(np.broadcast_to(x, shape), s, d) for x, s, d in zip(wholes, shapes, divides)]

    def source(self, step: Step, text: Any) -> str:
        made, values = ", ".join(f"v{n}" for n in self.makes), ", ".join(f"v{n}" for n in self.leaves)
        if sized((self.shape, self.shapes, self.divides)):
            return f"{made} = {text.object(self.resized, 'g')}({self.shape!r}, {self.shapes!r}, {self.divides!r}, {values})"
        return f"{made} = {text.object(self.run, 'g')}({values})"


def _elementwise(recorded: Recorded, step: Step) -> bool:
    """Whether a step may be part of a loop."""
    if step.kind != "run" or step.what.family != "elementwise" or step.what.several or len(step.gives) != 1:
        return False
    out = recorded.layouts[step.gives[0]]
    static, narrow = step.static
    if narrow is not None or out.size < LARGE or out.dtype not in _TYPES or sized(static) or any(isinstance(s, Slot) for s in static):
        return False
    return all(n is not None and recorded.layouts[n].dtype in _TYPES for n in step.takes)


def _sum(recorded: Recorded, step: Step) -> Any:
    """(how, cut, divisor) of a step that sums a large array; None for others."""
    if step.kind != "run" or step.what.name not in ("sum", "mean") or len(step.takes) != 1:
        return None
    x = recorded.layouts[step.takes[0]]
    out = recorded.layouts[step.gives[0]]
    if x.size < LARGE or out.dtype != x.dtype or x.dtype not in _TYPES or x.dtype == _BOOL:
        return None
    static = dict(zip(step.what.static, step.static[0]))
    axis = static.get("axis")
    n = x.ndim
    axes = tuple(range(n)) if axis is None else (axis,) if isinstance(axis, int) else tuple(sorted(axis))
    divide = prod(x.shape[a] for a in axes) if step.what.name == "mean" else 0
    if len(axes) == n:
        return "all", None, divide
    if axes == tuple(range(len(axes))):
        return "leading", len(axes), divide
    if axes == tuple(range(n - len(axes), n)):
        return "trailing", n - len(axes), divide
    return None


def find_groups(recorded: Recorded, steps: list[Step], wanted: set[int]) -> dict[int, Any]:
    """The loops of a program, by the place of the step that each stands for."""
    if not any(recorded.layouts[n].size >= LARGE for step in steps for n in step.gives) or not native():
        return {}
    from .program import reads

    makers = {n: k for k, step in enumerate(steps) for n in step.gives}
    readers: dict[int, set[int]] = {}
    barrier, barriers = -1, []
    for k, step in enumerate(steps):
        if step.kind in ("write", "call"):
            barrier = k
        barriers.append(barrier)
        for n in reads(step):
            readers.setdefault(n, set()).add(k)
    found: dict[int, Any] = {}
    doubtful: set[int] = set()  # steps that loops do again: perhaps nobody needs what they make
    for k in range(len(steps) - 1, -1, -1):
        step = steps[k]
        if k in found:
            continue
        reduction = _sum(recorded, step)
        if reduction is None and not _elementwise(recorded, step):
            continue
        shape = recorded.layouts[step.takes[0] if reduction else step.gives[0]].shape
        inside: set[int] = set() if reduction else {k}
        again: set[int] = set()
        grown = True
        while grown:  # take in every maker whose readers are all inside, and do cheap ones again
            grown = False
            for j in sorted(inside | again | ({k} if reduction else set())):
                for n in steps[j].takes:
                    m = makers.get(n)
                    if m is None or m in inside or m in again or m <= barriers[k] or recorded.layouts[n].shape != shape or not _elementwise(recorded, steps[m]):
                        continue
                    if m not in found and n not in wanted and readers[n] <= inside | {k}:
                        inside.add(m)
                        grown = True
                    elif found.get(m) is None and len(again) < _AGAIN and _cheap(recorded, steps[m]):
                        again.add(m)
                        grown = True
        if not inside:
            continue
        group = _group(recorded, steps, k, inside | again, shape, reduction)
        if group is not None and any(found.get(makers.get(n, -1), group) is None for n in group.leaves):
            again = set()  # it would read what only lives inside another loop
            group = _group(recorded, steps, k, inside, shape, reduction)
        if group is not None:
            found[k] = group
            doubtful |= again
            for n in group.leaves:
                readers[n].add(k)
            for j in inside - {k}:
                found[j] = None
    _drop(steps, found, doubtful, wanted)
    _sum_together(recorded, steps, found, wanted, barriers)
    for group in found.values():
        if group is not None:
            group.make([recorded.arrays[n] for n in group.leaves])
    return found


def _sum_together(recorded: Recorded, steps: list[Step], found: dict[int, Any], wanted: set[int], barriers: list[int]) -> None:
    """Have one loop do several sums of an array that nothing else reads, and not write it."""
    from .program import reads

    live = [k for k, step in enumerate(steps) if found.get(k, step) is not None]
    readers: dict[int, list[int]] = {}
    for k in live:
        for n in dict.fromkeys(found[k].leaves if k in found else reads(steps[k])):
            readers.setdefault(n, []).append(k)
    for m in live:
        maker = found.get(m)
        if maker is None and _elementwise(recorded, steps[m]):
            maker = _group(recorded, steps, m, {m}, recorded.layouts[steps[m].gives[0]].shape, None)
        if maker is None or maker.reduce or isinstance(maker, Sums):
            continue
        (n,) = steps[m].gives
        users = readers.get(n, [])
        if n in wanted or not 2 <= len(users) <= 4 or any(barriers[k] != barriers[m] for k in users):
            continue
        parts: list[Any] = [found.get(k) or _plain_sum(recorded, steps[k]) for k in users]
        first = parts[0]
        if any(p is None or isinstance(p, Sums) or p.reduce != "leading" or p.cut != first.cut or p.shape != first.shape or p.dtype != first.dtype for p in parts):
            continue
        makers = {x: k for k in live for x in (found[k].gives(steps[k]) if k in found else steps[k].gives)}
        leaves = list(maker.leaves)
        trees, said = [], []
        for p in parts:
            for x in p.leaves:
                if x != n and x not in leaves:
                    leaves.append(x)
            trees.append(_moved(p.tree, [maker.tree if x == n else leaves.index(x) for x in p.leaves]))
            said.append(f"{p.key.removeprefix('group ')} of {[-1 if x == n else leaves.index(x) for x in p.leaves]}")
        if len(leaves) > 12 or any(makers.get(x, -1) >= users[0] for x in leaves):
            continue
        key = f"sums of {maker.key.removeprefix('group ')}: {'; '.join(said)}"
        makes = tuple([steps[k].gives[0] for k in users])
        made = Sums(leaves, trees, key, first, makes, [p.made for p in parts], [p.divide for p in parts], maker.steps + sum(p.steps for p in parts))
        if not made.possible([recorded.arrays[x] for x in leaves]):
            continue
        for k in (m, *users):
            found[k] = None
        found[users[0]] = made
        return _sum_together(recorded, steps, found, wanted, barriers)


def _plain_sum(recorded: Recorded, step: Step) -> Group | None:
    """A sum by itself, as a loop."""
    how = _sum(recorded, step)
    if how is None or how[0] != "leading":
        return None
    x, out = recorded.layouts[step.takes[0]], recorded.layouts[step.gives[0]]
    return Group([step.takes[0]], 0, "group x0", x.shape, how[0], how[1], out.dtype, out.shape, how[2], 1)


def _moved(tree: Any, leaves: list[Any]) -> Any:
    """A tree with others, or other numbers, where its leaves were."""
    known: dict[int, Any] = {}

    def of(node: Any) -> Any:
        if node.__class__ is int:
            return leaves[node]
        if id(node) not in known:
            form, static, operands = node
            known[id(node)] = (form, static, [of(x) for x in operands])
        return known[id(node)]

    return of(tree)


def _cheap(recorded: Recorded, step: Step) -> bool:
    """Whether a step is better done again than read: it reads no more large arrays than the one that it makes."""
    return step.what.name in _CHEAP and sum(recorded.layouts[n].size >= LARGE for n in set(step.takes)) <= 1


def _drop(steps: list[Step], found: dict[int, Any], doubtful: set[int], wanted: set[int]) -> None:
    """Mark steps whose results nobody reads any more as parts of the loops that do them again."""
    from .program import reads

    for m in sorted(doubtful, reverse=True):
        read = set(wanted)
        for k, step in enumerate(steps):
            if k != m and found.get(k, step) is not None:
                read.update(found[k].leaves if k in found else reads(step))
        if found.get(m, step) is not None and not read.intersection(steps[m].gives):
            found[m] = None


def _group(recorded: Recorded, steps: list[Step], k: int, inside: set[int], shape: tuple[int, ...], reduction: Any) -> Group | None:
    leaves: list[int] = []
    known: dict[int, Any] = {}
    makers = {n: j for j in inside for n in steps[j].gives}

    def of(n: int) -> tuple[Any, str]:
        if n in known:
            return known[n]
        j = makers.get(n)
        if j is None:
            if n not in leaves:
                leaves.append(n)
            known[n] = (leaves.index(n), f"x{leaves.index(n)}")
        else:
            step = steps[j]
            prim, static = step.what, step.static[0]
            operands = [of(m) for m in step.takes]
            known[n] = ((prim, static, [tree for tree, _ in operands]), f"{prim.name}{static!r}({','.join(said for _, said in operands)})")
        return known[n]

    step = steps[k]
    tree, said = of(step.takes[0] if reduction else step.gives[0])
    if len(leaves) > 12 or len(said) > 4000:
        return None
    out = recorded.layouts[step.gives[0]]
    how, cut, divide = reduction or ("", None, 0)
    group = Group(leaves, tree, f"group {said}", shape, how, cut, out.dtype, out.shape, divide, len(inside) + bool(reduction))
    return group if group.possible([recorded.arrays[n] for n in leaves]) else None

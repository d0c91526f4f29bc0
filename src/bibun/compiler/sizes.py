"""Sizes that change from call to call, as variables of a program.

In: recordings of one function for arguments of several sizes. Out: a recording in which every number that differs is written as what it
is of the sizes: a sum of products of them (`Size`), or a fraction. A relation is taken for one when it holds for three recordings, two of
which determine it. What differs otherwise has no general program.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import numpy as np

from ..native.ir import Function, Later, Value
from .layout import Layout
from .recorder import Slot, Step, alike

__all__ = ["NotRelated", "Ratio", "Relations", "Size", "TooSmall", "same_constant", "sized", "text_of_constant"]


class NotRelated(Exception):
    """Why there is no general program."""


class TooSmall(NotRelated):
    """Sizes of 0 and 1 are not like others: some of the recordings, by their place, cannot serve."""

    def __init__(self, places: list[int]):
        super().__init__("sizes of 0 and 1 are not like others")
        self.places = places


class Size(Later):
    """A number of a program that depends on sizes: as an int it is what it is for one call, its text is what it is for all.

    Attributes:
        terms: names of variables to the factor of their product.
    """

    terms: dict[tuple[str, ...], int]

    def __new__(cls, value: int, terms: dict[tuple[str, ...], int]) -> Any:
        terms = {k: v for k, v in terms.items() if v}
        if not terms or list(terms) == [()]:
            return int(value)
        made = super().__new__(cls, value)
        made.terms = terms
        return made

    @staticmethod
    def of(x: Any) -> dict[tuple[str, ...], int]:
        return x.terms if x.__class__ is Size else {(): int(x)}

    def __add__(self, other: Any) -> Any:
        if not isinstance(other, int):
            return NotImplemented
        terms = dict(self.terms)
        for k, v in Size.of(other).items():
            terms[k] = terms.get(k, 0) + v
        return Size(int(self) + int(other), terms)

    __radd__ = __add__

    def __neg__(self) -> Any:
        return self * -1

    def __sub__(self, other: Any) -> Any:
        return self + -other if isinstance(other, int) else NotImplemented

    def __rsub__(self, other: Any) -> Any:
        return -self + other if isinstance(other, int) else NotImplemented

    def __mul__(self, other: Any) -> Any:
        if not isinstance(other, int):
            return NotImplemented
        terms: dict[tuple[str, ...], int] = {}
        for a, x in self.terms.items():
            for b, y in Size.of(other).items():
                k = tuple(sorted(a + b))
                terms[k] = terms.get(k, 0) + x * y
        return Size(int(self) * int(other), terms)

    __rmul__ = __mul__

    def __floordiv__(self, other: Any) -> Any:
        if other.__class__ is int and all(v % other == 0 for v in self.terms.values()):
            return Size(int(self) // other, {k: v // other for k, v in self.terms.items()})
        return int(self) // int(other)

    def __mod__(self, other: Any) -> Any:
        if other.__class__ is int and all(v % other == 0 for v in self.terms.values()):
            return 0
        return int(self) % int(other)

    def __eq__(self, other: object) -> bool:
        return other.__class__ is Size and self.terms == other.terms  # type: ignore[attr-defined]

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(int(self))

    def __repr__(self) -> str:
        return "(" + " + ".join("*".join([*([str(v)] if v != 1 or not k else []), *k]) for k, v in sorted(self.terms.items())) + ")"

    def at(self, values: dict[str, int]) -> Any:
        """The number for other sizes."""
        return Size(sum(factor * math.prod(values[n] for n in names) for names, factor in self.terms.items()), self.terms)

    def write(self, f: Function) -> Value:
        """The number, within a function that has been told the sizes."""
        if f.sizes is None:  # a trial
            return f.const(int(self))
        total: Any = None
        for names, factor in sorted(self.terms.items()):
            product: Any = f.const(factor)
            for name in names:
                product = f.sizes[name] * product
            total = product if total is None else total + product
        return total


class Ratio(float):
    """A number with a point that depends on sizes: as a float it is what it is for one call, its text is what it is for all."""

    said: str

    def __new__(cls, value: float, said: str) -> Ratio:
        made = super().__new__(cls, value)
        made.said = said
        return made

    def __repr__(self) -> str:
        return self.said


def _plain(x: float) -> float:
    """The number of few digits that something rounded may have been."""
    near = float(f"{x:.6g}")
    return near if abs(near - x) <= 3e-7 * abs(x) else x


def sized(x: Any) -> bool:
    """Whether something depends on sizes."""
    if x.__class__ is Size or x.__class__ is Ratio:
        return True
    if isinstance(x, (tuple, list)):
        return any(map(sized, x))
    if x.__class__ is slice:
        return sized((x.start, x.stop, x.step))
    return x.__class__ is dict and any(map(sized, x.values()))


def same_constant(a: Any, b: Any) -> bool:
    """Whether two arrays hold the same."""
    return a is b or a.shape == b.shape and a.dtype == b.dtype and np.array_equal(a, b, equal_nan=a.dtype.kind in "fc")


class Relations:
    """What numbers of three recordings are of the sizes of their arguments.

    Args:
        shapes: for each recording the shapes of the arguments that are tensors, by their place.
    """

    def __init__(self, shapes: list[dict[int, tuple[int, ...]]]):
        self.places: dict[str, tuple[int, int]] = {}  # variable -> (argument, dimension)
        self.values: dict[str, tuple[int, ...]] = {}
        self.shapes: dict[int, tuple[int, ...]] = {}
        if any(s.keys() != shapes[0].keys() for s in shapes):
            raise NotRelated("other arguments are tensors")
        for k in shapes[0]:
            if len({len(s[k]) for s in shapes}) > 1:
                raise NotRelated("an argument has other dimensions")
            for d, seen in enumerate(zip(*[s[k] for s in shapes])):
                if len(set(seen)) > 1 and seen not in self.values.values():
                    if min(seen) < 2:
                        raise TooSmall([i for i, n in enumerate(seen) if n < 2])
                    name = f"n{len(self.values)}"
                    self.places[name], self.values[name] = (k, d), seen
        if not self.values:
            raise NotRelated("no size changes")
        self.factors: list[tuple[tuple[str, ...], tuple[int, ...]]] = [((name,), v) for name, v in self.values.items()]
        names = list(self.values)
        for i, a in enumerate(names):
            for b in names[i:]:
                self.factors.append(((a, b), tuple(x * y for x, y in zip(self.values[a], self.values[b]))))
        for k in shapes[0]:
            self.shapes[k] = tuple([self.number(*v) for v in zip(*[s[k] for s in shapes])])

    def number(self, *seen: int) -> int:
        """A whole number."""
        if len(set(seen)) == 1:
            return seen[0]
        for names, values in self.factors:
            if len(set(values)) < len(values):
                continue
            slope = Fraction(seen[1] - seen[0], values[1] - values[0])
            rest = seen[0] - slope * values[0]
            if slope.denominator == 1 and rest.denominator == 1 and all(x == slope * v + rest for x, v in zip(seen, values)) and (len(names) == 1 or not rest):
                return Size(seen[-1], {names: int(slope), (): int(rest)})
        for names, values in self.factors:  # sizes of which some are alike in two recordings
            if all(x % v == 0 for x, v in zip(seen, values)) and len({x // v for x, v in zip(seen, values)}) == 1:
                return Size(seen[-1], {names: seen[0] // values[0]})
        raise NotRelated(f"{seen} follow from no size")

    def factor(self, *seen: float) -> float:
        """A number with a point: (a·s + b) / (m·s + c) for a size or product of sizes s, a whole m and c of -1, 0 or 1; or a·s + b."""
        if len(set(seen)) == 1 or all(math.isnan(x) for x in seen):
            return seen[0]
        narrow = all(float(np.float32(x)) == x for x in seen)  # it has been rounded

        def same(x: float, y: float) -> bool:
            return x == y or narrow and float(np.float32(x)) == y

        for names, values in self.factors:
            if len(set(values)) < len(values):
                continue
            size = Size(values[-1], {names: 1})
            (x, y, *_), (v, w, *_) = seen, values
            few = [a / b for a, b in ((w * v * (x - y), y * v - x * w), (x * v - y * w, y - x)) if b]  # of a·s / (s + few) and of b / (s + few)
            for m, c in ((1, 0), (1, -1), (1, 1), (0, 1), *[(round(-1 / z), -1) for z in few if -0.75 < z < -1e-6]):
                under = [m * v + c for v in values]
                products = [x * u for x, u in zip(seen, under)]
                slope = _plain((products[1] - products[0]) / (values[1] - values[0]))
                if abs(slope) * max(values) < 1e-6 * abs(products[0]):
                    slope = 0.0
                rest = _plain(products[0] - slope * values[0])
                if abs(rest) < 1e-6 * max(map(abs, products)):
                    rest = 0.0
                if all(same((slope * v + rest) / u, x) for v, u, x in zip(values, under, seen)):
                    return Ratio(seen[-1], f"(({slope!r} * {size!r} + {rest!r}) / {size * m + c!r})")
        raise NotRelated(f"{seen} follow from no size")

    def static(self, *seen: Any) -> Any:
        """An argument of a step that is not an array, of any nesting."""
        first = seen[0]
        kind = first.__class__
        if any(x.__class__ is not kind for x in seen):
            raise NotRelated("an argument of another type")
        if kind is int:
            return self.number(*seen)
        if kind is float:
            return self.factor(*seen)
        if kind is Slot:
            if any(x.index != first.index or not alike(x.tensor, first.tensor) for x in seen):
                raise NotRelated("another value is read")
            return first
        if isinstance(first, tuple) or kind is list:
            if any(len(x) != len(first) for x in seen):
                raise NotRelated("another number of arguments")
            made = [self.static(*each) for each in zip(*seen)]
            return made if kind is list else tuple(made) if kind is tuple or sized(made) else first
        if kind is dict:
            if any(x.keys() != first.keys() for x in seen):
                raise NotRelated("other arguments")
            return {k: self.static(*[x[k] for x in seen]) for k in first}
        if kind is slice:
            return slice(*self.static(*[(x.start, x.stop, x.step) for x in seen]))
        if all(x is first for x in seen):
            return first
        if kind is not np.ndarray and all(type(x == first) is bool and x == first for x in seen):
            return first
        raise NotRelated(f"a {kind.__name__} differs")

    def step(self, *seen: Step) -> Step:
        """One step of all recordings."""
        first, last = seen[0], seen[-1]
        for x in seen:
            if x.kind != first.kind or x.takes != first.takes or x.gives != first.gives or not alike(x.what, first.what):
                raise NotRelated(f"a step was {first} and then {x}")
        made = Step(last.kind, last.what, last.takes, self.static(*[x.static for x in seen]), last.gives, last.line)
        made.given, made.node = last.given, last.node
        return made

    def layout(self, *seen: Layout) -> Layout:
        first = seen[0]
        if any(x.dtype != first.dtype or x.ndim != first.ndim or x.root != first.root for x in seen):
            raise NotRelated("a value of another kind")
        shape = tuple([self.number(*v) for v in zip(*[x.shape for x in seen])])
        strides = tuple([self.number(*v) for v in zip(*[x.strides for x in seen])])
        return Layout(shape, strides, first.dtype, first.root, self.number(*[x.offset for x in seen]))

    def elsewhere(self, a: Layout) -> Layout:
        """A layout for sizes that are larger by one."""
        values = {name: v[-1] + 1 for name, v in self.values.items()}

        def at(x: Any) -> Any:
            return x.at(values) if x.__class__ is Size else x

        return Layout(tuple(map(at, a.shape)), tuple(map(at, a.strides)), a.dtype, a.root, at(a.offset))

    def constant(self, *seen: Any) -> Any:
        """An array that no step makes: itself, or ("full", shape, value), ("spread", shape, value) or ("arange", start, stop, step)."""
        first = seen[0]
        if all(same_constant(x, first) for x in seen):
            return first
        if any(x.dtype != first.dtype or x.ndim != first.ndim or not x.size for x in seen):
            raise NotRelated("a constant of another kind")
        shape = tuple([self.number(*v) for v in zip(*[x.shape for x in seen])])
        if all((x == x.flat[0]).all() for x in seen):
            value = self.static(*[x.flat[0].item() for x in seen])
            if all(x.flags.c_contiguous for x in seen):
                return "full", shape, value
            if not any(s for x in seen for s in x.strides):
                return "spread", shape, value
        elif first.ndim == 1 and first.dtype.kind in "if" and first[0] == int(first[0]):
            start, step = int(first[0]), int(first[1] - first[0]) if len(first) > 1 else 1
            if step and all(x.flags.c_contiguous and np.array_equal(x, np.arange(start, start + step * len(x), step)) for x in seen):
                return "arange", start, start + shape[0] * step, step
        raise NotRelated("a constant depends on sizes in a way that is not known")


    def limits(self, steps: list[Step], layouts: list[Layout]) -> list[str]:
        """For which sizes steps stay as they are: what `_order` says, as conditions on them. Those that say that one size is not too small or too
        large become one for each."""
        least, most, others = dict.fromkeys(self.values, 2), dict[str, int](), set()
        for less, more in _order(steps, layouts):
            rest = more - less
            if rest.__class__ is not Size:
                continue
            if any(rest.at({n: v[i] for n, v in self.values.items()}) < 0 for i in range(3)):
                raise NotRelated("a bound is met in another way for other sizes")
            terms = dict(rest.terms)
            free = terms.pop((), 0)
            (names, slope), *more_terms = terms.items()
            if more_terms or len(names) > 1:
                others.add(f"{rest!r} >= 0")
            elif slope > 0:
                least[names[0]] = max(least[names[0]], -(free // slope))
            else:
                most[names[0]] = min(most.get(names[0], free // -slope), free // -slope)
        return [f"{name} >= {n}" for name, n in least.items()] + [f"{name} <= {n}" for name, n in most.items()] + sorted(others)


def _order(steps: list[Step], layouts: list[Layout]) -> Iterator[tuple[int, int]]:
    """Pairs of numbers of which the first is not larger than the second, as long as all steps do what they did when they were recorded: what
    is cut out begins and ends within what it is cut out of (Python's slices would end earlier), and nothing is empty."""
    for step in steps:
        if step.kind != "run":
            continue
        given = [layouts[n] for n in step.takes if n is not None]
        for made in [layouts[n] for n in step.gives]:
            yield from ((1, size) for size in made.shape)
            if step.what.family == "view" and made.root == given[0].root and _end(made) <= _end(given[0]):
                yield _end(made), _end(given[0])
        said = dict(zip(step.what.static, step.static[0]))
        if isinstance(said.get("axis"), int) and "shape" not in said and not said.keys().isdisjoint(("start", "stop", "k", "index")):
            size = given[0].shape[said["axis"]] if given[0].ndim else 1
            for name in ("start", "stop", "k"):
                if isinstance(said.get(name), int):
                    yield 0, said[name]
                    yield said[name], size
            if isinstance(index := said.get("index"), int):
                yield (0, index) if index >= 0 else (0, index + size)
                yield (index + 1, size) if index >= 0 else (index, -1)


def _end(a: Layout) -> int:
    """Where in its memory an array ends."""
    end = a.offset + a.dtype.itemsize
    for n, stride in zip(a.shape, a.strides):
        if stride > 0:
            end = end + (n - 1) * stride
    return end


def text_of_constant(made: Any, dtype: str) -> str:
    """The source of what makes a constant anew."""
    if made[0] == "arange":
        return f"arange({made[1]!r}, {made[2]!r}, {made[3]!r}, {dtype})"
    return f"full({made[1]!r}, {made[2]!r}, {dtype})" if made[0] == "full" else f"broadcast_to(full((), {made[2]!r}, {dtype}), {made[1]!r})"

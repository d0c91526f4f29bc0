"""Nested containers of tensors, flattened and rebuilt: tuples, lists, dictionaries, named tuples, and what programs enter.

In goes a tree; out come its leaves and its `Spec`, which builds the same structure from other leaves. Specs of like trees
are equal. What is no container known here is a leaf, None too.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

__all__ = ["LEAF", "NODES", "Container", "Spec", "broadcast_prefix", "container_of", "structure", "tree_flatten", "tree_leaves", "tree_map"]


class Container(NamedTuple):
    """How a type of containers is taken apart, into (children, context), and put together from them."""

    flatten: Callable[[Any], tuple[Any, Any]]
    unflatten: Callable[[Any, Any], Any]


def _from_items(kind: Any) -> Callable[[Any, Any], Any]:
    return lambda children, keys: kind(zip(keys, children))


def _by_values(x: Any) -> tuple[Any, Any]:
    return list(x.values()), list(x)


#: The containers known by their very type; `container_of` knows named tuples and their like, too.
NODES: dict[Any, Container] = {
    tuple: Container(lambda x: (x, None), lambda children, _: tuple(children)),
    list: Container(lambda x: (x, None), lambda children, _: list(children)),
    dict: Container(_by_values, _from_items(dict)),
    OrderedDict: Container(_by_values, _from_items(OrderedDict)),
    defaultdict: Container(
        lambda x: (list(x.values()), (x.default_factory, list(x))),
        lambda children, context: defaultdict(context[0], zip(context[1], children)),
    ),
    deque: Container(lambda x: (list(x), x.maxlen), lambda children, longest: deque(children, longest)),
}
_NAMED = Container(lambda x: (x, type(x)), lambda children, kind: kind(*children))
_SEQUENCE = Container(lambda x: (x, type(x)), lambda children, kind: kind(list(children)))  # torch.return_types


def container_of(kind: Any) -> Container | None:
    """How to take apart a value of type ``kind``; None where it is a leaf."""
    known = NODES.get(kind)
    if known is None and issubclass(kind, tuple):
        return _NAMED if hasattr(kind, "_fields") else _SEQUENCE if hasattr(kind, "n_sequence_fields") else None
    return known


class Spec:
    """The structure of a tree: the type of the root (None: a leaf), what else is known of it, and its children's specs."""

    __slots__ = ("children", "context", "count", "kind")

    def __init__(self, kind: Any, context: Any, children: tuple[Spec, ...]):
        self.kind, self.context, self.children = kind, context, children
        self.count: int = 1 if kind is None else sum([c.count for c in children])

    def __eq__(self, other: object) -> bool:
        return self is other or isinstance(other, Spec) and (self.kind, self.context, self.children) == (other.kind, other.context, other.children)

    def __hash__(self) -> int:
        return hash((self.kind, self.children))

    def __repr__(self) -> str:
        if self.kind is None:
            return "*"
        inner = ", ".join(map(repr, self.children))
        if self.kind in (tuple, list):
            return f"({inner}{',' * (len(self.children) == 1)})" if self.kind is tuple else f"[{inner}]"
        if self.kind is dict:
            return "{" + ", ".join(f"{k!r}: {c!r}" for k, c in zip(self.context, self.children)) + "}"
        return f"{self.kind.__name__}({inner})"

    @property
    def type(self) -> Any:
        """The root's type."""
        return self.kind

    @property
    def num_leaves(self) -> int:
        """How many leaves there are."""
        return self.count

    @property
    def num_children(self) -> int:
        """How many children the root has."""
        return len(self.children)

    def is_leaf(self) -> bool:
        """Whether it is a leaf alone."""
        return self.kind is None

    def build(self, values: Iterator[Any]) -> Any:
        """The tree of this structure with the next of ``values`` for leaves."""
        if self.kind is None:
            return next(values)
        made = [next(values) if c.kind is None else c.build(values) for c in self.children]
        if self.kind is tuple:
            return tuple(made)
        known = container_of(self.kind)
        assert known is not None
        return known.unflatten(made, self.context)

    def __call__(self, leaves: Any) -> Any:
        """The tree of this structure with these leaves."""
        return leaves[0] if self.kind is None else self.build(iter(leaves))


LEAF = Spec(None, None, ())


def _walk(x: Any, leaves: list[Any], is_leaf: Callable[[Any], bool] | None) -> Spec:
    kind = x.__class__
    known = NODES.get(kind)
    if known is None:
        known = container_of(kind)
    if known is None or is_leaf is not None and is_leaf(x):
        leaves.append(x)
        return LEAF
    children, context = known.flatten(x)
    return Spec(kind, context, tuple([_walk(v, leaves, is_leaf) for v in children]))


def tree_flatten(tree: Any, is_leaf: Callable[[Any], bool] | None = None) -> tuple[list[Any], Spec]:
    """(leaves, the structure: called with other leaves it builds the same of them)."""
    leaves: list[Any] = []
    return leaves, _walk(tree, leaves, is_leaf)


def structure(tree: Any) -> Spec:
    """The structure alone."""
    return _walk(tree, [], None)


def tree_map(f: Callable[[Any], Any], tree: Any) -> Any:
    """``tree`` with ``f`` of each leaf in its place."""
    leaves, build = tree_flatten(tree)
    return build([f(x) for x in leaves])


def tree_leaves(tree: Any) -> list[Any]:
    """The leaves alone."""
    return tree_flatten(tree)[0]


def broadcast_prefix(prefix: Any, spec: Spec) -> list[Any] | None:
    """``prefix``, a tree that may end earlier than ``spec``, with its leaves repeated for all leaves below; None if it does not fit."""
    kind = prefix.__class__
    known = container_of(kind)
    if known is None:
        return [prefix] * spec.count
    children, context = known.flatten(prefix)
    if kind is not spec.kind or len(children) != len(spec.children):
        return None
    if context != spec.context:
        if kind is not dict or set(context) != set(spec.context):
            return None
        children = [prefix[k] for k in spec.context]
    out: list[Any] = []
    for p, s in zip(children, spec.children):
        part = broadcast_prefix(p, s)
        if part is None:
            return None
        out += part
    return out

"""Nested containers of tensors, flattened and rebuilt: tuples, lists, dictionaries, named tuples."""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Callable
from typing import Any


def tree_flatten(tree: Any) -> tuple[list[Any], Callable[[list[Any]], Any]]:
    """(leaves, a function that builds the same structure from other leaves)."""
    leaves: list[Any] = []

    def walk(x: Any) -> Callable[[Any], Any]:
        kind = x.__class__
        if kind in (tuple, list):
            parts = [walk(v) for v in x]
            return lambda it: kind([p(it) for p in parts])
        if kind in (dict, OrderedDict):
            keyed = [(k, walk(v)) for k, v in x.items()]
            return lambda it: kind([(k, p(it)) for k, p in keyed])
        if kind is defaultdict:
            factory = x.default_factory
            keyed = [(k, walk(v)) for k, v in x.items()]
            return lambda it: defaultdict(factory, [(k, p(it)) for k, p in keyed])
        if isinstance(x, tuple) and hasattr(x, "_fields"):
            parts = [walk(v) for v in x]
            return lambda it: kind(*[p(it) for p in parts])
        if isinstance(x, tuple) and hasattr(x, "n_sequence_fields"):         # torch.return_types
            parts = [walk(v) for v in x]
            return lambda it: kind([p(it) for p in parts])
        if isinstance(x, tuple) and type(x).__module__.startswith("bibun") and hasattr(type(x), "numel"):
            leaves.append(x)
            return next
        leaves.append(x)
        return next

    build = walk(tree)
    return leaves, lambda values: build(iter(values))


def tree_map(f: Callable[[Any], Any], tree: Any) -> Any:
    """``tree`` with ``f`` of each leaf in its place."""
    leaves, build = tree_flatten(tree)
    return build([f(x) for x in leaves])


def tree_leaves(tree: Any) -> list[Any]:
    """The leaves alone."""
    return tree_flatten(tree)[0]


def broadcast_prefix(prefix: Any, tree: Any) -> list[Any] | None:
    """``prefix``, a tree that ends earlier, with its leaves repeated for all leaves of ``tree`` below; None if it does not fit."""
    if isinstance(prefix, (int, float, type(None))):
        return [prefix] * len(tree_leaves(tree))
    if isinstance(tree, dict):
        if not isinstance(prefix, dict) or prefix.keys() != tree.keys():
            return None
        parts = [broadcast_prefix(prefix[k], tree[k]) for k in tree]
    elif isinstance(tree, (tuple, list)):
        if not isinstance(prefix, (tuple, list)) or len(prefix) != len(tree):
            return None
        parts = [broadcast_prefix(p, t) for p, t in zip(prefix, tree)]
    else:
        return None
    out: list[Any] = []
    for p in parts:
        if p is None:
            return None
        out += p
    return out

"""Nested containers under the names of PyTorch's ``torch.utils._pytree``, which other packages call.

In go trees of containers, out come leaves and `TreeSpec`s; containers of a program's own are entered with
`register_pytree_node`, and function transforms (`torch.vmap`, `torch.func`) look into them, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from ..func.pytree import LEAF, NODES, Container, broadcast_prefix, container_of
from ..func.pytree import Spec as TreeSpec
from ..func.pytree import tree_flatten as _flatten

__all__ = [
    "LeafSpec", "PyTree", "TreeSpec", "register_pytree_node", "tree_all", "tree_all_only", "tree_any", "tree_any_only", "tree_flatten", "tree_iter",
    "tree_leaves", "tree_map", "tree_map_", "tree_map_only", "tree_map_only_", "tree_structure", "tree_unflatten",
]

PyTree = Any
Context = Any
IsLeaf = Callable[[Any], bool] | None


def LeafSpec() -> TreeSpec:
    """The structure of a single leaf."""
    return LEAF


def register_pytree_node(cls: Any, flatten_fn: Callable[[Any], tuple[list[Any], Any]], unflatten_fn: Callable[[Any, Any], Any], **_: Any) -> None:
    """Enter a type of containers: ``flatten_fn(x)`` gives (children, context), ``unflatten_fn(children, context)`` the container.

    >>> import bibun as torch
    >>> from bibun.utils import _pytree as pytree
    >>> class Pair:
    ...     def __init__(self, a, b):
    ...         self.a, self.b = a, b
    >>> pytree.register_pytree_node(Pair, lambda p: ([p.a, p.b], None), lambda children, _: Pair(*children))
    >>> torch.vmap(lambda p: p.a * p.b)(Pair(torch.arange(3), torch.arange(3)))
    tensor([0, 1, 4])
    """
    if cls in NODES:
        raise ValueError(f"{cls} is already registered as pytree node. Overwriting the previous registration.")
    NODES[cls] = Container(flatten_fn, unflatten_fn)


_register_pytree_node = register_pytree_node


def _deregister_pytree_node(cls: Any) -> None:
    del NODES[cls]


def _is_leaf(tree: PyTree, is_leaf: IsLeaf = None) -> bool:
    return container_of(tree.__class__) is None or is_leaf is not None and is_leaf(tree)


def tree_flatten(tree: PyTree, is_leaf: IsLeaf = None) -> tuple[list[Any], TreeSpec]:
    """(leaves, structure)."""
    return _flatten(tree, is_leaf)


def tree_unflatten(leaves: Iterable[Any], treespec: TreeSpec) -> PyTree:
    """The tree of that structure with these leaves."""
    if not isinstance(treespec, TreeSpec):
        raise TypeError(f"tree_unflatten(leaves, treespec): Expected `treespec` to be instance of TreeSpec but got item of type {type(treespec)}.")
    leaves = list(leaves)
    if len(leaves) != treespec.count:
        raise ValueError(f"tree_unflatten(leaves, treespec): `leaves` has length {len(leaves)} but the spec refers to a pytree that holds {treespec.count} "
                         f"items ({treespec}).")
    return treespec(leaves)


def tree_leaves(tree: PyTree, is_leaf: IsLeaf = None) -> list[Any]:
    """The leaves."""
    return _flatten(tree, is_leaf)[0]


def tree_iter(tree: PyTree, is_leaf: IsLeaf = None) -> Iterator[Any]:
    """The leaves, one by one."""
    return iter(tree_leaves(tree, is_leaf))


def tree_structure(tree: PyTree, is_leaf: IsLeaf = None) -> TreeSpec:
    """The structure."""
    return _flatten(tree, is_leaf)[1]


def tree_map(func: Callable[..., Any], tree: PyTree, *rests: PyTree, is_leaf: IsLeaf = None) -> PyTree:
    """``tree`` with ``func`` of its leaves, and of those of the ``rests`` at the same places, for leaves."""
    leaves, spec = _flatten(tree, is_leaf)
    others = [_flatten_up_to(spec, r) for r in rests]
    return spec([func(*each) for each in zip(leaves, *others)])


def _flatten_up_to(spec: TreeSpec, tree: PyTree) -> list[Any]:
    """The parts of ``tree`` that stand where ``spec`` has leaves."""
    if spec.kind is None:
        return [tree]
    known = container_of(tree.__class__)
    if known is None or tree.__class__ is not spec.kind:
        raise ValueError(f"Type mismatch; expected {spec.kind!r}, but got {type(tree)!r}.")
    children, context = known.flatten(tree)
    if len(children) != len(spec.children):
        raise ValueError(f"Node arity mismatch; expected {len(spec.children)}, but got {len(children)}.")
    if spec.kind is dict and set(context) == set(spec.context):
        children = [tree[k] for k in spec.context]
    elif context != spec.context:
        raise ValueError(f"Node context mismatch for custom node type {spec.kind!r}.")
    return [x for c, s in zip(children, spec.children) for x in _flatten_up_to(s, c)]


def tree_map_(func: Callable[..., Any], tree: PyTree, *rests: PyTree, is_leaf: IsLeaf = None) -> PyTree:
    """Call ``func`` on the leaves for what it does to them; gives ``tree``."""
    tree_map(func, tree, *rests, is_leaf=is_leaf)
    return tree


def map_only(types: Any) -> Callable[[Callable[[Any], Any]], Callable[[Any], Any]]:
    """A decorator: leave values that are not of these types (or that a predicate refuses) as they are."""
    chosen = types if callable(types) and not isinstance(types, type) else lambda x: isinstance(x, types)

    def wrapper(func: Callable[[Any], Any]) -> Callable[[Any], Any]:
        return lambda x: func(x) if chosen(x) else x

    return wrapper


def tree_map_only(type_or_types_or_pred: Any, func: Any, tree: PyTree, is_leaf: IsLeaf = None) -> PyTree:
    """`tree_map` on leaves of some types only."""
    return tree_map(map_only(type_or_types_or_pred)(func), tree, is_leaf=is_leaf)


def tree_map_only_(type_or_types_or_pred: Any, func: Any, tree: PyTree, is_leaf: IsLeaf = None) -> PyTree:
    """`tree_map_` on leaves of some types only."""
    return tree_map_(map_only(type_or_types_or_pred)(func), tree, is_leaf=is_leaf)


def tree_all(pred: Callable[[Any], bool], tree: PyTree, is_leaf: IsLeaf = None) -> bool:
    """Whether ``pred`` holds of all leaves."""
    return all(map(pred, tree_leaves(tree, is_leaf)))


def tree_any(pred: Callable[[Any], bool], tree: PyTree, is_leaf: IsLeaf = None) -> bool:
    """Whether ``pred`` holds of any leaf."""
    return any(map(pred, tree_leaves(tree, is_leaf)))


def tree_all_only(type_or_types: Any, pred: Callable[[Any], bool], tree: PyTree, is_leaf: IsLeaf = None) -> bool:
    """Whether ``pred`` holds of all leaves of some types."""
    return all(pred(x) for x in tree_leaves(tree, is_leaf) if isinstance(x, type_or_types))


def tree_any_only(type_or_types: Any, pred: Callable[[Any], bool], tree: PyTree, is_leaf: IsLeaf = None) -> bool:
    """Whether ``pred`` holds of any leaf of some types."""
    return any(pred(x) for x in tree_leaves(tree, is_leaf) if isinstance(x, type_or_types))


def _broadcast_to_and_flatten(tree: PyTree, treespec: TreeSpec, is_leaf: IsLeaf = None) -> list[Any] | None:
    return broadcast_prefix(tree, treespec)

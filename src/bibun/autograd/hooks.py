"""Hooks: the user's functions that see, and may replace, gradients on their way.

A node's hooks live in one `Hooks` object, made when the first is registered; a node without has None there, and the engine
asks no more than that. Order within a node is PyTorch's: the tensor hooks of its outputs and the prehooks in order of
registration, then retained gradients, then the node itself, then its posthooks. A leaf's hooks live on the tensor.
"""

from __future__ import annotations

import weakref
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from ..backends import cpu
from . import dispatch
from .modes import Off, state


class RemovableHandle:
    """Takes a hook out of its dict: `handle.remove()`, or leave `with handle:`.

    The dict is held weakly, so a handle keeps no module alive. `extra_dict` names further dicts (one, or a list)
    holding marks under the same id.
    """

    next_id: int = 0
    id: int

    def __init__(self, hooks_dict: Any, *, extra_dict: Any = None) -> None:
        self.hooks_dict_ref: Callable[[], Any] = weakref.ref(hooks_dict)
        self.id = RemovableHandle.next_id
        RemovableHandle.next_id += 1
        extras = extra_dict if isinstance(extra_dict, list) else [] if extra_dict is None else [extra_dict]
        self.extra_dict_ref: tuple[Callable[[], Any], ...] = tuple(weakref.ref(d) for d in extras)

    def remove(self) -> None:
        """Remove the hook; a second call does nothing."""
        for ref in (self.hooks_dict_ref, *self.extra_dict_ref):
            hooks = ref()
            if hooks is not None:
                hooks.pop(self.id, None)

    def __getstate__(self) -> Any:
        return (self.hooks_dict_ref(), self.id, tuple(ref() for ref in self.extra_dict_ref))

    def __setstate__(self, state: Any) -> None:
        hooks, self.id = state[0], state[1]
        # Weak references to what nothing else holds would be dead on arrival: an empty dict stands in.
        self.hooks_dict_ref = weakref.ref(OrderedDict() if hooks is None else hooks)
        extras = state[2] if len(state) > 2 and state[2] is not None else ()
        self.extra_dict_ref = tuple(weakref.ref(OrderedDict() if d is None else d) for d in extras)
        RemovableHandle.next_id = max(RemovableHandle.next_id, self.id + 1)

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *exception: Any) -> None:
        self.remove()


class HookDict(OrderedDict[int, Any]):
    """An ordered dictionary of hooks that can be referred to weakly."""


class Hooks:
    """The hooks of one node."""

    __slots__ = ("post", "pre", "retained", "tensor")

    def __init__(self) -> None:
        self.pre = HookDict()
        self.post = HookDict()
        self.tensor: dict[int | None, HookDict] = {}            # output number -> hooks on that output's gradient
        self.retained: list[tuple[int | None, Any]] = []          # (output number, weak reference to the tensor)

    def seen(self, node: Any, g: Any, xp: Any) -> Any:
        """The gradient after the hooks of the node's outputs, and kept where it is to be retained."""
        several = g.__class__ is list
        for index, hooks in self.tensor.items():
            one = run_tensor_hooks(hooks, g[index] if several else g, xp)
            if several:
                g[index] = one
            else:
                g = one
        for index, ref in self.retained:
            tensor = ref()
            one = g[index] if several else g
            if tensor is not None and one is not None:
                one = wrapped(one, xp, copy=True)
                tensor._grad = one if tensor._grad is None else tensor._grad + one
        return g

    def before(self, node: Any, g: Any, xp: Any) -> Any:
        """The gradient after the node's own prehooks."""
        several = g.__class__ is list
        given = tuple(wrapped(x, xp) for x in g) if several else (wrapped(g, xp),)
        with unrecorded(xp):
            for hook in list(self.pre.values()):
                changed = hook(given)
                if changed is not None:
                    given = tuple(changed) if isinstance(changed, (tuple, list)) else (changed,)
        raw = [unwrapped(x, xp) for x in given]
        return raw if several else raw[0]

    def after(self, node: Any, grads: Any, g: Any, xp: Any) -> Any:
        """The gradients of the inputs after the posthooks."""
        outer = tuple(wrapped(x, xp) for x in g) if g.__class__ is list else (wrapped(g, xp),)
        given = tuple(wrapped(x, xp) for x in grads)
        with unrecorded(xp):
            for hook in list(self.post.values()):
                changed = hook(given, outer)
                if changed is not None:
                    changed = tuple(changed) if isinstance(changed, (tuple, list)) else (changed,)
                    if len(changed) != len(given):
                        raise RuntimeError(f"hook '{getattr(hook, '__name__', hook)}' has returned an incorrect number of values "
                                           f"(got {len(changed)}, but expected {len(given)})")
                    given = changed
        return [unwrapped(x, xp) for x in given]


#: Recording is off in hooks of a backward that is not to be differentiated.
HOOK = Off()
HOOK.kind, HOOK.code, HOOK.lasti = "running inside a hook", None, 0


class unrecorded:
    """The mode in which hooks run: recording only where the run itself is recorded."""

    __slots__ = ("before", "raw")

    def __init__(self, xp: Any):
        self.raw = xp is cpu

    def __enter__(self) -> None:
        self.before = state.grad
        if self.raw:
            state.grad = HOOK

    def __exit__(self, *_: object) -> None:
        state.grad = self.before


def wrapped(value: Any, xp: Any, copy: bool = False) -> Any:
    """A value of the run as a tensor, as hooks see it."""
    if value is None or isinstance(value, dispatch.Tensor):
        return value
    return dispatch.wrap(value.copy() if copy else value)


def unwrapped(value: Any, xp: Any) -> Any:
    """What a hook gave, as a value of the run."""
    return value._a if xp is cpu and isinstance(value, dispatch.Tensor) else value


def run_tensor_hooks(hooks: Any, g: Any, xp: Any) -> Any:
    """The gradient after hooks on it, checked; hooks see None where no gradient came."""
    t = wrapped(g, xp)
    for hook in list(hooks.values()):
        with unrecorded(xp):
            changed = hook(t)
        if changed is not None:
            if not isinstance(changed, dispatch.Tensor):
                raise TypeError(f"expected Variable, but hook returned '{type(changed).__name__}' (hook {getattr(hook, '__name__', hook)!r})")
            if t is None:
                t = changed
                continue
            if changed._a.shape != t._a.shape:
                raise RuntimeError(f"hook '{getattr(hook, '__name__', hook)}' has changed the size of value: it was given a gradient of shape "
                                   f"{list(t._a.shape)} and returned {list(changed._a.shape)}")
            if changed._a.dtype != t._a.dtype:
                raise RuntimeError(f"hook '{getattr(hook, '__name__', hook)}' has changed the type of value (was {t.dtype} got {changed.dtype})")
            t = changed
    return unwrapped(t, xp)


def hooks_of(node: Any) -> Hooks:
    """The node's hooks, made if there are none."""
    if node.hooks is None:
        node.hooks = Hooks()
    return node.hooks


def add(node: Any, kind: str, hook: Any) -> RemovableHandle:
    """Register a pre- or posthook on a node."""
    table = getattr(hooks_of(node), kind)
    leaf = getattr(node, "_variable", None) if node.next == () else None
    if leaf is not None:        # an AccumulateGrad: the engine looks for its hooks at the leaf
        leaf.__dict__["_accumulate_node_"] = node
        leaf.__dict__["_has_hooks"] = True
    handle = RemovableHandle(table)
    table[handle.id] = hook
    return handle


def add_tensor_hook(tensor: Any, hook: Any) -> RemovableHandle:
    """Register a hook on a tensor's gradient."""
    from .node import LEAF, Output
    if not callable(hook):
        raise TypeError(f"a hook must be callable, not {type(hook).__name__}")
    n = tensor._node
    if n is None:
        raise RuntimeError("cannot register a hook on a tensor that doesn't require gradient")
    if n is LEAF:
        table = tensor.__dict__.setdefault("_backward_hooks_", HookDict())
    else:
        node, index = (n.node, n.index) if n.__class__ is Output else (n, None)
        table = hooks_of(node).tensor.setdefault(index, HookDict())
    handle = RemovableHandle(table)
    table[handle.id] = hook
    return handle


def retain(tensor: Any) -> None:
    """Have the engine leave the gradient of a non-leaf in its ``.grad``."""
    from .node import Output
    n = tensor._node
    node, index = (n.node, n.index) if n.__class__ is Output else (n, None)
    retained = hooks_of(node).retained
    if not any(ref() is tensor for _, ref in retained):
        retained.append((index, weakref.ref(tensor)))


def follow(tensor: Any, old: Any) -> None:
    """Have a tensor's retained gradient be that of its new place in the graph; ``old`` is the place that it had."""
    from .node import LEAF

    if old is None or old is LEAF:
        return
    table = getattr(old, "node", old).hooks
    if table is None or not any(ref() is tensor for _, ref in table.retained):
        return
    table.retained = [entry for entry in table.retained if entry[1]() is not tensor]
    if tensor._node is not None and tensor._node is not LEAF:
        retain(tensor)


def is_retained(tensor: Any) -> bool:
    """Whether `retain` was called on the tensor."""
    from .node import LEAF
    n = tensor._node
    if n is None or n is LEAF:
        return False
    node = getattr(n, "node", n)
    return node.hooks is not None and any(ref() is tensor for _, ref in node.hooks.retained)

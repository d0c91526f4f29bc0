"""`torch.autograd.graph`: the graph seen from outside: nodes, edges, saved-tensor hooks, multi-gradient hooks."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from . import dispatch, versions
from .hooks import RemovableHandle
from .modes import Off, state
from .node import LEAF
from .node import Node as GraphNode
from .saved import _tensor as placed

__all__ = ["GradientEdge", "Node", "allow_mutation_on_saved_tensors", "disable_saved_tensors_hooks", "get_gradient_edge", "increment_version", "register_multi_grad_hook", "save_on_cpu",
           "saved_tensors_hooks"]


class _AnyNode(type):
    def __instancecheck__(cls, x: Any) -> bool:
        return isinstance(x, GraphNode)

    def __subclasscheck__(cls, c: type) -> bool:
        return c is cls or issubclass(c, GraphNode)


class Node(metaclass=_AnyNode):
    """What every ``grad_fn`` is an instance of: a class to ask about, of which no node inherits."""


class GradientEdge(NamedTuple):
    """A place in the graph: an output of a node. The token holds what `get_gradient_edge` knew of the tensor: (shape, dtype)."""

    node: Any
    output_nr: int
    ownership_token: Any = None


def get_gradient_edge(tensor: Any) -> GradientEdge:
    """Where the gradient of ``tensor`` flows to; keeps the graph, not the tensor."""
    if not tensor.requires_grad:
        raise RuntimeError("It is not possible to get the gradient edge for a Tensor that does not require gradients")
    if tensor._view is not None:
        dispatch.refresh(tensor)
    n = tensor._node
    node, index = (tensor if n is LEAF else n).as_edge()
    return GradientEdge(node, index, (tuple(tensor._a.shape), tensor._a.dtype))


def increment_version(tensor: Any) -> None:
    """Count a write to the tensor's memory that autograd did not see."""
    from .versions import written
    for t in (tensor,) if isinstance(tensor, dispatch.Tensor) else tensor:
        written(t._a)


class unsafe_preserve_version_counter:
    """Have in-place writes to some tensors inside go uncounted: autograd will not notice them."""

    def __init__(self, tensors: Any):
        self.tensors = (tensors,) if isinstance(tensors, dispatch.Tensor) else tuple(tensors)

    def __enter__(self) -> None:
        self.before = [(versions.record_of(t._a), versions.version_of(t._a), versions.record_of(t._a).time) for t in self.tensors]

    def __exit__(self, *_: object) -> None:
        for record, count, time in self.before:
            record.counter[0], record.time = count, time
            record.log = [entry for entry in record.log if entry[0] <= time]


class _HookStack(threading.local):
    def __init__(self) -> None:
        self.pairs: list[tuple[Callable[[Any], Any], Callable[[Any], Any]]] = []
        self.disabled: str | None = None


_stack = _HookStack()


def current_saved_hooks() -> Any:
    """The (pack, unpack) pair in force in this thread, or None."""
    return _stack.pairs[-1] if _stack.pairs else None


def hooks_are_enabled() -> bool:
    """Whether saved-tensor hooks may be used in this thread."""
    return _stack.disabled is None


class PackedSaved(tuple[Any, ...]):
    """A node's saved values, the tensors among them packed by the user's hook."""

    packed = True

    def unpack(self, node: Any) -> tuple[Any, ...]:
        """The values themselves, unpacked by the hook's other half."""
        return tuple(tuple(_unpacked(v) for v in values) for values in self)


class _Packed:
    __slots__ = ("held", "unpack")

    def __init__(self, held: Any, unpack: Callable[[Any], Any]):
        self.held, self.unpack = held, unpack


def _unpacked(value: Any) -> Any:
    if value.__class__ is _Packed:
        pairs = _stack.pairs
        depth = len(pairs)
        t = value.unpack(value.held)
        while len(pairs) > depth:  # a context that the hook entered and did not leave ends with the hook
            pairs.pop()
            dispatch.saved_hooks[0] -= 1
            dispatch.busy[0] -= 1
        if not isinstance(t, dispatch.Tensor):
            raise TypeError(f"Output of saved tensor unpack_hook expected to be a Tensor but got result of type {type(t).__name__}")
        return t._a
    return tuple(map(_unpacked, value)) if value.__class__ is tuple and value and value[0].__class__ is _Packed else value


def pack_one(t: Any, pack: Any, unpack: Any) -> Any:
    """A saved tensor packed by the user's hook, which runs unrecorded."""
    version = versions.version_of(t._a)
    before, state.grad = state.grad, PACKING
    try:
        held = pack(t)
    finally:
        state.grad = before
    if versions.version_of(t._a) != version:
        raise RuntimeError("A saved tensor pack hook is modifying its input in place. Tensors provided as input to pack hook cannot be modified by in-place "
                           "operations as this can lead to unexpected side-effects. Please open an issue if you need to perform in-place operations on the input "
                           "to a pack hook.")
    return _Packed(held, unpack)


#: Recording is off in pack hooks.
PACKING = Off()
PACKING.kind, PACKING.code, PACKING.lasti = "running inside a pack hook", None, 0


def pack_saved(node: Any, operands: Any = None) -> None:
    """Pack the arrays that a new node saved with the hooks in force in this thread; ``operands`` tells which were numbers."""
    pair = current_saved_hooks()
    if pair is None:
        return
    pack, unpack = pair

    def packed(value: Any, target: Any) -> Any:
        return pack_one(value if isinstance(value, dispatch.Tensor) else placed(value, target), pack, unpack)
    rows = []
    for takes, values in zip(node.plan.takes, node.saved):
        row = []
        for (category, i), v in zip(takes, values):
            if category in "io" and v is not None:
                if v.__class__ is tuple:
                    v = tuple(packed(x, t) for x, t in zip(v, node.next))
                elif hasattr(v, "dtype") and not (category == "i" and operands is not None and isinstance(operands[i], (bool, int, float, complex))):
                    v = packed(v, node.next[i] if category == "i" else None)
            row.append(v)
        rows.append(tuple(row))
    node.saved = PackedSaved(rows)


class saved_tensors_hooks:
    """Have every tensor saved for backward packed by one function, and unpacked by another when backward needs it."""

    def __init__(self, pack_hook: Callable[[Any], Any], unpack_hook: Callable[[Any], Any]):
        if not callable(pack_hook) or not callable(unpack_hook):
            raise TypeError(f"saved_tensors_hooks takes two functions, not {type(pack_hook).__name__} and {type(unpack_hook).__name__}")
        self.pair = pack_hook, unpack_hook

    def __enter__(self) -> None:
        if _stack.disabled is not None:
            raise RuntimeError(_stack.disabled)
        _stack.pairs.append(self.pair)
        dispatch.saved_hooks[0] += 1
        dispatch.busy[0] += 1

    def __exit__(self, *_: object) -> None:
        if not _stack.pairs:
            return  # a hook has left a context that it did not enter
        _stack.pairs.pop()
        dispatch.saved_hooks[0] -= 1
        dispatch.busy[0] -= 1


class save_on_cpu(saved_tensors_hooks):
    """Keep saved tensors on the processor, where they are already: copies are made, as in PyTorch."""

    def __init__(self, pin_memory: bool = False, device_type: str = "cuda"):
        super().__init__(lambda t: t.detach().clone(), lambda t: t)


class disable_saved_tensors_hooks:
    """Have the use of `saved_tensors_hooks` inside raise an error with the given message."""

    def __init__(self, error_message: str):
        self.message = error_message

    def __enter__(self) -> None:
        if _stack.pairs:
            raise RuntimeError(self.message)
        self.before, _stack.disabled = _stack.disabled, self.message

    def __exit__(self, *_: object) -> None:
        _stack.disabled = self.before


class _Kept:
    """A copy of a tensor that nodes have saved, and the memory that it is a copy of."""

    __slots__ = ("__weakref__", "copy", "memory", "version")

    def __init__(self, t: Any):
        self.copy, self.memory, self.version = t.detach().clone(), t._a, versions.version_of(t._a)


class allow_mutation_on_saved_tensors(saved_tensors_hooks):
    """Have in-place writes to tensors that backward needs leave it right: what is saved inside is a copy.

    Backward must run inside, too. What ``as`` gives tells of the saved tensors that are alive: ``cloned`` are those that were
    overwritten since.

    >>> import bibun as torch
    >>> x = torch.tensor(3.0, requires_grad=True)
    >>> with torch.autograd.graph.allow_mutation_on_saved_tensors():
    ...     y = x.clone()
    ...     z = y ** 2
    ...     y.mul_(2) is y
    ...     z.backward()
    True
    >>> x.grad
    tensor(6.)
    """

    _open = threading.local()

    def __init__(self) -> None:
        super().__init__(self._keep, self._give)
        #: (memory, address, version) -> the copy of a saved tensor, as long as a node has it.
        self.tid_to_weakhandle: Any = weakref.WeakValueDictionary()

    def _keep(self, t: Any) -> _Kept:
        key = id(versions.root_of(t._a)), t._a.__array_interface__["data"][0], t._a.shape, t._a.strides, versions.version_of(t._a)
        kept = self.tid_to_weakhandle.get(key)
        if kept is None:
            kept = self.tid_to_weakhandle[key] = _Kept(t)
        return kept

    def _give(self, kept: _Kept) -> Any:
        if getattr(self._open, "held", None) is not self:
            raise AssertionError("Trying to backward outside of the 'allow_mutation_on_saved_tensors' context in which the graph was originally recorded.")
        return kept.copy

    @property
    def cloned(self) -> dict[Any, Any]:
        """The saved tensors alive whose memory was overwritten since, with their copies."""
        return {k: v.copy for k, v in self.tid_to_weakhandle.items() if versions.version_of(v.memory) != v.version}

    def __enter__(self) -> Any:
        if getattr(self._open, "held", None) is not None:
            raise RuntimeError("allow_mutation_on_saved_tensors contexts cannot be nested")
        super().__enter__()
        self._open.held = self
        return self

    def __exit__(self, *exception: object) -> None:
        self._open.held = None
        super().__exit__(*exception)
        self.clear()  # there is no backward outside

    def clear(self) -> None:
        """Forget the copies, which nodes keep."""
        self.tid_to_weakhandle.clear()


class _MultiHandle(RemovableHandle):
    def __init__(self, handles: Sequence[RemovableHandle]):
        self.handles = tuple(handles)

    def remove(self) -> None:
        for h in self.handles:
            h.remove()


def register_multi_grad_hook(tensors: Sequence[Any], fn: Callable[..., Any], *, mode: str = "all") -> RemovableHandle:
    """Have ``fn`` called with the gradients of all tensors once they are there (mode "all"), or with the first ("any")."""
    from .engine import multi_hooks
    if mode not in ("all", "any"):
        raise ValueError(f"Expects mode to be one of ('all', 'any') but got {mode}")
    multi_hooks[0] += 1
    lock = threading.Lock()
    if mode == "any":
        seen: set[Any] = set()

        def first(g: Any) -> None:
            from .engine import current_run
            run = current_run()
            with lock:
                known = run in seen
                seen.add(run)
            if not known:
                fn(g)
        return _MultiHandle([t.register_hook(first) for t in tensors])
    pending: dict[Any, list[Any]] = {}

    def make(i: int) -> Callable[[Any], None]:
        def collect(g: Any) -> None:
            from .engine import current_run, reaches
            run = current_run()
            with lock:
                got = pending.setdefault(run, [0, [None] * len(tensors), None])
                if got[2] is None:
                    got[2] = sum(map(reaches, tensors))
                got[0] += 1
                got[1][i] = g
                complete = got[0] == got[2]
                if complete:
                    del pending[run]
            if complete:
                fn(got[1])
        return collect
    return _MultiHandle([t.register_hook(make(i)) for i, t in enumerate(tensors)])

"""Modes (and classes of tensors) that see every operator: ``__torch_dispatch__(self, func, types, args, kwargs)`` for each primitive that runs.

In: primitives on their way through `dispatch.apply`, registered operators, tensors made from nothing. Out: what the innermost
mode of the thread gives in their place. A mode stands below the graph: its handler runs unrecorded, and the node of a call
is made around it. While it runs the mode is off, so that what it calls goes to the modes beneath it, and at last to the
kernels. ``func(*args, **kwargs)`` runs the very call that the handler was shown.

Operators are primitives under PyTorch's names (`library.aten`); ``args`` are their operands, then what else they take. Forms
that write in place show the operator that computes and the copy. Classes are asked where no mode is in force; they see what
their tensors are operands of, and not backward, which works on plain arrays.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..autograd import dispatch
from ..autograd.inplace import Wrapper
from ..autograd.modes import BELOW, state
from ..autograd.node import plan_of
from ..ops.primitive import Primitive
from ..tensor import Tensor, _disabled_torch_function_impl
from .aten import overload_of
from .operators import Operator, borrowed

__all__ = ["TorchDispatchMode", "all_modes", "current_mode", "no_modes", "shows_view"]


class _Calls(threading.local):
    """The calls that handlers of this thread are at: (operator, what runs it, does it give views?)."""

    def __init__(self) -> None:
        self.stack: list[tuple[Any, Callable[[Any, Any], Any], bool]] = []
        self.classes_off = False


_calls = _Calls()
_lock = threading.Lock()
_active = [0]  # modes in force and classes, in all threads
_detach = Tensor.detach


def _one_more() -> None:
    with _lock:
        _active[0] += 1
        dispatch.busy[0] += 1
        Tensor.detach = _shown_detach  # type: ignore[method-assign]


def _one_less() -> None:
    with _lock:
        _active[0] -= 1
        dispatch.busy[0] -= 1
        if not _active[0]:
            Tensor.detach = _detach  # type: ignore[method-assign]


class TorchDispatchMode:
    """A context under which ``__torch_dispatch__`` is called in place of each operator.

    >>> import bibun as torch
    >>> from bibun.utils._python_dispatch import TorchDispatchMode
    >>> class Printing(TorchDispatchMode):
    ...     def __torch_dispatch__(self, func, types, args=(), kwargs=None):
    ...         print(func)
    ...         return func(*args, **(kwargs or {}))
    >>> x = torch.tensor([1.0, 2.0])
    >>> with Printing():
    ...     y = x.sin() * 2
    aten.sin.default
    aten.mul.Tensor
    """

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise NotImplementedError

    def __enter__(self) -> Any:
        _one_more()
        state.watchers = (*state.watchers, self)
        return self

    def __exit__(self, *_: object) -> None:
        state.watchers = state.watchers[:-1]
        _one_less()


def met(cls: type) -> None:
    """A class of tensors with a ``__torch_dispatch__`` was declared: it is asked for as long as it is there."""
    if getattr(cls.__torch_function__, "__func__", None) is Tensor.__torch_function__.__func__:  # type: ignore[attr-defined]
        cls.__torch_function__ = _disabled_torch_function_impl  # type: ignore[attr-defined]
    _one_more()
    dispatch.dispatching_classes[0] += 1
    weakref.finalize(cls, _gone)


def _gone() -> None:
    dispatch.dispatching_classes[0] -= 1
    _one_less()


def _handler(operands: Any) -> Any:
    """Who is asked about a call: a mode, else the class of an operand (subclasses before their bases); None for nobody."""
    if state.watchers:
        return state.watchers[-1].__torch_dispatch__
    if not dispatch.dispatching_classes[0] or _calls.classes_off:
        return None
    found: Any = None
    for x in operands:
        cls = type(x)
        if isinstance(x, Tensor) and hasattr(cls, "__torch_dispatch__") and (found is None or issubclass(cls, found)):
            found = cls
    return None if found is None else found.__torch_dispatch__


def current_mode() -> Any:
    """The innermost mode in force in this thread, or None."""
    return state.watchers[-1] if state.watchers else None


def all_modes() -> list[Any]:
    """The modes in force in this thread, the innermost last."""
    return list(state.watchers)


@contextmanager
def no_modes() -> Iterator[None]:
    """No mode or class sees what this thread does inside."""
    before, off = state.watchers, _calls.classes_off
    state.watchers, _calls.classes_off = (), True
    try:
        yield
    finally:
        state.watchers, _calls.classes_off = before, off


def shows_view() -> bool:
    """Whether the call that the running handler was shown gives a view of its operand."""
    return bool(_calls.stack) and _calls.stack[-1][2]


def _through(handler: Any, func: Any, run: Callable[[Any, Any], Any], args: Any, kwargs: Any, view: bool = False) -> Any:
    """What a handler gives for a call; ``run(args, kwargs)`` runs it below the mode whose handler that is."""
    watchers, before = state.watchers, state.grad
    state.watchers = watchers[:-1]
    if before:
        state.grad = BELOW
    _calls.stack.append((func, run, view))
    try:
        kinds = tuple({type(a): None for a in args if hasattr(type(a), "__torch_dispatch__")}) if dispatch.dispatching_classes[0] else ()
        return handler(func, kinds, args, kwargs)
    finally:
        _calls.stack.pop()
        state.watchers, state.grad = watchers, before


def run_below(func: Any, args: Any, kwargs: Any) -> Any:
    """The call that the running handler was shown, if it is one of ``func``; else NotImplemented."""
    if not _calls.stack or _calls.stack[-1][0] is not func:
        return NotImplemented
    return _calls.stack[-1][1](args, kwargs)


# Primitives


def _wanted(prim: Primitive, arrays: Any) -> bool:
    """Whether the graph records a call."""
    if not prim.derivatives or not state.grad:
        return False
    found = False
    for a in arrays:
        if isinstance(a, Tensor):
            if a._view is not None:
                dispatch.refresh(a)
            found = found or a._node is not None
    return found


def _operands(prim: Primitive, arrays: Any) -> tuple[list[Any], Any]:
    """(arrays and numbers as the primitive's rules see them, the fix of their gradients)."""
    if prim.family == "elementwise":
        raw, fix, _ = dispatch.promote(prim, arrays)
        return raw, fix
    return [a._a if isinstance(a, Tensor) else a for a in arrays], None


def _saved_before(prim: Primitive, arrays: Any, static: tuple[Any, ...]) -> Any:
    """The node of a call that has not run, where `saved_tensors_hooks` are in force and it saves no outputs: the hooks see the
    inputs first, as in PyTorch (and a second run of a checkpoint ends there). None where the node must wait."""
    if prim.several:
        return None
    wanted = tuple([isinstance(a, Tensor) and a._node is not None and n in prim.derivatives for a, n in zip(arrays, prim.arrays)])
    if any(category == "o" for takes in plan_of(prim, () if prim.variadic else wanted).takes for category, _ in takes):
        return None
    raw, fix = _operands(prim, arrays)
    dtype = next((a.dtype for a in raw if isinstance(a, np.ndarray) and a.dtype.kind in dispatch.DIFFERENTIABLE), None)
    if dtype is None:
        return None
    shape = np.broadcast_shapes(*map(np.shape, raw)) if prim.family == "elementwise" else ()
    return dispatch.record(prim, arrays, raw, static, [dispatch.wrap(np.broadcast_to(np.zeros((), dtype), shape))], fix)


def _fresh(t: Any, arrays: Any) -> Any:
    """A tensor that a handler gave, if nobody else holds it as part of a graph, or one like it."""
    if not isinstance(t, Tensor):
        raise TypeError(f"__torch_dispatch__ must return a tensor here, not {type(t).__name__}")
    return dispatch.wrap(t._a) if t._node is not None or any(t is a for a in arrays) else t


def _recorded(prim: Primitive, arrays: Any, static: tuple[Any, ...], given: Any, wanted: bool, node: Any) -> Any:
    """What a handler gave for a call of a primitive, with its node."""
    if prim.several and not isinstance(given, (tuple, list)):
        raise TypeError(f"__torch_dispatch__ must return a tuple of tensors for {prim.name}, not {type(given).__name__}")
    outs = [_fresh(t, arrays) for t in (given if prim.several else (given,))]
    if node is not None:
        if outs[0]._a.dtype.kind in dispatch.DIFFERENTIABLE:
            outs[0]._node = node
    elif wanted:
        raw, fix = _operands(prim, arrays)
        node = dispatch.record(prim, arrays, raw, static, outs, fix)
    if node is None:
        cut = dispatch.cut_of(prim, arrays)
        if cut is not None:
            for t in outs:
                t._story = cut
    if prim.family == "view" and all(np.may_share_memory(t._a, arrays[0]._a) for t in outs):
        for t in outs:
            t._view = None
        dispatch.note_view(prim, arrays[0], static, outs)
    return tuple(outs) if prim.several else outs[0]


def select(prim: Primitive, arrays: Any, static: tuple[Any, ...]) -> Any:
    """A primitive called while modes are in force, or there are classes: see `dispatch.apply`."""
    handler = _handler(arrays)
    if handler is None:
        return NotImplemented
    operands = (list(arrays),) if prim.variadic else tuple(arrays)
    func = overload_of(prim, operands)
    count = len(operands)

    def run(args: Any, kwargs: Any) -> Any:
        if kwargs or len(args) != count + len(static):
            return NotImplemented
        return dispatch.apply(prim, args[0] if prim.variadic else args[:count], tuple(args[count:]))

    wanted = _wanted(prim, arrays)
    node = _saved_before(prim, arrays, static) if wanted and dispatch.saved_hooks[0] else None
    given = _through(handler, func, run, (*operands, *static), {}, prim.family == "view")
    return _recorded(prim, arrays, static, given, wanted, node)


# Everything else that is an operator


def select_operator(op: Operator, args: Any, kwargs: Any) -> Any:
    """The same for a registered operator, whose node is made by its `Function`."""
    return _through(state.watchers[-1].__torch_dispatch__, op, lambda args, kwargs: NotImplemented, tuple(args), kwargs)


def select_made(name: str, t: Any, args: Any, kwargs: Any) -> Any:
    """The same for a tensor ``t`` that was made by the function ``name``, which reads no tensor's values."""
    made = [t]

    def run(args: Any, kwargs: Any) -> Any:
        if not made:
            return NotImplemented  # once more: another tensor
        t = made.pop()
        return select_made(name, t, args, kwargs) if state.watchers else t

    return _through(state.watchers[-1].__torch_dispatch__, borrowed(name, of_primitive=True).default, run, args, kwargs)


def _shown_detach(self: Any) -> Any:
    handler = _handler((self,)) if not isinstance(self, Wrapper) else None
    if handler is None:
        return _detach(self)
    return _through(handler, borrowed("detach").default, lambda args, kwargs: _shown_detach(*args), (self,), {}, True)


_shown_detach.__name__, _shown_detach.__qualname__, _shown_detach.__doc__ = "detach", "Tensor.detach", _detach.__doc__
dispatch.select, dispatch.select_operator, dispatch.select_made, dispatch.run_below = select, select_operator, select_made, run_below

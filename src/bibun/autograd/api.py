"""`backward` and `grad`: what users call, checked, and handed to the engine.

In go tensors and the gradients they start from; `backward` adds what comes out to the leaves' ``.grad``, `grad` returns
it. Nothing is changed where an argument is refused.
"""

from __future__ import annotations

import os
import sys
import threading
from typing import Any

import numpy as np

from ..backends import cpu
from ..errors import warn_once
from ..ops.primitive import REGISTRY
from . import dispatch
from .engine import Run, Wanted, arrived, fit, multi_hooks, run
from .hooks import run_tensor_hooks, unrecorded
from .modes import Off, state
from .namespace import xp as tensor_xp
from .node import LEAF, Node, Output
from .running import ACCUMULATING, RUNS, finish, number_of_run, pending
from .versions import written

__all__ = ["backward", "grad"]

#: Held while a leaf's ``.grad`` is made or added to: backward may run in several threads on shared parameters.
_accumulating = threading.Lock()


if hasattr(os, "register_at_fork"):  # a fork waits until no gradient is half added
    os.register_at_fork(
        before=_accumulating.acquire, after_in_parent=_accumulating.release, after_in_child=_accumulating.release
    )
ndarray = np.ndarray
new = object.__new__
refcount = sys.getrefcount
#: Set with the dispatcher's.
Tensor: Any = None


class _Ones(dict[Any, Any]):
    def __missing__(self, dtype: Any) -> Any:
        one = self[dtype] = np.ones((), dtype)
        one.flags.writeable = False
        return one


#: 1 of each dtype, as a 0-d array that nobody writes to.
ONES = _Ones()


#: Recording is off inside a backward that is not to be differentiated.
BACKWARD = Off()
BACKWARD.kind, BACKWARD.code, BACKWARD.lasti = "running inside backward", None, 0


def target_of(t: Any, i: int | None = None) -> Any:
    """Where the gradient of ``t`` goes in the graph."""
    if t.__class__ is Edge:
        return t._node
    if t._view is not None:
        dispatch.refresh(t)
    n = t._node
    if n is None:
        if dispatch.forward_levels[0] and hasattr(t, "tangent"):
            return target_of(t.value, i)
        from .complaints import no_grad_fn
        raise no_grad_fn(t, i)
    return t if n is LEAF else n


def on_tensors(create_graph: bool, grads: Any) -> bool:
    """Whether a run must work on tensors: its gradients are differentiable themselves, or belong to a function transform."""
    return create_graph or recorded() or bool(dispatch.busy[0]) and bool(dispatch.forward_levels[0] or state.watchers) or bool(dispatch.busy[0]) and any(g is not None and g.__class__ is not dispatch.Tensor for g in grads)


def recorded() -> bool:
    """Whether everything is being recorded (`bibun.compile`), gradients' computation too."""
    return dispatch.recording() is not None


def start_gradient(t: Any, g: Any, create: bool) -> Any:
    """The gradient to start from at ``t``, as a value of the run."""
    a = t._a
    if t.__class__ is Edge and t.shape is None:
        if g is None:
            raise RuntimeError("grad can be implicitly created only for scalar outputs: give the gradient of the edge")
        return g if create else g._a
    if g is None:
        if a.size != 1:
            raise RuntimeError(f"grad can be implicitly created only for scalar outputs, but this one has shape {list(a.shape)}. "
                               "Reduce it first (out.sum().backward()), or give the gradient: out.backward(torch.ones_like(out)).")
        if a.dtype.kind not in "fV":
            raise RuntimeError(f"grad can be implicitly created only for real scalar outputs but got {t.dtype}")
        if create:
            made = dispatch.wrap(np.ones(a.shape, a.dtype))
            return dispatch.select_made("ones_like", made, (t,), {}) if dispatch.busy[0] and state.watchers else made
        return np.ones(a.shape, a.dtype) if a.ndim else ONES[a.dtype]
    if not isinstance(g, dispatch.Tensor):
        raise TypeError(f"gradients can be either Tensors or None, but got {type(g).__name__}")
    if g._a.shape != a.shape:
        raise RuntimeError(f"Mismatch in shape: grad_output[0] has a shape of {g.shape} and output[0] has a shape of {t.shape}.")
    if (g._a.dtype.kind == "c") != (a.dtype.kind == "c"):
        raise RuntimeError("For complex Tensors, both grad_output and output are required to have the same dtype. Mismatch in dtype: "
                           f"grad_output[0] has a dtype of {g.dtype} and output[0] has a dtype of {t.dtype}.")
    return g if create else g._a


def has_layout(a: Any) -> bool:
    """Whether the elements of a leaf lie densely in an order of their own, which its gradient follows."""
    if a.flags.c_contiguous:
        return False
    strides = a.strides
    return a.transpose(sorted(range(a.ndim), key=lambda i: -strides[i])).flags.c_contiguous


def own(g: Any, leaf: Any, held: int = 0) -> Any:
    """``g`` as an array that nobody else holds, in the leaf's shape and dtype; ``held``: references to it that do not count."""
    a = leaf._a
    if g.__class__ is not ndarray:
        g = np.array(g)
        if g.dtype is a.dtype and not a.ndim:
            return g
    if g.shape != a.shape or g.dtype != a.dtype:
        g = fit(g, a.shape, a.dtype, cpu)
        if g.__class__ is not ndarray:
            return np.array(g)
    base = g.base
    # This frame and getrefcount's argument (the caller gives its own reference away); one more, and somebody looks on: a
    # hook that kept what it was shown, say.
    if base is None:
        if refcount(g) <= 2 + held and (g.strides == a.strides or g.flags.c_contiguous and not has_layout(a)):
            return g
    elif base.__class__ is ndarray and base.base is None and refcount(base) <= 3 and refcount(g) <= 2 + held and g.size == base.size:
        if g.strides == a.strides or g.flags.c_contiguous and not has_layout(a):
            return g
    if not has_layout(a):
        return np.array(g, order="C")
    made = np.empty_like(a)
    made[...] = g
    return made


def backward_from(t: Any, retain: bool) -> None:
    """`backward` of one tensor without further wishes: the common case, straight."""
    if dispatch.busy[0] and (dispatch.forward_levels[0] or state.watchers or recorded()):
        backward((t,), None, retain)
        return
    if t._view is not None:
        dispatch.refresh(t)
    n = t._node
    a = t._a
    if n is None:
        target_of(t)
    one = start_gradient(t, None, False) if a.ndim or a.dtype.kind != "f" else ONES[a.dtype]
    if multi_hooks[0]:
        backward((t,), None, retain)
        return
    number = number_of_run()
    try:
        leaves = run(((t if n is LEAF else n, one),), cpu, retain, False)
    except Exception as error:
        _accumulate_all(arrived(error), None, False)
        raise
    hooked = None
    with _accumulating:
        for leaf in tuple(leaves):
            if leaf._has_hooks:
                hooked = True
            elif leaf._grad is None:
                made = new(Tensor)
                made._a = own(leaves.pop(leaf), leaf)
                made._node = made._grad = made._view = made._story = None
                leaf._grad = made
            else:
                add_to(leaf, leaves.pop(leaf))
    if hooked:
        _accumulate_all(leaves, None, False)
    if pending:
        finish(number)


def add_to(leaf: Any, g: Any) -> None:
    """Add to a gradient that is there already, in its memory."""
    a = leaf._grad._a
    if g.shape != a.shape or g.dtype != a.dtype:
        g = fit(g, a.shape, a.dtype, cpu)
    if a.flags.writeable:
        np.add(a, g, out=a)
        written(a)
    else:
        leaf._grad = dispatch.wrap(a + g)


def add_shown(leaf: Any, g: Any) -> None:
    """Add a gradient to a leaf's ``.grad`` under the eyes of dispatch modes, and unrecorded."""
    if leaf._grad is None:
        a = g.detach()._a
        leaf._grad = dispatch.wrap(own(np.array(a), leaf))
    else:
        leaf._grad.add_(g)


def accumulate(leaf: Any, g: Any, create: bool) -> None:
    """Add a gradient to a leaf's ``.grad``, with the leaf's hooks around it."""
    hooks = leaf.__dict__ if leaf._has_hooks else None
    if hooks:
        xp = tensor_xp if create else cpu
        before = hooks.get("_backward_hooks_")
        if before:
            g = run_tensor_hooks(before, g, xp)
        node = hooks.get("_accumulate_node_")
        if node is not None and node.hooks.pre:
            g = node.hooks.before(node, g, xp)
        seen = g if node is not None and node.hooks.post else None
    if create:
        following = recorded()
        if following:
            dispatch.recorder[0].sees_grad(leaf)
        g = fit(g, leaf._a.shape, leaf._a.dtype, tensor_xp)
        while True:  # adding is recorded, and may call what a program wrote: not under the lock
            known = leaf._grad
            if state.watchers and not state.grad and g.__class__ is Tensor and (known is None or known.__class__ is Tensor):
                add_shown(leaf, g)
                break
            if known is not None:
                total = known + g
                if following and not state.grad:
                    total = dispatch.recorder[0].add_up(known, total)
            elif following and not state.grad:  # the recording sees to it that nobody else holds it
                total = g
            else:  # a copy, as the gradient of another leaf may be in the same memory
                total = dispatch.apply(REGISTRY["copy_into"], (dispatch.wrap(leaf._a), g), ())
            with _accumulating:
                if leaf._grad is known:
                    leaf._grad = total
                    break
        if following and leaf._grad is not known:
            dispatch.recorder[0].sets_grad(leaf)
    else:
        with _accumulating:
            if leaf._grad is None:
                leaf._grad = dispatch.wrap(own(g, leaf, 1))  # which is held here
            else:
                add_to(leaf, g)
    if hooks:
        after = hooks.get("_post_accumulate_hooks_")
        if after:
            with unrecorded(xp):
                for hook in list(after.values()):
                    if hook(leaf) is not None:
                        raise RuntimeError("Tensor post accumulate grad hooks should return None.")
        if seen is not None:
            node.hooks.after(node, (), seen, xp)


def _sequence(x: Any) -> tuple[Any, ...]:
    return (x,) if isinstance(x, dispatch.Tensor) or x is None or hasattr(x, "output_nr") else tuple(x)


class Edge:
    """A `GradientEdge` in a tensor's place: as much of a tensor as backward asks for."""

    __slots__ = ("_a", "_node", "dtype", "shape")
    _view = None
    _has_hooks = False

    def __init__(self, edge: Any):
        node, index = edge.node, edge.output_nr
        outs = getattr(node, "outs", None)
        several = node.primitive.several if node.primitive is not None else outs is not None and len(outs) > 1
        self._node = Output(node, index) if several else node
        known = getattr(edge, "ownership_token", None)
        shape, dtype = outs[index] if outs is not None else known if known.__class__ is tuple else (None, None)
        self._a = np.broadcast_to(np.zeros((), dtype or np.float32), shape if shape is not None else ())
        self.shape, self.dtype = shape, dtype


def placed(x: Any) -> Any:
    """What an output or input of `backward` and `grad` stands for: a tensor, the leaf behind an edge, or an `Edge`."""
    if isinstance(x, dispatch.Tensor) or not hasattr(x, "output_nr"):
        return x
    return x.node.variable if isinstance(x.node, AccumulateGrad) else Edge(x)


def backward(tensors: Any, grad_tensors: Any = None, retain_graph: bool | None = None, create_graph: bool = False,
             grad_variables: Any = None, inputs: Any = None) -> None:
    """Add the gradient of the sum of ``tensors`` to the ``.grad`` of the leaves that they were computed from.

    Args:
        tensors: one or several tensors; a tensor with more than one element needs its gradient given.
        grad_tensors: gradients to start from, of the tensors' shapes; None stands for ones, for scalars only.
        retain_graph: keep saved values, so that backward can run again; defaults to ``create_graph``.
        create_graph: record the computation of the gradients, so that they can be differentiated.
        inputs: accumulate into these tensors only.

    Raises:
        RuntimeError: where a tensor does not require grad, a gradient's shape is wrong, saved values are gone or were
            overwritten in place.
    """
    if tensors.__class__ is not tuple:
        tensors = tuple([placed(t) for t in _sequence(tensors)])
    grads = _sequence(grad_tensors) if grad_tensors is not None else (None,) * len(tensors)
    if len(grads) != len(tensors):
        raise RuntimeError(f"got {len(tensors)} tensors and {len(grads)} gradients")
    if inputs is not None:
        inputs = tuple([placed(t) for t in _sequence(inputs)])
        for t in inputs:
            if t._node is None and t._view is None and not hasattr(t, "level"):
                raise RuntimeError("can't retain_grad on Tensor that has requires_grad=False")
        if not inputs:
            raise RuntimeError("`inputs` argument to `backward()` cannot be empty.")
    retain = create_graph if retain_graph is None else retain_graph
    if create_graph:
        warn_of_cycles()
    if dispatch.busy[0] and (dispatch.forward_levels[0] or state.watchers or recorded()):
        before, state.grad = state.grad, True if create_graph else BACKWARD
        try:
            _backward(tensors, grads, retain, True, inputs)
        finally:
            state.grad = before
        return
    if multi_hooks[0]:
        with Run(tensors, inputs):
            _backward(tensors, grads, retain, create_graph, inputs)
        return
    _backward(tensors, grads, retain, create_graph, inputs)


def warn_of_cycles() -> None:
    """PyTorch's warning, once in a process."""
    warn_once("Using backward() with create_graph=True will create a reference cycle between the parameter and its gradient which can cause a memory "
              "leak. We recommend using autograd.grad when creating the graph to avoid this. If you have to use this function, make sure to reset the "
              ".grad fields of your parameters to None after use to break the cycle and avoid the leak.", 3)


def _backward(tensors: Any, grads: Any, retain: bool, create_graph: bool, inputs: Any) -> None:
    """`backward`, checked."""
    roots = [(target_of(t, i), start_gradient(t, g, create_graph)) for i, (t, g) in enumerate(zip(tensors, grads))]
    number = number_of_run()
    wanted = None
    if inputs is not None:
        targets = [target_of(t) for t in inputs]
        for t in inputs:
            if t.__class__ is not Edge and t._node is not None and t._node is not LEAF:
                t.retain_grad()
        wanted = Wanted([r[0] for r in roots], targets, True)
    try:
        leaves = run(roots, tensor_xp if create_graph else cpu, retain, create_graph, wanted)
    except Exception as error:
        _accumulate_all(arrived(error), wanted, create_graph)
        raise
    if recorded() and not retain:
        dispatch.recorder[0].note_backward([target for target, _ in roots])
    del roots
    _accumulate_all(leaves, wanted, create_graph)
    if pending:
        finish(number)


def _accumulate_all(leaves: dict[Any, Any], wanted: Wanted | None, create_graph: bool) -> None:
    for leaf in tuple(leaves):
        if wanted is None or leaf in wanted.leaves:
            accumulate(leaf, leaves.pop(leaf), create_graph)


def grad(outputs: Any, inputs: Any, grad_outputs: Any = None, retain_graph: bool | None = None, create_graph: bool = False,
         only_inputs: bool = True, allow_unused: bool | None = None, is_grads_batched: bool = False,
         materialize_grads: bool = False) -> tuple[Any, ...]:
    """The gradients of the sum of ``outputs`` with respect to each of ``inputs``; no ``.grad`` is touched.

    Args are as for `backward`; ``allow_unused`` lets an input that the outputs do not depend on give None
    (with ``materialize_grads``, zeros).

    >>> import bibun as torch
    >>> x = torch.tensor(3.0, requires_grad=True)
    >>> torch.autograd.grad(x ** 2, x)
    (tensor(6.),)
    """
    outputs, inputs = tuple([placed(t) for t in _sequence(outputs)]), tuple([placed(t) for t in _sequence(inputs)])
    if not inputs:
        raise RuntimeError("`inputs` argument to `grad()` cannot be empty.")
    if is_grads_batched:
        from .batched import batched_grad
        return batched_grad(outputs, inputs, grad_outputs, retain_graph, create_graph, allow_unused, materialize_grads)
    if materialize_grads and allow_unused is False:
        raise ValueError("Expected allow_unused to be True or not passed when materialize_grads=True, but got: allow_unused=False.")
    allow_unused = materialize_grads if allow_unused is None else allow_unused
    grads = _sequence(grad_outputs) if grad_outputs is not None else (None,) * len(outputs)
    if len(grads) != len(outputs):
        raise RuntimeError(f"got {len(outputs)} tensors and {len(grads)} gradients")
    retain = create_graph if retain_graph is None else retain_graph
    create = on_tensors(create_graph, grads)
    roots = [(target_of(t, i), start_gradient(t, g, create)) for i, (t, g) in enumerate(zip(outputs, grads))]
    targets = []
    for t in inputs:
        if t._view is not None:
            dispatch.refresh(t)
        n = t._node
        if n is None and dispatch.forward_levels[0] and hasattr(t, "tangent"):
            t = t.value
            n = t._node
        if n is None:
            raise RuntimeError("One of the differentiated Tensors does not require grad")
        targets.append(t if n is LEAF else n)
    wanted = Wanted([r[0] for r in roots], targets)
    before = state.grad
    state.grad = True if create_graph else BACKWARD
    number = number_of_run()
    told_apart = Run(outputs, inputs) if multi_hooks[0] else None
    if told_apart is not None:
        told_apart.__enter__()
    try:
        leaves = run(roots, tensor_xp if create else cpu, retain, create, wanted)
        if create and not retain and recorded():
            dispatch.recorder[0].note_backward([target for target, _ in roots])
        result = []
        for place, (t, target) in enumerate(zip(inputs, targets)):
            g = leaves.get(target) if not target._seq else wanted.found.get(place)
            if g is None:
                if not allow_unused:
                    raise RuntimeError(f"The differentiated Tensor at index {place} appears to not have been used in the graph. Set allow_unused=True "
                                       "if this is the desired behavior.")
                if materialize_grads and t.__class__ is Edge:
                    raise RuntimeError("materialize_grads cannot be used when the given input is a GradientEdge")
                zeros = dispatch.wrap(np.zeros_like(t._a)) if materialize_grads else None
                result.append(zeros.requires_grad_() if create_graph and zeros is not None else zeros)
            elif create:
                if not target._seq and t._has_hooks and t.__dict__.get("_backward_hooks_"):
                    g = run_tensor_hooks(t.__dict__["_backward_hooks_"], g, tensor_xp)
                result.append(g)
            else:
                if not target._seq and t._has_hooks and t.__dict__.get("_backward_hooks_"):
                    g = run_tensor_hooks(t.__dict__["_backward_hooks_"], g, cpu)
                result.append(dispatch.wrap(g if t.__class__ is Edge else fit(g, t._a.shape, t._a.dtype, cpu)))
        if pending:
            finish(number)
        return tuple(result)
    finally:
        state.grad = before
        if told_apart is not None:
            told_apart.__exit__()


ACCUMULATING[id(accumulate.__code__)] = accumulate.__code__
RUNS.update((id(f.__code__), f.__code__) for f in (backward_from, _backward, grad))


class AccumulateGrad(Node):
    """The node that stands for a leaf where the graph is looked at; the engine itself goes to the leaf directly."""

    __slots__ = ("_variable",)
    _variable: Any

    def name(self) -> str:
        return "torch::autograd::AccumulateGrad"

    @property
    def variable(self) -> Any:
        """The leaf tensor."""
        return self._variable


def accumulate_node(leaf: Any) -> Any:
    """The leaf's `AccumulateGrad` node, the same one as long as somebody holds it."""
    import weakref
    known = leaf.__dict__.get("_accumulate_grad_")
    node = known() if known is not None else None
    if node is None:
        node = AccumulateGrad()
        node._variable, node.next, node.saved, node.hooks, node.plan, node._seq = leaf, (), ((),), None, None, sys.maxsize
        node.code, node.lasti = None, 0
        leaf.__dict__["_accumulate_grad_"] = weakref.ref(node)
    return node


__all__ += ["AccumulateGrad", "Output"]
